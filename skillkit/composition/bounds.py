"""What a composition loses, as fixed points (thesis ch. 6 with its missing factors, THEORY 5).

Every quantity X(s,a) here solves X = offset + discount E_{s'} next_X(s'), discount = gamma (1 - d).
The functions below are the next_X(s'): they take X(s',a') over actions a' with their
log-probabilities under the policy named, normalised over the last dimension: log pi(a'|s') over a
finite set, or -log K for K samples from pi. `fixed_point` does the rest.

    Q* = Q_S - C        optimal_gap           gap to the optimum, C_lo <= C <= C_up
    Q^{pi_S} = Q_S - F  policy_gap            gap to the composed policy's own value; regret = F - C
    Q^pi = Q_S - F^pi   policy_gap with a KL  gap to any other policy's value, e.g. a distilled one
    Q* = f + K          optimal_correction    any f with Bellman residual kappa
    Q^{pi_f} = f + K_pi policy_correction

They certify only for soft-optimal Q_i, and kappa for any; from learned critics everything is an
estimate. S states (or a batch of next states), A actions (or samples).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skillkit.errors import InvalidValue


def optimal_gap(c: Tensor, g: Tensor, log_pi_s: Tensor, alpha: float) -> Tensor:
    """C = gamma(1-d) E[G - alpha log E_{pi_S} exp(-C/alpha)], Q* = Q_S - C. (S, A) -> (S,)"""
    return g - alpha * torch.logsumexp(log_pi_s - c / alpha, dim=-1)


def optimal_gap_upper(c_up: Tensor, g: Tensor) -> Tensor:
    """C_up = gamma(1-d) E[G + max_a C_up] >= C  (thesis eq. 6.4 with G). (S, A) -> (S,)"""
    return g + c_up.amax(-1)


def optimal_gap_lower(c_lo: Tensor, g: Tensor) -> Tensor:
    """C_lo = gamma(1-d) E[G + min_a C_lo] <= C. (S, A) -> (S,)"""
    return g + c_lo.amin(-1)


def policy_gap(f: Tensor, g: Tensor, log_pi: Tensor, alpha_kl: Tensor | float = 0.0) -> Tensor:
    """F = gamma(1-d) E[G + alpha KL(pi||pi_S) + E_pi F], Q^pi = Q_S - F. (S, A) -> (S,)

    Linear policy evaluation with reward G. For pi = pi_S the KL is zero; for a distilled policy
    alpha KL(pi||pi_S) = E_pi[alpha log pi - Q_S] + V_S, its loss plus V_S [r].
    """
    return g + alpha_kl + expectation(f, log_pi)


def thesis_regret(d: Tensor, c_up: Tensor, log_pi_s: Tensor) -> Tensor:
    """D = gamma(1-d) E E_{pi_S}[C_up + D] >= regret: the thesis' loose one. (S, A) -> (S,)"""
    return expectation(c_up + d, log_pi_s)


def bellman_residual(
    f: Tensor, reward: Tensor, discount: Tensor | float, next_value: Tensor
) -> Tensor:
    """kappa = r + gamma(1-d) E V_f(s') - f, V_f = alpha log int exp(f/alpha) (THEORY 5) [r]"""
    return reward + discount * next_value - f


def optimal_correction(k: Tensor, log_pi_f: Tensor, alpha: float) -> Tensor:
    """K = kappa + gamma(1-d) alpha E log E_{pi_f} exp(K/alpha), Q* = f + K. (S, A) -> (S,)"""
    return alpha * torch.logsumexp(log_pi_f + k / alpha, dim=-1)


def policy_correction(k_pi: Tensor, log_pi_f: Tensor) -> Tensor:
    """K_pi = kappa + gamma(1-d) E E_{pi_f} K_pi, Q^{pi_f} = f + K_pi. (S, A) -> (S,)"""
    return expectation(k_pi, log_pi_f)


def expectation(x: Tensor, log_prob: Tensor) -> Tensor:
    """E_{a~pi} x(s,a) over actions with normalised log-probabilities. (S, A) -> (S,)"""
    return (log_prob.exp() * x).sum(-1)


def fixed_point(
    next_value: Callable[[Tensor], Tensor],
    backup: Callable[[Tensor], Tensor],
    discount: Tensor | float,
    offset: Tensor,
    max_iterations: int = 100_000,
) -> Tensor:
    """Solve X = offset + discount backup(next_value(X)) by iteration, to the dtype's precision.

    Each recursion here, and soft value iteration itself (next_value = soft value, offset = r), is
    a contraction in the maximum norm with factor `discount`.

    Args:
        next_value: X (S, A) -> its value in a next state (S,).
        backup: v (S,) -> E_{s'} v(s') (S, A).
        discount: gamma (1 - d), (S, A) or a number below 1. Where termination depends on s', let
            `backup` weigh with 1 - d and give gamma here.
        offset: zeros, a reward or kappa; sets shape and dtype. (S, A)

    Raises:
        InvalidValue: it does not converge.
    """
    x = offset
    for _ in range(max_iterations):
        previous, x = x, offset + discount * backup(next_value(x))
        change = (x - previous).abs().amax()
        if change <= ROUNDING * torch.finfo(x.dtype).eps * x.abs().amax().clamp(min=1.0):
            return x
    raise InvalidValue(
        f"a recursion did not converge in {max_iterations} iterations; "
        f"keep the discount below 1 and the disagreement finite"
    )


ROUNDING = 16.0  # units in the last place that a converged iteration may still move


class Interval(NamedTuple):
    """lo <= Q^{pi_f} - f <= Q* - f <= hi."""

    lo: Tensor  # ()
    hi: Tensor  # ()


def correction_interval(kappa: Tensor, gamma: float) -> Interval:
    """Bounds on K_pi and K from the extremes of kappa over all (s, a) (THEORY 5). -> (), () [r]

    hi = max(k_max, k_max/(1-gamma)), lo = min(k_min, k_min/(1-gamma)): the first of each pair is
    for an end right after (s, a), where kappa is paid only once.
    """
    low, high = kappa.amin(), kappa.amax()
    return Interval(
        lo=torch.minimum(low, low / (1.0 - gamma)), hi=torch.maximum(high, high / (1.0 - gamma))
    )


class GapEstimate(NamedTuple):
    """Estimated, never certified: replay states only, and learned critics."""

    largest: Tensor  # () [r]
    quantile95: Tensor  # () [r]


def estimated_gap(g: Tensor, gamma: float) -> GapEstimate:
    """C* ~ gamma/(1-gamma) times the maximum and the 95 % quantile of G over replay. (B,) -> [r]"""
    horizon = gamma / (1.0 - gamma)  # sum_{t>=1} gamma^t
    return GapEstimate(horizon * g.amax(), horizon * torch.quantile(g, 0.95))
