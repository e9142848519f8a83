"""Soft actor-critic's four equations (thesis ch. 4 and 5; THEORY 3).

Every `log_prob` is a density of actions in [-1, 1]^A. An upper layer of a hierarchy passes
`log_prior`, log N(h; 0, I): its entropy bonus becomes a KL penalty towards that prior
(thesis ch. 7; THEORY 7).
"""

from __future__ import annotations

import torch
from torch import Tensor


def td_target(
    reward: Tensor,
    discount: Tensor,
    next_q: Tensor,
    next_log_prob: Tensor,
    alpha: Tensor | float,
    next_log_prior: Tensor | float = 0.0,
) -> Tensor:
    """y = r + discount (Qbar(s',a') - alpha (log pi(a'|s') - log prior))  (thesis eq. 4.3, 4.4).

    Args: reward [r], discount = gamma^m (1 - terminated), next_q = min_i Qbar_i(s',a') [r]. (B,)

    The second transition ended its episode:

    >>> r, discount = torch.tensor([1.0, 1.0]), torch.tensor([0.9, 0.0])
    >>> td_target(r, discount, torch.tensor([10.0, 10.0]), torch.tensor([-2.0, -2.0]), alpha=0.5)
    tensor([10.9000,  1.0000])
    """
    return reward + discount * (next_q - alpha * (next_log_prob - next_log_prior))  # (B,)


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """Sum over critics of mean 1/2 (Q_i - y)^2  (thesis eq. 4.5). (N, B), (B,) -> ()

    >>> critic_loss(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.tensor([1.0, 1.0]))
    tensor(1.5000)
    """
    return 0.5 * (q - target).square().mean(-1).sum()


def actor_loss(
    log_prob: Tensor, q: Tensor, alpha: Tensor | float, log_prior: Tensor | float = 0.0
) -> Tensor:
    """E[alpha (log pi(a|s) - log prior) - Q(s,a)], a = f(eps; s)  (thesis eq. 4.9). (B,) -> ()

    With Q a fixed sum of skills' Q-functions this is also the distillation loss (THEORY 6).
    """
    return (alpha * (log_prob - log_prior) - q).mean()


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """-log_alpha E[log pi + Hbar]: alpha falls while the entropy is above its target (eq. 5.8).

    In log alpha, so that alpha stays positive (THEORY 3). (), (B,) -> ()
    """
    return -log_alpha * (log_prob + target_entropy).detach().mean()


def log_normal(x: Tensor) -> Tensor:
    """log N(x; 0, I), summed over the last dimension. (..., A) -> (...,)"""
    return -0.5 * (x.square() + LOG_2PI).sum(-1)


def squash_log_det(u: Tensor) -> Tensor:
    """log |d tanh(u)/du| = 2 (log 2 - u - softplus(-2u)), summed; exact in both tails.

    (..., A) -> (...,)
    """
    return (2.0 * (LOG_2 - u - torch.nn.functional.softplus(-2.0 * u))).sum(-1)


LOG_2 = 0.6931471805599453
LOG_2PI = 1.8378770664093453
