"""Compositions on tabular MDPs, solved by the library's own functions, for the tests to judge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from skillkit.composition import bounds, rules
from skillkit.functional.disagreement import discrete_disagreement
from skillkit.functional.soft_value import boltzmann_log_weights, discrete_soft_value
from tests.oracles import R1, R2, R3, Tabular, random_tabular, table, three


def close(found: Tensor, truth: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(found, truth, rtol=0.0, atol=atol)


@dataclass(frozen=True)
class Composition:
    """Skills on a tabular MDP, composed by the library; every solution is the library's."""

    mdp: Tabular
    rewards: tuple[Tensor, ...]
    temperatures: tuple[float, ...]
    weights: tuple[float, ...]
    temperature: float | None = None  # default: the rule's

    @cached_property
    def alpha(self) -> float:
        return self.temperature or rules.default_temperature(self.weights, self.temperatures)

    @cached_property
    def b(self) -> tuple[float, ...]:
        return rules.exponents(self.weights, self.temperatures, self.alpha)

    @cached_property
    def q(self) -> Tensor:
        """Q_i (N, S, A)"""
        skills = zip(self.rewards, self.temperatures, strict=True)
        return torch.stack([self.optimum(r, alpha) for r, alpha in skills])

    @cached_property
    def v(self) -> Tensor:
        """V_i (N, S)"""
        skills = zip(self.q, self.temperatures, strict=True)
        return torch.stack([discrete_soft_value(q, alpha) for q, alpha in skills])

    @cached_property
    def qs(self) -> Tensor:
        return torch.einsum("n,nsa->sa", table(self.weights), self.q)

    @cached_property
    def reward(self) -> Tensor:
        return torch.einsum("n,nsa->sa", table(self.weights), torch.stack(self.rewards))

    @cached_property
    def vs(self) -> Tensor:
        return discrete_soft_value(self.qs, self.alpha)

    @cached_property
    def log_pi(self) -> Tensor:
        """log pi_S"""
        return boltzmann_log_weights(self.qs, self.alpha, self.vs[:, None] / self.alpha)

    @cached_property
    def g(self) -> Tensor:
        return discrete_disagreement(self.q, self.weights, self.temperatures, self.alpha)

    def solve(self, next_value, offset: Tensor | None = None) -> Tensor:
        offset = torch.zeros_like(self.rewards[0]) if offset is None else offset
        return bounds.fixed_point(next_value, self.mdp.backup, self.mdp.discount, offset)

    def optimum(self, reward: Tensor, alpha: float) -> Tensor:
        return self.solve(partial(discrete_soft_value, alpha=alpha), reward)

    @cached_property
    def qstar(self) -> Tensor:
        return self.optimum(self.reward, self.alpha)

    @cached_property
    def c(self) -> Tensor:
        return self.solve(lambda x: bounds.optimal_gap(x, self.g, self.log_pi, self.alpha))

    @cached_property
    def c_up(self) -> Tensor:
        return self.solve(lambda x: bounds.optimal_gap_upper(x, self.g))

    @cached_property
    def c_lo(self) -> Tensor:
        return self.solve(lambda x: bounds.optimal_gap_lower(x, self.g))

    @cached_property
    def f(self) -> Tensor:
        return self.solve(lambda x: bounds.policy_gap(x, self.g, self.log_pi))

    @cached_property
    def d(self) -> Tensor:
        return self.solve(lambda x: bounds.thesis_regret(x, self.c_up, self.log_pi))

    @cached_property
    def qpi(self) -> Tensor:
        """Not the library's: the composed policy's value by a linear system."""
        return self.mdp.policy_q(self.reward, self.alpha, self.log_pi.exp())


UNEQUAL = Composition(three(), (R1, R2), (0.5, 0.2), (0.6, 0.4))
ENDING = Composition(three(terminal=(2, 1)), (R1, R2), (0.5, 0.2), (0.6, 0.4))
THESIS = Composition(three(), (R1, R2), (0.5, 0.5), (0.5, 0.5))
THIRDS = Composition(three(), (R1, R2, R3), (0.5, 0.2, 1.0), (0.5, 0.3, 0.2))
WARM = Composition(three(), (R1, R2), (2.0, 2.0), (0.5, 0.5))
TOO_WARM = Composition(three(), (R1, R2), (0.5, 0.2), (0.6, 0.4), temperature=1.9)
RANDOM = [
    Composition(
        random_tabular(seed),
        tuple(
            torch.randn(5, 3, generator=torch.Generator().manual_seed(10 * seed + i)).double()
            for i in range(3)
        ),
        (0.5, 0.1, 1.0),
        (0.5, 0.2, 0.6),
        temperature,
    )
    for seed, temperature in [(1, None), (2, None), (3, None), (4, 1.5), (5, 0.3)]
]
ALL = [UNEQUAL, ENDING, THESIS, THIRDS, WARM, TOO_WARM, *RANDOM]
COVERED = [case for case in ALL if rules.covered(case.b)]


def corrupted(case: Composition, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """f, kappa and log pi_f of case's Q_S plus noise."""
    f = case.qs + noise
    v = discrete_soft_value(f, case.alpha)
    kappa = bounds.bellman_residual(f, case.reward, case.mdp.discount, case.mdp.backup(v))
    return f, kappa, (f - v[:, None]) / case.alpha


def corrections(case: Composition, kappa: Tensor, log_pi: Tensor) -> tuple[Tensor, Tensor]:
    k = case.solve(lambda x: bounds.optimal_correction(x, log_pi, case.alpha), kappa)
    return k, case.solve(lambda x: bounds.policy_correction(x, log_pi), kappa)
