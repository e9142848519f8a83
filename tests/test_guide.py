"""Guide: what is stored of episodes along plans is what the plans did."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skillkit.collector import Collector
from skillkit.envs import make, task
from skillkit.envs.planning import Plan, PlanConfig, Planner
from skillkit.guide import Guide
from skillkit.policies import DeterministicPolicy
from skillkit.replay import ReplayBuffer
from skillkit.types import Array
from tests.toys import gaussian

ENVS, LENGTH = 6, 12
TASK = task("point_x+point_y")
BRIEF = PlanConfig(every=1, length=LENGTH, candidates=32, rounds=1)


def still(obs: Array) -> Array:
    return np.zeros((len(obs), 2))


@pytest.fixture(scope="module")
def plans() -> list[Plan]:
    return [Planner(TASK, 0.9, BRIEF, seed).plan(still, lambda done: None) for seed in (0, 1)]


def collected(
    plans: list[Plan], steps: int, share: float = 0.5, noise: float = 0.0
) -> tuple[Collector, dict[str, Array]]:
    """Steps of a policy that does nothing, and its episodes as they were stored."""
    generator = torch.Generator().manual_seed(0)
    spec = TASK.spec
    replay = ReplayBuffer(ENVS * steps, spec.observation_dim, spec.action_dim, 0.9)
    guide = Guide(PlanConfig(every=1, share=share, noise=noise), ENVS, generator)
    collector = Collector(make(TASK, ENVS, seed=9), spec, replay, generator, guide=guide)
    policy = DeterministicPolicy(4, 2, hidden=())
    torch.nn.init.zeros_(policy.net.layers[0].weight)
    torch.nn.init.zeros_(policy.net.layers[0].bias)
    guide.add(plans)
    for _ in range(steps):
        collector.step([policy])
    return collector, {key: value.numpy() for key, value in replay.episodes().items()}


def split(episodes: dict[str, Array]) -> list[tuple[Array, Array]]:
    """Observations and actions of each."""
    lengths = episodes["lengths"]
    obs = np.split(episodes["observations"], np.cumsum(lengths + 1)[:-1])
    return list(zip(obs, np.split(episodes["actions"], np.cumsum(lengths)[:-1]), strict=True))


def test_episodes_begin_along_plans_and_half_of_them_follow(plans: list[Plan]) -> None:
    _, episodes = collected(plans, steps=3 * TASK.horizon, share=1.0)
    along = {tuple(np.float32(state)): (plan, at) for plan in plans
             for at, state in enumerate(plan.states)}  # fmt: skip
    followed = []
    for obs, action in split(episodes)[ENVS:]:  # the first began before
        plan, at = along[tuple(obs[0])]
        rest = TASK.spec.unit(plan.actions[at:])
        if len(action) < len(rest):
            continue  # cut off by the end of this test
        if follows := bool(np.abs(action[0]).max() > 0):
            np.testing.assert_allclose(action[: len(rest)], rest, atol=1e-5)
            np.testing.assert_array_equal(action[len(rest) :], 0.0)  # then the policy
        else:
            np.testing.assert_array_equal(action, 0.0)
        followed.append(follows)
    assert 0.2 < np.mean(followed) < 0.8 and len(followed) > 10


def test_an_episode_is_over_when_that_of_the_plan_would_be(plans: list[Plan]) -> None:
    _, episodes = collected(plans, steps=3 * TASK.horizon, share=1.0)
    along = {tuple(np.float32(state)): plan.elapsed + at for plan in plans
             for at, state in enumerate(plan.states)}  # fmt: skip
    over = [along[tuple(obs[0])] + len(action) for obs, action in split(episodes)[ENVS:]]
    assert len(over) > 10 and max(over) == TASK.horizon
    assert sum(step < TASK.horizon for step in over) <= ENVS  # which this test cut off


def test_the_share_of_guided_episodes(plans: list[Plan]) -> None:
    starts = {tuple(np.float32(state)) for plan in plans for state in plan.states}
    _, episodes = collected(plans, steps=20 * TASK.horizon, share=0.5)
    later = [tuple(obs[0]) in starts for obs, _ in split(episodes)[ENVS:]]
    assert len(later) > 100 and np.mean(later) == pytest.approx(0.5, abs=0.15)


def test_noise_is_what_it_was_set_to(plans: list[Plan]) -> None:
    _, exact = collected(plans, steps=500, share=1.0)
    _, noisy = collected(plans, steps=500, share=1.0, noise=0.02)
    (_, first), (_, second) = split(exact)[ENVS], split(noisy)[ENVS]
    assert 0 < np.abs(first[:3] - second[:3]).max() < 0.1 or np.abs(first[0]).max() == 0


def test_without_plans_nothing_changes(plans: list[Plan]) -> None:
    spec = TASK.spec
    rows = []
    for guide in (False, True):
        generator = torch.Generator().manual_seed(0)
        replay = ReplayBuffer(1000, spec.observation_dim, spec.action_dim, 0.9)
        has = Guide(BRIEF, ENVS, generator) if guide else None
        collector = Collector(make(TASK, ENVS, seed=0), spec, replay, generator, guide=has)
        for _ in range(100):
            collector.step([gaussian([0.0, 0.0], [1.0, 1.0], observations=4)])
        rows.append(replay.rows)
    torch.testing.assert_close(*rows, rtol=0, atol=0)


def test_the_plans_of_the_latest_searches_are_kept(plans: list[Plan]) -> None:
    one, other = plans
    guide = Guide(PlanConfig(kept=2), ENVS, torch.Generator())
    for found, kept in (
        ([one, one], [one, one]),
        ([], [one, one]),
        ([other], [other]),
        ([one], [other, one]),
    ):
        guide.add(found)
        assert guide.plans == kept


def test_a_plan_guides_as_it_gains_and_every_search_alike(plans: list[Plan]) -> None:
    gains = (3.0, 1.0, 50.0)
    one, two, other = (plans[0]._replace(value=gain, own=0.0) for gain in gains)
    guide = Guide(PlanConfig(share=1.0), 4_000, torch.Generator().manual_seed(0))
    guide.add([one, two])
    guide.add([])
    guide.add([other])
    guide.begin(np.ones(4_000, bool))
    counts = np.bincount(guide.plan[guide.plan >= 0])
    np.testing.assert_allclose(counts / counts.sum(), [0.375, 0.125, 0.5], atol=0.04)
