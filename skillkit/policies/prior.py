"""What an action is before anything was learned, and what its density is measured against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from skillkit.functional.losses import log_normal
from skillkit.policies.policy import unsquash

LOG_2 = math.log(2.0)


@dataclass(frozen=True)
class Prior:
    """Uniform on [-1, 1]^A; or N(h; 0, I) for latents, which have no bounds (THEORY 1, 7).

    Entropy is measured in a, against the volume of [-1, 1]^A: alpha H is paid. Of latents
    alpha KL(pi || N) is charged instead; without it the value of an unbounded h diverges.
    """

    action_dim: int
    unbounded: bool = False

    def raw(self, noise: Tensor) -> Tensor:
        """u of a sample, from noise ~ N(0, I). (..., A) -> (..., A)"""
        if self.unbounded:
            return noise
        return unsquash(torch.erf(noise / 2**0.5))  # 2 Phi(eps) - 1 is uniform on [-1, 1]

    def action(self, u: Tensor) -> Tensor:
        """The action of u. (..., A) -> (..., A)"""
        return u if self.unbounded else torch.tanh(u)

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density of its samples. (..., A) -> (...,) [nat]"""
        if self.unbounded:
            return log_normal(action)
        return torch.full_like(action[..., 0], -self.action_dim * LOG_2)

    def log_measure(self, action: Tensor) -> Tensor | float:
        """log pi less this is what the temperature multiplies. (..., A) -> (...,), or 0 [nat]"""
        return log_normal(action) if self.unbounded else 0.0
