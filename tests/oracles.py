"""Problems with known answers, solved here without skillkit: the truth that tests compare with.

`Tabular` gives P, r, discount and the backup operator, and solves soft control by its own loop;
`LQR` is soft linear-quadratic control in closed form (THEORY 8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

GAMMA = 0.9


def table(rows: list) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


TRANSITION = table(
    [
        [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]],
        [[0.3, 0.5, 0.2], [0.0, 0.25, 0.75]],
        [[0.5, 0.5, 0.0], [0.05, 0.05, 0.9]],
    ]
)
R1 = table([[1, 0], [0, 0.5], [-1, 2]])
R2 = table([[0, 1], [0.5, -0.5], [1, 0]])
R3 = table([[0, 0], [1, -1], [0.5, 0.25]])


@dataclass(frozen=True)
class Tabular:
    """A finite MDP. transition (S, A, S), discount = gamma (1 - terminated) (S, A)."""

    transition: Tensor
    discount: Tensor

    def backup(self, value: Tensor) -> Tensor:
        """E_{s'} v(s'). (S,) -> (S, A)"""
        return torch.einsum("sat,t->sa", self.transition, value)

    def soft_q(self, reward: Tensor, alpha: float) -> Tensor:
        """Soft-optimal Q: 500 plain sweeps (.9^500 = 1e-23). (S, A) -> (S, A)"""
        q = torch.zeros_like(reward)
        for _ in range(500):
            value = alpha * (q / alpha).exp().sum(-1).log()
            q = reward + self.discount * self.backup(value)
        return q

    def policy_q(self, reward: Tensor, alpha: float, policy: Tensor) -> Tensor:
        """Soft Q of a policy: a linear system in V. (S, A) -> (S, A)"""
        gain = (policy * (reward - alpha * policy.log())).sum(-1)  # (S,)
        step = torch.einsum("sa,sa,sat->st", policy, self.discount, self.transition)
        value = torch.linalg.solve(torch.eye(len(gain), dtype=gain.dtype) - step, gain)
        return reward + self.discount * self.backup(value)


def three(terminal: tuple[int, int] | None = None) -> Tabular:
    """The MDP "three" of ORACLES 1, optionally with one terminating (state, action)."""
    discount = torch.full_like(R1, GAMMA)
    if terminal is not None:
        discount[terminal] = 0.0
    return Tabular(TRANSITION, discount)


def random_tabular(seed: int, states: int = 5, actions: int = 3) -> Tabular:
    """Random dynamics, gamma .9, about a fifth of the (s, a) terminating."""
    rng = torch.Generator().manual_seed(seed)
    transition = torch.rand(states, actions, states, generator=rng, dtype=torch.float64).pow(3)
    goes_on = torch.rand(states, actions, generator=rng, dtype=torch.float64) > 0.2
    return Tabular(transition / transition.sum(-1, keepdim=True), GAMMA * goes_on)


@dataclass(frozen=True)
class LQR:
    """x' = A x + B a + noise, r = -1/2 (x'Mx + a'Ra): pi = N(-Kx, alpha L^-1), V = -x'Px/2 + c."""

    a: Tensor  # (X, X)
    b: Tensor  # (X, U)
    m: Tensor  # (X, X)
    r: Tensor  # (U, U)
    gamma: float
    alpha: float
    noise: Tensor  # covariance (X, X)

    @cached_property
    def p(self) -> Tensor:
        p = self.m
        for _ in range(2000):
            p = self.m + self.gamma * self.a.T @ p @ (self.a - self.b @ self._gain(p))
        return p

    def _gain(self, p: Tensor) -> Tensor:
        curvature = self.r + self.gamma * self.b.T @ p @ self.b
        return torch.linalg.solve(curvature, self.gamma * self.b.T @ p @ self.a)

    @cached_property
    def k(self) -> Tensor:
        return self._gain(self.p)

    @cached_property
    def curvature(self) -> Tensor:
        """L of THEORY 8. (U, U)"""
        return self.r + self.gamma * self.b.T @ self.p @ self.b

    @cached_property
    def covariance(self) -> Tensor:
        return self.alpha * torch.linalg.inv(self.curvature)

    @cached_property
    def c(self) -> float:
        entropy = 0.5 * self.alpha * torch.logdet(2 * math.pi * self.covariance)
        noise_cost = 0.5 * self.gamma * torch.trace(self.p @ self.noise)
        return float((entropy - noise_cost) / (1 - self.gamma))

    def reward(self, x: Tensor, u: Tensor) -> Tensor:
        """(..., X), (..., U) -> (...,)"""
        return -0.5 * (_form(x, self.m) + _form(u, self.r))

    def value(self, x: Tensor) -> Tensor:
        """(..., X) -> (...,)"""
        return -0.5 * _form(x, self.p) + self.c

    def q(self, x: Tensor, u: Tensor) -> Tensor:
        """r + gamma E V(x'). (..., X), (..., U) -> (...,)"""
        mean = x @ self.a.T + u @ self.b.T
        value = self.value(mean) - 0.5 * torch.trace(self.p @ self.noise)
        return self.reward(x, u) + self.gamma * value


def _form(x: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("...i,ij,...j->...", x, matrix, x)


def scalar_lqr(alpha: float = 0.2) -> LQR:
    """ORACLES 4a."""
    one = torch.ones(1, 1, dtype=torch.float64)
    return LQR(0.9 * one, 0.5 * one, one, 0.1 * one, 0.95, alpha, 0.01 * one)


def double_integrator() -> LQR:
    """ORACLES 4b."""
    return LQR(
        table([[1, 0.1], [0, 1]]),
        table([[0], [0.1]]),
        torch.diag(table([1, 0.1])),
        table([[0.05]]),
        0.97,
        0.1,
        torch.diag(table([0, 0.001])),
    )


def shifted_lqr(alpha: float) -> LQR:
    """ORACLES 4c about its goal: x' = x + a, m = 1, rho = .5, gamma .9, no noise."""
    one = torch.ones(1, 1, dtype=torch.float64)
    return LQR(one, one, one, 0.5 * one, 0.9, alpha, 0.0 * one)
