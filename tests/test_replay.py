"""The replay buffer: a ring, its episodes, and its checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.replay import EPISODE_KEYS, ReplayBuffer, Sampling, union
from skillkit.ring import REFRESH
from tests.replays import GAMMA, empty, filled, put, reward_of, same, unit_u, who, wrapped
from tests.toys import spec

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


@pytest.mark.parametrize(
    ("latest", "numbers"),
    [
        (0.0, [0, 6, 13, 19]),
        (0.25, [0, 9, 18, 19]),
        (0.5, [0, 17, 18, 19]),
        (0.7, [0, 17, 18, 19]),  # whole episodes
        (1.0, [16, 17, 18, 19]),
    ],
)
def test_a_share_of_the_limit_is_for_the_latest(latest: float, numbers: list[int]) -> None:
    episodes = filled([5] * 20).episodes(20, latest=latest)
    assert (episodes["training_step"] // 5).tolist() == numbers
    assert len(filled([5] * 4).episodes(20, latest=latest)["lengths"]) == 4  # all there is


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


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("lengths", [-1, 6], "lengths do not match its transitions"),
        ("lengths", [0, 5], "lengths do not match its transitions"),
        ("lengths", [5, 5], "lengths do not match its transitions"),
        ("lengths", [2.0, 3.0], "do not match its lengths"),
        ("lengths", 5, "no transitions"),
        ("rewards", [[0.0]] * 5, "do not match its rewards"),
        ("rewards", [0] * 5, "do not match its rewards"),
        ("pre_tanh", [[0.0] * 9] * 5, "do not match its pre_tanh"),
        ("terminated", [False], "do not match its terminated"),
        ("training_step", [0, 0, 0], "do not match its training_step"),
        ("actions", [[]] * 5, "no transitions"),
        ("observations", [[]] * 7, "no transitions"),
    ],
)
def test_a_replay_that_a_stranger_made_up(key: str, value: Any, complaint: str) -> None:
    episodes = filled([2, 3]).episodes()
    with pytest.raises(InvalidValue, match=complaint):
        ReplayBuffer.from_episodes(episodes | {key: torch.tensor(value)}, GAMMA)


def test_lengths_whose_sum_overflows_are_refused() -> None:
    """To the right sum; whoever believes it writes far beyond the end."""
    episodes = filled([1] * 5).episodes()
    episodes["lengths"] = torch.tensor([2**62, 2**62, 2**62, 2**62, 5])
    assert episodes["lengths"].sum() == 5
    with pytest.raises(InvalidValue, match="lengths do not match its transitions"):
        ReplayBuffer.from_episodes(episodes, GAMMA)


# Checkpoints


def restored(again: ReplayBuffer, replay: ReplayBuffer, *parts: dict[str, Tensor]) -> None:
    """With all rows in one part, unless there are others."""
    again.load_state(replay.state(), parts or [replay.since()])


@pytest.mark.parametrize("lengths", [[3, 2], [5, 5], [4, 4, 4], [4, 4, 4, 9]])
def test_state_continues_exactly(lengths: list[int]) -> None:
    """Partly filled, just full, and gone around: contents, samples and what comes next."""
    replay, again = filled(lengths, capacity=10), empty(10)
    restored(again, replay)
    for t in range(3):
        for one in (replay, again):
            put(one, [50, 51], t, step=7)
        same(again.episodes(), replay.episodes())
        rngs = [torch.Generator().manual_seed(t) for _ in range(2)]
        a, b = replay.sample(16, rngs[0]), again.sample(16, rngs[1])
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_longer_run_continues_a_ring_that_is_not_full() -> None:
    replay, again = filled([5, 5], capacity=10), empty(16)
    restored(again, replay)
    for t in range(4):
        put(again, [2], t)
    assert who(again.all().obs)[-4:] == [(2, t) for t in range(4)] and len(again) == 14
    same_start = again.episodes()["observations"][: 2 * 6]
    assert torch.equal(same_start, replay.episodes()["observations"])


@pytest.mark.parametrize("capacity", [9, 11])
def test_a_ring_of_another_size_is_refused(capacity: int) -> None:
    with pytest.raises(InvalidValue, match=f"10 transitions .* holds {capacity}"):
        restored(empty(capacity), wrapped())


@pytest.mark.parametrize("capacity", [4, 9, 50])
def test_parts_make_the_whole(capacity: int) -> None:
    """Each has what came after the one before; of some the rows were overwritten since."""
    replay, parts, known = empty(capacity), [], 0
    for number, length in enumerate((2, 7, 1, 12, 3)):
        for t in range(length):
            put(replay, [number], t)
        parts.append(replay.since(known))
        known = replay.added
        for kept in (parts, parts[-4:] if capacity < 20 else parts):
            again = empty(capacity)
            restored(again, replay, *kept)
            assert torch.equal(again.rows, replay.rows)
            assert (again.cursor, len(again)) == (replay.cursor, len(replay))
            same(again.episodes(), replay.episodes())


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_part_that_is_missing(missing: int) -> None:
    replay, parts = empty(50), []
    for number in range(3):
        put(replay, [number], 0)
        parts.append(replay.since(number))
    del parts[missing]
    with pytest.raises(CorruptSkill, match=f"rows are missing after the first {missing}"):
        restored(empty(50), replay, *parts)


def test_what_was_looked_up_and_how_far_the_next_row_is_come_back() -> None:
    replay, again = empty(50), empty(50)
    for t in range(6):
        put(replay, [0, 1], t)
    found = replay.rewarded()
    put(replay, [0, 1], 6)  # not looked up yet
    restored(again, replay)
    assert torch.equal(again.rewarded(), found) and len(found) and found.max() < 12
    sampling = Sampling(n_step=3, rewarded_share=0.5)
    a, b = (
        one.sample(64, torch.Generator().manual_seed(0), 0, sampling) for one in (replay, again)
    )
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# Decisions that are held


def held(lengths: list[list[int]], ends: str) -> ReplayBuffer:
    """Episodes by how many steps each of their decisions lasts."""
    replay = ReplayBuffer(50, 2, 1, GAMMA, held=True)
    for number, decisions in enumerate(lengths):
        for t, lasted in enumerate(decisions):
            last = t == len(decisions) - 1
            terminated, truncated = ([last and ends[number] == end] for end in "TL")
            replay.add(
                np.array([[number, t]]), np.array([[3.0]]), np.array([[3.0]]), np.array([7.0]),
                np.array(terminated), np.array(truncated), np.array([[number, t + 1]]),
                np.array([number]), 0, np.array([lasted]),
            )  # fmt: skip
    return replay


def test_a_decision_is_discounted_by_the_steps_it_lasted() -> None:
    """The second episode terminates inside a hold, the third runs out of time inside one."""
    replay = held([[3, 3], [3, 2], [3, 1]], "TTL")
    expected = torch.tensor([GAMMA**3, 0, GAMMA**3, 0, GAMMA**3, GAMMA])
    torch.testing.assert_close(replay.all().discount, expected)


def test_its_discounts_are_stored() -> None:
    replay = held([[3, 3], [3, 2], [3, 1]], "TTL")
    episodes = replay.episodes()
    assert episodes.keys() == {*EPISODE_KEYS, "discounts"}
    again = ReplayBuffer.from_episodes(episodes, GAMMA)
    assert again.held and not filled([2]).held
    for a, b in zip(again.all(), replay.all(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(again.episodes()["discounts"], episodes["discounts"])
    assert union([again, replay]).held


@pytest.mark.parametrize("wrong", [1.0, -0.1, float("nan")])
def test_discounts_that_are_none(wrong: float) -> None:
    episodes = held([[3, 3]], "T").episodes()
    episodes["discounts"][0] = wrong
    with pytest.raises(InvalidValue, match="discounts must lie between 0 and gamma"):
        ReplayBuffer.from_episodes(episodes, GAMMA)


def test_it_is_not_relabelled() -> None:
    with pytest.raises(InvalidValue, match="decisions of several steps each"):
        held([[3, 3]], "T").relabel(spec(2, 1), lambda *_: np.zeros(2), lambda *_: np.zeros(2))


# What batches are made of


def beside(
    lengths: list[int], capacity: int = 100, ends: str = "TL", rows: int = 40
) -> ReplayBuffer:
    """Sub-environments side by side, each through episodes of its own length, with new numbers."""
    replay, t = empty(capacity), [0] * len(lengths)
    number, following = list(range(len(lengths))), len(lengths)
    for _ in range(rows // len(lengths)):
        over = [t[i] == lengths[i] - 1 for i in range(len(lengths))]
        state = np.stack([number, t], 1).astype(float)
        replay.add(
            state, np.zeros((len(t), 1)), np.zeros((len(t), 1)), reward_of(*state.T),
            np.array([o and ends[i] == "T" for i, o in enumerate(over)]),
            np.array([o and ends[i] == "L" for i, o in enumerate(over)]),
            state + [0, 1], np.array(number), 0,
        )  # fmt: skip
        for i in range(len(t)):
            t[i] = 0 if over[i] else t[i] + 1
            if over[i]:
                number[i], following = following, following + 1
    return replay


@pytest.mark.parametrize("capacity", [100, 40, 23])
@pytest.mark.parametrize("steps", [1, 2, 3, 9])
def test_rewards_of_several_transitions(capacity: int, steps: int) -> None:
    """By hand from who each row is: it stops where its episode does, and at the newest row."""
    replay = beside([4, 7], capacity)
    rows = who(replay.all().obs)
    batch = replay.sample(500, torch.Generator().manual_seed(0), 0, Sampling(steps))
    lengths = {0: 4, 1: 7}
    kinds = {e: 0 for e, t in rows if (e, 4) not in rows}  # short episodes never come to t = 4
    for i, (e, t) in enumerate(who(batch.obs)):
        ahead = [k for k in range(steps) if (e, t + k) in rows]
        ahead = ahead[: next((j for j, k in enumerate(ahead) if k != j), len(ahead))]
        expected = sum(GAMMA**k * reward_of(np.array(e), t + k) for k in ahead)
        assert batch.reward[i].item() == pytest.approx(float(expected), rel=1e-5)
        assert who(batch.next_obs[i : i + 1]) == [(e, t + len(ahead))]
        ended = batch.discount[i].item() == 0
        assert ended or batch.discount[i].item() == pytest.approx(GAMMA ** len(ahead))
        if ended:
            assert t + len(ahead) == lengths[0] and e in kinds


def test_the_newest_transition_does_not_go_on_at_the_oldest() -> None:
    """An episode longer than the ring: t = 3 to 7 are left of it, and nothing follows on 7."""
    replay = filled([8], capacity=5, ends="L")
    batch = replay.sample(200, torch.Generator().manual_seed(0), 0, Sampling(3))
    for (_, t), (_, then) in zip(who(batch.obs), who(batch.next_obs), strict=True):
        assert then == min(t + 3, 8)


def test_more_steps_than_any_episode_has_take_no_longer() -> None:
    replay = filled([8, 3], ends="TL")
    few, many = (
        replay.sample(64, torch.Generator().manual_seed(0), 0, Sampling(steps))
        for steps in (8, 10**15)
    )
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=True))


def test_single_transitions_are_what_they_were() -> None:
    replay = filled([3, 2, 4])
    one, other = (
        replay.sample(64, torch.Generator().manual_seed(0), 0, *more)
        for more in ((), (Sampling(),))
    )
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def rewarding(met: list[int]) -> ReplayBuffer:
    """30 episodes of 2 steps; the reward of some is 1 at the end, and 0 or less otherwise."""
    replay = empty(100)
    for number in range(30):
        for t in range(2):
            reward = np.array([1.0 if number in met and t == 1 else -float(number % 2)])
            replay.add(
                np.array([[number, t]]), np.zeros((1, 1)), np.zeros((1, 1)), reward,
                np.array([t == 1]), np.array([False]), np.array([[number, t + 1]]),
                np.array([number]), 0,
            )  # fmt: skip
    return replay


def test_a_share_of_a_batch_met_the_reward() -> None:
    """Whole episodes, not only the transition that was rewarded; the rest is drawn as ever."""
    batch = rewarding([4, 9]).sample(
        4_000, torch.Generator().manual_seed(0), 0, Sampling(rewarded_share=0.25)
    )
    met = np.isin(batch.obs[:, 0], [4, 9])
    assert met[:1_000].all() and met[1_000:].mean() == pytest.approx(2 / 30, abs=0.02)
    assert set(who(batch.obs[:1_000])) == {(4, 0), (4, 1), (9, 0), (9, 1)}


def test_none_met_it_and_later_some_do() -> None:
    replay, sampling = rewarding([]), Sampling(rewarded_share=1.0)
    before = replay.sample(64, torch.Generator().manual_seed(0), 0, sampling)
    plain = replay.sample(64, torch.Generator().manual_seed(0))
    assert torch.equal(before.obs, plain.obs)
    for t in range(REFRESH):
        replay.add(
            np.array([[77, t]]), np.zeros((1, 1)), np.zeros((1, 1)), np.array([1.0]),
            np.array([False]), np.array([False]), np.array([[77, t + 1]]), np.array([77]), 0,
        )  # fmt: skip
    after = replay.sample(64, torch.Generator().manual_seed(0), 0, sampling)
    assert (after.obs[:, 0] == 77).all()


@pytest.mark.parametrize("options", [{"n_step": 0}, {"rewarded_share": 1.1}])
def test_sampling_that_makes_no_sense(options: dict[str, float]) -> None:
    with pytest.raises(InvalidValue, match=f"replay.{next(iter(options))}"):
        Sampling(**options)  # type: ignore[arg-type]
