"""TensorBoard's own reader finds what a training reported, once, also if it was interrupted."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from skillkit.errors import RegistryUnavailable
from skillkit.report.events import Events
from skillkit.workflows import loop
from skillkit.workflows.loop import Save
from skillkit.workflows.train import train
from tests.point_skills import BRIEF, copy_of_trained, good, options
from tests.point_skills import skillkit as answer

QUICK = {
    "train.steps": 600,
    "train.warmup": 100,
    "train.update_every": 50,
    "train.evaluate_every": 350,
    "train.evaluation_episodes": 2,
    "train.final_episodes": 2,
    "sac.hidden": 8,
    "sac.batch_size": 8,
}


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, without those that no longer count."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder)).Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(one.step, one.value) for one in accumulator.Scalars(tag)] for tag in tags}


def progress(step: int, **numbers: float) -> Mapping[str, Any]:
    return {"kind": "progress", "step": step, "steps": 100, **numbers}


def test_seeds_are_written_apart(tmp_path: Path) -> None:
    events = Events(tmp_path)
    for seed in (5, 2):
        point = {"kind": "evaluation", "task": "point_x", "step": 10, "return": -1.0 - seed}
        events({**point, "seed": seed})
    events.close()
    for seed in (5, 2):
        assert read(tmp_path / f"evaluation/point_x.seed{seed}") == {"return": [(10, -1.0 - seed)]}


def test_events_are_numbers_at_steps(tmp_path: Path) -> None:
    events = Events(tmp_path)
    events(progress(10, alpha=0.5))
    events({"kind": "fit", "update": 1000, "critic_loss": 3.0})
    events({"kind": "evaluation", "task": "gym:A-v1", "step": 10, "return": -1.5})
    events(progress(20, alpha=0.25, entropy=1.0))
    events({"kind": "evaluation", "skill": "x/y", "return": 2.0})  # of a composition
    events.close()
    assert read(tmp_path / "train") == {"alpha": [(10, 0.5), (20, 0.25)], "entropy": [(20, 1.0)]}
    assert read(tmp_path / "fit") == {"critic_loss": [(1000, 3.0)]}
    assert read(tmp_path / "evaluation" / "gym_A-v1") == {"return": [(10, -1.5)]}
    assert read(tmp_path / "evaluation" / "x_y") == {"return": [(20, 2.0)]}


def test_what_is_reported_again_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the clock went back."""
    for now, steps in ((2e9, (10, 20, 30)), (2e9, (20, 30, 40)), (1e9, (30, 50))):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        events = Events(tmp_path)
        for step in steps:
            events(progress(step, alpha=now + step))
        events.close()
    assert [step for step, _ in read(tmp_path / "train")["alpha"]] == [10, 20, 30, 50]
    assert read(tmp_path / "train")["alpha"][2][1] == pytest.approx(1e9)  # the later one


def test_every_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for name, resume, wanted in (
        ("a/b", False, "a--b_1"),
        ("a/b", False, "a--b_2"),
        ("a/b", True, "a--b_2"),
        ("a", True, "a_1"),
    ):
        assert Events.of_run(tmp_path, name, resume).folder == tmp_path / wanted


def test_a_full_disk_ends_no_training(tmp_path: Path) -> None:
    events = Events(tmp_path)
    (tmp_path / "train").write_text("")  # in the way
    with pytest.warns(UserWarning, match="no more TensorBoard events are written to"):
        events(progress(10, alpha=0.5))
    events(progress(20, alpha=0.5))


def test_a_folder_that_cannot_be_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryUnavailable, match="name another folder"):
        Events.of_run(tmp_path / "file", "point_x", False)
    said = answer("train", "point_x", "--tensorboard", tmp_path / "file" / "x").sentence
    assert said.startswith("no TensorBoard events can be written to")


class Enough(Exception):
    """The interruption."""


def test_a_resumed_training_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops two reports after the checkpoint from which it is resumed."""
    monkeypatch.setattr(loop, "PROGRESS_EVERY", 60)

    def learned(name: str, resume: Path | None = None, **run: Any) -> Path:
        events = Events.of_run(tmp_path, name, resume is not None)
        try:
            train("point_x", settings=QUICK, on_event=events, resume=resume, **run)
        finally:
            events.close()
        return events.folder

    chances = 0

    def interrupt(save: Save) -> None:
        nonlocal chances
        chances += 1
        if chances == 5:
            (tmp_path / "checkpoint").mkdir()
            save(tmp_path / "checkpoint")
        if chances == 7:
            raise Enough

    whole = learned("whole")
    with pytest.raises(Enough):
        learned("parted", checkpoint=interrupt)
    parted = learned("parted", tmp_path / "checkpoint")
    assert parted.name == "parted_1"
    for run in ("train", "evaluation/point_x"):
        assert read(parted / run) == read(whole / run) != {}
    steps = [step for step, _ in read(whole / "train")["return"]]
    assert steps == sorted(set(steps))


def test_commands_write_them(
    registry_folder: Path, tmp_path: Path, no_pictures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of_trained(registry_folder)
    logs = tmp_path / "logs"
    brief = options(QUICK | {"train.steps": 1200})
    good("train", "point_x", *brief)
    assert not logs.exists()
    good("train", "point_x", "--tensorboard", logs, *brief)
    assert {"critic_loss", "entropy", "alpha", "return"} <= read(logs / "point_x_1/train").keys()
    monkeypatch.setenv("SKILLKIT_TENSORBOARD", str(logs))
    good("compose", "point_x", "point_y", *options(BRIEF))
    assert read(logs / "point_x+point_y_1" / "train")["distillation_loss"]
    assert read(logs / "point_x+point_y_1" / "evaluation" / "point_x+point_y")["return"]
    assert "tensorflow" not in sys.modules
