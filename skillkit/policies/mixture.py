"""Candidate actions for a target density: the prior's, and some from each skill's policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from skillkit.functional.soft_value import sampled_soft_value
from skillkit.policies.policy import Policy
from skillkit.policies.prior import Prior

if TYPE_CHECKING:
    from skillkit.q_functions import SoftQ


class Mixture:
    """q_mix(a|s): equal parts of the prior and of each policy (THEORY 6).

    The prior, uniform on [-1, 1]^A but for latents, keeps every importance weight bounded. A policy
    without density counts as what its training aims at, exp((Q_i - V_i)/alpha_i), with V_i from the
    prior's candidates: too low, and the density too high, where these are too few to meet a peak of
    Q_i.

    Args:
        action_dim: A.
        parents: policies, each with its soft Q-function, which only one without density needs.
        count: candidates from each component, the prior first; K = count (1 + parents).
        unbounded: whether actions are latents of a layer below.
    """

    def __init__(
        self,
        action_dim: int,
        parents: Sequence[tuple[Policy, SoftQ | None]],
        count: int,
        unbounded: bool = False,
    ) -> None:
        self.action_dim, self.parents, self.count = action_dim, tuple(parents), count
        self.prior = Prior(action_dim, unbounded)

    @property
    def noise_dims(self) -> list[int]:
        """Entries of noise behind one candidate of each component."""
        return [self.action_dim, *(policy.noise_dim for policy, _ in self.parents)]

    @property
    def noise_dim(self) -> int:
        """Entries of noise behind all candidates."""
        return self.count * sum(self.noise_dims)

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Candidates before the tanh. (..., O), (..., noise_dim) -> (..., K, A)"""
        pieces = torch.split(noise, [self.count * dim for dim in self.noise_dims], -1)
        first, *own = [
            piece.unflatten(-1, (self.count, dim))
            for piece, dim in zip(pieces, self.noise_dims, strict=True)
        ]
        candidates = [self.prior.raw(first)]
        for (policy, _), eps in zip(self.parents, own, strict=True):
            candidates.append(policy.raw(_states(obs, eps), eps))
        return torch.cat(candidates, -2)

    def log_prob(self, obs: Tensor, u: Tensor) -> Tensor:
        """log q_mix of the candidates that `raw` gave. (..., O), (..., K, A) -> (..., K) [nat]"""
        densities = [self.prior.log_prob(self.prior.action(u))]
        densities += [self._log_density(policy, q, obs, u) for policy, q in self.parents]
        return torch.logsumexp(torch.stack(densities), 0) - math.log(len(densities))

    def _log_density(self, policy: Policy, q: SoftQ | None, obs: Tensor, u: Tensor) -> Tensor:
        action = self.prior.action(u)
        if policy.has_density or q is None:
            return policy.log_prob(obs[..., None, :], action, pre_tanh=u)
        log_measure = self.prior.log_measure(action)
        log_weights = self.prior.log_prob(action) - log_measure
        values = candidate_values(q, obs, action)
        value = sampled_soft_value(
            values[..., : self.count], q.alpha, log_weights[..., : self.count]
        )
        density: Tensor = (values - value[..., None]) / q.alpha + log_measure
        return density


def candidate_values(q: SoftQ, obs: Tensor, action: Tensor) -> Tensor:
    """Q of K actions in each state. (..., O), (..., K, A) -> (..., K) [r]"""
    states = _states(obs, action)
    found: Tensor = q(states.flatten(0, -2), action.flatten(0, -2))
    return found.view(action.shape[:-1])


def _states(obs: Tensor, like: Tensor) -> Tensor:
    """The state beside each candidate. (..., O), (..., K, any) -> (..., K, O)"""
    return obs[..., None, :].expand(*like.shape[:-1], -1)
