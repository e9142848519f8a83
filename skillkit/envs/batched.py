"""Domains written as equations: a batched NumPy `step`, for lessons, tests and small worlds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from skillkit.envs.domain import Domain
from skillkit.envs.scene import Walls, walls
from skillkit.envs.task import Task
from skillkit.errors import InvalidValue
from skillkit.types import Array, Entry, Spec

if TYPE_CHECKING:
    from skillkit.envs.vector import ResumableEnv


class BatchedDomain(Domain):
    """A domain whose dynamics are a function of arrays.

    Attributes:
        entries: the observation, in the order of `observe`.
        actions: names, units and bounds.
        dt: control period [s].
    """

    entries: tuple[Entry, ...]
    actions: tuple[Entry, ...]
    dt: float

    @abstractmethod
    def start(self, rng: np.random.Generator) -> Array:
        """Draw an initial state. -> (S,)"""

    @abstractmethod
    def step(self, state: Array, action: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """One control period; noise of row i comes from rngs[i]. (E, S), (E, A) -> (E, S)"""

    def confine(self, before: Array, after: Array, walls: Walls) -> Array:
        """What a step comes to in a scene with walls. (E, S), (E, S) -> (E, S)

        Raises:
            InvalidValue: the domain knows no walls.
        """
        raise InvalidValue(f"domain {self.name} knows no walls; leave the scene out")

    def observe(self, state: Array) -> Array:
        """The state itself, unless the domain says otherwise. (E, S) -> (E, O)"""
        return state

    @cached_property
    def spec(self) -> Spec:
        return Spec(self.entries, self.actions, self.dt)

    def vector_env(self, task: Task, num_envs: int, seed: int, threads: int) -> ResumableEnv:
        from skillkit.envs.vector import TaskVectorEnv

        scene = task.scene_file
        simulation = BatchedSimulation(self, num_envs, walls(scene) if scene else None)
        return TaskVectorEnv(task, simulation, task.start or self.start, num_envs, seed)


class BatchedSimulation:
    """E rows of state, between walls if there are any."""

    def __init__(self, domain: BatchedDomain, num_envs: int, walls: Walls | None = None) -> None:
        self.domain, self.walls = domain, walls
        size = len(domain.start(np.random.default_rng(0)))
        self.state = np.zeros((num_envs, size))

    def reset(self, ids: Array, starts: Sequence[Any]) -> None:
        self.state[ids] = np.stack(starts)

    def step(self, action: Array, rngs: Sequence[np.random.Generator]) -> None:
        after = self.domain.step(self.state, action, rngs)
        if self.walls:
            after = self.domain.confine(self.state, after, self.walls)
        self.state = after

    def observe(self) -> Array:
        return self.domain.observe(self.state)

    def load_state(self, state: Array, ids: Array | None = None) -> None:
        self.state[slice(None) if ids is None else ids] = state
