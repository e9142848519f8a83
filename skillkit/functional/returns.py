"""What stored episodes show to be possible: returns that look ahead as far as they pay."""

from __future__ import annotations

import torch
from torch import Tensor


def best_returns(
    reward: Tensor, discount: Tensor, next_value: Tensor, lengths: Tensor, weights: Tensor
) -> Tensor:
    """R_t = r_t + discount_t max(V(s_{t+1}), R_{t+1}): go on as stored for as long as it pays.

    Where the dynamics are deterministic and V is the value of a policy, R is the value of another
    policy that is at least as good: it follows what is stored, then V's. So one sweep carries a
    stored success back to the beginning of its episode, which a one-step target does in as many
    steps as the episode is long (He et al. 2016). Where chance decides, R counts luck as skill.

    Several rewards have a value each, under the same behaviour; their weighted sum decides.

    Args:
        reward: of N tasks, in the E episodes one after the other. (B, N) [r]
        discount: gamma (1 - terminated). (B,)
        next_value: V_i(s'). (B, N) [r]
        lengths: of the episodes, whose sum is B. (E,)
        weights: w_i. (N,)

    Returns:
        R_i(s,a). (B, N) [r]

    A stored success of 8, two steps ahead, where the policy expects 1 in every state:

    >>> r, one = torch.tensor([[0.0], [8.0], [0.0]]), torch.ones(3, 1)
    >>> best_returns(r, torch.full((3,), 0.5), one, torch.tensor([3]), torch.ones(1)).T
    tensor([[4.2500, 8.5000, 0.5000]])
    """
    begin = lengths.cumsum(0) - lengths  # (E,)
    best = torch.empty_like(reward)
    ahead = torch.full((len(lengths), reward.shape[1]), -torch.inf, dtype=reward.dtype)  # nothing
    for t in range(int(lengths.max()) - 1, -1, -1):
        running = torch.nonzero(lengths > t).squeeze(1)  # episodes that have such a step
        rows, stored = begin[running] + t, ahead[running]
        value = next_value[rows]
        goes_on = (stored @ weights > value @ weights)[:, None]
        best[rows] = reward[rows] + discount[rows, None] * torch.where(goes_on, stored, value)
        ahead[running] = best[rows]
    return best
