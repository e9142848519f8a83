"""Term, Task: what is wanted of a domain.

A reward and a termination are functions of the stored transition (obs, action, next_obs), in
batched NumPy. So any replay of a domain can be relabelled for any task of that domain, and a
weighted sum of tasks is a task.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from skillkit.envs.domain import Domain, Recipe
from skillkit.envs.landscape import Landscape
from skillkit.errors import InvalidValue, UnknownName
from skillkit.types import Array, Spec

METRICS = {"return", "length", "final_distance", "success"}  # what evaluations measure anyway
# What Gymnasium ids, skill names and expressions all accept.
TASK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[.-][A-Za-z0-9_]+)*")


class Quantities:
    """Observations read by name: `q["puck_x"]` is (B,), `q["puck_x", "puck_y"]` is (B, 2)."""

    def __init__(self, index: Mapping[str, int], values: Array) -> None:
        self._index, self._values = index, values

    def __getitem__(self, names: str | tuple[str, ...]) -> Array:
        """Float64, in the units that the domain's spec declares.

        Raises:
            UnknownName: an observation entry that the domain does not have.
        """
        if isinstance(names, str):
            return self._values[..., self._find(names)].astype(np.float64)
        return self._values.take([self._find(name) for name in names], -1).astype(np.float64)

    def _find(self, name: str) -> int:
        if name not in self._index:
            raise UnknownName("observation entry", name, self._index)
        return self._index[name]


# (now, native action (B, A), then) -> (B,); now and then: the observations around the step.
Function = Callable[[Quantities, Array, Quantities], Array]


@dataclass(frozen=True)
class Term:
    """One named, weighted summand of a reward.

    Attributes:
        name: as it appears in cards and tables.
        function: (now, action, then) -> (B,).
        weight: its factor [r per unit of the function].
        goals: the observation entries it wants at a value; they define the final distance.
    """

    name: str
    function: Function
    weight: float = 1.0
    goals: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise InvalidValue(f"the weight of term {self.name!r} must be finite")

    def __mul__(self, factor: float) -> Term:
        """`2 * pusher.effort()`: the same term, twice its weight."""
        return Term(self.name, self.function, factor * self.weight, self.goals)

    __rmul__ = __mul__


@dataclass(frozen=True)
class Task:
    """What is wanted of a domain: a value, compared and composed like one.

    Attributes:
        name: the expression that finds it: "push_x", "0.7*push_x+0.3*push_y".
        on: the domain.
        summary: one line for lists and cards.
        terms: the reward is their weighted sum.
        horizon: steps until an episode is truncated.
        start: draws an initial state of the domain; None: the domain's own.
        ends: (now, action, then) -> (B,) bool, the termination; None: never.
        solved: observation -> (B,) bool, success; None: not defined.
        outcomes: name -> (observation -> (B,) bool); evaluations report the share of each.
        landscape: what a picture shows; None: where the episodes end.
        scene: MJCF file in `assets/` beside the task file: what stands in the world beside the
            robot, such as walls. Skills of different scenes do not compose.
        inputs: names of the observation entries that policies and Q-functions read; None: all.
        symmetric: whether reward, start and termination are the same for every image under the
            domain's symmetries and its rotation, so that a learner may take one for the other.
        directed: what the policy of a symmetric task is taught in its one frame; None: the task. Of
            ways that are equally good its terms should prefer one: the other frames have the
            others. It may also end sooner than the task, for a margin, but in every direction
            alike.
        recipe: (algorithm, settings), plain data that the workflow validates; None: the domain's.
        file: where it is declared; filled in by the catalogue.
        parts: (weight, task) of a composed task.

    >>> from skillkit.envs import Task, combine, domain
    >>> point = domain("point")
    >>> left = Task(
    ...     "left", on=point, summary="to x = -1", terms=(point.distance(x=-1.0),), horizon=100
    ... )
    >>> obs = np.array([[0.5, 0.0, 0.0, 0.0]])  # x, y and their velocities
    >>> left.reward(obs, np.zeros((1, 2)), obs).shape
    (1,)
    >>> from skillkit.envs import task
    >>> combine([left, task("point_y")], [0.7, 0.3]).name
    '0.7*left+0.3*point_y'
    """

    name: str
    on: Domain
    summary: str
    terms: tuple[Term, ...]
    horizon: int
    start: Callable[[np.random.Generator], Any] | None = None
    ends: Function | None = None
    solved: Callable[[Quantities], Array] | None = None
    outcomes: Mapping[str, Callable[[Quantities], Array]] = field(default_factory=dict)
    landscape: Landscape | None = None
    scene: str | None = None
    inputs: tuple[str, ...] | None = None
    symmetric: bool = False
    directed: Task | None = None
    recipe: Recipe = None  # type: ignore[assignment]  # never None once built
    file: Path | None = None
    parts: tuple[tuple[float, Task], ...] = ()

    def __post_init__(self) -> None:
        whose = f"task {self.name!r}"
        if not isinstance(self.on, Domain):
            raise InvalidValue(f'{whose} needs a domain: on=domain("pusher")')
        plain = not self.parts and self.on.relabellable
        if plain and (not TASK_NAME.fullmatch(self.name) or self.name == "Task"):
            raise InvalidValue(
                f"{whose} needs another name: letters, digits and _, single . or - between them"
            )
        if isinstance(self.terms, Term) or not all(isinstance(term, Term) for term in self.terms):
            raise InvalidValue(f"{whose}: terms must be a tuple of Term")
        object.__setattr__(self, "terms", tuple(self.terms))
        if plain and not self.terms:
            raise InvalidValue(f"{whose} needs at least one reward term")
        if not isinstance(self.horizon, int) or self.horizon < 1:
            raise InvalidValue(f"{whose}: horizon must be at least 1 step, got {self.horizon!r}")
        if taken := sorted(self.outcomes.keys() & METRICS):
            raise InvalidValue(f"{whose}: {taken[0]!r} is a metric; call the outcome otherwise")
        if self.inputs is not None:
            object.__setattr__(self, "inputs", tuple(self.inputs))
            if not self.inputs or len(set(self.inputs)) < len(self.inputs):
                raise InvalidValue(
                    f"{whose}: inputs must name at least one observation entry, and each once; "
                    "leave them out to read all"
                )
            for name in self.inputs:
                if name not in self.on.index:
                    raise UnknownName("observation entry", name, self.on.index)
        if self.symmetric and not self.on.symmetries:
            raise InvalidValue(f"{whose}: domain {self.domain} declares no symmetries")
        if self.directed is not None:
            self._check_directed(whose, self.directed)
        if self.landscape is not None:
            names = [term.name for term in self.terms]
            self.landscape.check(self.on.plane, self.spec.observation_dim, names)
        if self.recipe is None:
            object.__setattr__(self, "recipe", self.on.recipe)
        elif not _is_recipe(self.recipe):
            raise InvalidValue(
                f'{whose}: a recipe is (algorithm, settings), as ("sac", {{"sac.alpha": 0.1}}), '
                f"not {self.recipe!r}"
            )

    def _check_directed(self, whose: str, taught: Task) -> None:
        if not self.symmetric:
            raise InvalidValue(f"{whose}: directed is for symmetric tasks; give symmetric=True")
        for key in ("on", "inputs", "scene"):
            if getattr(taught, key) != getattr(self, key):
                raise InvalidValue(f"{whose}: its directed task must have the same {key}")

    @property
    def domain(self) -> str:
        """Name of the domain; tasks of one domain and scene compose."""
        return self.on.name

    @property
    def spec(self) -> Spec:
        return self.on.spec

    @property
    def reads(self) -> list[int] | None:
        """Positions of its inputs in the observation; None: all of it."""
        return None if self.inputs is None else [self.on.index[name] for name in self.inputs]

    @property
    def label(self) -> str:
        """The name to save a skill under: without '*' and "gym:"."""
        return self.name.replace("*", "").removeprefix("gym:")

    @property
    def relabellable(self) -> bool:
        """Whether reward and termination are functions of the stored transition."""
        return self.on.relabellable

    def reward(self, obs: Array, action: Array, next_obs: Array) -> Array:
        """Weighted sum of the terms, from stored transitions.

        Args:
            obs: observation before the step. (B, O)
            action: in native units. (B, A)
            next_obs: observation after the step. (B, O)

        Returns:
            Reward, float64 [r]. (B,)

        Raises:
            InvalidValue: the environment keeps the reward to itself (`gym:`), or a term returns
                the wrong shape.
        """
        now, action, then = self._read(obs, action, next_obs)
        total = np.zeros(len(action))
        for term in self.terms:
            value = np.asarray(term.function(now, action, then), np.float64)
            total += term.weight * self._checked(value, len(action), term.name)
        return total

    def terminated(self, obs: Array, action: Array, next_obs: Array) -> Array:
        """Whether the transition ends the episode; time limits do not count. -> (B,) bool

        Raises:
            InvalidValue: as `reward`.
        """
        now, action, then = self._read(obs, action, next_obs)
        if self.ends is None:
            return np.zeros(len(action), bool)
        return self._checked(np.array(self.ends(now, action, then), bool), len(action), "ends")

    def _read(
        self, obs: Array, action: Array, next_obs: Array
    ) -> tuple[Quantities, Array, Quantities]:
        if not self.relabellable:
            raise InvalidValue(
                f"the reward of {self.name} is known to its environment only, so stored "
                "transitions cannot be relabelled for it; use a task from a task file"
            )
        index = self.on.index
        now, then = Quantities(index, np.asarray(obs)), Quantities(index, np.asarray(next_obs))
        return now, np.asarray(action, np.float64), then

    def _checked(self, value: Array, size: int, what: str) -> Array:
        if value.shape != (size,):
            raise InvalidValue(
                f"task {self.name}: {what} must give one number per transition, shape ({size},), "
                f"not {value.shape}"
            )
        return value

    @cached_property
    def goals(self) -> dict[str, float]:
        """Observation entry -> the value to reach; {} if two terms disagree about one."""
        found: dict[str, float] = {}
        for term in self.terms:
            for name, goal in term.goals.items():
                if found.setdefault(name, goal) != goal:
                    return {}
        return found

    def final_distance(self, obs: Array) -> Array | None:
        """Euclidean distance over all goals, in their unit; None without goals. (B, O) -> (B,)"""
        if not self.goals:
            return None
        quantities = Quantities(self.on.index, np.asarray(obs))
        off = quantities[tuple(self.goals)] - np.array(list(self.goals.values()))
        return np.asarray(np.linalg.norm(off, axis=-1))

    def success(self, obs: Array) -> Array | None:
        """Whether the task is solved in this state; None if not defined. (B, O) -> (B,) bool"""
        return None if self.solved is None else self._holds(self.solved, obs, "solved")

    def outcome(self, obs: Array) -> dict[str, Array]:
        """Which outcomes hold in this state. (B, O) -> name -> (B,) bool"""
        return {name: self._holds(test, obs, name) for name, test in self.outcomes.items()}

    def _holds(self, test: Callable[[Quantities], Array], obs: Array, what: str) -> Array:
        values = np.asarray(obs)
        found = np.array(test(Quantities(self.on.index, values)), bool)
        return self._checked(found, len(values), what)

    @property
    def scene_file(self) -> Path | None:
        """The scene's MJCF file."""
        if self.scene is None:
            return None
        return (self.file.parent if self.file else self.on.folder) / "assets" / self.scene

    @cached_property
    def source_hash(self) -> str:
        """SHA-256 (hex) of what declares the task, its domain and its assets."""
        digest = hashlib.sha256()
        for name, content in sorted(self._sources().items()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
        return digest.hexdigest()

    def _sources(self) -> dict[str, bytes]:
        files = [path for path in (self.file, self.scene_file) if path]
        found = self.on.sources() | {path.name: path.read_bytes() for path in files}
        for _, part in self.parts:
            found |= part._sources()
        return found


def _is_recipe(value: object) -> bool:
    pair = isinstance(value, tuple) and len(value) == 2
    return pair and isinstance(value[0], str) and isinstance(value[1], Mapping)  # type: ignore[index]
