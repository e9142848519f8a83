"""A skill as one file, to hand to somebody: a plain tar archive, neither compressed nor signed.

    push_x/SHA256SUMS       first, so that a reader knows what must follow
    push_x/README.md        then the files that it lists, in its order
    ...

There is one way to write a skill, and the reader takes no other: every header must be, to the
byte, the one that `pack` writes. So the same skill is always the same file, and a pack holds no
links, nothing twice, nothing above its folder, and nothing but the skill. Both ways go from the
first byte to the last in pieces: a pack may come from a network, and be larger than the memory.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from skillkit.errors import CorruptSkill, InvalidValue, RegistryUnavailable, UnknownName
from skillkit.integrity import CHECKSUMS, checksums, parsed
from skillkit.names import check_name, folder_name, name_of_folder
from skillkit.reading import LIMIT, RESTORE, open_regular
from skillkit.registry import Entry, Registry

SUFFIX = ".skill"

_BLOCK = tarfile.BLOCKSIZE  # bytes of a header; what follows it is filled up to whole blocks
_NAME, _SIZE, _PREFIX = slice(0, 100), slice(124, 136), slice(345, 500)  # of a header
_LARGEST = 8**11 - 1  # bytes of a file, as many as a header can say
_END = bytes(2 * _BLOCK)
_PIECE = 1 << 20  # bytes in memory at a time
_FILE = re.compile(
    r"skill\.json|(?:policy|q|probe|replay/00000)\.safetensors|metrics\.jsonl|README\.md|figure\.png"
)
_AGAIN = "get the pack again from where it came"


def pack(entry: Entry, to: IO[bytes]) -> None:
    """Write a version; not what is said about it here, which are its aliases, tags and note.

    Raises:
        CorruptSkill: a file is missing or altered.
        InvalidValue: a file that is none of a skill's, or has 8 GiB.
    """
    recorded = checksums(entry.folder)
    for file in (CHECKSUMS, *recorded):
        path, digest = entry.folder / file, hashlib.sha256()
        with open_regular(path) as source:
            size = os.fstat(source.fileno()).st_size
            if size > _LARGEST or not (file == CHECKSUMS or _FILE.fullmatch(file)):
                raise InvalidValue(f"{path} cannot be packed: no file of a skill, or above 8 GiB")
            to.write(_header(f"{folder_name(entry.name)}/{file}", size))
            for piece in _pieces(source, size):
                digest.update(piece)
                to.write(piece)
            to.write(bytes(-size % _BLOCK))
        if file != CHECKSUMS and digest.hexdigest() != recorded[file]:
            raise CorruptSkill(f"{path} was changed after it was saved; {RESTORE}")
    to.write(_END)


def unpack(source: IO[bytes], registry: Registry, name: str | None = None) -> Entry:
    """Save a packed skill as the next version of its name; one that is there already is found.

    Nothing is to be seen of it before all of it was read and checked.

    Args:
        source: read to the end of the pack, without going back.
        name: instead of the one in the pack.

    Raises:
        CorruptSkill: no pack, or a damaged one.
        InvalidValue: not a name, or one that differs from another only in case.
        RegistryUnavailable: the pack cannot be read, or the registry not be written.
    """
    block = _read(source, _BLOCK)
    folder = _folder(block)
    text = b"".join(_content(source, block, f"{folder}/{CHECKSUMS}", LIMIT))
    name = check_name(name_of_folder(folder) or "" if name is None else name)
    if present := _present(registry, name, hashlib.sha256(text).hexdigest()):
        return present

    def write(skill: Path) -> None:
        (skill / CHECKSUMS).write_bytes(text)
        for file, recorded in parsed(text.decode("ascii", "replace"), CHECKSUMS).items():
            if not _FILE.fullmatch(file):  # no other is ever opened to write
                raise CorruptSkill(f"the pack holds {file[:100]}, no file of a skill; {_AGAIN}")
            (skill / file).parent.mkdir(exist_ok=True)
            digest = hashlib.sha256()
            with (skill / file).open("xb") as to:
                for piece in _content(source, _read(source, _BLOCK), f"{folder}/{file}"):
                    digest.update(piece)
                    to.write(piece)
            if digest.hexdigest() != recorded:
                raise CorruptSkill(f"{file} in the pack is not what was packed; {_AGAIN}")
        if _read(source, len(_END) + 1, at_end=True) != _END:
            raise CorruptSkill(f"the pack does not end with its last file; {_AGAIN}")

    return registry.receive(name, write)


def _present(registry: Registry, name: str, identity: str) -> Entry | None:
    """The version of that name with this content id, if there is one."""
    with suppress(UnknownName):
        for entry in registry.versions(name):
            with suppress(CorruptSkill):  # a damaged one is verify's business
                if entry.content_id == identity:
                    return entry
    return None


def _header(path: str, size: int) -> bytes:
    """The block before a file; nothing in it tells of a time, a user or a machine."""
    info = tarfile.TarInfo(path)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii")


def _folder(block: bytes) -> str:
    """What the folder of all files is called, by the first header.

    Raises:
        CorruptSkill: not like a skill's.
    """
    name, before = (block[at].rstrip(b"\0").decode("ascii", "replace") for at in (_NAME, _PREFIX))
    folder = f"{before}/{name}".strip("/").removesuffix(f"/{CHECKSUMS}")
    if name_of_folder(folder) is None:
        raise CorruptSkill(f"this is no packed skill; {_AGAIN}")
    return folder


def _content(source: IO[bytes], block: bytes, path: str, limit: int = _LARGEST) -> Iterator[bytes]:
    """A file in pieces, after its header, up to the next one.

    Raises:
        CorruptSkill: the header is another's, or something else in it is not as we write it.
    """
    digits = block[_SIZE].rstrip(b"\0")
    size = int(digits, 8) if re.fullmatch(b"[0-7]{11}", digits) else 0
    if block != _header(path, size) or size > limit:
        raise CorruptSkill(f"the pack is damaged, or none, where {path} should begin; {_AGAIN}")
    yield from _pieces(source, size)
    if any(_read(source, -size % _BLOCK)):
        raise CorruptSkill(f"the pack is damaged where {path} ends; {_AGAIN}")


def _pieces(source: IO[bytes], size: int) -> Iterator[bytes]:
    for begin in range(0, size, _PIECE):
        yield _read(source, min(_PIECE, size - begin))


def _read(source: IO[bytes], size: int, at_end: bool = False) -> bytes:
    """So many bytes; fewer only `at_end`.

    Raises:
        CorruptSkill: there are fewer.
        RegistryUnavailable: the source fails.
    """
    data = bytearray()
    try:
        while len(data) < size and (more := source.read(size - len(data))):
            data += more
    except OSError as error:
        raise RegistryUnavailable(f"the pack cannot be read: {error.strerror or error}") from error
    if len(data) < size and not at_end:
        raise CorruptSkill(f"the pack is cut short; {_AGAIN}")
    return bytes(data)
