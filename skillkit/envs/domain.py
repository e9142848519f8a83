"""Domain: what can be simulated. Families of domains are in `mujoco.py`, `batched.py`, `gym.py`."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skillkit.envs.symmetry import Symmetry, Turns
from skillkit.errors import InvalidValue
from skillkit.types import Array, Spec

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

    from skillkit.envs.task import Task
    from skillkit.envs.vector import ResumableEnv

Recipe = tuple[str, Mapping[str, Any]]  # algorithm, settings
PICTURE = (480, 480)  # height, width [pixels]


class Domain(ABC):
    """Robot and dynamics: what can be observed and done. Its methods build reward terms.

    Attributes:
        name: what `skillkit.envs.domain(name)` finds.
        plane: the two observation entries that a top view draws, or None.
        recipe: how its tasks are trained unless they say otherwise.
        relabellable: rewards are functions of stored transitions.
        symmetries: from which all images of a transition follow that the dynamics have as well.
        rotation: of the world about its vertical, by any angle, where that changes nothing: which
            pairs of entries turn, and by which share of the angle.
    """

    name: str
    plane: tuple[str, str] | None = None
    recipe: Recipe = ("sac", {})
    relabellable: bool = True
    symmetries: tuple[Symmetry, ...] = ()
    rotation: Turns = ()

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Names, units and bounds of observation and action, and the control period [s]."""

    @abstractmethod
    def vector_env(self, task: Task, num_envs: int, seed: int, threads: int) -> ResumableEnv:
        """`num_envs` simulations of `task`, stepped together."""

    def draw(self, env: VectorEnv[Any, Any, Any], size: tuple[int, int] = PICTURE) -> Array:
        """Picture of the first sub-environment. -> (height, width, 3) uint8

        Args:
            size: height and width [pixels].

        Raises:
            InvalidValue: this domain cannot be drawn, or not on this machine.
        """
        raise InvalidValue(f"domain {self.name} has no picture; leave render_mode out")

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each observation entry."""
        return {entry.name: i for i, entry in enumerate(self.spec.observation)}

    @property
    def folder(self) -> Path:
        """Where the file that declares this domain lies; its assets are in `assets/` there."""
        return Path(inspect.getfile(type(self))).parent

    def sources(self) -> dict[str, bytes]:
        """What defines the dynamics, by name; part of `Task.source_hash`."""
        file = Path(inspect.getfile(type(self)))
        return {file.name: file.read_bytes()}
