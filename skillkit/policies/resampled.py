"""Instant composition: the policy of a soft Q-function, without training one (THEORY 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from skillkit.functional.soft_value import boltzmann_log_weights
from skillkit.policies.mixture import Mixture, candidate_values
from skillkit.policies.policy import Policy

if TYPE_CHECKING:
    from skillkit.q_functions import WeightedSum


class ResampledPolicy(Policy):
    """One of K candidates a_j ~ q_mix, drawn with probability softmax_j(Q_S/alpha - log q_mix).

    Without the correction - log q_mix it would be q_mix exp(Q_S/alpha). The noise of an action is
    one number for the choice, then that of all candidates. The mode is the best of fixed
    candidates; these are part of the policy, as `noise`, so that every machine has the same and
    an action depends on the observation alone. They begin with each policy's own mode.

    Args:
        policies: what proposes, one for each part of `q`.
        q: Q_S = sum_i w_i Q_i; its parameters become the policy's own.
        candidates: from each policy, and as many uniform ones.
    """

    kind = "resampled"

    def __init__(self, policies: Sequence[Policy], q: WeightedSum, candidates: int = 64) -> None:
        super().__init__(policies[0].observation_dim, policies[0].action_dim, hidden=())
        self.policies, self.q, self.candidates = nn.ModuleList(policies), q, candidates
        parts: Any = q.parts
        parents = list(zip(policies, parts, strict=True))
        self.mixture = Mixture(self.action_dim, parents, candidates)
        self.noise_dim = 1 + self.mixture.noise_dim
        self.noise: Tensor
        self.register_buffer("noise", torch.zeros(self.mixture.noise_dim))

    @property
    def config(self) -> dict[str, Any]:
        return {
            "observation_dim": self.observation_dim,
            "action_dim": self.action_dim,
            "candidates": self.candidates,
            "policies": [{"kind": part.kind, "config": part.config} for part in self.policies],
            "q": {"kind": self.q.kind, "config": self.q.config},
        }

    def draw_noise(self, seed: int) -> None:
        """Fix the candidates of the mode: in each component eps = 0, then eps ~ N(0, I)."""
        fixed = torch.randn(self.noise.shape, generator=torch.Generator().manual_seed(seed))
        first = 0
        for dim in self.mixture.noise_dims:
            fixed[first : first + dim] = 0.0
            first += self.candidates * dim
        self.noise.copy_(fixed)

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        u = self.mixture.raw(obs, noise[..., 1:])
        log_q = self.mixture.log_prob(obs, u)
        log_weights = boltzmann_log_weights(self._values(obs, u), self.q.alpha, log_q)
        below = 0.5 * (1 + torch.erf(noise[..., :1] / math.sqrt(2.0)))  # uniform on [0, 1]
        index = (torch.softmax(log_weights, -1).cumsum(-1) < below).sum(-1)
        return _picked(u, index.clamp(max=u.shape[-2] - 1))

    def mode(self, obs: Tensor) -> Tensor:
        """argmax of Q_S over the fixed candidates. (..., O) -> (..., A)"""
        u = self.mixture.raw(obs, self.noise.expand(*obs.shape[:-1], -1))
        return torch.tanh(_picked(u, self._values(obs, u).argmax(-1)))

    def _values(self, obs: Tensor, u: Tensor) -> Tensor:
        return candidate_values(self.q, obs, torch.tanh(u))


def _picked(u: Tensor, index: Tensor) -> Tensor:
    """(..., K, A), (...,) -> (..., A)"""
    return torch.take_along_dim(u, index[..., None, None], -2).squeeze(-2)
