"""The collector: its accounting of episodes, and how its actions are distributed.

`Tally` observes (sub-environment, episode, step), so a transition says where it is from.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skillkit.collector import Collector, Exploration
from skillkit.errors import InvalidValue
from skillkit.policies import DeterministicPolicy, Policy
from skillkit.replay import ReplayBuffer
from skillkit.types import Array, Entry, Spec
from tests.toys import Tally, gaussian, spec

SPEC = spec(3, 1, low=-2.0, high=6.0)


def started(
    envs: int = 4, capacity: int = 10_000, seed: int = 0, **exploration: float
) -> Collector:
    generator = torch.Generator().manual_seed(seed)
    replay = ReplayBuffer(capacity, 3, 1, 0.9)
    return Collector(Tally(envs), SPEC, replay, generator, Exploration(**exploration))


def standard() -> Policy:
    """u ~ N(0, 1) in every state: the stored pre-tanh action is the noise."""
    return gaussian([0.0], [1.0], observations=3)


def point(u: float) -> DeterministicPolicy:
    policy = DeterministicPolicy(3, 1, hidden=())
    with torch.no_grad():
        policy.net.layers[0].weight.zero_()
        policy.net.layers[0].bias.fill_(u)
    return policy


def play(collector: Collector, policy: Policy | None, steps: int) -> Array:
    """Pre-tanh actions by step and environment. (T, E)"""
    envs, before = collector.env.num_envs, len(collector.replay)
    for _ in range(steps):
        collector.step([policy] if policy else [])
    assert len(collector.replay) == before + steps * envs
    u = collector.replay.since()["rows"][before:, -3]
    return u.reshape(steps, envs).double().numpy()


def who(obs: Tensor) -> list[tuple[int, ...]]:
    return [tuple(int(x) for x in row) for row in obs.tolist()]


# Accounting


def test_no_transition_crosses_an_episode_boundary() -> None:
    collector = started(envs=4)
    play(collector, standard(), 30)
    batch = collector.replay.all()
    torch.testing.assert_close(batch.next_obs, batch.obs + torch.tensor([0.0, 0.0, 1.0]))
    lengths = 3 + np.arange(4)
    expected = [
        (i, *divmod(t, int(lengths[i])))
        for t, i in itertools.product(range(30), range(4))
    ]  # fmt: skip
    assert who(batch.obs) == expected
    last = batch.next_obs[:, 2] == batch.next_obs[:, 0] + 3
    ends = last & (batch.obs[:, 0] % 2 == 0)  # time runs out in the others
    torch.testing.assert_close(batch.discount, 0.9 * ~ends)


def test_episodes_are_stored_apart() -> None:
    collector = started(envs=3)
    play(collector, standard(), 8)
    episodes = collector.replay.episodes()
    assert sorted(episodes["lengths"].tolist()) == [2, 3, 3, 3, 4, 4, 5]
    starts = episodes["lengths"].cumsum(0) - episodes["lengths"] + torch.arange(7)
    firsts = who(episodes["observations"][starts])
    assert sorted(firsts) == [
        (0, 0, 0),
        (0, 1, 0),
        (0, 2, 0),
        *[(i, e, 0) for i in (1, 2) for e in (0, 1)],
    ]
    begun = {
        (i, e): s for (i, e, _), s in zip(firsts, episodes["training_step"].tolist(), strict=True)
    }
    assert begun == {(0, 0): 0, (1, 0): 0, (2, 0): 0, (0, 1): 9, (1, 1): 12, (2, 1): 15, (0, 2): 18}
    ended = dict(zip(firsts, episodes["terminated"].tolist(), strict=True))
    assert [one for one, over in ended.items() if over] == [(0, 0, 0), (2, 0, 0), (0, 1, 0)]


def test_every_episode_has_a_number_of_its_own() -> None:
    """Those that begin at the same moment too: after 12 steps three do."""
    collector = started(envs=4)
    play(collector, standard(), 40)
    state = collector.replay.since()
    pairs = set(
        zip(state["episode"].tolist(), [w[:2] for w in who(state["rows"][:, :3])], strict=True)
    )
    assert len(pairs) == len({number for number, _ in pairs}) == len({one for _, one in pairs})


def test_counts_and_returns() -> None:
    collector = started(envs=3)
    u = play(collector, standard(), 8)
    assert collector.steps == 24
    assert collector.episodes == 8  # begun: 3, and a new one for each of 5 that ended
    reward = 2 + 4 * np.tanh(u)  # native, bounds -2 and 6
    over = [reward[0:3, 0], reward[0:4, 1], reward[0:5, 2], reward[3:6, 0], reward[4:8, 1]]
    np.testing.assert_allclose(list(collector.returns), [r.sum() for r in over], rtol=1e-5)


def test_actions_are_native_at_the_environment_and_unit_in_replay() -> None:
    collector = started(envs=2)
    u = play(collector, standard(), 5)
    unit = collector.replay.all().action[:, 0].reshape(5, 2)
    np.testing.assert_allclose(unit, np.tanh(u), rtol=1e-6)
    received = np.stack(collector.env.actions)[:, :, 0]
    np.testing.assert_allclose(received, 2 + 4 * np.tanh(u), rtol=1e-6)
    np.testing.assert_allclose(collector.replay.all().reward, received.ravel(), rtol=1e-6)


def test_only_the_latest_returns_are_kept() -> None:
    collector = started(envs=4)
    play(collector, point(0.3), 60)
    reward = 2 + 4 * math.tanh(0.3)
    assert len(collector.returns) == 20
    assert set(np.round(np.array(collector.returns) / reward, 5)) == {3, 4, 5, 6}


def test_what_is_restored_goes_on_to_the_last_bit() -> None:
    """In the middle of episodes, with correlated noise and stretches of uniform actions."""
    rng, changes = np.random.default_rng(0), {"correlation": 0.9, "share": 0.4, "length": 4.0}
    collector = started(envs=3, **changes)
    play(collector, standard(), 7)
    saved = json.loads(json.dumps(collector.state()))
    fresh = started(envs=3, seed=int(rng.integers(9)), **changes)
    fresh.env = copy.deepcopy(collector.env)
    fresh.load_state(saved)
    assert fresh.state() == saved
    np.testing.assert_array_equal(play(fresh, standard(), 20), play(collector, standard(), 20))
    assert fresh.state() == collector.state() != saved


def test_a_restart_begins_new_episodes_and_keeps_counting() -> None:
    collector = started(envs=3)
    play(collector, standard(), 7)
    counted, begun = collector.steps, collector.episodes
    assert collector.replay.episode[: len(collector.replay)].max() < begun
    collector.restart()
    u = play(collector, standard(), 5)
    assert collector.steps == counted + 15
    new = collector.replay.since(counted)
    assert new["episode"].min() == begun
    assert collector.episodes == int(new["episode"].max()) + 1 + 1  # one just began
    assert new["step"].tolist() == [counted + 3 * t for t in range(5) for _ in range(3)]
    assert collector.returns[-3] == pytest.approx((2 + 4 * np.tanh(u[:3, 0])).sum(), rel=1e-5)


def test_a_restart_drops_what_was_running() -> None:
    """Half an episode before the interruption is in no return."""
    collector = started(envs=1)
    play(collector, point(0.3), 2)
    collector.restart()
    play(collector, point(0.3), 3)
    assert list(collector.returns) == pytest.approx([3 * (2 + 4 * math.tanh(0.3))], rel=1e-5)
    batch = collector.replay.all()
    torch.testing.assert_close(batch.next_obs, batch.obs + torch.tensor([0.0, 0.0, 1.0]))


SETTINGS: list[dict[str, Any]] = [
    {},
    {"correlation": 0.8},
    {"share": 0.3, "length": 4.0, "correlation": 0.5},
    {"added_std": 0.5},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_generator_decides_all(settings: dict[str, float]) -> None:
    policy, before = standard(), torch.get_rng_state()
    one, same, other = (play(started(seed=s, **settings), policy, 20) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("policy", [standard(), point(0.5)], ids=["gaussian", "deterministic"])
def test_collecting_leaves_the_policy_alone(policy: Policy) -> None:
    play(started(share=0.5), policy, 3)
    assert all(parameter.grad is None for parameter in policy.parameters())
    assert all(parameter.requires_grad for parameter in policy.parameters())


# Distributions; every bound is about five standard deviations wide


def lag(x: Array, k: int) -> float:
    """E x_t x_{t+k} of a process of mean 0 and variance 1. x: (T, E)"""
    return float((x[:-k] * x[k:]).mean())


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_noise_is_standard_normal_at_every_step_and_correlated_between(rho: float) -> None:
    envs, steps = 2_000, 60
    x = play(started(envs, 10**6, correlation=rho), standard(), steps)
    np.testing.assert_allclose(x.mean(1), 0.0, atol=5 / envs**0.5)
    np.testing.assert_allclose(x.var(1), 1.0, atol=5 * (2 / envs) ** 0.5)  # the first step too
    independent = envs * steps * (1 - rho) / (1 + rho)
    for k in (1, 3):
        assert lag(x, k) == pytest.approx(rho**k, abs=5 / independent**0.5)
    assert np.corrcoef(x[:, ::2].ravel(), x[:, 1::2].ravel())[0, 1] == pytest.approx(
        0.0, abs=5 / (independent / 2) ** 0.5
    )  # environments do not share it
    kurtosis = (x**4).mean()
    assert kurtosis == pytest.approx(3.0, abs=5 * (96 / independent) ** 0.5)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_without_a_policy_actions_are_uniform(rho: float) -> None:
    """Kolmogorov-Smirnov over environments, which are independent, at each of several steps."""
    envs = 4_000
    action = np.tanh(play(started(envs, 10**6, correlation=rho), None, 12))
    between = (np.arange(envs) + 0.5) / envs
    for row in action[[0, 1, 11]]:
        distance = np.abs((np.sort(row) + 1) / 2 - between).max()
        assert distance < 2.2 / envs**0.5  # exceeded once in 8000
    correlation = np.corrcoef(action[10], action[11])[0, 1]
    uniform_rank = 6 / math.pi * math.asin(rho / 2)  # of two normals squashed by their own law
    assert correlation == pytest.approx(uniform_rank, abs=5 / envs**0.5)


def stretches(straying: Array) -> list[int]:
    """Lengths of the runs of True, without those cut off at either end. straying: (T, E)"""
    found = []
    for column in straying.T:
        runs = [(key, len(list(group))) for key, group in itertools.groupby(column)]
        found += [length for key, length in runs[1:-1] if key]
    return found


@pytest.mark.parametrize(("share", "length"), [(0.0, 50.0), (0.2, 6.0), (0.6, 3.0)])
def test_share_and_length_of_the_uniform_stretches(share: float, length: float) -> None:
    envs, steps, warm = 200, 400, 100
    policy_u = 3.0
    u = play(started(envs, 10**6, share=share, length=length), point(policy_u), steps)[warm:]
    straying = ~np.isclose(u, policy_u)
    correlated = 2 * length * (1 - share)  # steps that count as one
    spread = (share * (1 - share) * correlated / straying.size) ** 0.5
    assert straying.mean() == pytest.approx(share, abs=5 * spread)
    if share == 0:
        return
    runs = stretches(straying)
    assert np.mean(runs) == pytest.approx(length, abs=5 * length / len(runs) ** 0.5)
    assert min(runs) == 1  # geometric
    action = np.sort(np.tanh(u[straying]))
    quartiles = np.interp([0.25, 0.5, 0.75], np.linspace(0, 1, len(action)), action)
    np.testing.assert_allclose(quartiles, [-0.5, 0.0, 0.5], atol=0.05)


def test_added_noise_for_a_policy_without_any() -> None:
    x = play(started(2_000, 10**6, added_std=0.3, correlation=0.7), point(0.4), 40) - 0.4
    assert x.std() == pytest.approx(0.3, rel=0.02) and x.mean() == pytest.approx(0.0, abs=0.02)
    assert lag(x / 0.3, 1) == pytest.approx(0.7, abs=0.03)


@pytest.mark.parametrize("policy", [None, standard()], ids=["blind", "policy"])
def test_one_noise_for_each_episode(policy: Policy | None) -> None:
    """At correlation 1, and another one for the next: those of 3, 4 and 5 steps."""
    u = play(started(3, correlation=1.0), policy, 24).T
    for i, row in enumerate(u):
        episodes = np.split(row, range(3 + i, 24, 3 + i))
        assert all(len(set(one)) == 1 for one in episodes)
        assert len({one[0] for one in episodes}) == len(episodes)


def test_they_are_standard_normal_over_episodes() -> None:
    u = play(started(4_000, 10**5, correlation=1.0), standard(), 8)[7]
    assert u.mean() == pytest.approx(0, abs=0.06) and u.std() == pytest.approx(1, abs=0.05)


def test_policy_noise_and_stretches_are_independent() -> None:
    """A policy's own action is not selected by what the uniform one would have been."""
    x = play(started(2_000, 10**6, share=0.5, length=2.0), gaussian([9.0], [0.5], 3), 40)
    own = x[x > 6]  # uniform actions reach u = 8.3 once in 10^7
    assert own.mean() == pytest.approx(9.0, abs=0.02) and own.std() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("settings", "culprits"),
    [
        ({"correlation": 1.1}, ["correlation"]),
        ({"correlation": -0.1}, ["correlation"]),
        ({"share": 1.0}, ["share"]),
        ({"share": -0.1}, ["share"]),
        ({"length": 0.5}, ["length"]),
        ({"added_std": -1.0}, ["added_std"]),
        ({"share": 0.9, "length": 5.0}, ["length", "share"]),
    ],
)
def test_exploration_that_makes_no_sense(
    settings: dict[str, float], culprits: Sequence[str]
) -> None:
    with pytest.raises(InvalidValue) as refused:
        Exploration(**settings)
    assert all(f"explore.{culprit}" in str(refused.value) for culprit in culprits)


