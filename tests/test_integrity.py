"""Whatever happened to a file of a skill, or whoever wrote it: it is found, named and refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.integrity import content_id, verify_checksums, write_checksums

FILES = {
    "skill.json": b"{}\n",
    "policy.safetensors": bytes(range(256)),
    "replay/00000.safetensors": b"\0" * 1000,
    "README.md": b"",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "v1"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    write_checksums(folder)
    return folder


def test_the_format_is_that_of_sha256sum(folder: Path) -> None:
    lines = [f"{hashlib.sha256(FILES[name]).hexdigest()}  {name}\n" for name in sorted(FILES)]
    assert (folder / "SHA256SUMS").read_text() == "".join(lines)
    assert content_id(folder) == hashlib.sha256("".join(lines).encode()).hexdigest()
    verify_checksums(folder)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
def test_sha256sum_agrees(folder: Path) -> None:
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=folder, check=True)


def test_checksums_written_again_are_the_same(folder: Path) -> None:
    before = content_id(folder)
    assert write_checksums(folder) == before
    (folder / "README.md").write_text("other")
    assert write_checksums(folder) != before


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def link_out(path: Path) -> None:
    shutil.move(path, path.parents[1] / "outside")
    path.symlink_to(path.parents[1] / "outside")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


TAMPERED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a flipped bit": ("policy.safetensors", flip, "changed after it was saved"),
    "a flipped bit below": ("replay/00000.safetensors", flip, "changed after it was saved"),
    "cut short": ("policy.safetensors", lambda p: os.truncate(p, 100), "changed after"),
    "emptied": ("skill.json", lambda p: os.truncate(p, 0), "changed after"),
    "replaced": ("skill.json", lambda p: p.write_text("[]"), "changed after"),
    "grown": ("README.md", lambda p: p.write_text("more"), "changed after"),
    "deleted": ("policy.safetensors", Path.unlink, "is missing"),
    "deleted below": ("replay/00000.safetensors", Path.unlink, "is missing"),
    "deleted with its folder": ("replay", shutil.rmtree, "is missing"),
    "added": ("payload.pkl", lambda p: p.write_bytes(b""), "does not belong"),
    "added below": ("replay/00001.safetensors", lambda p: p.write_bytes(b""), "does not belong"),
    "hidden": (".hidden", lambda p: p.write_bytes(b""), "does not belong"),
    "a second SHA256SUMS": ("replay/SHA256SUMS", lambda p: p.write_bytes(b""), "does not belong"),
    "linked": ("policy.safetensors", link, "symbolic link"),
    "linked outside": ("skill.json", link_out, "symbolic link"),
    "a linked folder": ("replay", link_out, "symbolic link"),
    "a dangling link": ("extra", lambda p: p.symlink_to("nowhere"), "symbolic link"),
    "a pipe": ("policy.safetensors", pipe, "not a regular file"),
    "a folder in place of a file": ("README.md", lambda p: (p.unlink(), p.mkdir()), "is missing"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampering_is_found_and_the_file_named(folder: Path, case: str) -> None:
    name, tamper, complaint = TAMPERED[case]
    tamper(folder / name)
    with pytest.raises(CorruptSkill, match=complaint) as caught:
        verify_checksums(folder)
    assert str(folder / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "no checksum\n",
        f"{'0' * 64} policy.safetensors\n",  # one space
        f"{'0' * 64}  /etc/passwd\n",
        f"{'0' * 64}  ../outside\n",
        f"{'0' * 64}  replay/../../outside\n",
        f"{'A' * 64}  policy.safetensors\n",
        f"{'0' * 64}  a\n{'0' * 64}  a\n",
    ],
)
def test_malformed_checksums_are_refused(folder: Path, text: str) -> None:
    (folder / "SHA256SUMS").write_text(text)
    with pytest.raises(CorruptSkill, match=r"SHA256SUMS line \d is malformed or repeated"):
        verify_checksums(folder)


def test_a_file_outside_is_never_read(folder: Path) -> None:
    (folder.parent / "outside").write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  ../outside\n")
    with pytest.raises(CorruptSkill, match="malformed"):
        verify_checksums(folder)


def test_a_foreign_folder_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"")
    for check in (verify_checksums, content_id):
        with pytest.raises(CorruptSkill, match="has no SHA256SUMS: it is incomplete or no skill"):
            check(tmp_path)


def test_checksums_that_are_no_file(folder: Path) -> None:
    link(folder / "SHA256SUMS")
    with pytest.raises(CorruptSkill, match="symbolic link"):
        content_id(folder)
    (folder / "SHA256SUMS").unlink()
    (folder / "SHA256SUMS").mkdir()
    with pytest.raises(CorruptSkill, match="not a regular file"):
        content_id(folder)


def test_a_linked_skill_is_refused(folder: Path) -> None:
    (folder.parent / "v2").symlink_to(folder)
    with pytest.raises(CorruptSkill, match="v2 is a symbolic link"):
        verify_checksums(folder.parent / "v2")


def test_a_controller_checks_only_its_files(folder: Path) -> None:
    flip(folder / "replay/00000.safetensors")
    verify_checksums(folder, ["skill.json", "policy.safetensors"])
    with pytest.raises(CorruptSkill, match=r"00000\.safetensors was changed"):
        verify_checksums(folder, ["replay/00000.safetensors"])
    with pytest.raises(CorruptSkill, match=r"SHA256SUMS does not list q\.safetensors"):
        verify_checksums(folder, ["q.safetensors"])


@pytest.mark.parametrize("name", [".hidden", "a b", "a\nb", "-a", "é"])
def test_a_file_that_cannot_be_listed_is_refused_when_written(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"")
    with pytest.raises(InvalidValue, match="cannot be a file of a skill"):
        write_checksums(folder)


def test_a_file_that_is_a_hole_is_not_read_for_minutes(folder: Path) -> None:
    os.truncate(folder / "policy.safetensors", 1 << 40)
    with pytest.raises(CorruptSkill, match=r"policy\.safetensors is mostly a hole"):
        verify_checksums(folder)
