"""Looking ahead within a training: rehearsed compositions, and plans from where they lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.collector import Collector
from skillkit.envs import task
from skillkit.envs.planning import Plan, Planner
from skillkit.errors import InvalidValue, UnknownName
from skillkit.skill import arrays
from skillkit.workflows import train as train_module
from skillkit.workflows.compose import compose
from skillkit.workflows.merge import MERGING
from skillkit.workflows.recipes import configure
from skillkit.workflows.result import finished
from skillkit.workflows.run import Run
from skillkit.workflows.streams import search
from skillkit.workflows.train import train_together
from tests.point_skills import SHORT

pytestmark = pytest.mark.usefixtures("no_pictures")

MERGED = {"distill.updates": 6, "improve.updates": 6, "improve.evaluations": 2}
SETTINGS = {
    **SHORT,
    **MERGED,
    "sac.hidden": (8,),
    "sac.batch_size": 16,
    "plan.every": 400,
    "plan.length": 10,
    "plan.candidates": 32,
    "plan.rounds": 1,
}
PAIR = ("point_x", "point_y")


def begun(names: Sequence[str] = PAIR, steps: int = 400, **changes: Any) -> Run:
    """A run that has learned nothing, after whole episodes."""
    configs = configure("sac", SETTINGS | changes, **MERGING)
    one = Run([task(name) for name in names], "sac", configs, 0, "cpu")
    while one.collector.steps < steps:
        one.collector.step([trainee.learner.policy for trainee in one.trainees])
    return one


def silent(done: float) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"distill.loss": "forward_kl", "sac.alpha_start": 0.5},
        {"distill.trust": 0.1},
        {"distill.policy": "implicit", "improve.updates": 0},
    ],
    ids=str,
)
def test_a_rehearsal_is_what_composing_would_give(changes: dict[str, Any]) -> None:
    """The skills as they are, saved and composed by the command's own function."""
    one = begun(**changes)
    for trainee in one.trainees:
        trainee.learner.anneal(0.4)
    one.look_ahead(silent)
    (rehearsed,) = one.rehearsed
    skills = [finished(one, trainee, PAIR, one.configs, "", 0.0) for trainee in one.trainees]
    brief = {"compose.estimate_updates": 0, "compose.final_episodes": 2}
    merging = {key: value for key, value in changes.items() if not key.startswith("sac")}
    composed = compose(skills, settings=brief | MERGED | merging, seed=search(one._plans, 400, 0))
    for key, value in arrays(composed.policy).items():
        np.testing.assert_array_equal(arrays(rehearsed)[key], value)


def test_only_what_would_be_stored_is_rehearsed_with() -> None:
    policies = []
    for stored in (10_000, 100):
        one = begun(**{"train.replay_stored": stored})
        one.look_ahead(silent)
        policies.append(arrays(one.rehearsed[0]))
    assert any(not np.array_equal(value, policies[1][key]) for key, value in policies[0].items())


def test_the_first_look_ahead_can_wait() -> None:
    due = []
    one = begun(steps=1, **{"plan.after": 0.45, "train.steps": 2_000})
    for _ in range(250):
        one.collector.step([trainee.learner.policy for trainee in one.trainees])
        if one.plans_due:
            due.append(one.collector.steps)
            one._looked = one.collector.steps // 400
    assert due == [904, 1_200, 1_600, 2_000]


@pytest.mark.parametrize(
    ("latest", "looks", "first"), [(1.0, True, 1_600), (0.0, True, 0), (1.0, False, 0)]
)
def test_what_is_stored_is_the_latest_if_it_was_rehearsed(
    latest: float, looks: bool, first: int
) -> None:
    changes = {"plan.latest": latest, "train.replay_stored": 800, "train.steps": 3_200}
    one = begun(steps=3_200, **changes)
    if looks:
        one.look_ahead(silent)
    skills = [finished(one, trainee, PAIR, one.configs, "", 0.0) for trainee in one.trainees]
    for skill in skills:
        assert 700 < len(skill.replay) <= 800
        assert int(skill.replay.step.min()) == first


