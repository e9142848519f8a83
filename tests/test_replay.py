"""The replay buffer: a ring, its episodes, other tasks' labels, unions and checkpoints.

Stored transitions say who they are: obs = (episode, t), next_obs = (episode, t + 1), and every
other column is a function of both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from skillkit.envs import Quantities, make, task
from skillkit.errors import InvalidValue
from skillkit.replay import EPISODE_KEYS, ReplayBuffer, union
from skillkit.types import Array
from tests.toys import spec

GAMMA = 0.9
SPEC = spec(2, 1, low=-3.0, high=1.0)


def empty(capacity: int) -> ReplayBuffer:
    return ReplayBuffer(capacity, 2, 1, GAMMA)


def put(replay: ReplayBuffer, episodes: list[int], t: int, ends: str = "", step: int = 0) -> None:
    """Transition t of some episodes side by side; `ends` says how each goes on: "-", "T", "L"."""
    number = np.array(episodes, float)
    u = unit_u(number, t)
    how = np.array(list(ends or "-" * len(episodes)))
    replay.add(
        np.stack([number, np.full(len(number), t)], 1),
        np.tanh(u)[:, None],
        u[:, None],
        reward_of(number, t),
        how == "T",
        how == "L",
        np.stack([number, np.full(len(number), t + 1)], 1),
        np.array(episodes),
        step,
    )


def unit_u(episode: Array, t: Array | int) -> Array:
    return np.sin(episode + 10 * t)


def reward_of(episode: Array, t: Array | int) -> Array:
    return 100 * episode + t


def filled(lengths: list[int], capacity: int = 100, ends: str = "") -> ReplayBuffer:
    """Whole episodes one after the other, of alternating ends unless given; step counts all."""
    replay, step = empty(capacity), 0
    for number, length in enumerate(lengths):
        end = ends[number] if ends else "TL"[number % 2]
        for t in range(length):
            put(replay, [number], t, end if t == length - 1 else "-", step)
            step += 1
    return replay


def wrapped() -> ReplayBuffer:
    """Episodes 0 to 2 of 4 steps in a ring of 10: the first lost two, the last lies around."""
    return filled([4, 4, 4], capacity=10)


def who(obs: Tensor) -> list[tuple[int, int]]:
    return [(int(e), int(t)) for e, t in obs.tolist()]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys() == set(EPISODE_KEYS)
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=0, atol=0, msg=key)


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
