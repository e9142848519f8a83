"""Composed tasks: the grammar and the arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skillkit.envs import Quantities, Task, combine, task
from skillkit.errors import IncompatibleSkills, InvalidValue, UnknownName
from skillkit.types import Array

RNG = np.random.default_rng(0)
OBS, THEN = (RNG.normal(size=(50, 12)).astype(np.float32) for _ in range(2))
ACTION = RNG.uniform(-3, 3, (50, 3))


def reward(found: Task) -> Array:
    return found.reward(OBS, ACTION, THEN)


def test_a_plain_sum_is_the_mean() -> None:
    both = task("push_x+push_y")
    mean = (reward(task("push_x")) + reward(task("push_y"))) / 2
    np.testing.assert_allclose(reward(both), mean, rtol=1e-12)
    three = reward(task("push_x+push_y+push_xy"))
    parts = [reward(task(name)) for name in ("push_x", "push_y", "push_xy")]
    np.testing.assert_allclose(three, np.mean(parts, axis=0), rtol=1e-12)


def test_weights_weight_the_rewards() -> None:
    tilted = task("0.7*push_x+0.3*push_y")
    expected = 0.7 * reward(task("push_x")) + 0.3 * reward(task("push_y"))
    np.testing.assert_allclose(reward(tilted), expected, rtol=1e-12)
    assert [weight for weight, _ in tilted.parts] == [0.7, 0.3]
    np.testing.assert_allclose(reward(task("2*push_x")), 2 * reward(task("push_x")), rtol=1e-12)


def test_what_a_sum_inherits() -> None:
    long = replace(task("push_y"), name="long", horizon=400)
    both = combine([task("push_x"), long])
    assert both.horizon == 400
    assert both.domain == "pusher" and both.spec == task("push_x").spec
    assert both.recipe == task("push_x").recipe
    assert {term.name for term in both.terms} >= {"push_x.distance", "long.effort"}


def test_goals_are_the_union() -> None:
    assert task("push_x+push_y").goals == {"puck_x": -1, "puck_y": -1}
    distance = task("push_x+push_y").final_distance(OBS)
    np.testing.assert_allclose(distance, np.linalg.norm(OBS[:, 9:11] + 1.0, axis=1), rtol=1e-6)
    np.testing.assert_allclose(task("push_xy").final_distance(OBS), distance)
    assert task("push_x+push_xy").goals == {"puck_x": -1, "puck_y": -1}  # they agree about x
    contrary = task("push_x+push_x_right")
    assert contrary.goals == {} and contrary.final_distance(OBS) is None


@pytest.mark.parametrize(
    ("written", "name", "label"),
    [
        ("push_x", "push_x", "push_x"),
        ("push_x+push_y", "push_x+push_y", "push_x+push_y"),
        (" push_x + push_y ", "push_x+push_y", "push_x+push_y"),
        ("0.5*push_x + .5 * push_y", "push_x+push_y", "push_x+push_y"),
        ("0.7*push_x+0.3*push_y", "0.7*push_x+0.3*push_y", "0.7push_x+0.3push_y"),
        ("1e-5*push_x+2*push_y", "0.00001*push_x+2*push_y", "0.00001push_x+2push_y"),
        ("1*push_x", "push_x", "push_x"),
    ],
)
def test_names_are_normal_forms(written: str, name: str, label: str) -> None:
    found = task(written)
    assert (found.name, found.label) == (name, label)
    assert task(found.name) == found


@pytest.mark.parametrize(
    ("bad", "error", "says"),
    [
        ("push_z", UnknownName, "did you mean push_"),
        ("push_x+nothing", UnknownName, "nothing"),
        ("", InvalidValue, "cannot read the task"),
        ("push_x+", InvalidValue, "cannot read the task"),
        ("push x", InvalidValue, "cannot read the task"),
        ("../push_x", InvalidValue, "cannot read the task"),
        ("half*push_x", InvalidValue, "'half' is not a number"),
        ("0.7*push_x+push_y", InvalidValue, "every task a weight, or none"),
        ("-1*push_x+2*push_y", InvalidValue, "not negative"),
        ("nan*push_x+2*push_y", InvalidValue, "finite"),
        ("0*push_x+0*push_y", InvalidValue, "not all zero"),
        ("push_x+push_x", InvalidValue, "twice"),
        ("push_x+point_x", IncompatibleSkills, r"domain \(pusher and point\)"),
        ("push_x+gym:Pendulum-v1", IncompatibleSkills, "gym:Pendulum-v1 cannot be part"),
    ],
)
def test_bad_expressions(bad: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        task(bad)


def ends(now: Quantities, action: Array, then: Quantities) -> Array:
    return now["puck_x"] < -1


def test_parts_must_end_alike_and_share_the_scene() -> None:
    x, y = task("push_x"), task("push_y")
    with pytest.raises(IncompatibleSkills, match="termination"):
        combine([replace(x, ends=ends), y])
    with pytest.raises(IncompatibleSkills, match="scene"):
        combine([x, replace(y, scene="walls.xml")])
    both = combine([replace(x, ends=ends), replace(y, ends=ends)])
    np.testing.assert_array_equal(both.terminated(OBS, ACTION, THEN), OBS[:, 9] < -1)


def test_a_sum_reads_what_any_part_reads() -> None:
    x, y = (replace(task(name), inputs=names) for name, names in READ.items())
    assert combine([x, y]).inputs == ("joint_1", "puck_x", "puck_y")  # the observation's order
    assert combine([x, y]).reads == [0, 9, 10]
    assert combine([x, task("push_xy")]).inputs is None  # one part reads all


READ = {"push_x": ("puck_x", "joint_1"), "push_y": ("puck_y", "joint_1")}


def test_a_sum_can_be_summed_again() -> None:
    both = task("push_x+push_y")
    again = combine([both, task("push_xy")])
    assert again.name == "0.25*push_x+0.25*push_y+0.5*push_xy"
    np.testing.assert_allclose(
        reward(again), (reward(both) + reward(task("push_xy"))) / 2, rtol=1e-12
    )
    assert combine([task("push_x"), task("push_x")]) == task("push_x")
    assert combine([task("push_x"), task("push_y")], (0.5, 0.5)) == both
    with pytest.raises(InvalidValue, match="as many weights"):
        combine([task("push_x"), task("push_y")], [1.0])


@pytest.mark.parametrize("maze", ["ant_maze", "point_maze"])
def test_a_motion_bonus(maze: str) -> None:
    """One summand that is reward for moving and nothing else: goal, end and scene stay."""
    plain, bonus, both = (task(name) for name in (maze, f"{maze}_roam", f"1*{maze}+2*{maze}_roam"))
    obs, then = RNG.normal(size=(2, 50, plain.spec.observation_dim))
    then[::5, :2] = tuple(plain.goals.values())
    step = obs, np.zeros((50, plain.spec.action_dim)), then
    assert plain.reward(*step)[::5].all() and (bonus.reward(*step) > 0).all()
    np.testing.assert_allclose(both.reward(*step), plain.reward(*step) + 2 * bonus.reward(*step))
    np.testing.assert_array_equal(both.terminated(*step), plain.terminated(*step))
    np.testing.assert_array_equal(both.success(then), plain.success(then))
    assert (both.scene, both.goals, both.inputs) == (plain.scene, plain.goals, plain.inputs)
    assert (both.start, both.horizon, both.recipe) == (plain.start, plain.horizon, plain.recipe)


@pytest.mark.parametrize("count", range(1, 14))
def test_a_task_in_equal_parts_of_itself_is_itself(count: int) -> None:
    """Sums of 1/N are not always 1."""
    assert combine([task("push_x")] * count).name == "push_x"
    assert combine([task("gym:Pendulum-v1")] * count).name == "gym:Pendulum-v1"


def test_an_environment_s_own_reward_has_no_weight() -> None:
    with pytest.raises(IncompatibleSkills, match="gym:Pendulum-v1 cannot be weighted: its reward"):
        task("0.1*gym:Pendulum-v1")
