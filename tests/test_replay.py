"""The replay buffer: a ring, its episodes, and its checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from skillkit.errors import InvalidValue
from skillkit.replay import EPISODE_KEYS, ReplayBuffer
from tests.replays import GAMMA, empty, filled, put, reward_of, same, unit_u, who, wrapped

# The ring


def test_columns_are_what_was_put_in() -> None:
    batch = filled([3, 2], ends="TL").all()
    assert who(batch.obs) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert who(batch.next_obs) == [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]
    number, t = batch.obs.double().numpy().T
    np.testing.assert_allclose(batch.action[:, 0], np.tanh(unit_u(number, t)), rtol=1e-6)
    np.testing.assert_array_equal(batch.reward, reward_of(number, t))
    # Zero where the task ended; where only time ran out, the value goes on (THEORY 3).
    torch.testing.assert_close(batch.discount, torch.tensor([GAMMA, GAMMA, 0.0, GAMMA, GAMMA]))
    assert batch.reward.shape == batch.discount.shape == (5,)
    assert all(column.dtype == torch.float32 for column in batch)


def test_a_full_ring_forgets_the_oldest() -> None:
    replay = wrapped()
    assert len(replay) == replay.capacity == 10
    kept = [(0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert who(replay.all().obs) == kept  # oldest first


def test_several_at_once_wrap_too() -> None:
    replay = empty(7)
    for t in range(4):
        put(replay, [0, 1, 2], t)
    assert sorted(who(replay.all().obs)) == sorted(
        [(e, t) for t in (2, 3) for e in range(3)] + [(2, 1)]
    )


def test_capacity_must_hold_something() -> None:
    with pytest.raises(InvalidValue, match="capacity of at least 1, got 0"):
        empty(0)


# Sampling


def test_sampling_is_uniform_over_what_is_stored() -> None:
    """With replacement; 30 000 draws of 5 rows, 5 standard deviations wide."""
    replay = filled([3, 2], capacity=50)
    drawn = replay.sample(30_000, torch.Generator().manual_seed(0))
    counts = torch.unique(drawn.obs, dim=0, return_counts=True)[1]
    assert len(counts) == 5
    assert (counts - 6_000).abs().max() < 5 * (30_000 * 0.2 * 0.8) ** 0.5


def test_a_sample_keeps_its_columns_together() -> None:
    drawn = wrapped().sample(64, torch.Generator().manual_seed(0))
    number, t = drawn.obs.double().numpy().T
    np.testing.assert_array_equal(drawn.next_obs, np.stack([number, t + 1], 1))
    np.testing.assert_array_equal(drawn.reward, reward_of(number, t))
    ended = (number == 0) & (t == 3) | (number == 2) & (t == 3)
    np.testing.assert_allclose(drawn.discount, GAMMA * ~ended, rtol=1e-6)


def test_a_sample_is_the_generators() -> None:
    replay = wrapped()
    before = torch.get_rng_state()
    rng, same_seed, other = (torch.Generator().manual_seed(seed) for seed in (3, 3, 4))
    first = replay.sample(8, rng)
    assert all(torch.equal(a, b) for a, b in zip(first, replay.sample(8, same_seed), strict=True))
    assert not torch.equal(first.obs, replay.sample(8, rng).obs)
    assert not torch.equal(first.obs, replay.sample(8, other).obs)
    assert torch.equal(torch.get_rng_state(), before)


# Episodes


def test_episodes_by_hand() -> None:
    episodes = filled([2, 1, 3], ends="TL-").episodes()
    assert who(episodes["observations"]) == [
        *[(0, 0), (0, 1), (0, 2)],
        *[(1, 0), (1, 1)],
        *[(2, 0), (2, 1), (2, 2), (2, 3)],
    ]
    assert episodes["lengths"].tolist() == [2, 1, 3]
    assert episodes["terminated"].tolist() == [True, False, False]
    assert episodes["truncated"].tolist() == [False, True, True]  # what is cut off counts as such
    assert episodes["training_step"].tolist() == [0, 2, 3]
    np.testing.assert_array_equal(episodes["rewards"], [0, 1, 100, 200, 201, 202])
    torch.testing.assert_close(episodes["actions"], episodes["pre_tanh"].tanh())
    assert all(tensor.is_contiguous() for tensor in episodes.values())


@pytest.mark.parametrize("lengths", [[1], [5], [3, 1, 4, 2]])
def test_there_and_back(lengths: list[int]) -> None:
    """episodes -> from_episodes -> episodes, pre-tanh actions included, and every transition."""
    replay = filled(lengths)
    episodes = replay.episodes()
    again = ReplayBuffer.from_episodes(episodes, GAMMA)
    same(again.episodes(), episodes)
    for a, b in zip(again.all(), replay.all(), strict=True):
        assert torch.equal(a, b)
    assert len(again) == again.capacity == sum(lengths)


def test_pre_tanh_survives_where_the_action_saturates() -> None:
    replay = empty(2)
    u = np.array([[12.0], [-30.0]])
    row, one = np.zeros((2, 2)), np.zeros(2, bool)
    replay.add(row, np.tanh(u), u, np.zeros(2), one, one, row, np.arange(2), 0)
    again = ReplayBuffer.from_episodes(replay.episodes(), GAMMA)
    assert again.episodes()["pre_tanh"].tolist() == [[12.0], [-30.0]]


def test_interleaved_episodes_are_taken_apart() -> None:
    """Three environments in step; episode 3 follows 1, and the ring has overwritten the first."""
    replay = empty(11)
    running, step = [0, 1, 2], 0
    for t in [(0, 0, 0), (1, 1, 1), (2, 2, 2)]:
        ends = "-T-" if t[0] == 2 else ""
        put(replay, running, t[0], ends, step)
        step += 3
    put(replay, [0, 2], 3, "--", step)
    put(replay, [3], 0, "-", step)
    episodes = replay.episodes()
    assert episodes["lengths"].tolist() == [3, 3, 4, 1]  # transition (0, 0) was lost
    kept = who(episodes["observations"])
    assert kept[:4] == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert kept[4:8] == [(1, 0), (1, 1), (1, 2), (1, 3)]
    assert kept[-2:] == [(3, 0), (3, 1)]
    assert episodes["terminated"].tolist() == [False, True, False, False]
    assert episodes["training_step"].tolist() == [3, 0, 0, 9]


@pytest.mark.parametrize("limit", [25, 40, 99])
@pytest.mark.parametrize("length", [5, 8])
def test_a_limit_keeps_whole_episodes_spread_over_training(limit: int, length: int) -> None:
    count = 100 // length
    replay = filled([length] * count)
    episodes = replay.episodes(limit)
    numbers = episodes["observations"][:: length + 1, 0].int().tolist()
    assert (episodes["lengths"] == length).all()
    assert limit - length < len(episodes["actions"]) <= limit  # as many as fit
    assert numbers[-1] == count - 1  # the newest
    gaps = np.diff(numbers)
    assert len(numbers) == 1 or gaps.min() >= 1 and gaps.max() - gaps.min() <= 1
    assert numbers[0] == 0
    assert episodes["training_step"].tolist() == [number * length for number in numbers]


def test_a_limit_counts_transitions_of_uneven_episodes() -> None:
    replay = filled([1, 30, 1, 1, 1, 1, 1, 1, 1, 20])
    for limit in range(20, 59):
        episodes = replay.episodes(limit)
        assert len(episodes["actions"]) == episodes["lengths"].sum() <= limit
        assert episodes["lengths"][-1] == 20  # the newest, always
    assert len(replay.episodes(58)["lengths"]) == len(replay.episodes()["lengths"]) == 10
    assert replay.episodes(3)["lengths"].tolist() == [20]  # at least one


@pytest.mark.parametrize("missing", EPISODE_KEYS)
def test_a_replay_that_lacks_a_tensor(missing: str) -> None:
    episodes = filled([2, 3]).episodes()
    del episodes[missing]
    with pytest.raises(InvalidValue, match=f"a replay lacks {missing}"):
        ReplayBuffer.from_episodes(episodes, GAMMA)


@pytest.mark.parametrize("key", ["observations", "actions", "lengths"])
def test_a_replay_whose_tensors_do_not_belong_together(key: str) -> None:
    episodes = filled([2, 3]).episodes()
    episodes[key] = episodes[key][:-1]
    with pytest.raises(InvalidValue, match="lengths do not match"):
        ReplayBuffer.from_episodes(episodes, GAMMA)


# Checkpoints


@pytest.mark.parametrize("lengths", [[3, 2], [5, 5], [4, 4, 4], [4, 4, 4, 9]])
def test_state_continues_exactly(lengths: list[int]) -> None:
    """Partly filled, just full, and gone around: contents, samples and what comes next."""
    replay, again = filled(lengths, capacity=10), empty(10)
    again.load_state({key: value.clone() for key, value in replay.state().items()})
    for t in range(3):
        for one in (replay, again):
            put(one, [50, 51], t, step=7)
        same(again.episodes(), replay.episodes())
        rngs = [torch.Generator().manual_seed(t) for _ in range(2)]
        a, b = replay.sample(16, rngs[0]), again.sample(16, rngs[1])
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_longer_run_continues_a_ring_that_is_not_full() -> None:
    replay, again = filled([5, 5], capacity=10), empty(16)
    again.load_state(replay.state())
    for t in range(4):
        put(again, [2], t)
    assert who(again.all().obs)[-4:] == [(2, t) for t in range(4)] and len(again) == 14
    same_start = again.episodes()["observations"][: 2 * 6]
    assert torch.equal(same_start, replay.episodes()["observations"])


@pytest.mark.parametrize("capacity", [9, 11])
def test_a_ring_of_another_size_is_refused(capacity: int) -> None:
    with pytest.raises(InvalidValue, match=f"10 transitions .* holds {capacity}"):
        empty(capacity).load_state(wrapped().state())
