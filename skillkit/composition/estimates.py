"""What a composition costs, estimated on stored transitions (THEORY 5).

The critics of a trained skill are values of its own policy, pessimistic through the minimum over
the ensemble. Numbers from them are called estimated, never certified.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skillkit.composition.bounds import estimated_gap
from skillkit.composition.gaps import fitted_gaps, successors, summary
from skillkit.functional.disagreement import sampled_disagreement
from skillkit.functional.soft_value import boltzmann_log_weights, effective_sample_size
from skillkit.policies import Policy
from skillkit.policies.mixture import Mixture, candidate_values
from skillkit.q_functions import SoftQ, WeightedSum
from skillkit.types import Batch

# (obs (B, O), source of randomness) -> actions (B, K, A), log of their density (B, K)
Propose = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Proposal:
    """Candidates from the uniform density and the skills' policies."""

    mixture: Mixture

    def __call__(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        noise = torch.randn(len(obs), self.mixture.noise_dim, generator=generator)
        u = self.mixture.raw(obs, noise)
        return torch.tanh(u), self.mixture.log_prob(obs, u)


@torch.no_grad()
def estimated_cost(
    q: WeightedSum,
    labels: Sequence[str],
    policy: Policy,
    batch: Batch,
    propose: Propose,
    updates: int,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Disagreement G in stored states, what follows from it, and how well it was sampled.

    Args:
        q: the sum of the skills' Q-functions.
        labels: of the skills.
        policy: the composed one.
        batch: transitions of the union of the replays; G is taken in their next states.
        propose: candidate actions.
        updates: of the fitted evaluation; 0 leaves out what it estimates.

    Returns:
        disagreement_mean, _q95 and _max of G [r]; gap_q95 and gap_max, the rough bound
        gamma/(1 - gamma) G of C [r]; effective_sample_size, the median over states of the
        candidates that carry exp(Q_S/alpha) [-], and the number of candidates;
        pairwise_disagreement, mean and q95 [r] for each two skills in equal parts; estimated, mean
        and q95 [r] of each gap of `gaps.summary`.
    """
    action, log_q = propose(batch.next_obs, generator)
    found = _values(q, batch.next_obs, action, log_q)
    log_weights = boltzmann_log_weights(found.q, q.alpha, log_q)
    g, gap = found.g, estimated_gap(found.g, q.gamma)
    cost: dict[str, Any] = {
        "disagreement_mean": float(g.mean()),
        "disagreement_q95": float(g.quantile(0.95)),
        "disagreement_max": float(g.max()),
        "gap_q95": float(gap.quantile95),
        "gap_max": float(gap.largest),
        "effective_sample_size": float(effective_sample_size(log_weights).median()),
        "candidates": float(action.shape[1]),
        "pairwise_disagreement": {
            f"{labels[i]}, {labels[j]}": _mean_and_q95(pair)
            for (i, j), pair in _pairwise(found.parts, q.temperatures, log_q).items()
        },
    }
    if not updates:
        return cost
    known = successors(q, policy, batch.next_obs, action, log_weights, g, generator)
    fit = fitted_gaps(batch, known, updates, int(torch.randint(2**31, (), generator=generator)))
    gaps = summary(fit, batch.next_obs, known)
    return cost | {"estimated": {name: _mean_and_q95(x) for name, x in gaps.items()}}


class _Values(NamedTuple):
    """A soft Q-function at candidates, and what its parts, if it has any, disagree by."""

    q: Tensor  # (B, K) [r]
    g: Tensor  # (B,) [r]
    parts: Tensor  # (N, B, K) [r]; of a Q-function without parts (0, B, K)


def _values(q: SoftQ, obs: Tensor, action: Tensor, log_q: Tensor) -> _Values:
    """G is that of the trained skills: a composed part brings its own, sum_i w_i G_i, along."""
    if not isinstance(q, WeightedSum):
        values = candidate_values(q, obs, action)
        return _Values(values, torch.zeros(len(obs)), values[None, :0])
    parts: Any = q.parts
    inner = [_values(part, obs, action, log_q) for part in parts]
    values, own = torch.stack([v.q for v in inner]), torch.stack([v.g for v in inner])
    weights = torch.tensor(q.weights)
    g = sampled_disagreement(values, q.weights, q.temperatures, q.alpha, log_q)
    total = torch.einsum("n,nbk->bk", weights, values)
    return _Values(total, g + torch.einsum("n,nb->b", weights, own), values)


def _pairwise(
    values: Tensor, temperatures: Sequence[float], log_q: Tensor
) -> dict[tuple[int, int], Tensor]:
    """G of each two skills in equal parts, whatever their weights here. (N, B, K) -> (B,) each"""
    halves = (0.5, 0.5)
    return {
        (i, j): sampled_disagreement(values[[i, j]], halves, pair, sum(pair) / 2, log_q)
        for i, j in itertools.combinations(range(len(values)), 2)
        for pair in [(temperatures[i], temperatures[j])]
    }


def _mean_and_q95(x: Tensor) -> dict[str, float]:
    return {"mean": float(x.mean()), "q95": float(x.quantile(0.95))}
