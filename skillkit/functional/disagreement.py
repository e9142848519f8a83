"""The disagreement G(s) = -alpha log int prod_i pi_i(a|s)^{b_i} da = sum_i w_i V_i - V_S  [r].

How much the skills' policies exclude each other in a state: zero where they agree, and with
sum b = 1 never negative (Hoelder). Every error of a composition is a discounted sum of it
(`skillkit.composition.bounds`; thesis ch. 6 generalised, THEORY 5). Two skills of equal
temperature and weights 1/2: G = (alpha/2) D_half, where thesis eq. 6.4 misprints the half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skillkit.errors import InvalidValue
from skillkit.functional.soft_value import discrete_soft_value, sampled_soft_value

SUM_TOLERANCE = 1e-6  # of sum b around one: float32 rounds b by 1e-7 each


class GaussianProduct(NamedTuple):
    """prod_i N(mu_i, v_i)^{b_i} = exp(log_integral) N(mean, variance), before the tanh."""

    log_integral: Tensor  # (B,) [nat]
    mean: Tensor  # (B, A)
    variance: Tensor  # (B, A)


def gaussian_product(
    means: Tensor, log_stds: Tensor, exponents: Sequence[float] | Tensor
) -> GaussianProduct:
    """Closed form of log int prod_i pi_i^{b_i} da for tanh-Gaussians with sum b = 1 (THEORY 5).

    1/v = sum b_i/v_i, m = v sum b_i mu_i/v_i, and per dimension
    log int = 1/2 (log v - sum b_i log v_i - sum b_i (mu_i - m)^2/v_i).
    The tanh Jacobians enter to the power 1 - sum b = 0; otherwise there is no closed form.

    Args: means, log_stds of the Gaussians before the tanh (N, B, A); exponents b_i >= 0 (N,).

    Raises:
        InvalidValue: an exponent is negative, or they do not sum to one.
    """
    _check_convex(exponents)
    b = torch.as_tensor(exponents, dtype=means.dtype, device=means.device)[:, None, None]
    precision = b * torch.exp(-2.0 * log_stds)  # b_i/v_i (N, B, A)
    variance = 1.0 / precision.sum(0)  # (B, A)
    mean = variance * (precision * means).sum(0)  # (B, A)
    spread = (precision * (means - mean).square()).sum(0)  # sum b mu^2/v - m^2/v would cancel
    log_integral = 0.5 * (variance.log() - (2.0 * b * log_stds).sum(0) - spread).sum(-1)
    return GaussianProduct(log_integral, mean, variance)


def gaussian_disagreement(
    means: Tensor, log_stds: Tensor, exponents: Sequence[float] | Tensor, alpha: Tensor | float
) -> Tensor:
    """G = -alpha log int prod_i pi_i^{b_i} da of tanh-Gaussians, sum b = 1. (N, B, A) -> (B,) [r]

    Raises:
        InvalidValue: the exponents do not sum to one; use `sampled_disagreement`.
    """
    return -alpha * gaussian_product(means, log_stds, exponents).log_integral


def sampled_disagreement(
    q: Tensor,
    weights: Sequence[float],
    temperatures: Sequence[float],
    alpha: float,
    log_proposal: Tensor | float,
) -> Tensor:
    """G = sum_i w_i V_i - V_S from actions a_j ~ q that all skills share (THEORY 5).

    Never negative with sum b = 1, however few the samples; noisy for peaked Q: average over
    states, or propose from the policies.

    Args: Q_i(s,a_j) [r] (N, B, K); w_i (N,); alpha_i [r/nat] (N,); alpha of the composition
        [r/nat]; log q(a_j|s) [nat] (B, K). Returns (B,) [r].
    """
    return _value_excess(
        q, weights, temperatures, alpha, lambda q_i, a: sampled_soft_value(q_i, a, log_proposal)
    )


def discrete_disagreement(
    q: Tensor, weights: Sequence[float], temperatures: Sequence[float], alpha: float
) -> Tensor:
    """G = sum_i w_i V_i - V_S, exact over a finite set of actions. (N, B, A) -> (B,) [r]

    Of two skills that want the same in the first state, and the opposite in the second:

    >>> q = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]])
    >>> discrete_disagreement(q, weights=[0.5, 0.5], temperatures=[0.2, 0.2], alpha=0.2)
    tensor([0.0000, 0.3627])
    """
    return _value_excess(q, weights, temperatures, alpha, discrete_soft_value)


def _value_excess(
    q: Tensor,
    weights: Sequence[float],
    temperatures: Sequence[float],
    alpha: float,
    soft_value: Callable[[Tensor, float], Tensor],
) -> Tensor:
    """sum_i w_i V_i - V_S, where V_S is the soft value of Q_S = sum_i w_i Q_i at alpha."""
    skills = list(zip(weights, q, temperatures, strict=True))
    q_sum = torch.stack([w * q_i for w, q_i, _ in skills]).sum(0)  # Q_S (B, K)
    v_sum = torch.stack([w * soft_value(q_i, alpha_i) for w, q_i, alpha_i in skills]).sum(0)  # (B,)
    return v_sum - soft_value(q_sum, alpha)


def _check_convex(exponents: Sequence[float] | Tensor) -> None:
    b = [float(b_i) for b_i in exponents]
    if not (all(b_i >= 0.0 for b_i in b) and math.isclose(sum(b), 1.0, abs_tol=SUM_TOLERANCE)):
        raise InvalidValue(
            f"the closed form of the disagreement needs exponents b_i = w_i alpha_i/alpha that are "
            f"not negative and sum to one, got {b}; take alpha = sum w_i alpha_i, or estimate the "
            f"disagreement from samples"
        )
