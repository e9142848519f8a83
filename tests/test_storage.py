"""Locks that die with their process, flushes before names, and a place aside that is swept."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from skillkit import storage
from skillkit.errors import RegistryUnavailable, RunConflict

HOLD = """
import sys, time
from pathlib import Path
from skillkit.storage import locked, set_aside
folder = Path(sys.argv[2])
with (locked if sys.argv[1] == "locked" else set_aside)(folder) as aside:
    (aside / "half").write_text("half") if aside else None
    print("ready", flush=True)
    time.sleep(60)
"""


def hold(what: str, folder: Path) -> subprocess.Popen[str]:
    """Another process in the middle of something."""
    command = [sys.executable, "-c", HOLD, what, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_the_holder_is_named_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    process = hold("locked", tmp_path / "run")
    with pytest.raises(RunConflict, match=rf"run is in use by process {process.pid};"):
        storage.locked(tmp_path / "run").__enter__()
    kill(process)
    with storage.locked(tmp_path / "run"):
        pass


def test_a_lock_holds_within_one_process_and_ends_with_the_block(tmp_path: Path) -> None:
    with storage.locked(tmp_path), pytest.raises(RunConflict, match=f"process {os.getpid()};"):
        storage.locked(tmp_path).__enter__()
    with pytest.raises(KeyError), storage.locked(tmp_path):
        raise KeyError
    with storage.locked(tmp_path):
        pass


def test_a_lock_survives_the_deletion_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with storage.locked(folder):
        shutil.rmtree(folder)  # a finished run
        with storage.locked(folder):  # the next one
            pass


def test_one_who_waited_for_a_deleted_folder_holds_the_new_one(tmp_path: Path) -> None:
    folder, inside, leave = tmp_path / "run", threading.Event(), threading.Event()

    def wait() -> None:
        with storage.locked(folder, wait=True):
            inside.set()
            leave.wait(10)

    waiter = threading.Thread(target=wait)
    with storage.locked(folder):
        waiter.start()
        assert not inside.wait(0.1)
        shutil.rmtree(folder)
    assert inside.wait(10)
    with pytest.raises(RunConflict):
        storage.locked(folder).__enter__()
    leave.set()
    waiter.join()


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    dead, alive = hold("aside", tmp_path), hold("aside", tmp_path)
    halves = len(list(tmp_path.glob(".aside/*/half")))
    kill(dead)
    with storage.set_aside(tmp_path) as aside:
        assert list(tmp_path.glob(".aside/*/half")) != [] and aside.is_dir()
        assert (halves, len(list(tmp_path.glob(".aside/*/half")))) == (2, 1)
    kill(alive)


@pytest.mark.parametrize("error", [None, KeyError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_aside(tmp_path: Path, error: type[BaseException] | None) -> None:
    try:
        with storage.set_aside(tmp_path) as aside:
            (aside / "folder").mkdir()
            (aside / "folder" / "file").write_text("half")
            if error is not None:
                raise error
    except (KeyError, KeyboardInterrupt, SystemExit):
        pass
    assert {path.name for path in (tmp_path / ".aside").iterdir()} == {"lock", ".gitignore"}


def test_our_own_folders_stay_out_of_git(tmp_path: Path) -> None:
    storage.private(tmp_path / "registry", ".runs")
    assert (tmp_path / "registry/.runs/.gitignore").read_text() == "*\n"
    assert not (tmp_path / "registry/.gitignore").exists()


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (errno.ENOSPC, "the disk is full, nothing was stored; free some space or name another"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "Read-only file system; name another registry with --registry DIR"),
        (errno.EACCES, "Permission denied; name another"),
        (errno.EIO, "Input/output error; name another"),
    ],
)
def test_the_system_s_refusals_are_one_sentence(tmp_path: Path, error: int, sentence: str) -> None:
    refusal = pytest.raises(RegistryUnavailable, match=f"cannot write to {tmp_path}: {sentence}")
    with refusal, storage.writing(tmp_path):
        raise OSError(error, os.strerror(error))


def test_flush_reaches_every_file_before_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    (tmp_path / "a" / "b" / "file").touch()
    flushed: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda file: flushed.append(os.readlink(f"/proc/self/fd/{file}"))
    )
    storage.flush(tmp_path / "a")
    relative = [os.path.relpath(path, tmp_path) for path in flushed]
    assert relative == ["a/b/file", "a/b", "a/file", "a"]
    flushed.clear()
    storage.flush_up(tmp_path / "a" / "b", tmp_path)
    assert [os.path.relpath(path, tmp_path) for path in flushed] == ["a/b", "a", "."]


def count(folder: Path, rounds: int) -> None:
    for _ in range(rounds):
        with storage.locked(folder, wait=True):
            number = int((folder / "number").read_text())
            (folder / "number").write_text(str(number + 1))


def test_a_waiting_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    workers = [
        multiprocessing.get_context("fork").Process(target=count, args=(tmp_path, 50))
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "number").read_text() == "100"
