"""The flow policy: a latent for every action, and an action for every latent (thesis ch. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from skillkit.flows import Flow, FlowConfig
from skillkit.networks import MLP
from skillkit.policies.policy import Policy


class RealNVPPolicy(Policy):
    """u = f(eps; e(s)), a = tanh u: affine couplings on an embedding of the observation.

    One to one in eps, so it has a density and can be a layer of a stack. From two actions on it
    need not be Gaussian. It begins as u = eps in every state.

    Args:
        hidden: widths of the embedding's network.
        options: fields of `FlowConfig`.
    """

    kind = "real_nvp"
    has_density = True
    onto = True

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 256),
        inputs: Sequence[int] | None = None,
        squash: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(observation_dim, action_dim, hidden, inputs, squash)
        self.noise_dim = action_dim
        self.options = FlowConfig(**options)
        self.net = MLP([self.input_dim, *self.hidden, self.options.embedding])
        self.flow = Flow(action_dim, self.options)

    @property
    def config(self) -> dict[str, Any]:
        conditioner = list(self.options.conditioner)
        return super().config | asdict(self.options) | {"conditioner": conditioner}

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        return self.raw_and_log_det(obs, noise)[0]

    def raw_and_log_det(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        u, log_det = self.flow(noise, self.net(self.read(obs)))
        return u, log_det

    def raw_inverse(self, obs: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        return self.flow.inverse(u, self.net(self.read(obs)))
