"""How much of what a policy visits is like what is stored: where nothing is, critics guess."""

from __future__ import annotations

import torch
from torch import Tensor

MOST_STORED, MOST_ASKED = 4_096, 2_048  # states compared; all pairs of them are
USUAL = 0.95  # share of stored states that count as covered by other stored episodes


@torch.no_grad()
def coverage(stored: Tensor, lengths: Tensor, visited: Tensor, generator: torch.Generator) -> float:
    """Share of the visited states whose nearest stored state is as near as is usual in the replay.

    Usual is the 95 % quantile of the distance from a state of one half of the stored episodes to
    the nearest of the other half, so a policy that does what was stored comes to .95. Distances
    are Euclidean, each observation entry in units of its standard deviation in the replay.

    Args:
        stored: observations of at least two episodes, one after the other. (sum L_e, O)
        lengths: observations in each. (episodes,)
        visited: (V, O)
    """
    spread = stored.std(0, correction=0)
    unit = torch.where(spread > 0, spread, torch.ones_like(spread))
    half = torch.randperm(len(lengths), generator=generator) < len(lengths) // 2  # (episodes,)
    one = torch.repeat_interleave(half, lengths)  # (sum L_e,)
    reference = _some(stored[~one] / unit, MOST_STORED, generator)
    usual = _nearest(_some(stored[one] / unit, MOST_ASKED, generator), reference).quantile(USUAL)
    asked = _some(visited / unit, MOST_ASKED, generator)
    return float((_nearest(asked, reference) <= usual).float().mean())


def _nearest(states: Tensor, reference: Tensor) -> Tensor:
    """Distance to the nearest. (n, O), (m, O) -> (n,)"""
    return torch.cdist(states, reference).amin(-1)


def _some(states: Tensor, most: int, generator: torch.Generator) -> Tensor:
    return states[torch.randperm(len(states), generator=generator)[:most]]
