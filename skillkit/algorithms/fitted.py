"""Fitted fixed points: what a recursion over next states comes to, learned from transitions.

Policy evaluation is one such recursion, the gaps of a composition are others (THEORY 5).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skillkit.algorithms.learner import initialisation, step
from skillkit.networks import MLP
from skillkit.q_functions import track
from skillkit.types import Batch

NextValue = Callable[[Tensor, Tensor], Tensor]  # X(s', a'_k) (b, K, H), rows (b,) -> (b, H)


@dataclass(frozen=True)
class FittedConfig:
    """Hyperparameters of the regression."""

    hidden: tuple[int, ...] = (64, 64)  # widths of the network
    learning_rate: float = 3e-3  # Adam; decays to zero along a half cosine
    batch_size: int = 128  # transitions per update
    target_rate: float = 0.1  # of the moving average that gives the targets


class Size(NamedTuple):
    """What is known of the H solutions beforehand, from the recursion itself. (H,) each."""

    level: Tensor  # X, if it were the same in every state
    scale: Tensor  # how far from zero it is, positive
    low: Tensor  # low <= X <= high everywhere
    high: Tensor


class FittedFixedPoint:
    """H functions with X(s,a) = discount E_{s'} next_value(X(s', .)), in one network.

    The counterpart of `skillkit.composition.bounds.fixed_point` where there are transitions and no
    model. An update regresses the network on targets from its own moving average, as a critic's
    does. Two things keep it short and safe: the network learns only what differs from the level,
    which else takes 1/(1 - gamma) sweeps to build up; and targets stay within the known bounds,
    because actions that were never stored can make the recursion expand.

    Args:
        batch: transitions; their rewards do not count.
        next_actions: where to look in each next state. (B, K, A)
        next_value: X(s', a'_k) (b, K, H) in the next states of rows (b,) -> its value there (b, H).
    """

    def __init__(
        self,
        batch: Batch,
        next_actions: Tensor,
        next_value: NextValue,
        size: Size,
        config: FittedConfig,
        seed: int,
    ) -> None:
        self.next_value, self.size, self.config = next_value, size, config
        self.generator = torch.Generator().manual_seed(seed)
        spread, self.mean = torch.std_mean(batch.obs, 0, correction=0)
        self.spread = torch.where(spread > TINY, spread, torch.ones_like(spread))
        self.discount = batch.discount
        self.input = self._input(batch.obs, batch.action)  # (B, O + A)
        next_obs = batch.next_obs[:, None].expand(-1, next_actions.shape[1], -1)
        self.next_input = self._input(next_obs, next_actions)  # (B, K, O + A)
        with initialisation(seed):
            self.net = MLP([self.input.shape[1], *config.hidden, len(size.level)])
        self.target = copy.deepcopy(self.net).requires_grad_(False)
        self.optimizer = torch.optim.Adam(self.net.parameters(), config.learning_rate, fused=True)

    @torch.no_grad()
    def __call__(self, obs: Tensor, action: Tensor) -> Tensor:
        """X(s,a). (..., O), (..., A) -> (..., H)"""
        return self._within(self._value(self.net, self._input(obs, action)))

    def update(self) -> Tensor:
        """One step of regression; its loss, in units of the scales squared. -> ()"""
        size = (self.config.batch_size,)
        rows = torch.randint(len(self.input), size, generator=self.generator)  # (b,)
        with torch.no_grad():
            x = self._value(self.target, self.next_input[rows])  # (b, K, H)
            y = self._within(self.discount[rows, None] * self.next_value(x, rows))  # (b, H)
        with torch.enable_grad():
            error = (self._value(self.net, self.input[rows]) - y) / self.size.scale
            loss = error.square().mean(0).sum()
            step(self.optimizer, loss)
        track(self.target, self.net, self.config.target_rate)
        return loss.detach()

    def anneal(self, done: float) -> None:
        """The learning rate falls along half a cosine, from the full rate to zero."""
        rate = self.config.learning_rate * (1 + math.cos(math.pi * done)) / 2
        self.optimizer.param_groups[0]["lr"] = rate

    def _input(self, obs: Tensor, action: Tensor) -> Tensor:
        return torch.cat([(obs - self.mean) / self.spread, action], -1)

    def _value(self, net: MLP, x: Tensor) -> Tensor:
        """(..., O + A) -> (..., H)"""
        deviation: Tensor = net(x)
        return self.size.level + self.size.scale * deviation

    def _within(self, x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, self.size.low), self.size.high)


TINY = 1e-6  # spread of an observation entry that never changes
