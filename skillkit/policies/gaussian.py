"""The tanh-Gaussian policy of soft actor-critic (thesis ch. 4, app. C)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skillkit.networks import MLP
from skillkit.policies.policy import Policy

LOG_STD_LOW, LOG_STD_HIGH = -5.0, 2.0  # std of u between .0067 and 7.4; smooth at both ends


class GaussianPolicy(Policy):
    """u = mu(s) + sigma(s) eps, a = tanh u."""

    kind = "gaussian"
    has_density = True
    onto = True

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 256),
        inputs: Sequence[int] | None = None,
        squash: bool = True,
    ) -> None:
        super().__init__(observation_dim, action_dim, hidden, inputs, squash)
        self.noise_dim = action_dim
        self.net = MLP([self.input_dim, *self.hidden, 2 * action_dim])

    def moments(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of u. (B, O) -> (B, A), (B, A)"""
        mean, x = self.net(self.read(obs)).chunk(2, dim=-1)
        half = (LOG_STD_HIGH - LOG_STD_LOW) / 2
        return mean, LOG_STD_LOW + half * (1 + torch.tanh(x))

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        mean, log_std = self.moments(obs)
        return mean + log_std.exp() * noise

    def raw_and_log_det(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.moments(obs)
        return mean + log_std.exp() * noise, log_std.sum(-1)

    def raw_inverse(self, obs: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.moments(obs)
        return (u - mean) * (-log_std).exp(), log_std.sum(-1)
