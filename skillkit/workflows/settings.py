"""Recipes and --set overrides: plain data on the way in, frozen dataclasses on the way out."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

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
    known = [key for table, config in tables.items() for key in _keys(table, config)]
    for key in settings:
        if key not in known:
            raise UnknownName("setting", key, known)
    return {table: _built(table, config, settings) for table, config in tables.items()}


def _keys(prefix: str, config: type) -> Iterator[str]:
    """What can be set in a config, and in those within it: "sac.alpha", "sac.flow.couplings"."""
    for name, kind in typing.get_type_hints(config).items():
        key = f"{prefix}.{name}"
        yield from _keys(key, kind) if _is_config(kind) else [key]


def _built(prefix: str, config: type, settings: Mapping[str, Any]) -> Any:
    """The config with what the settings say of it, and defaults otherwise."""
    values = {}
    for name, kind in typing.get_type_hints(config).items():
        key = f"{prefix}.{name}"
        if _is_config(kind):
            values[name] = _built(key, kind, settings)
        elif key in settings:
            values[name] = parse(key, settings[key], kind)
    return config(**values)


def _is_config(kind: Any) -> TypeGuard[type]:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


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
            if math.isfinite(number) and abs(number) > LARGEST:
                raise InvalidValue(f"{key} takes a whole number up to {LARGEST:,}, not {value!r}")
            if number != int(number):
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
    """A config dataclass as JSON-able data, one key for each setting."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= {f"{field.name}.{key}": inner for key, inner in plain(value).items()}
        else:
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def spawn(seed: int, count: int) -> list[int]:
    """Seeds of independent random streams, all from the one seed of a workflow."""
    children = np.random.SeedSequence(seed).spawn(count)
    return [int(child.generate_state(1)[0]) for child in children]
