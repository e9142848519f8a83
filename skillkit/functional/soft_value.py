"""Soft values: V(s) = alpha log int exp(Q(s,a)/alpha) da over a in [-1, 1]^A (THEORY 1, 4).

Samples sit in the last dimension, actions a_j ~ q, with `log_proposal` = log q(a_j|s) a density on
the space where the integral is meant: [-1, 1]^A for actions, so the constant alpha A log 2 is kept.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def boltzmann_log_weights(q: Tensor, alpha: Tensor | float, log_proposal: Tensor | float) -> Tensor:
    """Q(s,a_j)/alpha - log q(a_j|s): log importance weights of exp(Q/alpha) under q (THEORY 6).

    Their softmax resamples the candidates; without the correction the result is q exp(Q/alpha).

    Args: q [r], alpha > 0 [r/nat], log_proposal [nat]. (..., K) -> (..., K)
    """
    return q / alpha - log_proposal


def sampled_soft_value(q: Tensor, alpha: Tensor | float, log_proposal: Tensor | float) -> Tensor:
    """V = alpha log mean_j exp(Q(s,a_j)/alpha - log q(a_j|s))  (THEORY 4). (..., K) -> (...,) [r]

    Biased low with few samples: the logarithm is concave.
    """
    return alpha * log_mean_exp(boltzmann_log_weights(q, alpha, log_proposal))


def uniform_soft_value(q: Tensor, alpha: Tensor | float, action_dim: int) -> Tensor:
    """V = alpha logmeanexp_j(Q/alpha) + alpha A log 2, a_j ~ U([-1, 1]^A). (..., K) -> (...,)"""
    return sampled_soft_value(q, alpha, log_proposal=-action_dim * math.log(2.0))


def discrete_soft_value(q: Tensor, alpha: Tensor | float) -> Tensor:
    """V = alpha log sum_a exp(Q(s,a)/alpha): exact over a finite set. (..., A) -> (...,) [r]

    Above the best of them by at most alpha log A:

    >>> q = torch.tensor([1.0, 1.0])
    >>> discrete_soft_value(q, alpha=1.0), discrete_soft_value(q, alpha=0.01)
    (tensor(1.6931), tensor(1.0069))
    """
    return alpha * torch.logsumexp(q / alpha, dim=-1)


def log_mean_exp(x: Tensor) -> Tensor:
    """log mean_j exp(x_j) without overflow. (..., K) -> (...,)"""
    return torch.logsumexp(x, dim=-1) - math.log(x.shape[-1])


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """(sum_j w_j)^2 / sum_j w_j^2, between 1 and K (Kish 1965); scale-free. (..., K) -> (...,)

    >>> effective_sample_size(torch.tensor([[5.0, 5.0], [5.0, -95.0]])).round()
    tensor([2., 1.])
    """
    total = torch.logsumexp(log_weights, dim=-1)
    return torch.exp(2.0 * total - torch.logsumexp(2.0 * log_weights, dim=-1))
