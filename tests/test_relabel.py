"""Replays of other tasks: their labels recomputed, and several of them in one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from skillkit.envs import Quantities, make, task
from skillkit.replay import EPISODE_KEYS, ReplayBuffer, union
from skillkit.types import Array
from tests.replays import GAMMA, filled, same, unit_u, who, wrapped
from tests.toys import spec

SPEC = spec(2, 1, low=-3.0, high=1.0)

# Other tasks' labels


def reward(obs: Array, action: Array, next_obs: Array) -> Array:
    """Reads all three, the action in native units."""
    return obs[:, 1] - 10 * action[:, 0] + 0.5 * next_obs[:, 1]


def ends(obs: Array, action: Array, next_obs: Array) -> Array:
    return next_obs[:, 1] == 2


def test_relabel_recomputes_both_columns() -> None:
    replay = filled([3, 3], ends="TL")
    before = replay.episodes()
    other = replay.relabel(SPEC, reward, ends)
    old, new = replay.all(), other.all()
    u = unit_u(*old.obs.double().numpy().T)
    native = torch.from_numpy(-1 + 2 * np.tanh(u)).float()  # bounds -3 and 1
    expected = old.obs[:, 1] - 10 * native + 0.5 * old.next_obs[:, 1]
    torch.testing.assert_close(new.reward, expected)
    # (., 1) now ends and the old termination of (0, 2) does not.
    g = GAMMA
    torch.testing.assert_close(new.discount, torch.tensor([g, 0, g, g, 0, g]))
    for name in ("obs", "action", "next_obs"):
        assert torch.equal(getattr(new, name), getattr(old, name))
    assert torch.equal(other.episodes()["pre_tanh"], before["pre_tanh"])
    same(replay.episodes(), before)  # the old labels are untouched


def test_relabel_splits_an_episode_that_would_have_ended() -> None:
    """So that a stored replay, which knows of ends by episode, keeps the new column."""
    other = filled([3, 1, 4], ends="TLL").relabel(SPEC, reward, ends)
    episodes = other.episodes()
    assert episodes["lengths"].tolist() == [2, 1, 1, 2, 2]
    assert episodes["terminated"].tolist() == [True, False, False, True, False]
    assert episodes["training_step"].tolist() == [0, 2, 3, 4, 6]
    again = ReplayBuffer.from_episodes(episodes, GAMMA)
    assert torch.equal(again.all().discount, other.all().discount)


def test_relabel_of_a_ring_that_went_around() -> None:
    replay = wrapped()
    other = replay.relabel(SPEC, reward, lambda *transition: np.zeros(10, bool))
    assert who(other.episodes()["observations"]) == who(replay.episodes()["observations"])
    assert other.episodes()["training_step"].tolist() == [2, 4, 8]


def collected(name: str) -> ReplayBuffer:
    """Two environments of a task under the same uniform actions, whatever the task."""
    found, rng = task(name), np.random.default_rng(0)
    env = make(found, 2, seed=0)
    replay = ReplayBuffer(80, found.spec.observation_dim, found.spec.action_dim, 0.99)
    obs, _ = env.reset()
    for step in range(40):
        action = rng.uniform(-1, 1, (2, found.spec.action_dim))
        after, r, terminated, truncated, _ = env.step(found.spec.native(action))
        u = np.arctanh(action)
        replay.add(obs, action, u, r, terminated, truncated, after, np.arange(2), 2 * step)
        obs = after
    return replay


def test_push_x_relabelled_as_push_y_is_push_y() -> None:
    """Its own reward function on what is stored, and what its environment would have paid."""
    x, y = collected("push_x"), collected("push_y")
    push_y = task("push_y")
    relabelled = x.relabel(push_y.spec, push_y.reward, push_y.terminated)
    new = relabelled.all()
    native = push_y.spec.native(new.action.numpy())
    np.testing.assert_allclose(
        new.reward, push_y.reward(new.obs.numpy(), native, new.next_obs.numpy()), rtol=1e-6
    )
    before, after, paid = (one.episodes()["rewards"] for one in (x, relabelled, y))
    torch.testing.assert_close(after, paid, rtol=1e-4, atol=1e-4)
    assert (after - before).abs().min() > 1e-3
    assert (new.discount == 0.99).all()


def bent(now: Quantities, action: Array, then: Quantities) -> Array:
    return then["joint_3"] > 0


def test_a_task_that_ends_relabels_the_discount() -> None:
    ending = replace(task("push_x"), name="push_x_ending", ends=bent)
    replay = collected("push_x")
    new = replay.relabel(ending.spec, ending.reward, ending.terminated).all()
    over = new.next_obs[:, ending.spec.index(("joint_3",))[0]] > 0
    assert over.any() and not over.all()
    torch.testing.assert_close(new.discount, 0.99 * ~over)


# Unions


def shifted(lengths: list[int], by: int, capacity: int = 100) -> ReplayBuffer:
    """As `filled`, with observations that tell one replay from the other."""
    replay = filled(lengths, capacity)
    replay.rows[: len(replay), 0] += by
    replay.rows[: len(replay), 2] += by
    return replay


def test_a_union_keeps_all_episodes_apart() -> None:
    parts = [shifted([2, 3], 0), shifted([1], 10), shifted([4, 1], 20)]
    merged = union(parts)
    assert len(merged) == 11 and merged.gamma == GAMMA
    episodes, each = merged.episodes(), [part.episodes() for part in parts]
    same(episodes, {key: torch.cat([one[key] for one in each]) for key in EPISODE_KEYS})
    assert [len(part) for part in parts] == [5, 1, 5]


def test_a_union_is_sampled_in_proportion() -> None:
    merged = union([shifted([30, 30], 0), shifted([20], 10)])
    drawn = merged.sample(20_000, torch.Generator().manual_seed(0))
    share = (drawn.obs[:, 0] >= 10).double().mean().item()
    assert share == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 20_000) ** 0.5)


def test_a_union_of_rings_that_went_around() -> None:
    merged = union([wrapped(), filled([2])])
    assert who(merged.episodes()["observations"]) == [
        *who(wrapped().episodes()["observations"]),
        *[(0, 0), (0, 1), (0, 2)],
    ]
