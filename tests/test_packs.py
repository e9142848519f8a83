"""A skill as one file: the same bytes for the same skill, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import pytest

from skillkit.errors import CorruptSkill, InvalidValue, RegistryUnavailable
from skillkit.integrity import write_checksums
from skillkit.packs import pack, unpack
from skillkit.registry import Entry, Registry, shipped_folder
from skillkit.skill import load
from tests.point_skills import skillkit, snapshot
from tests.small_skills import references

GOLDEN = Registry([Path(__file__).parent / "golden/format_1"])
CHILD = "point_x+point_y"
SHA256 = "aaefc9fa3e96203df433e0d08fbf17c8c3f8f12767dcde5f19fcb1c5a1e459b2"  # of its pack, for good


def packed(reference: str = CHILD, registry: Registry = GOLDEN) -> bytes:
    file = io.BytesIO()
    pack(registry.find(reference), file)
    return file.getvalue()


@pytest.fixture
def mine(tmp_path: Path) -> Registry:
    return Registry([tmp_path / "mine"])


class Stream(io.RawIOBase):
    """As a network gives it: a few bytes at a time, and never again."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        assert 0 <= size <= 1 << 20, "a pack may be larger than the memory"
        return self.data.read(min(size, 1_000))


# ------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("entry", [*GOLDEN.entries()], ids=lambda entry: entry.name)
def test_an_unpacked_skill_is_the_one_that_was_packed(entry: Entry, mine: Registry) -> None:
    found = unpack(cast(IO[bytes], Stream(packed(entry.name))), mine)
    assert (found.reference, found.content_id) == (f"{entry.name}@1", entry.content_id)
    assert snapshot(found.folder) == snapshot(entry.folder)
    assert load(entry.name, mine).manifest == load(entry.name, GOLDEN).manifest


def test_the_same_skill_is_the_same_file(mine: Registry, tmp_path: Path) -> None:
    data = packed()
    assert hashlib.sha256(data).hexdigest() == SHA256
    entry = unpack(io.BytesIO(data), mine)
    for path in entry.folder.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    mine.label(CHILD, {"robot": "arm1"}, "what is said about it stays here")
    mine.alias(CHILD, "best")
    assert packed(registry=mine) == data


