"""Guide: episodes for the sake of compositions: rehearsals, and those that begin along plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from skillkit.envs.planning import Plan, PlanConfig
from skillkit.types import Array

NOBODY = -1  # for an environment that follows no plan


class Guide:
    """E environments, of which some rehearse a composition from the first step of an episode to its
    last, and some begin along a plan.

    Each search for plans has an equal part in that, and in it each plan as it gains over the
    policy. Half of the episodes follow their plan to its end, with a little noise, and show what it
    is worth; they begin in its first half, since what it gains by is over long before its end. In
    the others the policy acts at once, anywhere along it, and learns what to do there.

    Args:
        generator: of all choices; the owner's, who keeps its state.
    """

    def __init__(self, config: PlanConfig, environments: int, generator: torch.Generator) -> None:
        self.config, self.generator = config, generator
        self.plans: list[Plan] = []
        self.searches: list[int] = []  # how many plans each search has found
        self.plan = np.full(environments, NOBODY)  # that is followed (E,)
        self.at = np.zeros(environments, np.int64)  # the next step of it (E,)
        self.strength = np.zeros(environments)  # of the noise (E,)

    def add(self, found: Sequence[Plan]) -> None:
        """What a search has found; the oldest goes once there are more than are kept.

        Who follows a plan goes on by his own policy.
        """
        self.plan[:] = NOBODY
        self.searches = [*self.searches, len(found)][-self.config.kept :]
        self.plans = [*self.plans, *found]
        self.plans = self.plans[len(self.plans) - sum(self.searches) :]

    def rehearse(self, begun: Array, sums: int) -> tuple[Array, Array]:
        """Which of the episodes that begin are rehearsals. bool (E,) -> ids (N,), and of which of
        so many sums (N,)"""
        chance, which = torch.rand(2, len(begun), generator=self.generator).double().numpy()
        ids = np.flatnonzero(begun & (chance < self.config.rehearsals))
        self.plan[ids] = NOBODY
        return ids, (which[ids] * sums).astype(np.int64)

    def begin(self, begun: Array) -> tuple[Array, Array, Array]:
        """Which of the episodes that begin do so along a plan. bool (E,) -> ids (N,), states
        (N, S), and the steps that have been taken there (N,)"""
        drawn = torch.rand(5, len(begun), generator=self.generator).double().numpy()
        guided, which, where, follows, strength = drawn
        self.plan[begun] = NOBODY
        ids = np.flatnonzero(begun & (guided < self.config.share) & bool(self.plans))
        below = np.cumsum(self._shares())[:-1]
        chosen = np.searchsorted(below, which[ids], "right")
        plans = [self.plans[i] for i in chosen]
        following = follows < 0.5
        lengths = np.array([len(plan.actions) for plan in plans], np.float64)
        self.at[ids] = where[ids] * lengths / np.where(following[ids], 2, 1)
        self.strength[ids] = self.config.noise * strength[ids]
        self.plan[ids] = np.where(following[ids], chosen, NOBODY)
        states = [plan.states[self.at[i]] for i, plan in zip(ids, plans, strict=True)]
        elapsed = [plan.elapsed + self.at[i] for i, plan in zip(ids, plans, strict=True)]
        return ids, np.array(states), np.array(elapsed, np.int64)

    def actions(self) -> tuple[Array, Array]:
        """Native actions of the environments that follow a plan. -> ids (N,), (N, A)"""
        ids = np.flatnonzero(self.plan != NOBODY)
        found = [self.plans[self.plan[i]].actions[self.at[i]] for i in ids]
        self.at[ids] += 1
        over = [i for i in ids if self.at[i] == len(self.plans[self.plan[i]].actions)]
        self.plan[over] = NOBODY
        return ids, np.array(found)

    def _shares(self) -> Array:
        """Of the guided episodes, by plan."""
        searches = [number for number, count in enumerate(self.searches) for _ in range(count)]
        gains, of = np.array([plan.gain for plan in self.plans]), np.array(searches, np.int64)
        shares = gains / np.bincount(of, gains)[of]
        return np.asarray(shares / shares.sum())

    def state(self) -> dict[str, Any]:
        """Plain data, for a checkpoint; the generator is its owner's."""
        return {
            "plans": [plan.to_json() for plan in self.plans],
            "searches": self.searches,
            "plan": self.plan.tolist(),
            "at": self.at.tolist(),
            "strength": self.strength.tolist(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        self.plans = [Plan.from_json(plan) for plan in state["plans"]]
        self.searches = list(state["searches"])
        self.plan, self.at = np.array(state["plan"]), np.array(state["at"])
        self.strength = np.array(state["strength"])
