"""Linear-Gaussian skills with their exact Q-functions, composed; every gap in closed form.

x' = x + a + noise and r_i = -1/2 (m_i (x - g_i)^2 + rho_i a^2), actions unbounded. With the state
written as (x, 1) the rewards, their weighted sum, all Q-functions and the value of any
linear-Gaussian policy are quadratic, so C = Q_S - Q*, F = Q_S - Q^{pi_S} and F^pi = Q_S - Q^pi are
differences of known functions. Where only the goals differ (ORACLES 4c) the quadratic parts cancel:
G is the same in every state, each recursion X = gamma (G + X) has the constant solution
gamma G/(1 - gamma), and D = gamma (C_up + D) gives gamma C_up/(1 - gamma).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from skillkit.functional.losses import log_normal
from skillkit.policies import Policy
from skillkit.q_functions import SoftQ, WeightedSum
from skillkit.types import Batch
from tests.oracles import LQR, table

GAMMA = 0.9
STEP, PUSH = torch.eye(2, dtype=torch.float64), table([[1.0], [0.0]])  # of the state (x, 1)


def augmented(x: Tensor) -> Tensor:
    """(..., 1) -> (..., 2)"""
    return torch.cat([x, torch.ones_like(x)], -1).double()


class QuadraticQ(SoftQ):
    """The soft-optimal Q-function of a linear-Gaussian task, exact."""

    kind = "quadratic"

    def __init__(self, task: LQR) -> None:
        super().__init__()
        self.task, self.alpha, self.gamma = task, task.alpha, task.gamma

    @property
    def config(self) -> dict[str, Any]:
        return {}

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.task.q(augmented(obs), action.double()).float()


class LinearGaussian(Policy):
    """a ~ N(-K (x, 1), std^2), without a tanh."""

    kind, has_density, noise_dim = "linear", True, 1

    def __init__(self, gain: Tensor, std: float) -> None:
        super().__init__(1, 1, ())
        self.gain, self.std = gain, std  # (1, 2)

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        return -(augmented(obs) @ self.gain.T).float() + self.std * noise

    def act(self, obs: Tensor, noise: Tensor) -> Tensor:
        return self.raw(obs, noise)

    def act_and_log_prob(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return self.raw(obs, noise), log_normal(noise) - math.log(self.std)

    def log_prob(self, obs: Tensor, action: Tensor, pre_tanh: Tensor | None = None) -> Tensor:
        noise = (action - self.raw(obs, torch.zeros_like(action))) / self.std
        return log_normal(noise) - math.log(self.std)


@dataclass(frozen=True)
class LinearPair:
    """Two skills and their sum; (goal, m, rho, alpha) each."""

    skills: Sequence[tuple[float, float, float, float]]
    weights: tuple[float, float] = (0.5, 0.5)
    noise: float = 0.0  # variance of a step

    @cached_property
    def costs(self) -> tuple[list[Tensor], list[Tensor]]:
        """M_i and R_i of r_i = -1/2 ((x,1)' M_i (x,1) + a' R_i a)."""
        states = [table([[m, -m * g], [-m * g, m * g * g]]) for g, m, _, _ in self.skills]
        return states, [table([[rho]]) for _, _, rho, _ in self.skills]

    def problem(self, state: Tensor, action: Tensor, alpha: float) -> LQR:
        noise = torch.diag(table([self.noise, 0.0]))
        return LQR(STEP, PUSH, state, action, GAMMA, alpha, noise)

    @cached_property
    def parts(self) -> list[LQR]:
        alphas = [alpha for *_, alpha in self.skills]
        return [self.problem(m, r, a) for m, r, a in zip(*self.costs, alphas, strict=True)]

    @cached_property
    def q(self) -> WeightedSum:
        alpha = sum(w * part.alpha for w, part in zip(self.weights, self.parts, strict=True))
        return WeightedSum([QuadraticQ(part) for part in self.parts], self.weights, alpha)

    @cached_property
    def target(self) -> LQR:
        """The task of the weighted sum of rewards, at the sum's temperature."""
        w, (states, actions) = self.weights, self.costs
        state, action = (
            sum(w_i * c for w_i, c in zip(w, c, strict=True)) for c in (states, actions)
        )
        return self.problem(state, action, self.q.alpha)

    @cached_property
    def pi_s(self) -> LinearGaussian:
        """The policy of Q_S: its curvature and its gain are those of the weighted sum."""
        pairs = list(zip(self.weights, self.parts, strict=True))
        curvature = sum(w * part.curvature for w, part in pairs)
        gain = sum(w * part.curvature @ part.k for w, part in pairs) / curvature
        return LinearGaussian(gain, math.sqrt(self.q.alpha / float(curvature)))

    def policies(self) -> list[LinearGaussian]:
        return [LinearGaussian(p.k, math.sqrt(float(p.covariance))) for p in self.parts]

    def gap(self, obs: Tensor, action: Tensor, policy: LinearGaussian | None = None) -> Tensor:
        """Q_S - Q*, or Q_S - Q^pi of a policy. (B, 1), (B, 1) -> (B,)"""
        x, a = augmented(obs), action.double()
        q_s = sum(w * p.q(x, a) for w, p in zip(self.weights, self.parts, strict=True))
        return q_s - (self.target.q(x, a) if policy is None else self.policy_q(x, a, policy))

    def policy_q(self, x: Tensor, a: Tensor, policy: LinearGaussian) -> Tensor:
        """r + gamma E V^pi with V^pi = -1/2 (x,1)'P(x,1) + c: a Lyapunov equation, by sweeps."""
        t, k = self.target, policy.gain
        closed = t.a - t.b @ k
        p, stay = torch.zeros_like(t.m), t.m + k.T @ t.r @ k
        for _ in range(300):  # .9^300 = 2e-14
            p = stay + GAMMA * closed.T @ p @ closed
        spread = policy.std**2 * (t.r + GAMMA * t.b.T @ p @ t.b) + GAMMA * torch.trace(p @ t.noise)
        entropy = 0.5 * math.log(2 * math.pi * math.e * policy.std**2)
        c = (t.alpha * entropy - 0.5 * float(spread)) / (1 - GAMMA)
        after = x @ t.a.T + a @ t.b.T
        noise = 0.5 * torch.trace(p @ t.noise)
        value = -0.5 * torch.einsum("bi,ij,bj->b", after, p, after) - noise + c
        return t.reward(x, a) + GAMMA * value

    def transitions(self, size: int, rng: torch.Generator) -> Batch:
        """States about both goals, actions about the composed policy's."""
        x = 1.2 * torch.randn(size, 1, generator=rng)
        a = self.pi_s.raw(x, 1.5 * torch.randn(size, 1, generator=rng))
        after = x + a + math.sqrt(self.noise) * torch.randn(size, 1, generator=rng)
        return Batch(x, a, torch.zeros(size), torch.full((size,), GAMMA), after)

    def propose(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Candidates of the skills' policies and of a wide one, in equal parts."""
        wide = LinearGaussian(self.pi_s.gain, 2 * self.pi_s.std)
        mixture = [*self.policies(), wide]
        states = obs[:, None].expand(-1, 16, -1)
        draws = [pi.act(states, torch.randn(states.shape, generator=generator)) for pi in mixture]
        actions = torch.cat(draws, 1)
        states = obs[:, None].expand(-1, actions.shape[1], -1)
        densities = torch.stack([pi.log_prob(states, actions) for pi in mixture])
        return actions, densities.logsumexp(0) - math.log(len(mixture))


# ORACLES 4c, and a pair whose gaps depend on the state
EQUAL = LinearPair([(-0.8, 1.0, 0.5, 0.3), (0.8, 1.0, 0.5, 0.3)])
UNEQUAL = LinearPair([(-0.8, 1.0, 0.5, 0.5), (0.8, 1.0, 0.5, 0.1)])
CURVED = LinearPair([(-0.5, 1.0, 0.3, 0.3), (0.6, 0.3, 1.5, 0.2)], (0.6, 0.4), noise=0.05)
