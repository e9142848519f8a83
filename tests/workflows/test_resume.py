"""A training that was interrupted makes the skill of one that was not, bit for bit."""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skillkit import ring
from skillkit.report import plots
from skillkit.skill import Skill, arrays, load
from skillkit.workflows import loop
from skillkit.workflows.loop import Save
from skillkit.workflows.stack import stack
from skillkit.workflows.train import train_together
from tests.point_skills import ROOT, of

GOLDEN = ROOT / "tests/golden/format_1"
QUICK = {
    "train.steps": 600,
    "train.environments": 4,
    "train.warmup": 250,
    "train.update_every": 7,  # a part of an update is owed at most boundaries
    "train.evaluate_every": 350,
    "train.evaluation_episodes": 2,
    "train.final_episodes": 2,
    "sac.hidden": (8,),
    "sac.batch_size": 8,
}
SQL = {"sql.particles": 4, "sql.value_samples": 4}
FLOW = {"sac.policy": "real_nvp", "sac.flow.couplings": 2, "sac.flow.embedding": 4}
Train = Callable[..., Iterable[Skill]]


def trains(*tasks: str, base: str | None = None, **options: Any) -> Train:
    """A training; everything that has a state occurs in one of the members."""
    settings = of(options.get("algorithm", "sac"), QUICK) | options.pop("settings", {})
    if base is not None:
        return lambda **run: [
            stack(load(base, GOLDEN), *tasks, settings=settings, **options, **run)
        ]
    if (parent := options.pop("parent", None)) is not None:
        options["parent"] = load(parent, GOLDEN)
    return lambda **run: train_together(tasks, settings=settings, **options, **run)


PLANS = {  # what was rehearsed at 300 steps acts in the episodes that begin at 400
    "plan.every": 300,
    "plan.length": 20,
    "plan.candidates": 32,
    "plan.rounds": 2,
    "plan.share": 1.0,
    "plan.rehearsals": 0.7,
    "distill.updates": 5,
    "improve.updates": 5,
    "improve.evaluations": 2,
}

MEMBERS: dict[str, Callable[[], Train]] = {
    "sac": lambda: trains(
        "point_roam",
        settings={
            "sac.policy": "gaussian",
            "sac.automatic_alpha": True,
            "explore.correlation": 0.9,
            "explore.share": 0.2,
            "explore.length": 5,
            "replay.n_step": 3,
            "replay.rewarded_share": 0.5,
            "train.replay_capacity": 330,  # the ring goes around
        },
    ),
    "flow": lambda: trains(
        "point_x",
        settings=FLOW | {"sac.alpha_start": 1.0, "sac.final_rate": 0.1, "explore.correlation": 1.0},
    ),
    "sql": lambda: trains(
        "point_x",
        algorithm="sql",
        settings=SQL | {"sql.target": "hard", "sql.target_interval": 9, "explore.added_std": 0.1},
    ),
    "pusher": lambda: trains("push_x", settings={"train.update_every": 20}),
    "together": lambda: trains("point_x", "point_y", settings={"explore.hand_over": 9}),
    "plans": lambda: trains("point_x", "point_y", settings=PLANS),
    "plans of seeds": lambda: trains("point_x", "point_y", seed=[3, 1], settings=PLANS),
    "at once": lambda: trains(
        "point_x", "point_y", settings={"train.stacked": True, "sac.automatic_alpha": True}
    ),
    "seeds": lambda: trains("point_x", seed=[3, 1], settings={"train.update_every": 3}),
    "seeds at once": lambda: trains(
        "point_x", "point_y", seed=[3, 1], settings={"train.stacked": True}
    ),
    "stack": lambda: trains("point_y", base="point_x", settings={"stack.hold": 3, **FLOW}),
    "three layers": lambda: trains("point_y", base="point_x/point_y", settings={"stack.hold": 2}),
    "reuse": lambda: trains(
        "point_y", base="point_x", reuse_replay=True, settings={"reuse.updates": 5, **FLOW}
    ),
    "from": lambda: trains("point_y", parent="point_x"),
}
LONG = {"plans of seeds", "seeds at once", "three layers"}  # and of parts that others have alone


class Enough(Exception):
    """The interruption."""


@dataclass
class Log:
    """What a training says, and a checkpoint for every chance to make one."""

    folder: Path
    stop_after: int | None = None  # chances
    before: Path | None = None
    events: list[Mapping[str, Any]] = field(default_factory=list)
    said: list[int] = field(default_factory=list)  # events before each checkpoint

    @property
    def checkpoints(self) -> list[Path]:
        return [self.folder / str(number) for number in range(len(self.said))]

    def hear(self, event: Mapping[str, Any]) -> None:
        if event["kind"] != "search":  # one that was interrupted begins anew
            self.events.append(event)

    def checkpoint(self, save: Save) -> None:
        folder = self.folder / str(len(self.said))
        folder.mkdir(parents=True)
        save(folder, self.before)
        self.before = folder
        self.said.append(len(self.events))
        if len(self.said) == self.stop_after:
            raise Enough


