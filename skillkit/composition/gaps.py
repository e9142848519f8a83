"""What a composition loses, estimated on stored transitions (THEORY 5).

The recursions of `bounds`, solved by fitted evaluation: next states from the replay, actions from
the policy that each recursion names. Actions that nobody stored are extrapolated, and the Q_i are
learned: these are estimates, never certified.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skillkit.algorithms.fitted import FittedConfig, FittedFixedPoint, Size
from skillkit.composition import bounds
from skillkit.policies import Policy
from skillkit.policies.mixture import candidate_values
from skillkit.q_functions import SoftQ
from skillkit.types import Batch

OWN = 4  # actions of the distilled policy in each next state
TINY = 1e-6  # scale of a gap that is zero everywhere [r]


@dataclass(frozen=True)
class Successors:
    """What is known of the next states s' of B transitions."""

    action: Tensor  # candidates a'_k (B, K, A)
    log_pi_s: Tensor  # their weights under pi_S, normalised (B, K)
    g: Tensor  # G (B,) [r]
    alpha: float  # of Q_S [r/nat]
    own: Tensor  # actions of the distilled policy (B, OWN, A), or none of them (B, 0, A)
    alpha_kl: Tensor  # alpha KL(pi||pi_S) (B,) [r]

    @property
    def names(self) -> list[str]:
        """Of the gaps, in the order of `next_value`; the last needs the distilled policy."""
        return [*GAPS, *([DISTILLED] if self.own.shape[1] else [])]

    def next_value(self, x: Tensor, rows: Tensor) -> Tensor:
        """The right-hand sides but for the discount. (b, K + OWN, H), (b,) -> (b, H)"""
        count = self.action.shape[1]
        g, log_pi_s = self.g[rows], self.log_pi_s[rows]
        c, c_up, c_lo, f, d, *_ = x[:, :count].unbind(-1)  # (b, K) each
        found = [
            bounds.optimal_gap(c, g, log_pi_s, self.alpha),
            bounds.optimal_gap_upper(c_up, g),
            bounds.optimal_gap_lower(c_lo, g),
            bounds.policy_gap(f, g, log_pi_s),
            bounds.thesis_regret(d, c_up, log_pi_s),
        ]
        if self.own.shape[1]:
            f_pi = x[:, count:, -1]  # (b, OWN)
            equal = torch.full_like(f_pi, -math.log(f_pi.shape[1]))
            found.append(bounds.policy_gap(f_pi, g, equal, self.alpha_kl[rows]))
        return torch.stack(found, -1)

    def size(self, discount: Tensor) -> Size:
        """Every gap is a discounted sum of its reward: G, C_up for D, G + alpha KL for F^pi."""
        mean, most = (float(d / (1 - d)) for d in (discount.mean(), discount.max()))

        def sums(horizon: float, of: Callable[[Tensor], Tensor]) -> Tensor:
            g, g_kl = horizon * of(self.g), horizon * of(self.g + self.alpha_kl)
            return torch.stack([g, g, g, g, horizon * g, g_kl])[: len(self.names)]

        return Size(
            level=sums(mean, torch.mean),
            scale=sums(mean, lambda r: r.abs().mean()).clamp(min=TINY),
            low=sums(most, torch.min).clamp(max=0.0),
            high=sums(most, torch.max).clamp(min=0.0),
        )


GAPS = (
    "optimal_gap",
    "optimal_gap_upper",
    "optimal_gap_lower",
    "policy_gap",
    "thesis_regret",
)  # C, C_up, C_lo, F, D
DISTILLED = "distilled_gap"  # F^pi


def successors(
    q: SoftQ,
    policy: Policy,
    next_obs: Tensor,
    action: Tensor,
    log_weights: Tensor,
    g: Tensor,
    generator: torch.Generator,
) -> Successors:
    """What the recursions read, from candidates in the next states.

    Args:
        q: Q_S.
        policy: the distilled one; without a density its own gap is left out.
        next_obs: (B, O)
        action: candidates. (B, K, A)
        log_weights: Q_S/alpha - log proposal of them. (B, K)
        g: the disagreement. (B,)
    """
    log_pi_s = log_weights.log_softmax(-1)
    if not policy.has_density:
        return Successors(action, log_pi_s, g, q.alpha, action[:, :0], torch.zeros_like(g))
    noise = torch.randn(len(next_obs), OWN, policy.noise_dim, generator=generator)
    obs = next_obs[:, None].expand(-1, OWN, -1)
    own, log_prob = policy.act_and_log_prob(obs, noise)  # (B, OWN, A), (B, OWN)
    distillation_loss = (q.alpha * log_prob - candidate_values(q, next_obs, own)).mean(-1)
    value = q.alpha * (log_weights.logsumexp(-1) - math.log(log_weights.shape[-1]))  # V_S (B,)
    return Successors(action, log_pi_s, g, q.alpha, own, distillation_loss + value)


def fitted_gaps(batch: Batch, known: Successors, updates: int, seed: int) -> FittedFixedPoint:
    """The gaps X(s,a), one output each, in the order of `known.names`."""
    actions = torch.cat([known.action, known.own], 1)
    size = known.size(batch.discount)
    fit = FittedFixedPoint(batch, actions, known.next_value, size, FittedConfig(), seed)
    for update in range(updates):
        fit.anneal(update / updates)
        fit.update()
    return fit


def summary(fit: FittedFixedPoint, next_obs: Tensor, known: Successors) -> dict[str, Tensor]:
    """Each gap in the stored states, on average over the actions of pi_S, and the regret's bound.

    regret_bound is F^pi - C_lo, or F - C_lo where the policy has no density. -> (B,) each [r]
    """
    obs = next_obs[:, None].expand(-1, known.action.shape[1], -1)
    x = fit(obs, known.action)  # (B, K, H)
    found = {
        name: bounds.expectation(x[..., i], known.log_pi_s) for i, name in enumerate(known.names)
    }
    lost = found.get(DISTILLED, found["policy_gap"])
    return found | {"regret_bound": lost - found["optimal_gap_lower"]}
