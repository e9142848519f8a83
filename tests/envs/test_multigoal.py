"""The four goals by hand (THESIS_FACTS 3.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skillkit.envs import domain, make, task
from skillkit.errors import InvalidValue, UnknownName
from skillkit.types import Array

MULTIGOAL = task("multigoal")
SIDES = {"goal_right": (5, 0), "goal_top": (0, 5), "goal_left": (-5, 0), "goal_bottom": (0, -5)}


def states(*rows: tuple[float, float]) -> Array:
    return np.array(rows, np.float32)


def test_starts_are_normal_around_the_middle() -> None:
    obs = make(MULTIGOAL, 2000, seed=0).reset()[0]
    np.testing.assert_allclose(obs.mean(axis=0), 0, atol=0.01)
    np.testing.assert_allclose(obs.std(axis=0), 0.1, atol=0.01)


def test_an_action_is_a_step_and_walls_stop_it() -> None:
    env = make(replace(MULTIGOAL, ends=None), 2, seed=0)
    env.reset()
    env.simulation.state[:] = ((0.5, -2.0), (6.8, -6.9))  # type: ignore[attr-defined]
    obs, *_ = env.step(np.array([[0.25, -3.0], [1.0, -1.0]]))  # -3 is clipped to its bound, -1
    np.testing.assert_allclose(obs, ((0.75, -3.0), (7.0, -7.0)), rtol=1e-6)


@pytest.mark.parametrize(
    ("now", "action", "then", "reward"),
    [
        ((0, 0), (0, 0), (0, 0), -25),  # all goals are 5 away
        ((0, 0), (1, 0), (1, 0), -30 - 16),  # the distance is the next state's
        ((1, 0), (-1, 0.5), (0, 0.5), -37.5 - 4.5**2),  # the top is nearest now
        ((2.5, 2.5), (0, 0), (2.5, 2.5), -12.5),  # on the ridge between two
        ((-3, 0), (-1, 0), (-4, 0), -30 - 1),  # 1 away is not there
        ((-3.5, 0), (-1, 0), (-4.5, 0), -30 - 0.25 + 10),  # this is
        ((0, -5), (0, 1), (0, -4), -30 - 1),  # to have been there does not count
        ((6, 6), (1, 1), (7, 7), -60 - 53),  # 2^2 + 7^2 from the right and from the top
    ],
)
def test_reward_by_hand(now: Array, action: Array, then: Array, reward: float) -> None:
    found = MULTIGOAL.reward(states(now), np.array([action], float), states(then))  # type: ignore[arg-type]
    np.testing.assert_allclose(found, reward, rtol=1e-6)


@pytest.mark.parametrize("side", SIDES)
def test_an_episode_ends_at_each_goal(side: str) -> None:
    goal = np.array(SIDES[side], np.float32)
    before, outside, inside = 0.7 * goal, 0.79 * goal, 0.81 * goal  # 1.05 and .95 from the goal
    now, then = states(before, before, inside), states(outside, inside, outside)
    np.testing.assert_array_equal(
        MULTIGOAL.terminated(now, np.zeros((3, 2)), then), [False, True, False]
    )
    np.testing.assert_array_equal(MULTIGOAL.success(then), [False, True, False])
    for name, holds in MULTIGOAL.outcome(then).items():
        np.testing.assert_array_equal(holds, [False, name == side, False])


def test_the_environment_ends_where_the_task_says() -> None:
    env = make(MULTIGOAL, 2, seed=0)
    env.reset()
    env.simulation.state[:] = ((0, 3.5), (0, 2.5))  # type: ignore[attr-defined]
    _, reward, terminated, truncated, _ = env.step(np.array([[0.0, 1.0], [0.0, 1.0]]))
    np.testing.assert_array_equal(terminated, [True, False])
    np.testing.assert_allclose(reward, (-30 - 0.25 + 10, -30 - 2.25), rtol=1e-6)
    assert not truncated.any()


def test_it_has_four_goals_and_so_no_final_distance() -> None:
    assert MULTIGOAL.final_distance(states((4, 0))) is None
    land = MULTIGOAL.landscape
    assert land is not None and land.marks == SIDES and MULTIGOAL.outcomes.keys() == SIDES.keys()


def test_its_terms_are_there_for_other_tasks() -> None:
    world: Any = domain("multigoal")
    assert MULTIGOAL.terms == (world.distance(*SIDES.values()), world.effort(),
                               world.arrival(*SIDES.values()))  # fmt: skip


def test_an_outcome_is_no_metric() -> None:
    with pytest.raises(InvalidValue, match="task 'multigoal': 'length' is a metric; call"):
        replace(MULTIGOAL, outcomes={"length": MULTIGOAL.solved})


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("multigoal", {"term": "distnace"}, "no reward term is called 'distnace'; did you mean"),
        ("multigoal", {"states": ((1.0,),)}, r"state \(1.0,\) needs 2 numbers"),
        ("gym:Pendulum-v1", {}, "a landscape needs a domain with a plane"),
    ],
)
def test_a_wrong_landscape_fails_before_any_training(
    name: str, changes: dict[str, Any], words: str
) -> None:
    land = MULTIGOAL.landscape
    assert land is not None
    with pytest.raises((InvalidValue, UnknownName), match=words):
        replace(task(name), landscape=replace(land, **changes))
