"""Plans: what they are worth, and that the best of them are found."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from skillkit.envs import Quantities, Task, forbid_interaction, make, task
from skillkit.envs.planning import Plan, PlanConfig, Planner, sums
from skillkit.errors import InteractionForbidden, InvalidValue
from skillkit.types import Array

GAMMA = 0.9
BRIEF = PlanConfig(every=1, length=12, candidates=32, rounds=4)
POINT = task("point_x+point_y")


def still(obs: Array, actions: int = 2) -> Array:
    return np.zeros((len(obs), actions))


def planner(goal: Task = POINT, seed: int = 0, **config: Any) -> Planner:
    return Planner(goal, GAMMA, replace(BRIEF, **config), seed)


def planned(by: Planner) -> Plan:
    policy = partial(still, actions=by.task.spec.action_dim)
    return by.plan(policy, lambda done: None)


def replayed(goal: Task, plan: Plan) -> float:
    """Its value, from the first of its states, by the environment that everybody steps."""
    env = make(goal, 1, seed=5)
    env.reset()
    obs = env.unwrapped.begin(np.array([0]), plan.states[:1], np.array([plan.elapsed]))  # type: ignore[attr-defined]
    value, weight = 0.0, 1.0
    for action, state in zip(plan.actions, plan.states, strict=True):
        np.testing.assert_array_equal(env.unwrapped.simulation.state[0], state)  # type: ignore[attr-defined]
        obs, reward, *_ = env.step(action[None])
        value, weight = value + weight * reward[0], weight * GAMMA
    zero = np.zeros_like(plan.actions[:1])
    return float(value + weight * goal.reward(obs, zero, obs)[0] / (1 - GAMMA))


@pytest.mark.parametrize("name", ["point_x+point_y", "push_x+push_y"])
def test_a_plan_is_worth_what_it_says_where_it_says(name: str) -> None:
    goal = task(name)
    plan = planned(planner(goal))
    assert replayed(goal, plan) == pytest.approx(plan.value, abs=1e-4)  # observed in float32
    assert plan.value >= plan.own  # nothing moves a puck within a second
    assert plan.actions.shape == (12, goal.spec.action_dim)
    assert 0 <= plan.elapsed <= goal.horizon - 12


def test_what_the_policy_would_have_done_is_valued_alike() -> None:
    by = planner(rounds=1)
    plan = planned(by)
    idle = np.zeros((1, 12, 2))
    assert by.values(plan.states[0], idle)[0] == pytest.approx(plan.own)


def test_the_best_of_a_grid_is_found() -> None:
    """Three steps of one force each: as good as the best of 21^3 plans, from a state at rest."""
    by = planner(length=3, candidates=64, rounds=30)
    state = np.array([0.6, -0.7, 0.0, 0.0])
    found, value = by._search(state, np.zeros((3, 2)), lambda done: None)
    levels = np.linspace(-1, 1, 7)
    grid = np.array(list(itertools.product(levels, repeat=3)))
    tried = np.concatenate([
        by.values(state, np.stack((np.full_like(xs, 0.0), xs), -1)) for xs in np.split(grid, 7)
    ])  # fmt: skip
    along_x = np.concatenate([
        by.values(state, np.stack((xs, found[None, :, 1].repeat(len(xs), 0)), -1))
        for xs in np.split(grid, 7)
    ])  # fmt: skip
    assert value >= along_x.max() - 1e-6
    assert value > tried.max()


def test_nothing_counts_after_the_end() -> None:
    def far(now: Quantities, action: Array, then: Quantities) -> Array:
        return then["x"] > 0.5

    ending = planner(replace(task("point_x"), name="ending", ends=far), length=30)
    state = np.array([0.4, 0.0, 1.0, 0.0])  # x, y, and their velocities: gone in a step or two
    plans = np.zeros((2, 30, 2))
    plans[0, 5:] = 1.0  # which costs
    assert len(set(ending.values(state, plans)[:2])) == 1
    endless = planner(task("point_x"), length=30)
    assert len(set(endless.values(state, plans)[:2])) == 2


def test_a_diverged_world_is_no_plan() -> None:
    def broken(now: Quantities, action: Array, then: Quantities) -> Array:
        return np.where(action[:, 0] > 0, np.nan, 0.0)

    term = replace(task("point_x").terms[0], function=broken)
    by = planner(replace(task("point_x"), name="broken", terms=(term,)))
    assert by.values(np.zeros(4), np.ones((1, 2, 2)))[0] == -np.inf


def test_the_same_seed_gives_the_same_plan() -> None:
    one, same, other = (planned(planner(seed=seed)) for seed in (3, 3, 4))
    assert one.to_json() == same.to_json() != other.to_json()
    assert Plan.from_json(json.loads(json.dumps(one.to_json()))).to_json() == one.to_json()


def test_what_is_simulated_is_counted_and_can_be_forbidden() -> None:
    by = planner()
    planned(by)
    assert by.steps >= 12 * 32 * (4 + 2)  # the rounds, the policy and the best plan
    with forbid_interaction(), pytest.raises(InteractionForbidden):
        planned(by)


def test_every_round_is_reported() -> None:
    done: list[float] = []
    planner().plan(still, done.append)
    assert done == [0.25, 0.5, 0.75, 1.0]


SUMS: dict[str, list[tuple[int, ...]]] = {
    "push_x": [],
    "push_x+push_y": [(0,)],
    "push_x push_y": [(0, 1)],
    "push_x push_x_right": [],
    "push_x push_x_middle push_x_right push_y": [(0, 3), (1, 3), (2, 3)],
    "push_y push_x push_xy": [(0, 1, 2)],
    "push_x push_xy_right push_y": [(0, 2), (1, 2)],
    "point_roam point_x": [(0, 1)],  # who has no goal is in nobody's way
}


@pytest.mark.parametrize("names", SUMS)
def test_sums_that_one_state_can_fulfil(names: str) -> None:
    assert sums([task(name) for name in names.split()]) == SUMS[names]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"every": -1}, {"after": 1.1}, {"noise": -0.1}, {"share": 1.1}, {"rehearsals": 1.1}),
        *({"latest": -0.1}, {"length": 0}, {"rounds": 0}),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=r"^plan\."):
        PlanConfig(**wrong)


def test_few_candidates_have_no_elite() -> None:
    with pytest.raises(InvalidValue, match=r"plan\.candidates at least 32"):
        PlanConfig(candidates=31)


def test_a_world_of_others_cannot_be_planned_in() -> None:
    with pytest.raises(InvalidValue, match="which that of gym:Pendulum-v1 is not"):
        planner(task("gym:Pendulum-v1"))
