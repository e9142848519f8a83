"""A policy as a part of the environment: semi-Markov decisions, by hand and as laws (THEORY 7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import VectorEnv

from skillkit.envs import forbid_interaction, make, task
from skillkit.envs.latent import LASTED, LatentAction, latent_spec
from skillkit.errors import InteractionForbidden, InvalidValue, NonFinite
from skillkit.types import Array
from tests.toys import Tally, spec

GAMMA = 0.9


class Schedule(VectorEnv[Array, Array, Array]):
    """Sub-environment i plays rewards[i] (T_i,), again and again, and ends as `ends[i]` says.

    "T" terminates with the last reward, "L" runs out of time, "-" goes on. It observes
    (i, episode, t), and keeps the actions that it was given.
    """

    def __init__(self, rewards: list[list[float]], ends: str) -> None:
        self.rewards, self.ends, self.num_envs = rewards, ends, len(rewards)
        self.metadata: dict[str, Any] = {}
        self.t, self.episode = np.zeros((2, self.num_envs), np.int64)
        self.over = np.ones(self.num_envs, bool)
        self.actions: list[Array] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Array, dict[str, Any]]:
        mask = np.ones(self.num_envs, bool) if options is None else options["reset_mask"]
        self.t[mask], self.over[mask] = 0, False
        self.episode[mask] += 1
        return self._observe(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        assert not self.over.any(), "stepped past the end of an episode"
        self.actions.append(actions.copy())
        r = np.array([row[t % len(row)] for row, t in zip(self.rewards, self.t, strict=True)])
        self.t += 1
        last = self.t == [len(row) for row in self.rewards]
        ends = last & np.array([end == "T" for end in self.ends])
        stops = last & np.array([end == "L" for end in self.ends])
        self.over = ends | stops
        return self._observe(), r, ends, stops, {}

    def _observe(self) -> Array:
        which = np.arange(self.num_envs)
        return np.stack([which, self.episode, self.t], axis=1).astype(np.float32)


def echo(obs: Array, latent: Array) -> Array:
    """The latent, and beside it the time at which the layer below looked."""
    return np.stack([latent[:, 0], obs[:, 2]], axis=1)


def latent(env: Any, hold: int, act: Any = echo, gamma: float = GAMMA) -> LatentAction:
    return LatentAction(env, act, spec(3, 1), hold, gamma)


# One decision, by hand (ORACLES 3)


@pytest.mark.parametrize(
    ("end", "length", "reward", "lasted", "y"),
    [
        ("-", 3, 1 + 0.9 * 2 + 0.81 * 3, 3, 12.52),
        ("T", 2, 1 + 0.9 * 2, 2, 2.8),
        ("L", 2, 1 + 0.9 * 2, 2, 10.9),
        ("T", 1, 1.0, 1, 1.0),
        ("T", 3, 1 + 0.9 * 2 + 0.81 * 3, 3, 5.23),
    ],
)
def test_one_decision(end: str, length: int, reward: float, lasted: int, y: float) -> None:
    """Rewards 1, 2, 3 at gamma .9; y with the soft value 10 of what follows."""
    env = latent(Schedule([[1.0, 2.0, 3.0][:length]], end), hold=3)
    env.reset()
    obs, r, terminated, truncated, info = env.step(np.array([[0.7]]))
    assert r[0] == pytest.approx(reward) and info[LASTED].tolist() == [lasted]
    assert (terminated[0], truncated[0]) == (end == "T", end == "L")
    assert obs[0, 2] == lasted  # where the episode was when the decision ended
    discount = GAMMA ** info[LASTED] * (1 - terminated)
    assert r[0] + discount[0] * 10 == pytest.approx(y)


def test_episodes_end_apart_inside_a_hold() -> None:
    """What one sub-environment goes through does not depend on those beside it."""
    rewards, ends = [[1.0], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0]], "TLT"

    def play(chosen: list[int]) -> list[list[Any]]:
        env = latent(Schedule([rewards[i] for i in chosen], "".join(ends[i] for i in chosen)), 3)
        env.reset()
        rows: list[list[Any]] = [[] for _ in chosen]
        for decision in range(4):
            obs, r, terminated, truncated, info = env.step(np.full((len(chosen), 1), decision))
            for i, row in enumerate(rows):
                row.append((obs[i, 2], r[i], terminated[i], truncated[i], info[LASTED][i]))
            if (over := terminated | truncated).any():
                env.reset(options={"reset_mask": over})
        return rows

    together = play([0, 1, 2])
    assert together == [play([i])[0] for i in range(3)]
    assert together[0] == [(1, 1.0, True, False, 1)] * 4
    assert together[1] == [(2, pytest.approx(2.8), False, True, 2)] * 4
    whole, rest = (3, pytest.approx(5.23), False, False, 3), (4, 4.0, True, False, 1)
    assert together[2] == [whole, rest, whole, rest]


def test_the_base_looks_at_every_step_and_the_latent_is_held() -> None:
    inner = Schedule([[0.0] * 9], "-")
    env = latent(inner, hold=3)
    env.reset()
    for value in (0.5, -0.5):
        env.step(np.array([[value]]))
    assert np.concatenate(inner.actions).tolist() == [
        [0.5, 0], [0.5, 1], [0.5, 2], [-0.5, 3], [-0.5, 4], [-0.5, 5],
    ]  # fmt: skip


def test_a_third_layer_counts_decisions_of_the_second() -> None:
    """Two decisions of three steps: R and m over all six, cut off where the episode ends."""
    for length, m in ((9, 6), (4, 4)):
        inner = Schedule([[1.0] * length], "T")
        middle = latent(inner, hold=3, act=lambda obs, h: h)
        env = LatentAction(middle, lambda obs, h: h + obs[:, 2:], middle.interface, 2, GAMMA)
        env.reset()
        _, r, terminated, _, info = env.step(np.array([[10.0]]))
        assert info[LASTED].tolist() == [m] and terminated[0] == (m == length)
        assert r[0] == pytest.approx((1 - GAMMA**m) / (1 - GAMMA))
        played = [float(action[0, 0]) for action in inner.actions]
        assert played == [10, 10, 10, 13, 13, 13][:m]  # it looked at step 0 and at step 3


# Laws


@pytest.mark.parametrize("name", ["point_x", "point_roam", "push_x"])
def test_an_identity_layer_at_hold_1_is_its_base(name: str) -> None:
    """To the last bit: the same observations, rewards and ends."""
    played = task(name)
    size = played.spec.action_dim

    def act(obs: Array, h: Array) -> Array:
        return played.spec.native(np.tanh(h + obs[:, :1]))

    plain, wrapped = make(played, 3, seed=4), make(played, 3, seed=4)
    env = LatentAction(wrapped, act, played.spec, 1, GAMMA)
    rng = np.random.default_rng(0)
    obs, _ = plain.reset()
    same, _ = env.reset()
    for _ in range(60):
        h = rng.standard_normal((3, size), np.float32)
        expected = plain.step(act(obs, h))
        found = env.step(h)
        for a, b in zip(expected[:4], found[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        assert found[4][LASTED].tolist() == [1, 1, 1]
        obs = expected[0]
        if (over := expected[2] | expected[3]).any():
            obs, _ = plain.reset(options={"reset_mask": over})
            same, _ = env.reset(options={"reset_mask": over})
            np.testing.assert_array_equal(obs, same)


def test_time_is_counted_in_environment_steps() -> None:
    """50 steps are 16 decisions of 3 and one of 2."""
    played = task("point_x")
    env = LatentAction(make(played, 2, seed=0), lambda obs, h: h, played.spec, 3, GAMMA)
    env.reset()
    lasted = []
    for _ in range(17):
        _, _, terminated, truncated, info = env.step(np.zeros((2, 2)))
        lasted.append(info[LASTED][0])
    assert truncated.all() and not terminated.any()
    assert lasted == [3] * 16 + [2]


def test_what_it_says_of_itself() -> None:
    env = latent(Tally(2), hold=4)
    assert env.interface == latent_spec(spec(3, 1), 4)
    assert env.interface.unbounded and env.interface.dt == pytest.approx(0.4)
    assert env.interface.observation == spec(3, 1).observation
    assert env.single_action_space.shape == (1,) and env.action_space.shape == (2, 1)
    assert env.observation_space.shape == (2, 3)


def test_interaction_is_guarded_as_below() -> None:
    played = task("point_x")
    env = LatentAction(make(played, 2, seed=0), lambda obs, h: h, played.spec, 3, GAMMA)
    env.reset()
    with forbid_interaction() as interaction, pytest.raises(InteractionForbidden):
        env.step(np.zeros((2, 2)))
    assert interaction.steps == 2


# Bad input


def test_latents_that_are_none() -> None:
    env = latent(Schedule([[0.0] * 9] * 2, "--"), hold=3)
    env.reset()
    for bad in (np.nan, np.inf, 1e300):
        with pytest.raises(NonFinite, match="latent_0 of sub-environment 1 is"):
            env.step(np.array([[0.0], [bad]]))
    with pytest.raises(InvalidValue, match=r"shape \(2, 1\), got \(2,\)"):
        env.step(np.zeros(2))


def test_an_ended_episode_waits_for_a_reset() -> None:
    env = latent(Schedule([[0.0], [0.0] * 9], "T-"), hold=3)
    with pytest.raises(InvalidValue, match="no running episode"):
        env.step(np.zeros((2, 1)))
    env.reset()
    env.step(np.zeros((2, 1)))
    for mask in ([False, True], [True, False]):
        with pytest.raises(InvalidValue, match="sub-environment 0 has no running episode"):
            env.step(np.zeros((2, 1)))
        env.reset(options={"reset_mask": np.array(mask)})
    env.step(np.zeros((2, 1)))


def test_a_hold_counts_something() -> None:
    with pytest.raises(InvalidValue, match="at least 1 step, not 0"):
        latent(Tally(1), hold=0)
