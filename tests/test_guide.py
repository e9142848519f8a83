"""Guide: what is stored of episodes along plans is what the plans did, and rehearsals are whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skillkit.collector import Collector, Exploration
from skillkit.envs import combine, make, task
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


def starts(plans: list[Plan]) -> dict[tuple[float, ...], tuple[Plan, int]]:
    """The plan, and which step of it, by the state where an episode begins."""
    return {tuple(np.float32(state)): (plan, at) for plan in plans
            for at, state in enumerate(plan.states)}  # fmt: skip


def guided(plans: list[Plan], noise: float = 0.0) -> list[tuple[Array, Array]]:
    """Actions of whole episodes that began along plans, and what was planned for them."""
    _, episodes = collected(plans, steps=3 * TASK.horizon, share=1.0, noise=noise)
    along, found = starts(plans), []
    for obs, action in split(episodes)[ENVS:]:  # the first began before
        plan, at = along[tuple(obs[0])]
        rest = TASK.spec.unit(plan.actions[at:])
        if len(action) >= len(rest):  # not cut off by the end of this test
            found.append((action, rest))
    assert len(found) > 10
    return found


def test_episodes_begin_along_plans_and_half_of_them_follow(plans: list[Plan]) -> None:
    followed = []
    for action, rest in guided(plans):
        followed.append(bool(np.abs(action[0]).max() > 0))
        expected = np.zeros_like(action)  # what the policy does
        if followed[-1]:
            expected[: len(rest)] = rest
        np.testing.assert_allclose(action, expected, atol=1e-5)
    assert 0.2 < np.mean(followed) < 0.8


def test_who_follows_begins_in_the_first_half_and_who_does_not_anywhere(plans: list[Plan]) -> None:
    left: dict[bool, list[int]] = {False: [], True: []}
    for action, rest in guided(plans):
        left[bool(np.abs(action[0]).max() > 0)].append(len(rest))
    assert min(left[True]) > LENGTH // 2 and min(left[False]) <= LENGTH // 2


def test_an_episode_is_over_when_that_of_the_plan_would_be(plans: list[Plan]) -> None:
    _, episodes = collected(plans, steps=3 * TASK.horizon, share=1.0)
    over = []
    for obs, action in split(episodes)[ENVS:]:
        plan, at = starts(plans)[tuple(obs[0])]
        over.append(plan.elapsed + at + len(action))
    assert len(over) > 10 and max(over) == TASK.horizon
    assert sum(step < TASK.horizon for step in over) <= ENVS  # which this test cut off


def test_the_share_of_guided_episodes(plans: list[Plan]) -> None:
    _, episodes = collected(plans, steps=20 * TASK.horizon, share=0.5)
    later = [tuple(obs[0]) in starts(plans) for obs, _ in split(episodes)[ENVS:]]
    assert len(later) > 100 and np.mean(later) == pytest.approx(0.5, abs=0.15)


def test_who_follows_a_plan_strays_as_far_as_was_set(plans: list[Plan]) -> None:
    strayed = [
        np.abs(action[: len(rest)] - rest).std()
        for action, rest in guided(plans, noise=0.02)
        if np.abs(action[0]).max() > 0
    ]
    assert len(strayed) > 4 and max(strayed) < 0.03
    assert np.mean(strayed) == pytest.approx(0.01, abs=0.005)  # its strength is drawn from [0, .02)


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


LEFT, RIGHT, STILL = -0.5, 0.5, 0.0  # actions of the two skills, and of their sum


def rehearsed(rehearsals: float, hand_over: float = 0.0) -> tuple[list[Array], list[Array]]:
    """Actions of the episodes that the sum has played, and of the others."""
    generator, spec = torch.Generator().manual_seed(0), TASK.spec
    tasks = [task("point_x"), task("point_y")]
    replay = ReplayBuffer(100_000, spec.observation_dim, spec.action_dim, 0.9, tasks=2)
    guide = Guide(PlanConfig(every=1, rehearsals=rehearsals), ENVS, generator)
    explore = Exploration(hand_over=hand_over)
    env = make(combine(tasks), ENVS, seed=9)
    collector = Collector(env, spec, replay, generator, explore, tasks, guide=guide)
    skills = [gaussian([np.arctanh(x)] * 2, [0.01] * 2, observations=4) for x in (LEFT, RIGHT)]
    for _ in range(9 * TASK.horizon):
        collector.step(skills, [gaussian([STILL] * 2, [0.01] * 2, observations=4)])
    both = [replay.episodes(task=column) for column in (0, 1)]  # every other episode each
    found = [one for own in both for one in split({key: x.numpy() for key, x in own.items()})]
    ours, theirs = [], []
    for _, action in found:
        (ours if np.abs(action).max() < 0.1 else theirs).append(action)
    return ours, theirs


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_episodes_are_rehearsals(share: float) -> None:
    ours, theirs = rehearsed(share)
    begun = len(ours) + len(theirs) - ENVS  # the first began before anything was rehearsed
    assert len(ours) / begun == pytest.approx(share, abs=0.2 if 0 < share < 1 else 0.0)


def test_a_rehearsal_is_handed_over_to_nobody() -> None:
    _, theirs = rehearsed(0.5, hand_over=5.0)
    assert all(np.abs(action).min() > 0.1 for action in theirs)
    assert any(np.ptp(action) > 0.5 for action in theirs)  # while the skills take turns


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
