"""Reading what a stranger may have written: files, JSON, tensors.

Sizes are bounded, links are not followed, JSON is strict and shallow, and whatever is wrong is one
`CorruptSkill` sentence that names the file.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from skillkit.errors import CorruptSkill
from skillkit.types import Array

LIMIT = 4 << 20  # bytes of a text or a picture
JSON_LIMIT = 1 << 20  # bytes; a humanoid's 350 observation entries take 40 kB
DEPTH = 64  # of objects and lists in each other
DIGITS = 30  # of a whole number
HEADER = 1 << 18  # bytes that describe tensors, a hundred each
RESTORE = "restore the skill from a copy, or remove this version and make it again"


def open_regular(path: Path) -> FileIO:
    """Open a file to read: no link, and no device or pipe that could block.

    Raises:
        CorruptSkill: missing, unreadable, or not a regular file.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        reason = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise CorruptSkill(f"{path} cannot be read: {reason}; {RESTORE}") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise CorruptSkill(f"{path} is not a regular file; {RESTORE}")
    return FileIO(file)


def read_bytes(path: Path, limit: int = LIMIT) -> bytes:
    """A small file.

    Raises:
        CorruptSkill: as `open_regular`, or too large.
    """
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise CorruptSkill(f"{path} is larger than {limit} bytes; {RESTORE}")
        return file.read(size)  # a buffer of `limit` would take longer to make than to fill


def read_text(path: Path, limit: int = LIMIT) -> str:
    """A small UTF-8 file.

    Raises:
        CorruptSkill: as `read_bytes`, or not UTF-8.
    """
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptSkill(f"{path} is not UTF-8 text; {RESTORE}") from error


def read_json(path: Path) -> object:
    """A small file of JSON, as `strict_json` reads it.

    Raises:
        CorruptSkill: as `read_text`, or not such JSON, or nested too deeply.
    """
    text = read_text(path, JSON_LIMIT)
    try:
        return strict_json(text)
    except RecursionError as error:
        raise CorruptSkill(f"{path} is nested too deeply; {RESTORE}") from error
    except ValueError as error:
        raise CorruptSkill(f"{path} is not strict JSON: {error}; {RESTORE}") from error


def strict_json(text: str) -> Any:
    """JSON without what Python adds to it: NaN, infinities, repeated names, endless numbers.

    Raises:
        ValueError, RecursionError: it is none, or nested too deeply.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(data := dict(pairs)) != len(pairs):
            raise ValueError("a name appears twice in one object")
        return data

    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise ValueError(f"{number[:20]} is not a finite number")
        return value

    def short(number: str) -> int:
        if len(number) > DIGITS:
            raise ValueError(f"{number[:20]}... has too many digits")
        return int(number)

    value = json.loads(
        text, object_pairs_hook=unique, parse_int=short, parse_float=finite, parse_constant=finite
    )
    if depth(value) > DEPTH:
        raise RecursionError
    return value


def depth(value: Any) -> int:
    """How many objects and lists of plain data are in each other."""
    level, found = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level, found = [item for items in inner for item in items], found + 1
    return found


def read_tensors(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file, by name.

    Raises:
        CorruptSkill: as `open_regular`, or they cannot be read.
    """
    from safetensors.numpy import load_file  # here, because most questions need no tensor

    with open_regular(path) as file:
        header = int.from_bytes(file.read(8) or b"", "little")
    try:
        if header > HEADER:
            raise ValueError(f"its header is larger than {HEADER} bytes")
        tensors = load_file(path)
        if odd := [name for name, tensor in tensors.items() if tensor.dtype.kind not in "fiub"]:
            raise ValueError(f"the numbers of {odd[0]} are of a kind that NumPy does not have")
        return tensors
    except Exception as error:  # each version has others
        raise CorruptSkill(
            f"{path} cannot be read as safetensors: {reason(error)}; {RESTORE}"
        ) from error


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """A file that a stranger may have written can fail in any way; it is one sentence."""
    try:
        yield
    except Exception as error:
        raise CorruptSkill(f"{path} does not fit its skill: {reason(error)}; {RESTORE}") from error


def reason(error: Exception) -> str:
    """What an exception says of a stranger's data, fit to be printed."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:300])


def plain(value: Any) -> Any:
    """The value as JSON gives it back: lists for tuples, and nothing shared with the caller.

    Raises:
        TypeError, ValueError: JSON cannot hold it, or a text has control characters.
    """
    value = json.loads(json.dumps(value, allow_nan=False))
    if not _printable(value):
        raise ValueError("a text has control characters")
    return value


def _printable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_printable, value)) and all(map(_printable, value.values()))
    if isinstance(value, list):
        return all(map(_printable, value))
    return not isinstance(value, str) or value.isprintable()


def fits(value: Any, shape: Any) -> bool:
    """Whether plain data has a shape: a rule, [the items' shape], or {field: its shape}."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict) or not shape.keys() <= value.keys():
            return False
        return all(fits(value[name], rule) for name, rule in shape.items())
    return bool(shape(value))


def described(shape: Any) -> str:
    """The shape in words; a rule's name says what it wants."""
    if isinstance(shape, list):
        return f"a list of {described(shape[0])}"
    if isinstance(shape, dict):
        return f"{{{', '.join(f'{name}: {described(rule)}' for name, rule in shape.items())}}}"
    return str(shape.__name__).strip("_").replace("_", " ")
