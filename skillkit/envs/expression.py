"""Composed tasks: "push_x+push_y", "0.7*push_x+0.3*push_y"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose

import numpy as np

from skillkit.envs.task import TASK_NAME, Quantities, Task, Term
from skillkit.errors import IncompatibleSkills, InvalidValue
from skillkit.types import Array

_PART = re.compile(rf"(?:(?P<weight>[^*]*)\*)?\s*(?P<name>gym:[^*]+|{TASK_NAME.pattern})")


def parse(expression: str) -> list[tuple[float | None, str]]:
    """Weights (None where none is given) and names of the summands.

    Raises:
        InvalidValue: it is not a sum of optionally weighted task names.
    """
    parts = []
    for text in expression.split("+"):
        match = _PART.fullmatch(text.strip())
        if not match:
            raise InvalidValue(
                f"cannot read the task {expression!r}; write push_x, push_x+push_y, "
                "0.7*push_x+0.3*push_y or gym:HalfCheetah-v5"
            )
        weight = match["weight"]
        parts.append((None if weight is None else _number(weight, expression), match["name"]))
    names = [name for _, name in parts]
    if len(set(names)) < len(names):
        raise InvalidValue(f"in {expression!r} a task comes twice; give it the sum of the weights")
    given = [weight is not None for weight, _ in parts]
    if any(given) and not all(given):
        raise InvalidValue(f"in {expression!r} give every task a weight, or none")
    return parts


def _number(text: str, expression: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidValue(
            f"in {expression!r} the weight {text.strip()!r} is not a number"
        ) from None


def combine(tasks: Sequence[Task], weights: Sequence[float] | None = None) -> Task:
    """The task whose reward is the weighted sum of the tasks' rewards, weights 1/N unless given.

    A part that is itself composed is opened up; a task that comes twice counts with the sum of
    its weights. Horizon: the longest; start and recipe: the first's; inputs: of any part.

    Raises:
        InvalidValue: weights that are negative, not finite, all zero or of the wrong number.
        IncompatibleSkills: different domains, scenes or terminations, or a `gym:` task.
    """
    shares = [1 / len(tasks)] * len(tasks) if weights is None else [float(w) for w in weights]
    _check_weights(shares, tasks)
    flat: dict[str, tuple[float, Task]] = {}
    for share, whole in zip(shares, tasks, strict=True):
        for inner, part in whole.parts or ((1.0, whole),):
            flat[part.name] = (share * inner + flat.get(part.name, (0.0, part))[0], part)
    parts = tuple(flat.values())
    _check_compatible(parts)
    if len(parts) == 1 and isclose(parts[0][0], 1):  # weights of 1/3 may add up to less
        return parts[0][1]
    return _sum(parts)


def _sum(parts: tuple[tuple[float, Task], ...]) -> Task:
    first = parts[0][1]
    named = [(w, part, term) for w, part in parts for term in part.terms]
    return Task(
        name=_name(parts),
        on=first.on,
        summary=", ".join(f"{weight:.3g} x {part.name}" for weight, part in parts),
        terms=tuple(
            Term(f"{part.name}.{term.name}", term.function, w * term.weight, term.goals)
            for w, part, term in named
        ),
        horizon=max(part.horizon for _, part in parts),
        start=first.start,
        ends=first.ends,
        solved=_all_solved([part for _, part in parts]),
        scene=first.scene,
        inputs=_read_by_any([part for _, part in parts]),
        symmetric=all(part.symmetric for _, part in parts),
        recipe=first.recipe,
        file=first.file,
        parts=parts,
    )


def _name(parts: tuple[tuple[float, Task], ...]) -> str:
    if all(weight == 1 / len(parts) for weight, _ in parts):
        return "+".join(part.name for _, part in parts)
    number = [np.format_float_positional(weight, trim="-") for weight, _ in parts]
    return "+".join(f"{w}*{part.name}" for w, (_, part) in zip(number, parts, strict=True))


@dataclass(frozen=True)
class _Every:
    """Solved when every part is."""

    parts: tuple[Task, ...]

    def __call__(self, state: Quantities) -> Array:
        each = [part.solved(state) for part in self.parts if part.solved]
        return np.asarray(np.logical_and.reduce(each))


def _all_solved(parts: list[Task]) -> _Every | None:
    return _Every(tuple(parts)) if all(part.solved for part in parts) else None


def _read_by_any(parts: list[Task]) -> tuple[str, ...] | None:
    """What one of the parts reads, in the order of the observation; None if one reads all."""
    read = [part.inputs for part in parts if part.inputs is not None]
    if len(read) < len(parts):
        return None
    return tuple(name for name in parts[0].on.index if any(name in names for names in read))


def _check_weights(weights: list[float], tasks: Sequence[Task]) -> None:
    if not tasks or len(weights) != len(tasks):
        raise InvalidValue(f"{len(tasks)} tasks need as many weights, got {len(weights)}")
    if not np.isfinite(weights).all() or min(weights) < 0 or not any(weights):
        shown = ", ".join(f"{weight:g}" for weight in weights)
        raise InvalidValue(f"weights must be finite, not negative and not all zero, got {shown}")


def _check_compatible(parts: Sequence[tuple[float, Task]]) -> None:
    first = parts[0][1]
    for weight, part in parts:
        if not part.relabellable and (len(parts) > 1 or not isclose(weight, 1)):
            role = "part of a sum" if len(parts) > 1 else "weighted"
            raise IncompatibleSkills(
                f"{part.name} cannot be {role}: its reward is known to its environment only"
            )
        for what, mine, other in (
            ("domain", first.domain, part.domain),
            ("scene", first.scene_file, part.scene_file),
            ("termination", first.ends, part.ends),
        ):
            if mine != other:
                shown = f" ({mine} and {other})" if what == "domain" else ""
                raise IncompatibleSkills(
                    f"{first.name} and {part.name} cannot be added: they differ in {what}{shown}"
                )
