"""A policy is a map from noise to action: a = f(eps; s), eps ~ N(0, I)  (thesis eq. 4.7)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skillkit.errors import InvalidValue
from skillkit.functional.losses import log_normal, squash_log_det


class Policy(nn.Module):
    """The contract. Noise is an argument, so updates are pure and sampling is reproducible.

    A member defines `raw`, the pre-tanh map, and what it can of `raw_and_log_det` and
    `raw_inverse`; the rest follows here. Actions are unit actions, tanh last; those of an upper
    layer are latents, and u itself (THEORY 7).

    Attributes:
        noise_dim: length of eps; 0 for a policy without noise.
        has_density: whether `raw_and_log_det` and `raw_inverse` are defined.
        onto: whether in every state every action has a noise, so that a layer above can do all.
        inputs: positions of the observation entries it reads; None reads all.
        squash: whether a = tanh u; otherwise a = u, without bounds.
    """

    kind: str
    noise_dim: int
    positions: Tensor
    has_density: bool = False
    onto: bool = False

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 256),
        inputs: Sequence[int] | None = None,
        squash: bool = True,
    ) -> None:
        super().__init__()
        self.observation_dim, self.action_dim = observation_dim, action_dim
        self.hidden = tuple(int(width) for width in hidden)
        self.inputs = None if inputs is None else tuple(int(index) for index in inputs)
        self.squash = squash
        if self.inputs is not None:
            with torch.device("cpu"):  # real, even on the meta device, and not saved
                index = torch.tensor(self.inputs, dtype=torch.int64)
            self.register_buffer("positions", index, persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain data; `POLICIES[kind](**config)` rebuilds the shape."""
        config: dict[str, Any] = {
            "observation_dim": self.observation_dim,
            "action_dim": self.action_dim,
            "hidden": list(self.hidden),
            "inputs": None if self.inputs is None else list(self.inputs),
        }
        return config if self.squash else config | {"squash": False}

    @property
    def input_dim(self) -> int:
        return self.observation_dim if self.inputs is None else len(self.inputs)

    def read(self, obs: Tensor) -> Tensor:
        """The entries this policy reads. (B, O) -> (B, I)"""
        return obs if self.inputs is None else obs[..., self.positions]

    @abstractmethod
    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Pre-tanh action u. (B, O), (B, noise_dim) -> (B, A)"""

    def raw_and_log_det(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """u and log|det du/deps|. -> (B, A), (B,)

        Raises:
            InvalidValue: this policy has no density.
        """
        raise InvalidValue(f"a {self.kind} policy has no density; use a gaussian policy")

    def raw_inverse(self, obs: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """eps with raw(obs, eps) = u, and log|det du/deps| there. -> (B, noise_dim), (B,)

        Raises:
            InvalidValue: this policy is not invertible.
        """
        raise InvalidValue(f"a {self.kind} policy cannot be inverted; use a gaussian policy")

    def act(self, obs: Tensor, noise: Tensor) -> Tensor:
        """a = tanh(u(eps; s)). (B, O), (B, noise_dim) -> (B, A)"""
        return self.squashed(self.raw(obs, noise))

    def act_and_log_prob(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Action and log pi(a|s) = log N(eps) - log|det da/deps|. -> (B, A), (B,)"""
        u, log_prob = self.raw_and_log_prob(obs, noise)
        return self.squashed(u), log_prob

    def raw_and_log_prob(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """u, for those who need it exactly, and log pi(a|s) of its action. -> (B, A), (B,)"""
        u, log_det = self.raw_and_log_det(obs, noise)
        return u, self._log_density(noise, log_det, u)

    def log_prob(self, obs: Tensor, action: Tensor, pre_tanh: Tensor | None = None) -> Tensor:
        """log pi(a|s). Give `pre_tanh` where it is stored: atanh loses digits near +-1. -> (B,)"""
        u = self._unsquashed(action) if pre_tanh is None else pre_tanh
        noise, log_det = self.raw_inverse(obs, u)
        return self._log_density(noise, log_det, u)

    def inverse(self, obs: Tensor, action: Tensor, pre_tanh: Tensor | None = None) -> Tensor:
        """eps = f^-1(a; s). -> (B, noise_dim)"""
        return self.raw_inverse(obs, self._unsquashed(action) if pre_tanh is None else pre_tanh)[0]

    def mode(self, obs: Tensor) -> Tensor:
        """The deterministic action, eps = 0. (B, O) -> (B, A)"""
        return self.act(obs, obs.new_zeros(*obs.shape[:-1], self.noise_dim))

    def squashed(self, u: Tensor) -> Tensor:
        """The action of u. (..., A) -> (..., A)"""
        return torch.tanh(u) if self.squash else u

    def _unsquashed(self, action: Tensor) -> Tensor:
        return unsquash(action) if self.squash else action

    def _log_density(self, noise: Tensor, log_det: Tensor, u: Tensor) -> Tensor:
        """log N(eps) - log|det du/deps| - log|det da/du|. -> (B,)"""
        log_prob = log_normal(noise) - log_det
        return log_prob - squash_log_det(u) if self.squash else log_prob


def unsquash(action: Tensor) -> Tensor:
    """atanh, finite at the bounds: float32 cannot tell |u| > 9 apart (THEORY 2)."""
    bound = 1 - torch.finfo(action.dtype).eps
    return torch.atanh(action.clamp(-bound, bound))