def test_it_is_a_tar_archive_of_a_folder(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed())) as archive:
        archive.extractall(tmp_path, filter="data")
    assert snapshot(tmp_path / CHILD) == snapshot(GOLDEN.find(CHILD).folder)


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
def test_tar_agrees(tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", "-"], input=packed(), cwd=tmp_path, check=True)
    assert snapshot(tmp_path / CHILD) == snapshot(GOLDEN.find(CHILD).folder)


def test_every_shipped_skill_can_be_packed(mine: Registry) -> None:
    shipped = Registry([shipped_folder()])
    for entry in shipped.list():
        assert unpack(io.BytesIO(packed(entry.name, shipped)), mine).content_id == entry.content_id


def test_it_becomes_the_next_version_of_its_name_or_of_another(mine: Registry) -> None:
    mine.copy(unpack(io.BytesIO(packed("point_x")), mine).reference, CHILD)
    assert unpack(io.BytesIO(packed()), mine).reference == f"{CHILD}@2"
    assert unpack(io.BytesIO(packed()), mine, "arm/reach").reference == "arm/reach@1"
    assert unpack(io.BytesIO(packed("arm/reach", mine)), mine, "reach").name == "reach"
    assert mine.find("arm/reach").manifest.name == CHILD  # as it was saved
    long = "/".join("a" * 50)  # a folder of 148 characters
    again = unpack(io.BytesIO(packed()), mine, long)
    assert unpack(io.BytesIO(packed(long, mine)), Registry([mine.folders[0] / "b"])).name == long
    assert again.content_id == GOLDEN.find(CHILD).content_id


def test_what_is_there_already_is_not_saved_again(mine: Registry) -> None:
    first = unpack(io.BytesIO(packed()), mine)
    mine.copy(unpack(io.BytesIO(packed("point_x")), mine).reference, CHILD)
    assert unpack(io.BytesIO(packed()), mine).reference == first.reference
    assert references(mine.versions(CHILD)) == [f"{CHILD}@1", f"{CHILD}@2"]
    mine.remove(f"{CHILD}@1")
    assert unpack(io.BytesIO(packed()), mine).reference == f"{CHILD}@3"


# ------------------------------------------------------------------------------ what is no pack


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def archive(files: dict[str, bytes]) -> bytes:
    """A pack of these files, checksums and all."""
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
    parts = [member("point_x/SHA256SUMS", "".join(lines).encode())]
    parts += [member(f"point_x/{name}", data) for name, data in files.items()]
    return b"".join(parts) + bytes(1024)


def retold(data: bytes, at: int, value: bytes) -> bytes:
    """Another value in the first header, and its sum made right."""
    head = bytearray(data[:512])
    head[at : at + len(value)] = value
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return bytes(head) + data[512:]


SUMS = GOLDEN.find(CHILD).folder.joinpath("SHA256SUMS").read_bytes()
WHOLE = {
    name: GOLDEN.find(CHILD).folder.joinpath(name).read_bytes()
    for name in sorted(line[66:] for line in SUMS.decode().splitlines())
}
FIRST = member(f"{CHILD}/SHA256SUMS", SUMS)
SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda d: b"",
    "a few bytes": lambda d: d[:100],
    "text": lambda d: b"#!/bin/sh\nrm -rf ~\n" * 100,
    "zeros": lambda d: bytes(10_240),
    "a gzip": lambda d: b"\x1f\x8b\x08" + d,
    "without its end": lambda d: d[:-1],
    "cut in a file": lambda d: d[: len(d) // 2],
    "cut between files": lambda d: FIRST,
    "the end too early": lambda d: FIRST + bytes(1024),
    "something behind it": lambda d: d + b"\0",
    "another pack behind it": lambda d: d + d,
    "a file twice": lambda d: FIRST + FIRST + d[len(FIRST) :],
    "in another order": lambda d: d[len(FIRST) :] + FIRST,
    "a flipped bit in a file": lambda d: d[: len(FIRST) + 600] + b"~" + d[len(FIRST) + 601 :],
    "a flipped bit in a filling": lambda d: d[: len(FIRST) - 1] + b"\1" + d[len(FIRST) :],
    "a flipped bit in the checksums": lambda d: d[:512] + b"f0" + d[514:],
    "an owner": lambda d: retold(d, 108, b"0001750\0"),
    "an owner's name": lambda d: retold(d, 265, b"root\0"),
    "a time": lambda d: retold(d, 136, b"14000000000\0"),
    "executable": lambda d: retold(d, 100, b"0000755\0"),
    "set-user-id": lambda d: retold(d, 100, b"0004755\0"),
    "a symbolic link": lambda d: retold(d, 156, b"2"),
    "a hard link": lambda d: retold(d, 156, b"1"),
    "a device": lambda d: retold(d, 156, b"3"),
    "a pipe": lambda d: retold(d, 156, b"6"),
    "a folder": lambda d: retold(d, 156, b"5"),
    "a sparse file": lambda d: retold(d, 156, b"S"),
    "a long name": lambda d: retold(d, 156, b"L"),
    "a pax header": lambda d: retold(d, 156, b"x"),
    "a size of eight gigabytes": lambda d: retold(d, 124, b"77777777777\0"),
    "a negative size": lambda d: retold(d, 124, b"-0000000001\0"),
    "a size in base 256": lambda d: retold(d, 124, b"\x80" + b"\xff" * 11),
    "checksums of ten megabytes": lambda d: member("point_x/SHA256SUMS", bytes(10 << 20)),
    "upwards": lambda d: member("../SHA256SUMS", SUMS),
    "upwards in a name": lambda d: member("a/../../b/SHA256SUMS", SUMS),
    "absolute": lambda d: member("/etc/SHA256SUMS", SUMS),
    "hidden": lambda d: member(".ssh/SHA256SUMS", SUMS),
    "no folder": lambda d: member("SHA256SUMS", SUMS),
    "a drive": lambda d: member("C:/SHA256SUMS", SUMS),
    "a backslash": lambda d: member("..\\a/SHA256SUMS", SUMS),
    "no skill": lambda d: archive({"README.md": b"hello"}),
    "an empty skill": lambda d: archive({}),
    "a whole skill and a payload": lambda d: archive({**WHOLE, "payload.pkl": b"cos\nsystem\n"}),
    "a payload": lambda d: archive({"skill.json": b"{}", "payload.pkl": b"cos\nsystem\n"}),
    "a file upwards": lambda d: archive({"../../outside": b"x"}),
    "a file elsewhere": lambda d: archive({"/tmp/outside": b"x"}),
    "another replay": lambda d: archive({"replay/00001.safetensors": b""}),
    "a folder for a file": lambda d: archive({"README.md/x": b""}),
    "hidden files": lambda d: archive({".bashrc": b"x"}),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_no_pack_leaves_nothing(what: str, mine: Registry, tmp_path: Path) -> None:
    data = SPOILED[what](packed())
    with pytest.raises(CorruptSkill) as caught:
        unpack(io.BytesIO(data), mine)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    assert not list(mine.entries()) and not (tmp_path / "outside").exists()
    assert {path.name for path in mine.folders[0].rglob("*")} <= {".aside", ".gitignore", "lock"}


def test_the_file_that_was_damaged_is_named(mine: Registry) -> None:
    data = bytearray(packed())
    data[data.index(WHOLE["skill.json"])] ^= 1
    with pytest.raises(CorruptSkill, match=r"skill\.json in the pack is not what was packed; get"):
        unpack(io.BytesIO(data), mine)


def test_no_flipped_bit_is_taken(mine: Registry) -> None:
    """In headers and fillings; what is in the files the checksums see to."""
    data = archive({"README.md": b"a"})
    for at in range(0, len(data), 7):
        spoiled = bytearray(data)
        spoiled[at] ^= 1 << at % 8
        with pytest.raises(CorruptSkill):
            unpack(io.BytesIO(spoiled), mine)
    assert not list(mine.entries())


def test_a_name_that_cannot_be(mine: Registry) -> None:
    for name in ("../x", "", ".x", "a--b", "x" * 101):
        with pytest.raises(InvalidValue, match="is not a skill name"):
            unpack(io.BytesIO(packed()), mine, name)
    unpack(io.BytesIO(packed()), mine, "Reach")
    with pytest.raises(InvalidValue, match="differs from 'Reach' only in case"):
        unpack(io.BytesIO(packed()), mine, "reach")


def test_a_source_that_fails_is_not_the_registrys_fault(mine: Registry) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 5_000:
                raise ConnectionResetError(104, "Connection reset by peer")
            return super().read(size)

    with pytest.raises(RegistryUnavailable, match="the pack cannot be read: Connection reset"):
        unpack(Broken(packed()), mine)
    assert not list(mine.entries())


def test_a_damaged_skill_is_not_packed(mine: Registry) -> None:
    folder = unpack(io.BytesIO(packed()), mine).folder
    (folder / "README.md").write_text("changed")
    with pytest.raises(CorruptSkill, match=r"README\.md was changed after it was saved"):
        packed(registry=mine)
    (folder / "notes.txt").write_text("mine")
    write_checksums(folder)
    with pytest.raises(InvalidValue, match=r"notes\.txt cannot be packed: no file of a skill"):
        packed(registry=mine)


def test_a_file_of_eight_gigabytes_is_not_packed(mine: Registry) -> None:
    folder = unpack(io.BytesIO(packed()), mine).folder
    os.truncate(folder / "README.md", 8 << 30)
    with pytest.raises(InvalidValue, match=r"README\.md cannot be packed: .*above 8 GiB"):
        packed(registry=mine)


# --------------------------------------------------------------------------------- the commands


def test_pack_and_unpack_as_they_are_typed(mine: Registry, tmp_path: Path) -> None:
    identity = GOLDEN.find(CHILD).content_id
    where = ("--registry", GOLDEN.folders[0])
    answer = skillkit("pack", CHILD, "-o", tmp_path / "new/x.skill", *where)
    assert answer.out.endswith(f"content id {identity}\n"), answer.err
    assert (tmp_path / "new/x.skill").read_bytes() == packed()
    assert os.listdir(tmp_path / "new") == ["x.skill"]
    answer = skillkit("unpack", tmp_path / "new/x.skill", "--registry", mine.folders[0])
    assert answer.out.endswith(f"x.skill is {CHILD}@1\ncontent id {identity}\n")
    answer = skillkit("unpack", tmp_path / "new/x.skill", "--as", "y", *where[:1], mine.folders[0])
    assert "x.skill is y@1\n" in answer.out


def test_pack_names_its_file(
    mine: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert skillkit("pack", "point_x/point_y", "--registry", GOLDEN.folders[0]).code == 0
    assert (tmp_path / "point_x--point_y.skill").exists()


def test_what_goes_wrong_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "no.skill").write_bytes(b"no")
    (tmp_path / "file").write_bytes(b"")
    old = tmp_path / "old.skill"
    old.write_bytes(b"kept")
    where = ("--registry", GOLDEN.folders[0])
    assert "no.skill: the pack is cut short" in skillkit("unpack", tmp_path / "no.skill").sentence
    assert "No such file" in skillkit("unpack", tmp_path / "none.skill").sentence
    assert "no skill is called 'z'" in skillkit("pack", "z", "-o", old, *where).sentence
    assert "file" in skillkit("pack", CHILD, "-o", tmp_path / "file/x.skill", *where).sentence
    assert old.read_bytes() == b"kept"
