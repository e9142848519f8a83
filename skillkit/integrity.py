"""Reading what a stranger may have written, and SHA256SUMS over the files of a skill.

Sizes are bounded, links are not followed, JSON is strict, and whatever is wrong is one
`CorruptSkill` sentence that names the file. Integrity, not authenticity: checksums show that a
file changed, not who wrote it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.types import Array

CHECKSUMS = "SHA256SUMS"
LIMIT = 4 << 20  # bytes of JSON or checksums; a humanoid's 350 observation entries take 40 kB
RESTORE = "restore the skill from a copy, or remove this version and make it again"

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"  # never hidden, absolute, or upwards
_LINE = re.compile(rf"([0-9a-f]{{64}})  ({_PART}(?:/{_PART})*)")  # as sha256sum writes it


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


def read_text(path: Path) -> str:
    """A small UTF-8 file.

    Raises:
        CorruptSkill: as `open_regular`, or too large, or not UTF-8.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > LIMIT:
            raise CorruptSkill(f"{path} is larger than {LIMIT} bytes; {RESTORE}")
        data = file.read(LIMIT)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorruptSkill(f"{path} is not UTF-8 text; {RESTORE}") from error


def read_json(path: Path) -> object:
    """A small file of JSON without what Python adds to it: NaN, infinities, repeated names.

    Raises:
        CorruptSkill: as `read_text`, or not such JSON, or nested too deeply.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(data := dict(pairs)) != len(pairs):
            raise ValueError("a name appears twice in one object")
        return data

    def finite(number: str) -> float:
        if not math.isfinite(value := float(number)):
            raise ValueError(f"{number[:20]} is not a finite number")
        return value

    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=unique, parse_float=finite, parse_constant=finite)
    except RecursionError as error:
        raise CorruptSkill(f"{path} is nested too deeply; {RESTORE}") from error
    except ValueError as error:
        raise CorruptSkill(f"{path} is not strict JSON: {error}; {RESTORE}") from error


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


def write_checksums(folder: Path) -> str:
    """Write SHA256SUMS over every file, in the format of `sha256sum -c`; returns the content id.

    Raises:
        InvalidValue: a file name that is hidden or has other characters than letters, digits, _.+-
        CorruptSkill: a link or a special file among the files.
    """
    lines = [f"{_sha256(folder / name)}  {name}" for name in _files(folder)]
    for line in lines:
        if not _LINE.fullmatch(line):
            raise InvalidValue(f"{line[66:]!r} cannot be a file of a skill; rename it")
    (folder / CHECKSUMS).write_text("".join(line + "\n" for line in lines), encoding="ascii")
    return content_id(folder)


def fingerprint(tensors: Mapping[str, Array]) -> str:
    """sha256 over names, types, shapes and contents: equal for bit-identical parameters only."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}\n".encode() + tensor.tobytes())
    return digest.hexdigest()


def content_id(folder: Path) -> str:
    """sha256 of SHA256SUMS: the identity that aliases and children record. [64 hex digits]

    Raises:
        CorruptSkill: SHA256SUMS is missing or unreadable.
    """
    return hashlib.sha256(_read_checksums(folder).encode()).hexdigest()


def verify_checksums(folder: Path, names: Collection[str] | None = None) -> None:
    """Check every file against SHA256SUMS, or only those named (a controller needs three).

    Raises:
        CorruptSkill: a missing, extra, changed or linked file, by name.
    """
    for sentence in _damage(folder, names):
        raise CorruptSkill(sentence)


def damage(folder: Path) -> Iterator[str]:
    """A sentence for every file that `verify_checksums` would name, not for the first only."""
    try:
        yield from _damage(folder)
    except CorruptSkill as error:  # what is there cannot even be listed
        yield str(error)


def checksums(folder: Path) -> dict[str, str]:
    """The files that SHA256SUMS lists, and their sha256.

    Raises:
        CorruptSkill: it is missing, unreadable or malformed.
    """
    recorded: dict[str, str] = {}
    for number, line in enumerate(_read_checksums(folder).splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in recorded:
            where = f"{folder / CHECKSUMS} line {number}"
            raise CorruptSkill(f"{where} is malformed or repeated; {RESTORE}")
        recorded[match[2]] = match[1]
    return recorded


def _damage(folder: Path, names: Collection[str] | None = None) -> Iterator[str]:
    path, recorded = folder / CHECKSUMS, checksums(folder)
    present = _files(folder)
    for name in sorted(recorded if names is None else names):
        if name not in recorded:
            yield f"{path} does not list {name}; {RESTORE}"
        elif name not in present:
            yield f"{folder / name} is missing; {RESTORE}"
        elif _sha256(folder / name) != recorded[name]:
            yield f"{folder / name} was changed after it was saved; {RESTORE}"
    for name in present:
        if name not in recorded:
            yield f"{folder / name} does not belong to the skill; remove that file"


def _read_checksums(folder: Path) -> str:
    if not os.path.lexists(folder / CHECKSUMS):
        raise CorruptSkill(f"{folder} has no {CHECKSUMS}: it is incomplete or no skill; {RESTORE}")
    return read_text(folder / CHECKSUMS)


def _sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> dict[str, None]:
    """Every file below but SHA256SUMS, as a relative path, in order; a link anywhere is refused."""
    if folder.is_symlink():
        raise CorruptSkill(f"{folder} is a symbolic link; put a copy of the skill in its place")
    try:
        names = {Path(path).relative_to(folder).as_posix() for path in _walk(folder)}
    except OSError as error:
        raise CorruptSkill(f"{folder} cannot be read: {error.strerror}; {RESTORE}") from error
    return dict.fromkeys(sorted(names - {CHECKSUMS}))


def _walk(folder: Path) -> Iterator[str]:
    pending = [str(folder)]
    while pending:
        with os.scandir(pending.pop()) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    pending.append(item.path)
                elif item.is_file(follow_symlinks=False):
                    yield item.path
                else:
                    kind = "a symbolic link" if item.is_symlink() else "not a regular file"
                    raise CorruptSkill(f"{item.path} is {kind}; {RESTORE}")
