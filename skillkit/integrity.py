"""SHA256SUMS over the files of a skill.

Integrity, not authenticity: checksums show that a file changed, not who wrote it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.reading import RESTORE, open_regular, read_text
from skillkit.types import Array

CHECKSUMS = "SHA256SUMS"
HUGE = 1 << 30  # bytes of a file that may be mostly a hole

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"  # never hidden, absolute, or upwards
_LINE = re.compile(rf"([0-9a-f]{{64}})  ({_PART}(?:/{_PART})*)")  # as sha256sum writes it


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
    return parsed(_read_checksums(folder), str(folder / CHECKSUMS))


def parsed(text: str, path: str) -> dict[str, str]:
    """The files that the text of a SHA256SUMS lists, in its order, and their sha256.

    Raises:
        CorruptSkill: it is malformed.
    """
    recorded: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in recorded:
            raise CorruptSkill(f"{path} line {number} is malformed or repeated; {RESTORE}")
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
        if _hollow(file.fileno()):
            raise CorruptSkill(f"{path} is mostly a hole without data; {RESTORE}")
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hollow(file: int) -> bool:
    """Whether a file takes next to nothing of the disk, and would take us minutes to read."""
    found = os.fstat(file)
    if found.st_size < HUGE or 512 * found.st_blocks > found.st_size / 8:
        return False
    hole = os.lseek(file, 0, os.SEEK_HOLE)
    os.lseek(file, 0, os.SEEK_SET)
    return hole < found.st_size  # a filesystem that knows no holes says that there is none


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
