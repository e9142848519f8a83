"""The policy without noise: SAC's limit at temperature 0 (thesis ch. 4, ablations)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from skillkit.networks import MLP
from skillkit.policies.policy import Policy


class DeterministicPolicy(Policy):
    """a = tanh u(s); it has no density, so no entropy is paid or earned."""

    kind = "deterministic"
    noise_dim = 0

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 256),
        inputs: Sequence[int] | None = None,
        squash: bool = True,
    ) -> None:
        super().__init__(observation_dim, action_dim, hidden, inputs, squash)
        self.net = MLP([self.input_dim, *self.hidden, action_dim])

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        u: Tensor = self.net(self.read(obs))
        return u
