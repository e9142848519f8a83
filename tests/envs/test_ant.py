"""The ant against THESIS_FACTS 4.7 to 4.9."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np
import pytest

from skillkit.envs import domain, make, task
from skillkit.envs.mujoco import compiled
from skillkit.types import Array
from tests.envs.test_scene import CROSS

ANT: Any = domain("ant")
INDEX = ANT.index
MAZES = {"ant_maze": (6, -6), "ant_maze_north": (6, 6), "ant_maze_east": (12, 0)}
LEGS = [(1, 1), (-1, 1), (-1, -1), (1, -1)]


@pytest.fixture
def model() -> mujoco.MjModel:
    return compiled(ANT.model_file)


def posed(model: mujoco.MjModel, hip: float = 0.0, ankle: float = 0.0) -> mujoco.MjData:
    data = mujoco.MjData(model)
    data.qpos[:] = (0, 0, 0.55, 1, 0, 0, 0, *(hip, ankle) * 4)
    mujoco.mj_forward(model, data)
    return data


def state(**entries: float) -> Array:
    """An observation of a standing ant with these entries."""
    obs = np.zeros((1, 29), np.float32)
    obs[0, INDEX["z"]], obs[0, INDEX["quaternion_w"]] = 0.5, 1
    for name, value in entries.items():
        obs[0, INDEX[name]] = value
    return obs


# ----------------------------------------------------------------------------------- the robot


def test_sizes_and_timing(model: mujoco.MjModel) -> None:
    assert (model.nq, model.nv, model.nu) == (15, 14, 8)
    assert model.opt.timestep == 0.01 and ANT.frame_skip == 5 and ANT.spec.dt == 0.05
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    joints = [f"{joint}_{leg}" for leg in range(4) for joint in ("hip", "ankle")]
    assert [entry.name for entry in ANT.spec.action] == joints
    assert {(entry.low, entry.high, entry.unit) for entry in ANT.spec.action} == {
        (-150, 150, "N m")
    }
    names = [entry.name for entry in ANT.spec.observation]
    assert len(names) == 29 and names[7:15] == joints
    assert names[:7] == ["x", "y", "z", *(f"quaternion_{part}" for part in "wxyz")]
    rates = ["x_velocity", "y_velocity", "z_velocity", "x_rotation", "y_rotation", "z_rotation"]
    assert names[15:] == rates + [f"{joint}_velocity" for joint in joints]


def test_masses_by_hand(model: mujoco.MjModel) -> None:
    """Density 5: a sphere of radius .25, capsules of radius .08 between points .2, .2, .4 apart."""

    def capsule(length: float) -> float:
        return 5 * math.pi * 0.08**2 * (length + 4 / 3 * 0.08)

    short, long = capsule(0.2 * 2**0.5), capsule(0.4 * 2**0.5)
    assert model.body("torso").mass[0] == pytest.approx(5 * 4 / 3 * math.pi * 0.25**3)
    for leg in range(4):
        assert model.body(f"leg_{leg}").mass[0] == pytest.approx(short, rel=1e-6)
        assert model.body(f"upper_{leg}").mass[0] == pytest.approx(short, rel=1e-6)
        assert model.body(f"lower_{leg}").mass[0] == pytest.approx(long, rel=1e-6)
    assert model.body_mass.sum() == pytest.approx(0.91088, abs=1e-5)


def test_the_legs_stand_where_the_thesis_has_them(model: mujoco.MjModel) -> None:
    flat = posed(model)
    for leg, corner in enumerate(LEGS):
        hip, ankle = flat.joint(f"hip_{leg}"), flat.joint(f"ankle_{leg}")
        np.testing.assert_allclose(hip.xanchor, (*np.multiply(0.2, corner), 0.55), atol=1e-6)
        np.testing.assert_allclose(hip.xaxis, (0, 0, 1), atol=1e-6)
        np.testing.assert_allclose(ankle.xanchor, (*np.multiply(0.4, corner), 0.55), atol=1e-6)
        foot = flat.body(f"lower_{leg}").xmat.reshape(3, 3) @ (0.4 * 2**0.5, 0, 0)
        np.testing.assert_allclose(foot, (*np.multiply(0.4, corner), 0), atol=1e-6)
    bent = posed(model, ankle=1.0)
    for leg in range(4):  # the soles, .08 m below the feet's ends, just touch the floor
        foot = bent.body(f"lower_{leg}").xmat.reshape(3, 3) @ (0.4 * 2**0.5, 0, 0)
        assert 0.55 + foot[2] - 0.08 == pytest.approx(0, abs=0.01)
    turned = posed(model, hip=0.1)  # every hip turns counter-clockwise
    for leg, (x, y) in enumerate(LEGS):
        moved = turned.joint(f"ankle_{leg}").xanchor - flat.joint(f"ankle_{leg}").xanchor
        assert np.cross((x, y, 0), moved)[2] > 0


def test_joints_and_contacts(model: mujoco.MjModel) -> None:
    np.testing.assert_array_equal(model.dof_armature, [0] * 6 + [1] * 8)
    np.testing.assert_array_equal(model.dof_damping, [0] * 6 + [1] * 8)
    ranges = np.degrees(model.jnt_range[1:]).reshape(4, 2, 2)
    np.testing.assert_allclose(ranges, [[(-30, 30), (30, 70)]] * 4)
    assert model.jnt_limited[1:].all()
    np.testing.assert_array_equal(model.actuator_gear[:, 0], 1)
    robot = model.geom_bodyid > 0
    assert robot.sum() == 13
    assert (model.geom_condim[robot] == 3).all() and (model.geom_friction[robot, 0] == 1).all()
    # Of two geoms that meet, one's contype must be in the other's conaffinity.
    assert not model.geom_conaffinity[robot].any() and (model.geom_contype[robot] == 1).all()
    assert (model.geom_conaffinity[~robot] == 1).all()


def test_starts_are_the_thesis_ones() -> None:
    rng = np.random.default_rng(0)
    qpos, qvel = (
        np.stack(part) for part in zip(*(ANT.start(rng) for _ in range(4000)), strict=True)
    )
    np.testing.assert_allclose(qpos.mean(0), (0, 0, 0.55, 1, 0, 0, 0, *(0, 1) * 4), atol=1e-3)
    free = [*range(3), *range(7, 15)]
    np.testing.assert_allclose(qpos.std(0)[free], 0.01, rtol=0.05)
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 3:7], axis=1), 1)
    np.testing.assert_allclose(qvel.mean(0), 0, atol=0.01)
    np.testing.assert_allclose(qvel.std(0), 0.1, rtol=0.05)


def test_observation_is_the_state() -> None:
    env = make(task("locomotion"), 2, seed=0)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(5):
        obs, *_ = env.step(rng.uniform(-150, 150, (2, 8)))
    data = env.simulation.batch.get_data(1)  # type: ignore[attr-defined]
    np.testing.assert_allclose(obs[1], np.concatenate((data.qpos, data.qvel)), rtol=1e-6)


def test_velocities_are_those_of_the_torso_in_the_world() -> None:
    """Turned a quarter to the left it still moves along the world's x axis."""

    def turned(rng: np.random.Generator) -> tuple[Array, Array]:
        root = 0.5**0.5
        qpos = np.array((0, 0, 0.9, root, 0, 0, root, *(0.0, 1.0) * 4))
        return qpos, np.array((2.0, 0, 0, *[0.0] * 11))

    env = make(replace(task("locomotion"), start=turned), 1, seed=0)
    env.reset()
    obs, reward, *_ = env.step(np.zeros((1, 8)))
    assert obs[0, INDEX["x"]] == pytest.approx(2 * 0.05, rel=0.01)
    assert reward[0] == pytest.approx(2 + 0.05, rel=0.01)


