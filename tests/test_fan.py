"""The fan: directions, distances and falls, counted on robots whose ways are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from skillkit.controller import Controller
from skillkit.envs import Task, task
from skillkit.errors import InvalidValue
from skillkit.evaluation import Evaluation, evaluate
from skillkit.fan import Fan, fan
from skillkit.types import Array
from tests.toys import gaussian

ROAM = replace(task("point_roam"), inputs=None)


def ended(*ends: tuple[float, float], fell: tuple[int, ...] = ()) -> Fan:
    """Episodes of the point from (1, 2) that end so far from there."""
    start = np.tile((1.0, 2.0, 0.0, 0.0), (len(ends), 1))
    final = start + np.pad(np.array(ends, float), ((0, 0), (0, 2)))
    length = np.full(len(ends), ROAM.horizon)
    length[list(fell)] = 3
    return Fan(Evaluation(ROAM, 0, {"length": length}, start, final))


def compass(radius: float = 5.0, turn: float = 0.0, each: int = 3) -> list[tuple[float, float]]:
    angles = [math.radians(45 * i + turn) for i in range(8) for _ in range(each)]
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


@pytest.mark.parametrize("turn", [-22, 0, 22])
def test_octants_are_centred_on_the_compass(turn: float) -> None:
    found = ended(*compass(turn=turn))
    np.testing.assert_array_equal(found.octants, [3] * 8)
    assert found.summary() == {
        "median_displacement": pytest.approx(5.0),
        "octants": 8,
        "falls": 0.0,
    }
    np.testing.assert_allclose(found.distance, 5.0)


def test_the_first_octant_is_east_and_they_go_counter_clockwise() -> None:
    found = ended((5, 0), (4, 3.9), (0, 5), (0, 5), (-5, -0.1), (5, -5))
    np.testing.assert_array_equal(found.octants, [1, 1, 2, 0, 1, 0, 0, 1])
    assert found.summary()["octants"] == 0  # an octant takes three


def test_falls_and_standing_still_reach_nothing() -> None:
    """24 around the compass; two to the east fall, three to the north hardly move."""
    ends = compass()
    ends[6:9] = [(0.0, 1.0)] * 3
    found = ended(*ends, fell=(0, 1))
    np.testing.assert_array_equal(found.octants, [1, 3, 0, 3, 3, 3, 3, 3])
    assert found.summary()["octants"] == 6 and found.summary()["falls"] == pytest.approx(2 / 24)
    assert found.summary()["median_displacement"] == pytest.approx(5.0)
    words = "24 fixed latents, 5 s each: median displacement 5.0 m, 6 of 8 octants, 8 % fell"
    assert str(found) == words


def steering() -> Controller:
    """The force is tanh(eps): a latent is a direction."""
    policy = gaussian((0.0, 0.0), (1.0, 1.0), observations=4)
    from skillkit.workflows.common import controller

    return controller(ROAM, policy)


def test_held_latents_lead_far_and_everywhere() -> None:
    act = steering()
    found = fan(act.batch, ROAM, act.noise_dim, latents=256, seconds=10, seed=3)
    assert found.seconds == 10 and found.evaluation.episodes == 256
    assert found.summary()["octants"] == 8 and found.summary()["falls"] == 0
    assert 5 < found.summary()["median_displacement"] < 12
    free = evaluate(act.batch, replace(ROAM, horizon=100), 64, 3, noise_dim=2)
    wandered = np.linalg.norm(free.final_observations - free.initial_observations, axis=1)
    assert np.median(wandered) < 2  # fresh noise at each step leads nowhere


def test_each_latent_is_drawn_once_and_by_the_seed() -> None:
    seen: list[Array] = []

    def act(obs: Array, noise: Array) -> Array:
        seen.append(noise.copy())
        return np.zeros((len(obs), 2))

    fan(act, ROAM, 3, latents=7, seconds=1, seed=5)
    assert len(seen) == 10 and all((noise == seen[0]).all() for noise in seen)
    assert seen[0].shape == (7, 3) and len(np.unique(seen[0])) == 21
    first, count = seen[0], len(seen)
    fan(act, ROAM, 3, latents=7, seconds=1, seed=6)
    assert not np.isin(seen[count], first).any()


def test_latents_are_standard_normal() -> None:
    seen: list[Array] = []

    def act(obs: Array, noise: Array) -> Array:
        seen.append(noise)
        return np.zeros((len(obs), 2))

    evaluate(act, replace(ROAM, horizon=1), 1000, 5, 1000, noise_dim=8, hold_noise=True)
    assert seen[0].mean() == pytest.approx(0, abs=0.05)
    assert seen[0].std() == pytest.approx(1, abs=0.05)


def escape(limit: float) -> Task:
    """It ends beyond x = limit."""
    return replace(ROAM, ends=lambda now, action, then: then["x"] > limit)


def test_an_episode_that_the_task_ends_is_a_fall() -> None:
    act = steering()
    found = fan(act.batch, escape(5.0), act.noise_dim, latents=32, seed=3)
    np.testing.assert_array_equal(found.fell, found.evaluation.final_observations[:, 0] > 5)
    assert 0.1 < found.summary()["falls"] < 0.7
    assert found.octants[0] == 0  # whoever goes east falls


@pytest.mark.parametrize(
    ("of", "noise", "seconds", "words"),
    [
        (ROAM, 0, 10, "latents of point_roam lead nowhere"),
        (task("gym:Pendulum-v1"), 1, 10, "latents of gym:Pendulum-v1 lead nowhere"),
        (ROAM, 2, 0.01, r"0.01 s are not one step of point_roam, 0.1 s"),
    ],
)
def test_what_is_no_fan(of: Task, noise: int, seconds: float, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        fan(steering().batch, of, noise, seconds=seconds)
