"""What a composition costs, estimated on stored states (THEORY 5).

The critics of a trained skill are values of its own policy, pessimistic through the minimum over
the ensemble. Numbers from them are called estimated, never certified.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skillkit.composition.bounds import estimated_gap
from skillkit.functional.disagreement import sampled_disagreement
from skillkit.functional.soft_value import boltzmann_log_weights, effective_sample_size
from skillkit.policies import Policy
from skillkit.policies.policy import unsquash
from skillkit.q_functions import WeightedSum

LOG_2 = math.log(2.0)


@dataclass(frozen=True)
class Proposal:
    """Candidate actions from an equal mixture of the skills' policies and the uniform density.

    The uniform part keeps every importance weight bounded.
    """

    policies: Sequence[Policy]

    def __call__(
        self, obs: Tensor, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """`count` candidates from each component. (B, O) -> actions (B, K, A), log q (B, K)."""
        action_dim = self.policies[0].action_dim
        shape = (len(obs), count, action_dim)
        obs = obs[:, None].expand(-1, count, -1)  # (B, count, O)
        raw = [unsquash(2 * torch.rand(shape, generator=generator) - 1)]
        raw += [
            policy.raw(obs, torch.randn(*shape[:2], policy.noise_dim, generator=generator))
            for policy in self.policies
        ]
        u = torch.cat(raw, 1)  # (B, K, A), K = count (1 + number of policies)
        action = torch.tanh(u)
        obs = obs[:, :1].expand(-1, u.shape[1], -1)
        uniform = torch.full(u.shape[:2], -action_dim * LOG_2)
        densities = [uniform] + [p.log_prob(obs, action, pre_tanh=u) for p in self.policies]
        log_q = torch.logsumexp(torch.stack(densities), 0) - math.log(len(densities))
        return action, log_q


@torch.no_grad()
def estimated_cost(
    q: WeightedSum,
    policies: Sequence[Policy],
    obs: Tensor,
    generator: torch.Generator,
    candidates: int = 64,
) -> dict[str, float]:
    """Disagreement G on stored states, what follows from it, and how well it was sampled.

    Args:
        q: the sum of the skills' Q-functions.
        policies: the skills' own; candidates come from them.
        obs: states from the union of the replays. (B, O)
        candidates: from each policy and from the uniform density.

    Returns:
        disagreement_mean, _q95 and _max of G [r]; gap_q95 and gap_max, the estimated
        C = gamma/(1 - gamma) G [r]; effective_sample_size, the median over states of the
        candidates that carry exp(Q_S/alpha) [-], and the number of candidates.
    """
    action, log_q = Proposal(policies)(obs, candidates, generator)
    flat_obs = obs[:, None].expand(-1, action.shape[1], -1).flatten(0, 1)
    values = torch.stack([part(flat_obs, action.flatten(0, 1)) for part in q.parts])
    values = values.unflatten(1, log_q.shape)  # (N, B, K)
    g = sampled_disagreement(values, q.weights, q.temperatures, q.alpha, log_q)
    gap = estimated_gap(g, q.gamma)
    weights = torch.tensor(q.weights)[:, None, None]
    log_w = boltzmann_log_weights((weights * values).sum(0), q.alpha, log_q)
    return {
        "disagreement_mean": float(g.mean()),
        "disagreement_q95": float(g.quantile(0.95)),
        "disagreement_max": float(g.max()),
        "gap_q95": float(gap.quantile95),
        "gap_max": float(gap.largest),
        "effective_sample_size": float(effective_sample_size(log_w).median()),
        "candidates": float(action.shape[1]),
    }
