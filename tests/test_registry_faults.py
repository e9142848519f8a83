"""What may go wrong while a registry is written: crashes, full disks, other writers."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from skillkit import registry as module
from skillkit.errors import CorruptSkill, InvalidValue, RegistryUnavailable
from skillkit.registry import Registry, locked
from tests.small_skills import mark, references, visible, write


@pytest.fixture
def mine(tmp_path: Path) -> Registry:
    return Registry([tmp_path / "mine"])


def test_the_next_number_is_taken_on_a_collision(
    mine: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.publish("push_x", write("push_x", "one"))
    monkeypatch.setattr(module.Shelf, "last_number", lambda *_: 0)  # a lock that did not hold
    assert mine.publish("push_x", write("push_x", "two")).version == 2
    assert [mark(entry) for entry in mine.versions("push_x")] == ["one", "two"]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, InvalidValue])
def test_a_failing_callback_leaves_nothing(mine: Registry, error: type[BaseException]) -> None:
    def fail(folder: Path) -> None:
        write("push_x")(folder)
        raise error("stopped")

    with pytest.raises(error):
        mine.publish("push_x", fail)
    assert visible(mine.folders[0]) == []
    assert {path.name for path in (mine.folders[0] / ".aside").iterdir()} == {"lock", ".gitignore"}
    assert mine.publish("push_x", write("push_x")).version == 1


def test_an_incomplete_or_misnamed_skill_is_not_published(mine: Registry) -> None:
    with pytest.raises(CorruptSkill, match=r"skill\.json cannot be read"):
        mine.publish("push_x", lambda folder: None)
    with pytest.raises(InvalidValue, match="'push_x' has another name"):
        mine.publish("push_x", write("push_y"))
    assert visible(mine.folders[0]) == []


def in_a_child(target: Callable[..., object], *args: object) -> int | None:
    child = multiprocessing.get_context("fork").Process(target=target, args=args)
    child.start()
    child.join(30)
    return child.exitcode


def publish_until(call: str, folder: Path) -> None:
    setattr(os, call, lambda *args, **kwargs: os._exit(9))  # as kill -9 does: no cleaning up
    Registry([folder]).publish("push_x", write("push_x"))


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_publisher_killed_before_the_rename_leaves_nothing(mine: Registry, call: str) -> None:
    home = mine.folders[0]
    mine.publish("push_y", write("push_y"))
    before = visible(home)
    assert in_a_child(publish_until, call, home) == 9
    assert visible(home) == before and references(mine.list()) == ["push_y@1"]
    assert mine.publish("push_x", write("push_x")).version == 1
    assert len(list((home / ".aside").iterdir())) == 2  # the half was swept up


def test_files_are_flushed_before_the_name_and_the_name_after(
    mine: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    rename, fsync = os.rename, os.fsync

    def record(file: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{file}")).name)
        fsync(file)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(os, "rename", lambda a, b: (events.append("RENAME"), rename(a, b)))
    mine.publish("push_x", write("push_x"))
    at = events.index("RENAME")
    assert {"skill.json", "SHA256SUMS", "00000.safetensors", "replay", "skill"} <= {*events[:at]}
    assert events[at + 1 :] == ["push_x", "mine"]


@pytest.mark.parametrize("at", ["mkdir", "write", "fsync", "rename"])
def test_a_full_disk_is_one_sentence_and_stores_nothing(
    mine: Registry, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    mine.publish("push_x", write("push_x", "one"))

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if at != "write":
        monkeypatch.setattr(os, at, full)
    with pytest.raises(RegistryUnavailable, match="the disk is full, nothing was stored") as caught:
        mine.publish("push_x", full if at == "write" else write("push_x"))
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert references(mine.entries()) == ["push_x@1"] and mine.verify("push_x")
    assert len(list((mine.folders[0] / ".aside").iterdir())) == 2


def test_a_registry_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        below = Registry([folder])
        for call in (lambda r=below: r.publish("a", write("a")), lambda r=below: r.run_folder("a")):
            with pytest.raises(RegistryUnavailable, match=f"cannot write to {folder}.*--registry"):
                call()
        with pytest.raises(RegistryUnavailable, match="is no folder, as|there is no registry at"):
            below.list()
    assert (tmp_path / "file").read_text() == ""


def test_a_read_only_registry_still_reads(mine: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.publish("push_x", write("push_x"))

    def read_only(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    really = os.open
    monkeypatch.setattr(
        os, "open", lambda p, flags, *a: (read_only if flags & os.O_RDWR else really)(p, flags, *a)
    )
    for call in (
        lambda: mine.publish("push_x", write("push_x")),
        lambda: mine.alias("push_x", "best"),
        lambda: mine.remove("push_x"),
        lambda: locked(mine.folders[0]).__enter__(),
    ):
        with pytest.raises(RegistryUnavailable, match="Read-only file system; name another"):
            call()
    assert references(mine.entries()) == ["push_x@1"] and mine.verify("push_x")


def test_two_writers_of_names_that_differ_in_case(mine: Registry) -> None:
    def meanwhile(folder: Path) -> None:
        write("push_x")(folder)
        mine.publish("Push_X", write("Push_X"))

    with pytest.raises(InvalidValue, match="differs from 'Push_X' only in case"):
        mine.publish("push_x", meanwhile)
    assert references(mine.entries()) == ["Push_X@1"]


def test_two_who_remove_the_same_version(mine: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = mine.publish("push_x", write("push_x"))
    monkeypatch.setattr(mine, "find", lambda reference: entry)  # both saw it
    assert mine.remove("push_x") == mine.remove("push_x") == entry
    assert mine.list() == []


def publish_often(folder: Path, who: str, rounds: int) -> None:
    registry = Registry([folder])
    for number in range(rounds):
        registry.publish("push_x", write("push_x", f"{who}{number}"))


def test_two_processes_publish_the_same_name(mine: Registry) -> None:
    rounds = 15
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=publish_often, args=(mine.folders[0], who, rounds)) for who in "ab"
    ]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):  # a reader sees whole versions only
        for entry in mine.entries():
            mine.verify(entry.reference)
    assert [worker.exitcode for worker in workers] == [0, 0]
    entries = mine.versions("push_x")
    assert [entry.version for entry in entries] == list(range(1, 2 * rounds + 1))
    assert {mark(entry) for entry in entries} == {f"{w}{n}" for w in "ab" for n in range(rounds)}
    for entry in entries:
        mine.verify(entry.reference)
        assert (entry.folder / "replay/00000.safetensors").read_text() == mark(entry)
