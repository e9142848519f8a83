"""The point mass against its closed form."""

from __future__ import annotations

from typing import Any

import numpy as np

from skillkit.envs import domain, make, task

POINT: Any = domain("point")


def test_free_motion_has_a_closed_form() -> None:
    """v_k = a^k v_0 with a = 1 - dt c/m, x_k = x_0 + dt (v_1 + ... + v_k)."""
    env = make(task("point_x"), 1, seed=0)
    env.reset()
    env.simulation.state[:] = (0, 0, 1, -2)  # type: ignore[attr-defined]
    for _ in range(10):
        obs, *_ = env.step(np.zeros((1, 2)))
    a = 1 - 0.1 * 1.0 / 0.5
    travelled = 0.1 * a * (1 - a**10) / (1 - a)
    np.testing.assert_allclose(obs[0], (travelled, -2 * travelled, a**10, -2 * a**10), rtol=1e-6)


def test_top_speed_is_force_over_drag() -> None:
    env = make(task("point_roam"), 1, seed=0)
    env.reset()
    for _ in range(49):
        obs, reward, *_ = env.step(np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(obs[0, 2:], (1, 0), atol=1e-4)
    np.testing.assert_allclose(reward, 1 - 0.75, atol=1e-4)  # speed less effort


def test_rewards_by_hand() -> None:
    obs = np.array([[0.5, -1, 0, 0]], np.float32)
    then = np.array([[0.8, -0.6, 0, 0]], np.float32)  # .5 m further, in .1 s
    u = np.array([[1.0, -0.5]])
    effort = 0.05 * 1.25
    np.testing.assert_allclose(task("point_x").reward(obs, u, then), -0.5 - effort)
    np.testing.assert_allclose(task("point_y").reward(obs, u, then), -2 - effort)
    np.testing.assert_allclose(task("point_roam").reward(obs, u, then), 5 - 15 * effort, rtol=1e-6)


def test_success_and_final_distance() -> None:
    obs = np.array([[0.95, 0, 0, 0], [0.8, 1, 0, 0]])
    np.testing.assert_array_equal(task("point_x").success(obs), [True, False])
    np.testing.assert_array_equal(task("point_x+point_y").success(obs), [False, False])
    np.testing.assert_array_equal(task("point_x+point_y").success(np.ones((1, 4))), [True])
    assert task("point_roam").success(obs) is None
    assert task("point_roam").final_distance(obs) is None
    np.testing.assert_allclose(
        task("point_x+point_y").final_distance(obs), np.hypot([0.05, 0.2], [1, 0])
    )


def test_every_direction_counts_alike() -> None:
    angles = np.linspace(0, 2 * np.pi, 7)
    then = np.zeros((7, 4))
    then[:, 0], then[:, 1] = np.cos(angles), np.sin(angles)
    reward = task("point_roam").reward(np.zeros((7, 4)), np.zeros((7, 2)), then)
    np.testing.assert_allclose(reward, 10.0)
