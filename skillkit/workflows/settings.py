"""Recipes and --set overrides: plain data on the way in, frozen dataclasses on the way out."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import numpy as np

from skillkit.errors import InvalidValue, UnknownName

LARGEST = 10**12  # of a whole number: more is a slip of the finger, and overflows elsewhere


def resolve(settings: Mapping[str, Any], **tables: type) -> dict[str, Any]:
    """Build one config per table from settings such as {"sac.alpha": 0.2, "train.steps": 1000}.

    Args:
        settings: "<table>.<field>" -> value; strings are parsed to the field's type.
        tables: table name -> frozen dataclass.

    Raises:
        UnknownName: a key that no table has, with the nearest valid ones.
        InvalidValue: a value that its field cannot take.
    """
    hints = {
        f"{table}.{name}": kind
        for table, config in tables.items()
        for name, kind in typing.get_type_hints(config).items()
    }
    for key in settings:
        if key not in hints:
            raise UnknownName("setting", key, hints)
    configs = {}
    for table, config in tables.items():
        mine = {k.split(".", 1)[1]: v for k, v in settings.items() if k.startswith(f"{table}.")}
        values = {k: parse(f"{table}.{k}", v, hints[f"{table}.{k}"]) for k, v in mine.items()}
        configs[table] = config(**values)
    return configs


def parse(key: str, value: Any, kind: Any) -> Any:
    """`value` as the type that the field declares; text comes from the command line."""
    options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(None) in options and value in (None, "none", "None"):
        return None
    kind = next(option for option in options if option is not type(None))
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        several = value.split(",") if isinstance(value, str) else value
        parts = several if isinstance(several, list | tuple) else [several]
        return tuple(parse(key, part, item) for part in parts)
    try:
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if kind is int:
            number = float(value)
            if number != int(number) or abs(number) > LARGEST:
                raise ValueError
            return int(number)
        if kind is float and not math.isfinite(float(value)):
            raise ValueError
        return kind(value)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}
        raise InvalidValue(f"{key} takes {wanted.get(kind, 'text')}, not {value!r}") from error


def assignments(pairs: tuple[str, ...]) -> dict[str, str]:
    """("sac.alpha=0.1", ...) -> {"sac.alpha": "0.1"}."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidValue(f"--set takes key=value, not {pair!r}")
        found[key.strip()] = value.strip()
    return found


def check_seed(seed: int) -> int:
    """The seed itself, if every random generator and skill.json can take it.

    Raises:
        InvalidValue: not a whole number from 0 to 2^63 - 1.
    """
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise InvalidValue(f"a seed is a whole number from 0 to 2**63 - 1, not {seed!r}")
    return seed


def plain(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON-able data."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }


def spawn(seed: int, count: int) -> list[int]:
    """Seeds of independent random streams, all from the one seed of a workflow."""
    children = np.random.SeedSequence(seed).spawn(count)
    return [int(child.generate_state(1)[0]) for child in children]
