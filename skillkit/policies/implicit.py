"""The sampler of soft Q-learning: a network that turns noise into actions (thesis ch. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skillkit.errors import InvalidValue
from skillkit.networks import MLP
from skillkit.policies.policy import Policy


class ImplicitPolicy(Policy):
    """u = net([s, eps]), a = tanh u: any distribution, several modes too, but no density.

    The map need not be one to one, so neither log pi(a|s) nor eps = f^-1(a; s) can be had.
    """

    kind = "implicit"

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 256),
        inputs: Sequence[int] | None = None,
        noise_dim: int | None = None,  # None: A, as in the thesis
        squash: bool = True,
    ) -> None:
        super().__init__(observation_dim, action_dim, hidden, inputs, squash)
        self.noise_dim = action_dim if noise_dim is None else noise_dim
        if self.noise_dim < 1:
            raise InvalidValue(f"an implicit policy needs noise, got noise_dim {noise_dim}")
        self.net = MLP([self.input_dim + self.noise_dim, *self.hidden, action_dim])

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"noise_dim": self.noise_dim}

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        u: Tensor = self.net(torch.cat([self.read(obs), noise], -1))
        return u
