"""Replays that say what is in them.

Transitions say who they are: obs = (episode, t), next_obs = (episode, t + 1), and every other
column is a function of both.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skillkit.replay import EPISODE_KEYS, ReplayBuffer
from skillkit.types import Array

GAMMA = 0.9


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
