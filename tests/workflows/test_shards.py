"""The replay of a checkpoint: what is new is written, and what is old is linked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from skillkit.errors import CorruptSkill
from skillkit.replay import ReplayBuffer
from skillkit.workflows.shards import SHARDS, Shards
from tests.replays import empty, put, same


def lived(replay: ReplayBuffer, number: int, steps: int) -> None:
    for t in range(steps):
        put(replay, [number], t)


def saved(shards: Shards, folder: Path, before: Path | None) -> list[Path]:
    folder.mkdir()
    shards.save(folder, before)
    return sorted((folder / SHARDS).iterdir())


def loaded(folder: Path, capacity: int) -> tuple[ReplayBuffer, Shards]:
    replay = empty(capacity)
    shards = Shards(replay)
    shards.load(folder)
    return replay, shards


@pytest.mark.parametrize("capacity", [7, 100])
def test_a_checkpoint_is_whole_by_itself(tmp_path: Path, capacity: int) -> None:
    """Whether the ring went around or not, and after the ones before it are gone."""
    replay = empty(capacity)
    shards, before = Shards(replay), None
    for number, steps in enumerate((5, 0, 3, 9, 2, 1)):
        lived(replay, number, steps)
        folder = tmp_path / str(number)
        saved(shards, folder, before)
        if before is not None:
            for path in (before / SHARDS).iterdir():
                path.unlink()
        again, _ = loaded(folder, capacity)
        assert torch.equal(again.rows, replay.rows) and again.added == replay.added
        same(again.episodes(), replay.episodes())
        before = folder


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    replay = empty(100)
    shards = Shards(replay)
    lived(replay, 0, 40)
    (first,) = saved(shards, tmp_path / "a", None)
    lived(replay, 1, 2)
    linked, new = saved(shards, tmp_path / "b", tmp_path / "a")
    assert os.path.samefile(first, linked) and new.stat().st_size < first.stat().st_size / 3
    found = saved(shards, tmp_path / "c", tmp_path / "b")
    assert [os.path.samefile(*pair) for pair in zip(found, (first, new), strict=True)] == [True] * 2


def test_so_it_is_after_an_interruption(tmp_path: Path) -> None:
    replay = empty(100)
    lived(replay, 0, 40)
    (first,) = saved(Shards(replay), tmp_path / "a", None)
    replay, shards = loaded(tmp_path / "a", 100)
    lived(replay, 1, 2)
    linked, _ = saved(shards, tmp_path / "b", tmp_path / "a")
    assert os.path.samefile(first, linked)
    assert torch.equal(loaded(tmp_path / "b", 100)[0].rows, replay.rows)


def test_what_was_overwritten_is_left_out(tmp_path: Path) -> None:
    replay = empty(10)
    shards, before, names = Shards(replay), None, []
    for number in range(6):
        lived(replay, number, 4)
        folder = tmp_path / str(number)
        names.append([path.name.lstrip("0") for path in saved(shards, folder, before)])
        before = folder
    assert names[-1] == ["12.safetensors", "16.safetensors", "20.safetensors"]


@pytest.mark.parametrize("anew", [True, False])
def test_what_another_run_wrote_is_not_taken_over(tmp_path: Path, anew: bool) -> None:
    """A training that begins anew in a folder, and one whose last checkpoint is gone."""
    replays = [empty(100), empty(100)]
    for number, replay in enumerate(replays):
        lived(replay, number, 9)
    saved(Shards(replays[0]), tmp_path / "a", None)
    shards = Shards(replays[1])
    if not anew:
        saved(shards, tmp_path / "lost", None)
        (tmp_path / "a" / SHARDS / "000000000000.safetensors").unlink()
    saved(shards, tmp_path / "b", tmp_path / "a")
    assert torch.equal(loaded(tmp_path / "b", 100)[0].rows, replays[1].rows)


def test_without_hard_links_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    replay = empty(100)
    shards = Shards(replay)
    lived(replay, 0, 4)
    (first,) = saved(shards, tmp_path / "a", None)
    lived(replay, 1, 2)
    copied, _ = saved(shards, tmp_path / "b", tmp_path / "a")
    assert not os.path.samefile(first, copied)
    assert torch.equal(loaded(tmp_path / "b", 100)[0].rows, replay.rows)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_shard_that_is_missing(tmp_path: Path, which: int) -> None:
    replay = empty(100)
    shards, before = Shards(replay), None
    for number in range(3):
        lived(replay, number, 4)
        paths = saved(shards, tmp_path / str(number), before)
        before = tmp_path / str(number)
    paths[which].unlink()
    with pytest.raises(CorruptSkill, match="rows are missing"):
        loaded(tmp_path / "2", 100)
