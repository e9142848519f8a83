"""Soft Q-functions: (obs, action) -> (B,) in reward units, with the temperature and discount
they were learned at. A weighted sum of them is one of them (thesis eq. 6.2; THEORY 5)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skillkit.errors import UnknownName
from skillkit.networks import StackedMLP


class SoftQ(nn.Module):
    """The contract: a Q-function that knows its alpha [r/nat] and gamma."""

    kind: str
    alpha: float
    gamma: float

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Plain data from which `build_q` rebuilds the shape."""

    @abstractmethod
    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Q(s, a) [r]. (B, O), (B, A) -> (B,)"""

    def all(self, obs: Tensor, action: Tensor) -> Tensor:
        """The values that learn from a target each. (B, O), (B, A) -> (N, B)"""
        q: Tensor = self(obs, action)
        return q[None]


class Ensemble(SoftQ):
    """The minimum over N independent critics, stacked in one network (THEORY 3).

    `inputs` are the positions of the observation entries it reads; None reads all. `scale` is the
    unit of the network's outputs [r]: a thousand is far away in steps of a learning rate.
    """

    kind = "ensemble"
    positions: Tensor

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 256),
        critics: int = 2,
        alpha: float = 1.0,
        gamma: float = 0.99,
        normalised: bool = False,
        inputs: Sequence[int] | None = None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.observation_dim, self.action_dim = observation_dim, action_dim
        self.inputs = None if inputs is None else tuple(int(index) for index in inputs)
        self.hidden, self.critics = tuple(int(width) for width in hidden), critics
        self.alpha, self.gamma, self.scale = alpha, gamma, scale
        width = observation_dim if self.inputs is None else len(self.inputs)
        sizes = [width + action_dim, *self.hidden, 1]
        self.net = StackedMLP(critics, sizes, normalised)
        if self.inputs is not None:
            with torch.device("cpu"):  # real, even on the meta device, and not saved
                index = torch.tensor(self.inputs, dtype=torch.int64)
            self.register_buffer("positions", index, persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        return {
            "observation_dim": self.observation_dim,
            "action_dim": self.action_dim,
            "hidden": list(self.hidden),
            "critics": self.critics,
            "alpha": self.alpha,
            "gamma": self.gamma,
            "normalised": self.net.normalised,
            **({} if self.inputs is None else {"inputs": list(self.inputs)}),
            **({} if self.scale == 1 else {"scale": self.scale}),
        }

    def all(self, obs: Tensor, action: Tensor) -> Tensor:
        """Every critic's value. (B, O), (B, A) -> (N, B)"""
        read = obs if self.inputs is None else obs[..., self.positions]
        q: Tensor = self.net(torch.cat([read, action], -1))
        return self.scale * q.squeeze(-1)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.all(obs, action).amin(0)


class WeightedSum(SoftQ):
    """Q_S = sum_i w_i Q_i, the minimum taken inside each skill first (THEORY 5)."""

    kind = "weighted_sum"

    def __init__(self, parts: Sequence[SoftQ], weights: Sequence[float], alpha: float) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.weights = tuple(float(weight) for weight in weights)
        self.temperatures = tuple(part.alpha for part in parts)  # alpha_i [r/nat]
        self.alpha, self.gamma = alpha, parts[0].gamma

    @property
    def config(self) -> dict[str, Any]:
        parts = [{"kind": part.kind, "config": part.config} for part in self.parts]
        return {"weights": list(self.weights), "alpha": self.alpha, "parts": parts}

    def each(self, obs: Tensor, action: Tensor) -> Tensor:
        """Q_i(s, a). (B, O), (B, A) -> (B, N) [r]"""
        return torch.stack([part(obs, action) for part in self.parts], -1)

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        pairs = zip(self.weights, self.parts, strict=True)
        return torch.stack([weight * part(obs, action) for weight, part in pairs]).sum(0)


def build_q(description: Mapping[str, Any]) -> SoftQ:
    """A Q-function of the described shape, from {"kind", "config"} as stored in skill.json.

    Raises:
        UnknownName: a kind that does not exist.
    """
    kind, config = description["kind"], description["config"]
    if kind == "ensemble":
        return Ensemble(**config)
    if kind == "weighted_sum":
        parts = [build_q(part) for part in config["parts"]]
        return WeightedSum(parts, config["weights"], config["alpha"])
    raise UnknownName("Q-function kind", str(kind), ["ensemble", "weighted_sum"])


@torch.no_grad()
def track(target: nn.Module, source: nn.Module, rate: float) -> None:
    """Move the target's parameters by `rate` towards the source's; 1 copies them (eq. 4.6)."""
    ours: list[Tensor] = list(target.parameters())
    theirs: list[Tensor] = list(source.parameters())
    torch._foreach_lerp_(ours, theirs, rate)
