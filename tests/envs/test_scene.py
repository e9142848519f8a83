"""Scenes: what stands in the world is what one meets, in MuJoCo and in NumPy alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skillkit.envs import Task, Walls, domain, make, task, walls
from skillkit.errors import InvalidValue
from skillkit.types import Array

# Centre and half size of the walls of THESIS_FACTS 4.8 [m].
CROSS = (
    (1, -2.5, 3, 0.5), (-2, 0, 0.5, 3), (1, 2.5, 3, 0.5), (3.5, 5, 0.5, 3), (6, 7.5, 3, 0.5),
    (8.5, 5, 0.5, 3), (11, -2.5, 3, 0.5), (13.5, 0, 0.5, 3), (11, 2.5, 3, 0.5),
    (3.5, -5, 0.5, 3), (6, -7.5, 3, 0.5), (8.5, -5, 0.5, 3),
)  # fmt: skip
SIZES = {"ant_maze": 1.0, "point_maze": 0.5}
MAZES = [f"{name}{goal}" for name in SIZES for goal in ("", "_north", "_east")]
GOALS = {"": (6, -6), "_north": (6, 6), "_east": (12, 0)}
POINT: Any = domain("point")


def stand(name: str) -> Walls:
    file = task(name).scene_file
    assert file
    return walls(file)


def meets(scene: Walls, start: Array, end: Array) -> bool:
    """Whether the straight line runs through a wall, looked at in 1,000 places."""
    way = start + np.linspace(0, 1, 1001)[:, None] * (np.asarray(end) - start)
    return bool(inside(scene, way).any())


def inside(scene: Walls, points: Array) -> Array:
    """Whether a point is in a wall and not merely at its face. (n, 2) -> (n,)"""
    within = (scene.low < points[:, None]) & (points[:, None] < scene.high)
    return np.asarray(within.all(axis=-1).any(axis=-1))


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_the_cross_maze_is_the_thesis_one(name: str, size: float) -> None:
    found, expected = stand(name), size * np.array(CROSS)
    np.testing.assert_allclose((found.low + found.high) / 2, expected[:, :2])
    np.testing.assert_allclose((found.high - found.low) / 2, expected[:, 2:])


@pytest.mark.parametrize("name", MAZES)
def test_goals_lie_free_and_no_straight_line_leads_to_the_sides(name: str) -> None:
    base, _, side = name.partition("_maze")
    goal = SIZES[f"{base}_maze"] * np.array(GOALS[side])
    assert tuple(task(name).goals.values()) == tuple(goal)
    scene, start = stand(name), np.zeros(2)
    assert not inside(scene, np.stack([start, goal])).any()
    assert meets(scene, start, goal) == (side != "_east")


@pytest.mark.parametrize("name", MAZES)
def test_a_maze_is_the_open_task_between_walls(name: str) -> None:
    maze = task(name)
    free = task(f"{maze.domain}_goal")
    assert maze.spec == free.spec and maze.source_hash != free.source_hash
    assert maze.scene and free.scene is None
    if maze.goals == free.goals:
        obs = np.random.default_rng(0).normal(0, 6, (500, maze.spec.observation_dim))
        action = np.zeros((500, maze.spec.action_dim))
        np.testing.assert_array_equal(
            maze.reward(obs, action, obs[::-1]), free.reward(obs, action, obs[::-1])
        )


# ------------------------------------------------------------------------------ sliding along


ONE = Walls(np.array([[1.0, -1.0]]), np.array([[2.0, 1.0]]))  # x from 1 to 2, y from -1 to 1


@pytest.mark.parametrize(
    ("start", "end", "reached"),
    [
        ((0, 0), (0.5, 0.5), (0.5, 0.5)),  # nothing in the way
        ((0, 0), (5, 0.5), (1, 0.5)),  # stopped at the face, and along it
        ((3, 0), (-5, -0.5), (2, -0.5)),  # from the other side
        ((1.5, 2), (1.5, -9), (1.5, 1)),  # from above
        ((1.5, -2), (1.6, 9), (1.6, -1)),  # from below
        ((1, 0), (1, 5), (1, 5)),  # along a face
        ((1, 0), (0.2, 0), (0.2, 0)),  # away from it
        ((0, 1), (5, 1), (5, 1)),  # along the top
        ((5, -1), (0, -1), (0, -1)),  # along the bottom
        ((1, -5), (1, 5), (1, 5)),  # up the left side
        ((2, 5), (2, -5), (2, -5)),  # down the right side
        ((0, 5), (5, 5), (5, 5)),  # past it
        ((0, 2), (1.5, 0), (1.5, 1)),  # x first, then y: around the corner, on to the top
    ],
)
def test_sliding_by_hand(start: Array, end: Array, reached: Array) -> None:
    found = ONE.slide(np.array([start], float), np.array([end], float))
    np.testing.assert_array_equal(found, [reached])


def test_nothing_passes_through_however_fast() -> None:
    """Long random steps in the closed maze stay in it, and out of its walls."""
    scene, rng = stand("point_maze"), np.random.default_rng(0)
    place = np.zeros((500, 2))
    for scale in (0.1, 1.0, 30.0) * 100:
        place = scene.slide(place, place + rng.normal(0, scale, (500, 2)))
        assert not inside(scene, place).any()
    assert (np.abs(place - (2.875, 0)) <= (3.625, 3.5)).all()  # what the walls enclose
    ends = np.array([(-0.75, 0), (6.5, 0), (3, 3.5), (3, -3.5)])
    assert (np.abs(place[:, None] - ends).min(axis=(0, 2)) < 0.3).all()  # all four were visited


@pytest.mark.parametrize("wall", range(len(CROSS)))
@pytest.mark.parametrize("side", [-1, 1])
def test_the_point_never_gets_through_a_wall(wall: int, side: int) -> None:
    x, y, *half = (0.5 * number for number in CROSS[wall])
    axis = int(np.argmin(half))  # across the wall
    start = np.array([x, y])
    start[axis] += side * (half[axis] + 0.1)
    env = make(replace(task("point_maze"), ends=None), 1, seed=0)
    env.reset()
    env.simulation.state[:] = (*start, 0, 0)  # type: ignore[attr-defined]
    push = np.zeros((1, 2))
    push[0, axis] = -side
    for _ in range(40):
        obs, *_ = env.step(push)
    face = (x, y)[axis] + side * half[axis]
    assert obs[0, axis] == pytest.approx(face) and obs[0, 2 + axis] == 0
    np.testing.assert_allclose(obs[0, 1 - axis], (x, y)[1 - axis])


def test_what_a_wall_does_not_stop_goes_on() -> None:
    env = make(task("point_maze"), 1, seed=0)
    env.reset()
    env.simulation.state[:] = (0, 0.95, 0.5, 1.0)  # type: ignore[attr-defined]
    obs, *_ = env.step(np.zeros((1, 2)))
    np.testing.assert_allclose(obs[0], (0.04, 1.0, 0.4, 0.0), rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in MAZES if name.startswith("point")])
def test_chance_does_not_find_the_goal(name: str) -> None:
    found = task(name)
    env = make(found, 200, seed=0)
    env.reset()
    rng, reached, over = np.random.default_rng(1), np.zeros(200, bool), np.zeros(200, bool)
    for _ in range(found.horizon):
        _, reward, terminated, truncated, _ = env.step(rng.uniform(-1, 1, (200, 2)))
        reached |= ~over & (reward > 0)
        over |= terminated | truncated
        if (ended := terminated | truncated).any():
            env.reset(options={"reset_mask": ended})
    assert over.all() and reached.mean() <= 0.02


def test_a_patient_driver_does() -> None:
    """East, then south; 100 r at the goal, once, and nothing before."""
    env = make(task("point_maze"), 1, seed=0)
    obs, _ = env.reset()
    rewards, terminated = [], np.array([False])
    while not terminated:
        way = (-0.2, -1.0) if obs[0, 0] > 2.6 else (1.0, 0.0)
        obs, reward, terminated, truncated, _ = env.step(np.array([way]))
        assert not truncated
        rewards.append(float(reward[0]))
    assert rewards[-1] == 100 and not any(rewards[:-1])
    assert np.hypot(obs[0, 0] - 3, obs[0, 1] + 3) < 1 and task("point_maze").success(obs).all()


# --------------------------------------------------------------------------------- scene files


def scene(folder: Path, body: str) -> Path:
    path = folder / "scene.xml"
    path.write_text(f"<mujoco><worldbody>{body}</worldbody></mujoco>")
    return path


def test_a_wall_is_the_rectangle_around_what_can_be_touched(tmp_path: Path) -> None:
    found = walls(
        scene(
            tmp_path,
            '<geom type="plane" size="9 9 1"/>'
            '<geom type="box" size="3 1 1" pos="5 0 0"/>'
            '<geom type="box" size="3 1 1" euler="0 0 90"/>'
            '<geom type="box" size="1 1 1" euler="0 0 45"/>'
            '<geom type="cylinder" size="2 0.5" pos="0 7 0"/>'
            '<geom type="box" size="1 1 1" contype="0" conaffinity="0"/>'
            '<body pos="0 0 1" euler="0 0 90"><geom type="box" size="3 1 1" pos="5 0 0"/></body>',
        )
    )
    root = 2**0.5
    expected = [(2, -1, 8, 1), (-1, -3, 1, 3), (-root, -root, root, root), (-2, 5, 2, 9)]
    expected.append((-1, 2, 1, 8))
    np.testing.assert_allclose(np.hstack([found.low, found.high]), expected, atol=1e-6)


def test_a_scene_without_walls_stops_nobody(tmp_path: Path) -> None:
    found = walls(scene(tmp_path, ""))
    far = np.array([[1e3, -1e3]])
    np.testing.assert_array_equal(found.slide(np.zeros((1, 2)), far), far)


def test_a_domain_that_knows_no_walls_says_so() -> None:
    base = task("multigoal")
    maze = task("point_maze").scene_file
    assert maze
    lost = Task("lost", base.on, "", base.terms, 30, scene=maze.name, file=task("point_maze").file)
    env = make(lost, 1, seed=0)
    env.reset()
    with pytest.raises(InvalidValue, match="domain multigoal knows no walls; leave the scene out"):
        env.step(np.zeros((1, 2)))


def test_a_missing_scene_is_named() -> None:
    with pytest.raises(InvalidValue, match=r"cannot load .*no\.xml"):
        make(replace(task("point_maze"), scene="no.xml"), 1, seed=0)
