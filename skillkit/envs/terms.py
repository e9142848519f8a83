"""What rewards are made of: functions of (now, action, then) that task files weight and name.

They are frozen dataclasses and not closures, so two tasks that say the same thing are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from skillkit.envs.task import Function, Quantities, Term
from skillkit.errors import InvalidValue, UnknownName
from skillkit.types import Array


@dataclass(frozen=True)
class Distance:
    """Euclidean distance of observation entries to their goals, before the step."""

    goals: tuple[tuple[str, float], ...]

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return self.of(now)

    def of(self, state: Quantities) -> Array:
        return np.asarray(np.sqrt(sum((state[name] - goal) ** 2 for name, goal in self.goals)))


@dataclass(frozen=True)
class Nearest:
    """Distance to the nearest of several goals, before the step."""

    goals: tuple[Distance, ...]

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return self.of(now)

    def of(self, state: Quantities) -> Array:
        return np.asarray(np.min([goal.of(state) for goal in self.goals], axis=0))  # (B,)


@dataclass(frozen=True)
class Within:
    """Whether a state is closer to its goals than `radius`, in the goals' unit."""

    distance: Distance | Nearest
    radius: float

    def __call__(self, state: Quantities) -> Array:
        return self.distance.of(state) < self.radius  # (B,)


@dataclass(frozen=True)
class Arrival:
    """Whether one is there after the step."""

    there: Within

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return self.there(then)  # (B,)


@dataclass(frozen=True)
class Outside:
    """Whether an entry has left its range after the step; what is not a number has."""

    entry: str
    low: float
    high: float

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        value = then[self.entry]
        return ~((self.low <= value) & (value <= self.high))  # (B,)


@dataclass(frozen=True)
class Either:
    """Whether one of several things holds."""

    tests: tuple[Function, ...]

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        each = [test(now, action, then) for test in self.tests]
        return np.asarray(np.logical_or.reduce(each))  # (B,)


@dataclass(frozen=True)
class Separation:
    """Euclidean distance between two observed points, before the step."""

    first: tuple[str, ...]
    second: tuple[str, ...]

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return norm(now[self.first] - now[self.second])  # (B,)


@dataclass(frozen=True)
class Effort:
    """Sum of squared native actions."""

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return np.asarray(np.vecdot(action, action))  # (B,)


@dataclass(frozen=True)
class Constant:
    """One, whatever happens."""

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return np.ones(len(action))  # (B,)


@dataclass(frozen=True)
class After:
    """An observation entry after the step."""

    entry: str

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return then[self.entry]  # (B,)


@dataclass(frozen=True)
class Along:
    """A vector of observation entries after the step, along one direction."""

    entries: tuple[str, ...]
    direction: tuple[float, ...]  # a unit vector

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return np.asarray(then[self.entries] @ np.array(self.direction))  # (B,)


@dataclass(frozen=True)
class Magnitude:
    """Euclidean norm of a vector of observation entries after the step."""

    entries: tuple[str, ...]

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return norm(then[self.entries])  # (B,)


@dataclass(frozen=True)
class Speed:
    """Straight distance between the two observations around the step, per second."""

    position: tuple[str, ...]
    dt: float

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        step = then[self.position] - now[self.position]
        return norm(step) / self.dt  # (B,)


def norm(vectors: Array) -> Array:
    """Euclidean length of each; of a few entries quicker than `numpy.linalg.norm`. -> (B,)"""
    return np.asarray(np.sqrt(np.vecdot(vectors, vectors)))


def distance(point: Mapping[str, str], goal: Mapping[str, float]) -> Term:
    """The term -(distance of a point to its goal), over the coordinates that `goal` names.

    Args:
        point: coordinate -> observation entry: {"x": "puck_x", "y": "puck_y"}.
        goal: coordinate -> value; coordinates left out do not matter.

    Raises:
        UnknownName: a coordinate that the point does not have.
        InvalidValue: no coordinate, or a goal that is not a finite number.
    """
    there = _goals(point, goal)
    return Term("distance", Distance(tuple(there.items())), -1.0, there)


def within(radius: float, point: Mapping[str, str], goal: Mapping[str, float]) -> Within:
    """Whether a point is closer to its goal than `radius`; else as `distance`."""
    return Within(Distance(tuple(_goals(point, goal).items())), radius)


def arrival(radius: float, point: Mapping[str, str], goal: Mapping[str, float]) -> Term:
    """The term that is 1 where a step ends closer to the goal than `radius`; as `distance`."""
    there = _goals(point, goal)
    return Term("arrival", Arrival(within(radius, point, goal)), goals=there)


def _goals(point: Mapping[str, str], goal: Mapping[str, float]) -> dict[str, float]:
    """Observation entry -> value to reach."""
    for axis, value in goal.items():
        if axis not in point:
            raise UnknownName("coordinate", axis, point)
        if not math.isfinite(value):
            raise InvalidValue(f"the goal {axis}={value} is not a finite number")
    if not goal:
        raise InvalidValue(f"a distance needs a goal: distance({next(iter(point))}=0)")
    return {point[axis]: float(value) for axis, value in goal.items()}
