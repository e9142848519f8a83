"""The shapes and units that every layer speaks.

Shape legend, used in trailing comments everywhere:

    B  batch              O  observation entries     A  action entries
    K  particles/samples  N  skills, or critics      T  steps of one episode
    E  parallel environments                         H  hidden units

Units: reward [r], entropy and log-density [nat], temperature alpha [r/nat], time [s].
Actions are in [-1, 1]^A inside policies, Q-functions and replay ("unit actions"), and in
native units at the environment and the controller; `Spec` converts, nothing else does. An upper
layer of a stack acts by latents h, which have no bounds and are the same in both.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skillkit.errors import InvalidValue

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]


@dataclass(frozen=True)
class Entry:
    """One number of an observation or an action: its name, unit and bounds.

    `constant` declares an entry that never changes within the domain (the height of a puck
    on a table); a test finds undeclared ones.
    """

    name: str
    unit: str = ""
    low: float = -np.inf
    high: float = np.inf
    constant: bool = False


@dataclass(frozen=True)
class Spec:
    """What a policy reads and writes: named, bounded entries, and the control period dt [s]."""

    observation: tuple[Entry, ...]
    action: tuple[Entry, ...]
    dt: float

    def __post_init__(self) -> None:
        for kind, entries in (("observation", self.observation), ("action", self.action)):
            names = [entry.name for entry in entries]
            if not names or len(set(names)) != len(names):
                given = reprlib.repr(names)
                raise InvalidValue(f"{kind} entries need distinct names, got {given}")
        with np.errstate(over="ignore", invalid="ignore"):
            reach = [self.high - self.low, self.high + self.low]
        if not self.unbounded and not np.isfinite(reach).all():
            raise InvalidValue(
                "every action entry needs finite bounds; give low and high (a latent has neither)"
            )
        if not all(entry.low < entry.high for entry in self.action):
            raise InvalidValue("every action entry needs low < high")

    @property
    def observation_dim(self) -> int:
        return len(self.observation)

    @property
    def action_dim(self) -> int:
        return len(self.action)

    @cached_property
    def unbounded(self) -> bool:
        """Whether actions are latents of a layer below, any numbers at all (THEORY 7)."""
        return bool(np.isneginf(self.low).all() and np.isposinf(self.high).all())

    @cached_property
    def low(self) -> Array:
        """Native lower action bounds. (A,)"""
        return np.array([entry.low for entry in self.action])

    @cached_property
    def high(self) -> Array:
        """Native upper action bounds. (A,)"""
        return np.array([entry.high for entry in self.action])

    @cached_property
    def middle(self) -> Array:
        """Between the bounds: the native action of the unit action 0. (A,)"""
        return np.asarray((self.high + self.low) / 2)

    @cached_property
    def half(self) -> Array:
        """From there to each bound: native units per unit of the unit action. (A,)"""
        return np.asarray((self.high - self.low) / 2)

    def native(self, action: Array) -> Array:
        """Unit action [-1, 1] -> native units, clipped to the bounds; a latent stays as it is.

        (..., A) -> (..., A)
        """
        if self.unbounded:
            return np.asarray(action, np.float64)
        found: Array = self.middle + self.half * np.asarray(action, np.float64)
        return found.clip(self.low, self.high)

    def unit(self, action: Array) -> Array:
        """Inverse of `native` within the bounds; what lies beyond them is cut off.

        (..., A) -> (..., A)
        """
        if self.unbounded:
            return np.asarray(action, np.float64)
        found: Array = np.clip((np.asarray(action, np.float64) - self.middle) / self.half, -1, 1)
        return found

    def index(self, names: tuple[str, ...]) -> list[int]:
        """Positions of observation entries by name.

        Raises:
            UnknownName: an observation entry that this spec does not have.
        """
        from skillkit.errors import UnknownName

        known = [entry.name for entry in self.observation]
        for name in names:
            if name not in known:
                raise UnknownName("observation entry", name, known)
        return [known.index(name) for name in names]

    def to_json(self) -> dict[str, Any]:
        """Plain data; infinite bounds become null, because JSON has no infinity."""

        def plain(entry: Entry) -> dict[str, Any]:
            row = asdict(entry)
            return row | {k: (row[k] if np.isfinite(row[k]) else None) for k in ("low", "high")}

        return {
            "observation": [plain(entry) for entry in self.observation],
            "action": [plain(entry) for entry in self.action],
            "dt": self.dt,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Spec:
        """Inverse of `to_json`.

        Raises:
            InvalidValue: fields are missing or of the wrong type.
        """

        def entry(row: Mapping[str, Any]) -> Entry:
            return Entry(
                str(row["name"]),
                str(row.get("unit", "")),
                -np.inf if row.get("low") is None else float(row["low"]),
                np.inf if row.get("high") is None else float(row["high"]),
                bool(row.get("constant", False)),
            )

        try:
            return Spec(
                tuple(entry(row) for row in data["observation"]),
                tuple(entry(row) for row in data["action"]),
                float(data["dt"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidValue(f"a spec is malformed: {reprlib.repr(error)}") from error


class Batch(NamedTuple):
    """Transitions as a learner sees them, on one device, float32.

    `discount` is gamma^m (1 - terminated): zero where the task ended, never where time ran out
    (THEORY 3, 7); it is the only place where gamma meets a transition.
    """

    obs: torch.Tensor  # (B, O)
    action: torch.Tensor  # (B, A) unit, or a latent
    reward: torch.Tensor  # (B,) [r]
    discount: torch.Tensor  # (B,)
    next_obs: torch.Tensor  # (B, O)