# Several policies


class Counting:
    """Stands in for a task: its reward is a multiple of the native action."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def reward(self, obs: Array, action: Array, next_obs: Array) -> Array:
        return self.factor * action[:, 0]


def shared(envs: int, hand_over: float, seed: int = 0) -> Collector:
    """Two policies, u = -1 and u = 1, whose tasks pay 1 and 10 times the native action."""
    replay = ReplayBuffer(100_000, 3, 1, 0.9, tasks=2)
    generator = torch.Generator().manual_seed(seed)
    tasks: Any = [Counting(1.0), Counting(10.0)]
    exploration = Exploration(hand_over=hand_over)
    return Collector(Tally(envs), SPEC, replay, generator, exploration, tasks)


def taking_turns(collector: Collector, steps: int) -> Array:
    """Which of the two acted. (T, E)"""
    for _ in range(steps):
        collector.step([point(-1.0), point(1.0)])
    u = collector.replay.since()["rows"][:, -4]
    return (u.reshape(steps, -1) > 0).numpy()


def test_every_transition_has_the_reward_of_every_task() -> None:
    collector = shared(envs=3, hand_over=4.0)
    taking_turns(collector, 10)
    native = np.concatenate(collector.env.actions)[:, 0]
    np.testing.assert_allclose(collector.replay.all(0).reward, native, rtol=1e-6)
    np.testing.assert_allclose(collector.replay.all(1).reward, 10 * native, rtol=1e-6)


def test_an_episode_belongs_to_one_policy_and_each_gets_its_share() -> None:
    collector = shared(envs=40, hand_over=0.0)
    acted = taking_turns(collector, 200)
    episode = collector.replay.episode[: len(collector.replay)].reshape(200, 40).numpy()
    owners = [set(acted[episode == one].tolist()) for one in np.unique(episode)]
    assert all(len(owner) == 1 for owner in owners)
    assert np.mean([owner == {True} for owner in owners]) == pytest.approx(0.5, abs=0.1)


def test_or_they_hand_over_within_it() -> None:
    """With 2 policies half of the draws change nothing, so turns last twice as long."""
    collector = shared(envs=40, hand_over=3.0)
    acted = taking_turns(collector, 400)
    episode = collector.replay.episode[: len(collector.replay)].reshape(400, 40).numpy()
    within = episode[1:] == episode[:-1]
    changed = (acted[1:] != acted[:-1])[within].mean()
    assert changed == pytest.approx(1 / 6, abs=0.025)
    assert acted.mean() == pytest.approx(0.5, abs=0.05)


def test_hand_over_takes_a_step_at_least() -> None:
    with pytest.raises(InvalidValue, match="hand_over takes at least 1 step"):
        Exploration(hand_over=0.5)


# An upper layer


class Held(Tally):
    """A decision of sub-environment i lasts i + 1 steps."""

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        *found, _ = super().step(actions)
        return *found, {"lasted": self.which + 1}  # type: ignore[return-value]


def upper(envs: int, **exploration: float) -> Collector:
    latents = Spec(SPEC.observation, (Entry("latent_0"),), 0.1)
    replay = ReplayBuffer(100_000, 3, 1, 0.9, held=True)
    generator = torch.Generator().manual_seed(0)
    return Collector(Held(envs), latents, replay, generator, Exploration(**exploration))


def test_before_it_learns_latents_are_standard_normal() -> None:
    """And no tanh anywhere: what is stored is what the environment got."""
    collector = upper(2_000, share=0.5, length=2.0)
    for policies in ([], [gaussian([9.0], [0.5], 3)]):
        play(collector, policies[0] if policies else None, 5)
    h = collector.replay.all().action[:10_000, 0]
    assert h.mean().item() == pytest.approx(0, abs=0.05)
    assert h.std().item() == pytest.approx(1, abs=0.05)
    given = torch.tensor(np.stack(collector.env.actions))  # type: ignore[attr-defined]
    assert torch.equal(given.flatten().float(), collector.replay.all().action[:, 0])
    own = collector.replay.all().action[10_000:, 0]
    assert (own > 6).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert own[own > 6].mean().item() == pytest.approx(9.0, abs=0.05)


def test_a_decision_counts_its_steps() -> None:
    collector = upper(3)
    play(collector, None, 3)
    assert collector.steps == 3 * (1 + 2 + 3)
    batch = collector.replay.all()
    lasted, ends = batch.obs[:, 0] + 1, (batch.next_obs[:, 2] == 3) & (batch.obs[:, 0] == 0)
    torch.testing.assert_close(batch.discount, 0.9**lasted * ~ends)
