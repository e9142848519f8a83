"""Checkpoints: complete or not there, kept until the next one is, and stopped by Ctrl-C."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest
from safetensors import SafetensorError

from skillkit import storage
from skillkit.errors import RegistryUnavailable
from skillkit.workflows.checkpoints import ASIDE, LATEST, OLD, Checkpoints, Stopped
from skillkit.workflows.loop import Save


def writes(text: str) -> Save:
    def save(folder: Path, before: Path | None = None) -> None:
        (folder / "state").write_text(text)

    return save


def fails(error: Exception) -> Save:
    def save(folder: Path, before: Path | None = None) -> None:
        (folder / "state").write_text("half")
        raise error

    return save


def content(checkpoints: Checkpoints) -> str | None:
    return None if checkpoints.latest is None else (checkpoints.latest / "state").read_text()


@pytest.fixture
def always(tmp_path: Path) -> Checkpoints:
    """Saves at every opportunity."""
    return Checkpoints(tmp_path / "run", period=0.0)


def test_the_latest_replaces_the_one_before(always: Checkpoints) -> None:
    assert always.latest is None
    for text in ("one", "two", "three"):
        always(writes(text))
        assert content(always) == text
    assert [path.name for path in always.folder.iterdir()] == [LATEST]


def test_nothing_is_written_before_the_period_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path / "run", period=60.0)
    for seconds, expected in ((59.9, None), (60.0, "60.0"), (119.9, "60.0"), (120.0, "120.0")):
        now[0] = 100.0 + seconds
        checkpoints(writes(str(seconds)))
        assert content(checkpoints) == expected


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_keeps_the_checkpoint_before(always: Checkpoints, error: Exception) -> None:
    with pytest.raises(RegistryUnavailable, match="No space left.*free some space and train again"):
        always(fails(error))
    assert always.latest is None
    always(writes("good"))
    with pytest.raises(RegistryUnavailable, match="free some space and continue with --resume"):
        always(fails(error))
    assert content(always) == "good"
    assert [path.name for path in always.folder.iterdir()] == [LATEST]


def test_a_process_killed_while_it_writes_leaves_the_checkpoint_before(
    always: Checkpoints,
) -> None:
    always(writes("good"))
    (always.folder / ASIDE).mkdir()
    (always.folder / ASIDE / "state").write_text("half")
    assert content(always) == "good"
    (always.folder / LATEST).rename(always.folder / OLD)  # killed between the two renames
    assert content(always) == "good"
    always(writes("next"))
    assert content(always) == "next"
    assert not (always.folder / ASIDE).exists()


def test_files_are_on_the_disk_before_they_get_their_name(
    always: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    flush = storage.flush
    monkeypatch.setattr(storage, "flush", lambda folder: (flushed.append(folder), flush(folder)))
    always(writes("good"))
    assert flushed == [always.folder / ASIDE]


def test_each_is_told_of_the_one_before(always: Checkpoints) -> None:
    told = []

    def save(folder: Path, before: Path | None = None) -> None:
        told.append(None if before is None else (before / "state").read_text())
        (folder / "state").write_text(str(len(told)))

    for _ in range(3):
        always(save)
    (always.folder / LATEST).rename(always.folder / OLD)  # killed between the two renames
    always(save)
    assert told == [None, "1", "2", "3"] and content(always) == "4"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_waits_for_a_checkpoint_and_says_how_to_go_on(tmp_path: Path, number: int) -> None:
    checkpoints = Checkpoints(tmp_path / "run", period=1e9)
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match="the run was saved, continue it with --resume"):  # noqa: SIM117
        with checkpoints.listening():
            checkpoints(writes("too early"))
            os.kill(os.getpid(), number)
            assert content(checkpoints) is None
            checkpoints(writes("kept"))
    assert content(checkpoints) == "kept"
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("earlier", "rest"), [(True, "continue from the last checkpoint"), (False, "nothing was kept")]
)
def test_a_second_ctrl_c_stops_at_once(tmp_path: Path, earlier: bool, rest: str) -> None:
    checkpoints = Checkpoints(tmp_path / "run", period=0.0)
    with pytest.raises(Stopped, match=f"stopped at once; .*{rest}"), checkpoints.listening():
        if earlier:
            checkpoints(writes("kept"))
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert content(checkpoints) == ("kept" if earlier else None)
    assert checkpoints.folder.exists() == earlier


@pytest.mark.parametrize("saved", [True, False])
def test_a_run_that_fails_is_kept_if_there_is_something_to_keep(
    tmp_path: Path, saved: bool
) -> None:
    checkpoints = Checkpoints(tmp_path / "run", period=0.0)
    checkpoints.folder.mkdir()
    (checkpoints.folder / "lock").touch()
    with pytest.raises(KeyError), checkpoints.listening():
        if saved:
            checkpoints(writes("kept"))
        raise KeyError
    assert checkpoints.folder.exists() == saved


def test_a_finished_run_is_gone(always: Checkpoints) -> None:
    always(writes("good"))
    shutil.copytree(always.folder / LATEST, always.folder / OLD)
    always.clear()
    assert not always.folder.exists()
    always.clear()