def learned(member: str, log: Log, resume: Path | None = None) -> list[dict[str, Any]]:
    """The skills that a training makes, as what can be compared."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "PROGRESS_EVERY", 60)  # in episodes of 200, and of 1200 and more
        patch.setattr(ring, "REFRESH", 130)
        patch.setattr(plots, "render", lambda figure: b"\x89PNG")
        run = {"on_event": log.hear, "checkpoint": log.checkpoint, "resume": resume}
        return [content(skill) for skill in MEMBERS[member]()(**run)]


def content(skill: Skill) -> dict[str, Any]:
    """Everything that a skill is, but when, where and how fast it was made."""
    described = dataclasses.asdict(skill.manifest)
    updates = described.pop("timing")["updates"]
    for key in ("created", "host"):
        del described[key]
    return {
        "policy": arrays(skill.policy),
        "q": arrays(skill.q),
        "replay": {key: value.numpy() for key, value in skill.replay.episodes().items()},
        "card": [line for line in skill.card.splitlines() if not line.startswith("Algorithm ")],
        "curve": skill.curve,
        "manifest": json.dumps(described, default=str),
        "updates": updates,
    }


def same(found: Any, wanted: Any) -> None:
    np.testing.assert_equal(found, wanted)  # nested, and to the last bit


_keep: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def whole(member: str) -> tuple[list[dict[str, Any]], Log]:
    """A training that nothing interrupts, with all its checkpoints; once per session."""
    _keep.append(tempfile.TemporaryDirectory())
    log = Log(Path(_keep[-1].name))
    return learned(member, log), log


def resumed_is_whole(member: str, chance: int, folder: Path) -> None:
    wanted, log = whole(member)
    again = Log(folder, before=log.checkpoints[chance])
    found = learned(member, again, log.checkpoints[chance])
    same(found, wanted)
    same(again.events, log.events[log.said[chance] :])


@pytest.mark.parametrize(
    "member",
    [pytest.param(m, marks=[pytest.mark.slow] * (m in LONG)) for m in MEMBERS],
)
def test_an_interruption_leaves_no_trace(member: str, tmp_path: Path) -> None:
    """In the middle of episodes, of what lasts, and of the training."""
    _, log = whole(member)
    resumed_is_whole(member, len(log.said) // 2, tmp_path)


def test_where_episodes_cannot_be_kept_they_begin_anew_and_it_says_so(tmp_path: Path) -> None:
    """Two that continue do so alike, and not with the episodes of the beginning."""
    settings = {"train.steps": 240, "train.warmup": 230, "train.environments": 2}
    train = trains("gym:Pendulum-v1", settings=settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "PROGRESS_EVERY", 60)
        log = Log(tmp_path)
        train(checkpoint=log.checkpoint)
        with pytest.warns(UserWarning, match="gym:Pendulum-v1 cannot continue a running episode"):
            one, two = (content(*train(resume=log.checkpoints[1])) for _ in range(2))
    same(one, two)
    starts = np.cumsum([0, *one["replay"]["lengths"] + 1])[:-1]
    begins = one["replay"]["observations"][starts]
    assert one["replay"]["training_step"].tolist() == [0, 0, 120, 120]
    assert len(np.unique(begins, axis=0)) == 4


@pytest.mark.slow
def test_evaluations_and_checkpoints_leave_no_trace_either(tmp_path: Path) -> None:
    settings = {"train.evaluate_every": 120, "explore.share": 0.2, "explore.length": 5}
    rarely = {**settings, "train.evaluate_every": 600}
    often, seldom = (trains("push_x", settings=each) for each in (settings, rarely))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "PROGRESS_EVERY", 60)
        found = content(*often(checkpoint=Log(tmp_path).checkpoint))
        wanted = content(*seldom())
    assert len(found["curve"]) == 5 and len(wanted["curve"]) == 1
    for part in ("policy", "q", "replay", "updates"):
        same(found[part], wanted[part])


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "same_skill"), [({}, True), ({"sac.final_rate": 0.1}, False)])
def test_a_longer_run_is_the_same_unless_something_follows_its_length(
    settings: dict[str, float], same_skill: bool, tmp_path: Path
) -> None:
    short, long = (
        trains("point_x", settings=settings | {"train.steps": steps}) for steps in (600, 900)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "PROGRESS_EVERY", 60)
        log = Log(tmp_path)
        list(short(checkpoint=log.checkpoint))
        wanted, found = (content(*long(resume=folder)) for folder in (None, log.checkpoints[6]))
    keys = wanted.keys() if same_skill else ("updates",)
    assert [row["step"] for row in found["curve"]] == [352, 700, 900]
    same({key: found[key] for key in keys}, {key: wanted[key] for key in keys})
    weights = [next(iter(one["policy"].values())) for one in (wanted, found)]
    assert np.array_equal(*weights) == same_skill


@pytest.mark.slow
@pytest.mark.parametrize("member", MEMBERS)
def test_nor_does_one_at_any_other_chance(member: str, tmp_path: Path) -> None:
    _, log = whole(member)
    for chance in range(len(log.said)):
        resumed_is_whole(member, chance, tmp_path / str(chance))


@pytest.mark.slow
@pytest.mark.parametrize("member", MEMBERS)
def test_nor_do_many_in_a_row(member: str, tmp_path: Path) -> None:
    """Each continues what the one before has left."""
    wanted, log = whole(member)
    latest: Path | None = None
    for number in range(len(log.said)):
        one = Log(tmp_path / str(number), stop_after=1, before=latest)
        with pytest.raises(Enough):
            learned(member, one, latest)
        latest = one.before
    same(learned(member, Log(tmp_path / "last"), latest), wanted)