def test_nothing_it_can_do_breaks_the_simulation() -> None:
    """Full torques, new or kept, at random, without an end: no speed is ever absurd."""
    rng = np.random.default_rng(0)
    for name in ("ant_goal", "ant_maze"):
        env = make(replace(task(name), ends=None), 16, seed=0)
        env.reset()
        torque, often = np.zeros((16, 8)), np.linspace(0.02, 1, 16)[:, None]
        for _ in range(200):
            fresh = 150 * np.sign(rng.standard_normal((16, 8)))
            torque = np.where(rng.random((16, 8)) < often, fresh, torque)
            obs, *_ = env.step(torque)
            assert np.abs(obs[:, 15:]).max() < 100


# ----------------------------------------------------------------------------------- the tasks


def test_rewards_by_hand() -> None:
    now, then = state(x_velocity=9), state(x_velocity=3, y_velocity=-4, z_velocity=7)
    torque = np.full((1, 8), 150.0)
    torque[0, 0] = 75
    effort = 0.05 * (7 + 0.25)
    walk, run = task("locomotion"), task("ant_run")
    np.testing.assert_allclose(walk.reward(now, torque, then), 5 + 0.05 - effort)
    np.testing.assert_allclose(run.reward(now, torque, then), 3 + 0.05 - effort)
    np.testing.assert_allclose(run.reward(now, 0 * torque, state(x_velocity=-2)), -2 + 0.05)


@pytest.mark.parametrize(("name", "goal"), [*MAZES.items(), ("ant_goal", (6, -6))])
def test_only_the_goal_is_rewarded(name: str, goal: tuple[float, float]) -> None:
    found, (x, y) = task(name), goal
    cases = {(x, y): 1000, (x - 1.99, y): 1000, (x, y + 2.01): 0, (x + 1.5, y + 1.5): 0, (0, 0): 0}
    torque = np.full((1, 8), 150.0)
    for (at_x, at_y), reward in cases.items():
        there = state(x=at_x, y=at_y, x_velocity=3)
        assert found.reward(state(), torque, there) == reward
        assert found.terminated(state(), torque, there) == (reward > 0)
        assert found.success(there) == (reward > 0)
        np.testing.assert_allclose(
            found.final_distance(there), math.hypot(at_x - x, at_y - y), rtol=1e-6
        )
    assert found.reward(state(x=x, y=y), torque, state()) == 0  # where it was does not count
    assert found.horizon == 1000 and found.inputs is None


