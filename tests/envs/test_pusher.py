"""The pusher against THESIS_FACTS 1 and ORACLES 11."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest

from skillkit.envs import domain, make, task
from skillkit.envs.mujoco import compiled
from skillkit.errors import InvalidValue, UnknownName
from skillkit.types import Array

PUSHER: Any = domain("pusher")
GOALS = {
    "push_x": {"x": -1},
    "push_x_middle": {"x": 0},
    "push_x_right": {"x": 1},
    "push_y": {"y": -1},
    "push_xy": {"x": -1, "y": -1},
    "push_xy_middle": {"x": 0, "y": -1},
    "push_xy_right": {"x": 1, "y": -1},
}


@pytest.fixture
def at_zero() -> tuple[mujoco.MjModel, mujoco.MjData]:
    model = compiled(PUSHER.model_file)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def test_sizes_and_timing(at_zero: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    model, _ = at_zero
    assert (model.nq, model.nv, model.nu) == (7, 7, 3)
    assert model.opt.timestep == 0.01 and PUSHER.frame_skip == 5
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER
    spec = PUSHER.spec
    assert spec.dt == 0.05 and task("push_x").horizon == 300
    np.testing.assert_array_equal(spec.low, [-3, -3, -3])
    np.testing.assert_array_equal(spec.high, [3, 3, 3])
    names = [entry.name for entry in spec.observation]
    joints = [f"joint_{i}" for i in (1, 2, 3)]
    assert names[:6] == [*joints, *(f"{name}_velocity" for name in joints)]
    assert names[6:] == [f"{body}_{axis}" for body in ("fork", "puck") for axis in "xyz"]


def test_masses_and_zero_pose(at_zero: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    model, data = at_zero
    for name in ("proximal_1", "distal_1", "distal_2"):
        assert model.body(name).mass[0] == pytest.approx(1.629, abs=5e-4)
    assert model.body("fork").mass[0] == pytest.approx(1.448, abs=5e-4)
    np.testing.assert_allclose(data.body("distal_1").xpos, (0.283, 0.283, -0.075), atol=5e-4)
    np.testing.assert_allclose(data.body("distal_2").xpos, (0.683, 0.283, -0.075), atol=5e-4)
    np.testing.assert_allclose(data.body("fork").xpos, (0.683, -0.117, -0.075), atol=5e-4)
    ahead = data.body("fork").subtree_com - data.body("fork").xpos  # the fork opens towards -y
    np.testing.assert_allclose(ahead, (0, -0.0528, 0), atol=1e-4)


def test_joints_and_contacts(at_zero: tuple[mujoco.MjModel, mujoco.MjData]) -> None:
    model, _ = at_zero
    assert not model.opt.gravity.any() and (model.geom_condim == 1).all()  # no friction at all
    arm, puck = slice(0, 3), slice(3, 5)
    np.testing.assert_array_equal(model.dof_armature[arm], 0.04)
    np.testing.assert_array_equal(model.dof_damping[arm], 1.0)
    np.testing.assert_array_equal(model.jnt_range[arm, 0], (-2.5, -2.3213, -2.3213))
    np.testing.assert_array_equal(model.jnt_range[arm, 1], (2.5, 2.3, 2.3))
    assert model.jnt_limited[arm].all()
    np.testing.assert_array_equal(model.dof_damping[puck], 0.5)
    inertia = model.body("puck").mass[0] + model.dof_armature[puck]
    np.testing.assert_allclose(inertia, 0.04, rtol=1e-4)
    np.testing.assert_array_equal(model.jnt_range[puck], [[-10.3213, 10.3]] * 2)
    np.testing.assert_array_equal(model.actuator_gear[:, 0], 1.0)


def test_puck_slows_down_by_the_oracle() -> None:
    env = make(task("push_x"), 1, seed=0)
    env.reset()
    batch = env.simulation.batch  # type: ignore[attr-defined]
    batch.qpos[0, 3:5], batch.qvel[0, 3:5] = (3, 3), (1, -2)  # out of the arm's reach
    for _ in range(3):
        before = batch.qvel[0, 3:5].copy()
        env.step(np.zeros((1, 3)))
        np.testing.assert_allclose(batch.qvel[0, 3:5] / before, 1.125**-5, rtol=1e-6)


def test_the_arm_can_push_the_puck() -> None:
    """An almost massless puck with an armature would stand like a rock under MuJoCo 4."""

    def between_the_prongs(rng: np.random.Generator) -> tuple[Array, Array]:
        return np.array([0, 0, 0, 0.68, -0.4, 0, 0.0]), np.zeros(7)

    env = make(replace(task("push_x"), start=between_the_prongs), 1, seed=0)
    env.reset()
    for _ in range(80):
        obs, *_ = env.step(np.array([[-1.5, -0.5, -0.5]]))
    fork, puck = obs[0, 6:8], obs[0, 9:11]
    assert np.linalg.norm(puck - (0.68, -0.4)) > 0.5
    assert np.linalg.norm(puck - fork) < 0.3  # carried along, not shot away


def test_observation_is_the_state_after_the_step() -> None:
    """Derived fields of MuJoCo are one substep behind unless they are refreshed."""
    env = make(task("push_x"), 2, seed=0)
    env.reset()
    batch = env.simulation.batch  # type: ignore[attr-defined]
    for _ in range(10):
        obs, *_ = env.step(np.array([[3, -2, 1], [-3, 2, 3.0]]))
        for i in range(2):
            data = batch.get_data(i)
            mujoco.mj_forward(batch.model, data)
            row = (
                data.qpos[:3],
                data.qvel[:3],
                data.body("fork").subtree_com,
                data.body("puck").xpos,
            )
            np.testing.assert_allclose(obs[i], np.concatenate(row), atol=1e-6)


@pytest.mark.parametrize("name", GOALS)
def test_reward_is_the_thesis_formula_on_the_state_before_the_step(name: str) -> None:
    goal = {f"puck_{axis}": float(value) for axis, value in GOALS[name].items()}
    assert task(name).goals == goal
    obs = np.zeros((2, 12), np.float32)
    obs[:, 9:11] = (0.5, -0.25)
    then = np.full((2, 12), 9, np.float32)
    u = np.array([[0, 0, 0], [3, -2, 1.0]])
    off = [{"puck_x": 0.5, "puck_y": -0.25}[entry] - value for entry, value in goal.items()]
    expected = -np.hypot(*off) if len(off) == 2 else -abs(off[0])
    np.testing.assert_allclose(task(name).reward(obs, u, then), [expected, expected - 1.4])
    assert not task(name).terminated(obs, u, then).any()
    np.testing.assert_allclose(task(name).final_distance(obs), -expected)


def test_at_rest_the_reward_is_exactly_the_distance() -> None:
    env = make(task("push_x"), 1, seed=0)
    obs, _ = env.reset()
    reward = env.step(np.zeros((1, 3)))[1]
    assert reward[0] == -abs(np.float64(obs[0, 9]) + 1)


def test_start_distribution() -> None:
    rng = np.random.default_rng(0)
    drawn = [PUSHER.start(rng) for _ in range(4000)]
    qpos, qvel = (np.stack(part) for part in zip(*drawn, strict=True))
    assert not qvel.any() and not qpos[:, 5:].any()
    arm, puck = qpos[:, :3], qpos[:, 3:5]
    assert np.abs(arm).max() <= 0.1 and np.abs(arm).max() > 0.099
    assert (puck.min(0) >= (0.3, -1.0)).all() and (puck.max(0) <= (1.0, -0.4)).all()
    assert (puck.min(0) < (0.31, -0.98)).all() and (puck.max(0) > (0.98, -0.41)).all()
    assert np.linalg.norm(puck - (1, -1), axis=1).min() == pytest.approx(0.45, abs=0.01)
    # a quarter circle of radius .45 is cut out of a rectangle of .7 x .6
    left = (puck[:, 0] < 0.55).mean()
    assert left == pytest.approx(0.25 * 0.6 / (0.42 - np.pi * 0.45**2 / 4), abs=0.03)


def test_one_constant_weights_the_arm_in_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[type(PUSHER).__module__]
    monkeypatch.setattr(module, "C_ARM", 0.1)
    distance, effort, reach = PUSHER.pushing(x=-1)
    assert (distance.weight, effort.weight, reach.weight) == (-1, -0.1, -0.1)
    shaped = replace(task("push_x"), terms=(reach,))
    obs = np.zeros((1, 12), np.float32)
    obs[0, 6:9], obs[0, 9:12] = (1, 2, 3), (1, 4, 3)
    np.testing.assert_allclose(shaped.reward(obs, np.zeros((1, 3)), obs), -0.2)


def test_term_builders_refuse_nonsense() -> None:
    with pytest.raises(UnknownName, match="coordinate.*'z'.*choose from x, y"):
        PUSHER.distance(z=1)
    with pytest.raises(InvalidValue, match="needs a goal"):
        PUSHER.distance()
    with pytest.raises(InvalidValue, match="finite"):
        PUSHER.distance(x=np.nan)


def test_goal_mark_is_drawn_at_the_goal() -> None:
    env = make(task("push_x"), 1, seed=0)
    env.reset()
    batch = env.simulation.batch  # type: ignore[attr-defined]
    data = batch.get_data(0)
    PUSHER.decorate(data, task("push_x"))
    mujoco.mj_forward(batch.model, data)
    puck_y = data.body("puck").xpos[1]  # push_x has a goal line: the mark is abreast of the puck
    np.testing.assert_allclose(data.body("goal").xpos[:2], (-1, puck_y))