def test_plans_begin_on_the_way_of_the_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    original = Planner.plan

    def plan(self: Planner, act: Any, report: Any) -> Plan:
        asked.append(act)
        return original(self, act, report)

    monkeypatch.setattr(Planner, "plan", plan)
    one = begun()
    found = one.look_ahead(silent)
    assert list(found) == ["point_x+point_y"]
    obs = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    with torch.no_grad():
        mode = one.rehearsed[0].mode(torch.from_numpy(obs)).numpy()
    native = task("point_x").spec.native(mode)
    np.testing.assert_allclose(asked[0](obs), native, atol=1e-5)


def test_a_task_that_is_itself_a_sum_is_rehearsed_by_nobody_else() -> None:
    one = begun(["point_x+point_y"])
    assert list(one.look_ahead(silent)) == ["point_x+point_y"]
    assert not one.rehearsed


def test_the_share_that_is_done_only_grows_and_ends_at_one() -> None:
    done: list[float] = []
    begun().look_ahead(done.append)
    assert done == sorted(done) and done[-1] == pytest.approx(1.0) and min(done) > 0


def test_a_training_rehearses_and_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS | {"train.steps": 1_600, "plan.every": 800}
    events: list[Mapping[str, Any]] = []
    acted = []
    original = Collector.step

    def step(self: Collector, policies: Any, rehearsed: Sequence[Any] = ()) -> None:
        acted.append(len(rehearsed))
        original(self, policies, rehearsed)

    monkeypatch.setattr(Collector, "step", step)
    x, y = train_together(PAIR, settings=settings, on_event=events.append)
    assert acted == [0] * 100 + [1] * 100
    assert [event["task"] for event in events if event["kind"] == "plan"] == ["point_x+point_y"]
    assert x.manifest.config["improve"]["updates"] == 6 == y.manifest.config["distill"]["updates"]


def test_without_a_look_ahead_there_is_nothing_to_merge() -> None:
    for settings in (MERGED, MERGED | {"plan.every": "0"}):
        with pytest.raises(UnknownName, match=r"no setting is called 'distill.updates'"):
            train_together(PAIR, settings={**SHORT, **settings})


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"distill.policy": "implicit"}, "no density to improve"),
        ({"sac.alpha": 0.0}, "point_x: a temperature must be positive"),
    ],
)
def test_what_cannot_be_rehearsed_is_said_before_anything_is_learned(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        begun(steps=0, **settings)


RECIPE = {"plan.every": 400, "distill.updates": 7, "improve.updates": 9}


@pytest.mark.parametrize(
    ("names", "given", "every", "improved"),
    [
        (PAIR, {}, 400, 9),
        (PAIR, {"distill.trust": 0.1}, 400, 0),
        (PAIR, {"distill.policy": "implicit"}, 400, 0),
        (PAIR, {"plan.every": 0}, 0, None),
        (PAIR, {"sac.alpha": 0, "sac.policy": "deterministic"}, 0, None),
        (["point_x+point_y"], {}, 0, None),  # a sum that is trained itself is not composed
        (["point_x+point_y"], {"plan.every": 600}, 600, 9),
    ],
    ids=str,
)
def test_a_recipe_looks_ahead_where_something_will_be_composed(
    names: Sequence[str],
    given: dict[str, Any],
    every: int,
    improved: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Enough(Exception):
        pass

    found: dict[str, Any] = {}

    def stop(tasks: Any, algorithm: str, configs: dict[str, Any], *rest: Any) -> None:
        found.update(configs)
        raise Enough

    monkeypatch.setattr(train_module, "Run", stop)
    tasks = [replace(task(name), recipe=("sac", RECIPE)) for name in names]
    with pytest.raises(Enough):
        train_together(tasks, settings={**SHORT, **given})
    assert found["plan"].every == every
    assert ("improve" in found) == (improved is not None)
    assert improved is None or found["improve"].updates == improved