@pytest.mark.parametrize("name", ["locomotion", "ant_run", "ant_goal", *MAZES])
def test_unhealthy_states_end_every_task(name: str) -> None:
    found, torque = task(name), np.zeros((1, 8))
    for z, over in ((0.19, True), (0.21, False), (0.99, False), (1.01, True), (np.nan, True)):
        then = state(z=z)
        assert found.terminated(state(), torque, then) == over
        assert not found.terminated(then, torque, state())


@pytest.mark.parametrize(("degrees", "over"), [(0, False), (89, False), (91, True), (180, True)])
def test_a_robot_on_its_back_is_not_healthy(degrees: float, over: bool) -> None:
    """Tilted about an axis in the plane; turned about its own z axis it stands as before."""
    half = math.radians(degrees) / 2
    tilted = state(
        quaternion_w=math.cos(half), quaternion_x=math.sin(half) * 0.6,
        quaternion_y=math.sin(half) * 0.8,
    )  # fmt: skip
    turned = state(quaternion_w=math.cos(half), quaternion_z=math.sin(half))
    assert task("locomotion").terminated(state(), np.zeros((1, 8)), tilted) == over
    assert not task("locomotion").terminated(state(), np.zeros((1, 8)), turned)


def test_the_goal_pays_once() -> None:
    """Three runs into it: one reward of 1000 each, and nothing after."""

    def before_the_goal(rng: np.random.Generator) -> tuple[Array, Array]:
        qpos, qvel = ANT.start(rng)
        qpos[:2], qvel[0] = (3.5, -6), 5
        return qpos, qvel

    env = make(replace(task("ant_goal"), start=before_the_goal), 3, seed=0)
    env.reset()
    total, over = np.zeros(3), np.zeros(3, bool)
    for _ in range(40):
        obs, reward, terminated, _, _ = env.step(np.zeros((3, 8)))
        total += reward * ~over
        over |= terminated
        if terminated.any():
            env.reset(options={"reset_mask": terminated})
    assert over.all() and (total == 1000).all()


def test_a_gait_reads_nothing_of_where_it_is() -> None:
    for name in ("locomotion", "ant_run"):
        names = {entry.name for entry in ANT.entries}
        assert set(task(name).inputs or ()) == names - {"x", "y"}


# ----------------------------------------------------------------------------------- the walls


def test_the_ant_never_gets_through_a_wall() -> None:
    """Driven at each wall from both sides with 3 m/s, again and again, limp and struggling.

    One that comes over a wall has jumped higher than it may, and its episode is over.
    """
    rows = [(*wall, side) for wall in CROSS for side in (-1, 1) for _ in range(2)]
    qpos, velocity, faces = [], [], []
    for x, y, half_x, half_y, side in rows:
        axis = int(half_y < half_x)  # across the wall
        half, away = (half_x, half_y)[axis], np.eye(2)[axis] * side
        qpos.append((*(np.array([x, y]) + away * (half + 1.2)), 0.55, 1, 0, 0, 0, *(0, 1) * 4))
        velocity.append(-3 * away)
        faces.append((axis, side, (x, y)[axis] + side * half))
    maze = task("ant_maze")
    env = make(replace(maze, ends=None), len(rows), seed=0)
    env.reset()
    batch = env.simulation.batch  # type: ignore[attr-defined]
    batch.qpos[:] = qpos
    rng, closest = np.random.default_rng(0), np.full(len(rows), np.inf)
    strength, over = np.tile((0.0, 150.0), len(rows) // 2), np.zeros(len(rows), bool)
    for _ in range(60):
        batch.qvel[:, :6] = 0  # level, and not over the wall
        batch.qvel[:, :2] = velocity
        torque = strength[:, None] * rng.uniform(-1, 1, (len(rows), 8))
        obs, *_ = env.step(torque)
        over |= obs[:, 2] > 1
        gaps = [side * (obs[i, axis] - face) for i, (axis, side, face) in enumerate(faces)]
        closest = np.where(over, closest, np.minimum(closest, gaps))
    assert (closest > 0.2).all()  # the centre stays outside, by almost the radius of the torso
    assert not over[::2].any() and (closest[::2] < 0.4).all()  # with torso or legs at the wall


def test_a_picture_shows_the_maze_and_the_goal() -> None:
    env = make(task("ant_maze"), 1, seed=0)
    env.reset()
    batch = env.simulation.batch  # type: ignore[attr-defined]
    data = batch.get_data(0)
    ANT.decorate(data, task("ant_maze"))
    mujoco.mj_forward(batch.model, data)
    np.testing.assert_allclose(data.site("goal").xpos, (6, -6, 0))
    assert batch.model.site("goal").size[0] == 2
    ANT.decorate(data := batch.get_data(0), task("locomotion"))
    assert data.mocap_pos[0, 2] < -0.5  # below the floor
