"""Soft Q-functions: (obs, action) -> (B,) in reward units, with the temperature and discount
they were learned at. A weighted sum of them is one of them (thesis eq. 6.2; THEORY 5)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

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

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        pairs = zip(self.weights, self.parts, strict=True)
        return torch.stack([weight * part(obs, action) for weight, part in pairs]).sum(0)


class SideBySide:
    """The parts of a sum, in one network where they have one shape: four small products take twice
    as long as one.

    Args:
        q: whose parameters become views of that network's.
    """

    def __init__(self, q: WeightedSum) -> None:
        self.q, self.weights = q, torch.tensor(q.weights)
        ensembles = [part for part in q.parts if isinstance(part, Ensemble)]
        shapes = [{**one.config, "alpha": None, "gamma": None} for one in ensembles]
        alike = len(shapes) == len(q.parts) and all(shape == shapes[0] for shape in shapes)
        self.whole = _merged(ensembles) if alike else None

    def parameters(self) -> list[nn.Parameter]:
        """What an optimiser changes."""
        return list((self.q if self.whole is None else self.whole).parameters())

    def all(self, obs: Tensor, action: Tensor) -> Sequence[Tensor]:
        """Of each part the values that learn from a target each. -> N of (critics, B)"""
        if self.whole is None:
            return [cast(SoftQ, part).all(obs, action) for part in self.q.parts]
        return self.whole.all(obs, action).chunk(len(self.q.parts))

    def each(self, obs: Tensor, action: Tensor) -> Tensor:
        """Q_i(s, a). -> (B, N)"""
        return torch.stack([part.amin(0) for part in self.all(obs, action)], -1)

    def __call__(self, obs: Tensor, action: Tensor) -> Tensor:
        """sum_i w_i Q_i(s, a). -> (B,)"""
        return self.each(obs, action) @ self.weights


def _merged(parts: Sequence[Ensemble]) -> Ensemble:
    """One ensemble of all the critics of several of one shape."""
    counts = [part.critics for part in parts]
    with torch.device("meta"):  # without memory or chance
        whole = Ensemble(**{**parts[0].config, "critics": sum(counts)})
    states = [part.state_dict() for part in parts]
    whole.load_state_dict(
        {key: torch.cat([state[key] for state in states]) for key in states[0]}, assign=True
    )
    for key, together in whole.named_parameters():
        for part, view in zip(parts, together.data.split(counts), strict=True):
            part.get_parameter(key).data = view
    return whole.requires_grad_(any(one.requires_grad for one in parts[0].parameters()))


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
