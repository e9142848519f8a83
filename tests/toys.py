"""What learners work on, small and with known answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from skillkit.policies import GaussianPolicy
from skillkit.policies.gaussian import LOG_STD_HIGH, LOG_STD_LOW
from skillkit.policies.policy import unsquash
from skillkit.q_functions import SoftQ
from skillkit.types import Array, Batch, Entry, Spec


def spec(observations: int = 3, actions: int = 2, low: float = -1.0, high: float = 1.0) -> Spec:
    """Entries s0, s1, … and a0, a1, … with these bounds of the actions."""
    return Spec(
        tuple(Entry(f"s{i}") for i in range(observations)),
        tuple(Entry(f"a{i}", "", low, high) for i in range(actions)),
        0.1,
    )


def batch(size: int, observations: int = 3, actions: int = 2, seed: int = 0) -> Batch:
    """Random transitions; every fourth one ends its episode."""
    rng = torch.Generator().manual_seed(seed)
    obs, next_obs = torch.randn(2, size, observations, generator=rng)
    action = 2 * torch.rand(size, actions, generator=rng) - 1
    discount = torch.where(torch.arange(size) % 4 == 3, 0.0, 0.9)
    return Batch(obs, action, torch.randn(size, generator=rng), discount, next_obs)


def gaussian(mean: Sequence[float], std: Sequence[float], observations: int = 1) -> GaussianPolicy:
    """The policy u ~ N(mean, std^2) in every state."""
    policy = GaussianPolicy(observations, len(mean), hidden=())
    width = 2 / (LOG_STD_HIGH - LOG_STD_LOW)
    raw = [math.atanh((math.log(s) - LOG_STD_LOW) * width - 1) for s in std]
    with torch.no_grad():
        policy.net.layers[-1].weight.zero_()
        policy.net.layers[-1].bias.copy_(torch.tensor([*mean, *raw]))
    return policy


class GaussianQ(SoftQ):
    """Q(s,a) = V(s) + alpha log pi(a|s): its soft value is V, its optimal policy pi.

    pi is tanh-Gaussian with u ~ N(slope s_0 + mean, std^2), and V(s) = height s_0, whose size must
    not matter for any policy. Quadratic in u, but for the Jacobian of the tanh.
    """

    kind = "gaussian toy"
    gamma = 0.9

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        alpha: float,
        slope: float = 0.0,
        height: float = 0.0,
    ) -> None:
        super().__init__()
        self.mean, self.std = torch.tensor(mean), torch.tensor(std)
        self.alpha, self.slope, self.height = alpha, slope, height

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        mean = self.slope * obs[:, :1] + self.mean
        in_u = torch.distributions.Normal(mean, self.std).log_prob(unsquash(action))
        return self.height * obs[:, 0] + self.alpha * (in_u - (1 - action.square()).log()).sum(-1)


class Tally(VectorEnv[Array, Array, Array]):
    """Observes (sub-environment, its episode, its step); the reward is the first native action.

    Episodes of sub-environment i last 3 + i steps; in even ones they terminate, in odd ones time
    runs out.
    """

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.which = np.arange(num_envs)
        self.lengths = 3 + self.which
        self.episode = np.full(num_envs, -1)
        self.t = self.lengths.copy()  # over: it must be reset before it steps
        self.actions: list[Array] = []  # as received, native

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        mask = np.ones(self.num_envs, bool) if options is None else options["reset_mask"]
        assert mask.dtype == bool and mask.shape == (self.num_envs,) and mask.any()
        self.episode[mask] += 1
        self.t[mask] = 0
        return self._observe(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        assert (self.t < self.lengths).all(), "stepped past the end of an episode"
        self.actions.append(np.array(actions))
        self.t += 1
        over, ends = self.t == self.lengths, self.which % 2 == 0
        return self._observe(), np.array(actions[:, 0]), over & ends, over & ~ends, {}

    def _observe(self) -> Array:
        return np.stack([self.which, self.episode, self.t], axis=1).astype(np.float32)


class FlatQ(SoftQ):
    """Q(s,a) = 0: its optimal policy is uniform on [-1, 1]^A."""

    kind = "flat toy"
    gamma = 0.9

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = alpha

    @property
    def config(self) -> dict[str, Any]:
        return {"alpha": self.alpha}

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return action.new_zeros(len(action))


class TwoPeaks(SoftQ):
    """exp(Q/alpha) is proportional to two Gaussian bumps of equal weight, at +-.6 in every a_i."""

    kind = "bimodal toy"
    gamma = 0.9

    def __init__(self, width: float, alpha: float = 0.3) -> None:
        super().__init__()
        self.width, self.alpha = width, alpha

    @property
    def config(self) -> dict[str, Any]:
        return {"width": self.width, "alpha": self.alpha}

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        squares = [((action - peak) / self.width).square().sum(-1) for peak in (-0.6, 0.6)]
        return self.alpha * torch.logsumexp(-0.5 * torch.stack(squares), 0)


def stirred(module: torch.nn.Module, by: float = 0.2) -> Any:
    """The module with every parameter away from its start: a flow begins as the identity."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(by * torch.randn_like(parameter))
    return module
