"""Whole episodes as tensors: how a skill stores what it was learned from."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from skillkit.errors import InvalidValue

EPISODE_KEYS = (
    "observations",  # (sum(T_e + 1), O)
    "actions",  # (sum T_e, A) unit
    "pre_tanh",  # (sum T_e, A)
    "rewards",  # (sum T_e,) [r]
    "lengths",  # (episodes,)
    "terminated",  # (episodes,)
    "truncated",  # (episodes,)
    "training_step",  # (episodes,) environment steps taken when the episode began
)
DISCOUNTS = "discounts"  # (sum T_e,), beside them where decisions are held for several steps


def check(tensors: Mapping[str, Tensor]) -> None:
    """Whether they are as `EPISODE_KEYS` says, with a transition at least.

    Raises:
        InvalidValue: one is missing or has another shape or type, or the lengths are not right.
    """
    missing = [key for key in EPISODE_KEYS if key not in tensors]
    if missing:
        raise InvalidValue(f"a replay lacks {', '.join(missing)}")
    obs, action, lengths = tensors["observations"], tensors["actions"], tensors["lengths"]
    if min(obs.ndim, action.ndim, lengths.ndim) < 1 or not (obs.numel() and action.numel()):
        raise InvalidValue("a replay has no transitions")
    (t, a), e = action.shape[:1] + action.shape[-1:], len(lengths)
    numbers: dict[str, tuple[int, ...]] = {"rewards": (t,), DISCOUNTS: (t,)}
    numbers |= {"observations": (t + e, obs.shape[-1]), "actions": (t, a), "pre_tanh": (t, a)}
    for key in sorted(tensors.keys() & {*EPISODE_KEYS, DISCOUNTS}):
        found, needed = tensors[key], numbers.get(key, (e,))
        if tuple(found.shape) != needed or found.is_floating_point() != (key in numbers):
            was = f"{found.dtype} {tuple(found.shape)}"
            raise InvalidValue(f"a replay's episode lengths do not match its {key}, {was}")
    # Each length by itself, too: a sum that overflows can be anything.
    if not bool(((lengths > 0) & (lengths <= t)).all()) or int(lengths.sum()) != t:
        raise InvalidValue("a replay's episode lengths do not match its transitions")


def chosen(lengths: Tensor, limit: int | None, latest: float = 0.0) -> Tensor:
    """Indices of episodes whose lengths sum to at most `limit` (at least one).

    Args:
        latest: share of the limit, in [0, 1], for the last ones; the others are evenly spaced.
    """
    count = len(lengths)
    if limit is None or int(lengths.sum()) <= limit:
        return torch.arange(count)
    last = int((lengths.flip(0).cumsum(0) <= latest * limit).sum())
    before, left = lengths[: count - last], limit - int(lengths[count - last :].sum())
    return torch.cat([_spread(before, left, 0 if last else 1), torch.arange(count - last, count)])


def _spread(lengths: Tensor, limit: int, fewest: int) -> Tensor:
    """Indices of evenly spaced episodes, as many as fit."""
    count = len(lengths)
    wanted = max(fewest, int(count * limit / int(lengths.sum())))
    while True:
        keep = torch.linspace(count - 1, 0, wanted).round().long().flip(0)  # the newest always
        if wanted == fewest or int(lengths[keep].sum()) <= limit:
            return keep
        wanted -= 1
