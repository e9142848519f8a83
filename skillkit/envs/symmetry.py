"""Symmetries: what a robot can do, it can do as well turned about or in a mirror.

A symmetry of a domain maps every transition onto another one that its physics allows just as well:
observation and action are permuted, and some entries change their sign. And where the world has no
preferred direction it may be turned about its vertical by any angle, with all that is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from skillkit.errors import InvalidValue, UnknownName
from skillkit.rotation import Pair, Rotation, rotation
from skillkit.types import Array, Entry, Spec

if TYPE_CHECKING:
    from skillkit.envs.domain import Domain


@dataclass(frozen=True)
class Symmetry:
    """By name, which entry of the original stands in each place of the image; "-" turns its sign.

    Symmetry({"x": "-y", "y": "x"}) is a quarter turn; entries that are not named stay.
    """

    observation: Mapping[str, str] = field(default_factory=dict)
    action: Mapping[str, str] = field(default_factory=dict)


# By name, the pairs of entries that turn with the world about its vertical, and the share of the
# angle by which each does: 1 for a vector in the plane, .5 for the halves of a quaternion.
Turns = tuple[tuple[str, str, float], ...]


class Images(NamedTuple):
    """All G symmetries that follow from a few of them, the identity first."""

    observation: Array  # (G, O) int64: the image of s is sign * s[observation]
    observation_sign: Array  # (G, O) float32
    action: Array  # (G, A) int64
    action_sign: Array  # (G, A) float32


def images(spec: Spec, symmetries: Sequence[Symmetry]) -> Images:
    """The group that symmetries generate.

    Raises:
        UnknownName: an entry that the spec does not have.
        InvalidValue: one that is no permutation, or that leads out of the bounds of the actions.
    """
    one = tuple(range(1, spec.observation_dim + 1)), tuple(range(1, spec.action_dim + 1))
    generators = [
        (_signed(spec.observation, of.observation), _signed(spec.action, of.action))
        for of in symmetries
    ]
    group = [one]  # signed positions, counted from 1
    for element in group:
        for other in generators:
            product = tuple(_after(*pair) for pair in zip(other, element, strict=True))
            if product not in group:
                group.append(product)  # type: ignore[arg-type]
    both = (np.array([element[i] for element in group]) for i in range(2))
    found = [part for table in both for part in (np.abs(table) - 1, np.sign(table))]
    index, sign, of_action, sign_of_action = found
    _check_bounds(spec, of_action, sign_of_action)
    return Images(index, sign.astype(np.float32), of_action, sign_of_action.astype(np.float32))


def rotation_of(domain: Domain) -> Rotation | None:
    """How the world of a domain turns; None where it has preferred directions.

    Raises:
        UnknownName, InvalidValue: an entry that the domain does not have, or that comes twice.
    """
    pairs = rotation_pairs(domain)
    return rotation(domain.spec.observation_dim, pairs) if pairs else None


def rotation_pairs(domain: Domain) -> list[Pair]:
    """The same by position."""
    found = []
    for first, second, share in domain.rotation:
        i, j = domain.spec.index((first, second))
        found.append((i, j, share))
    return found


Signed = tuple[int, ...]


def _signed(entries: Sequence[Entry], places: Mapping[str, str]) -> Signed:
    names = [entry.name for entry in entries]
    for name in (*places, *(source.removeprefix("-") for source in places.values())):
        if name not in names:
            raise UnknownName("entry", name, names)
    sources = [places.get(name, name) for name in names]
    signed = tuple(
        (1 + names.index(source.removeprefix("-"))) * (-1 if source.startswith("-") else 1)
        for source in sources
    )
    if len({abs(i) for i in signed}) < len(signed):
        raise InvalidValue(f"a symmetry permutes the entries, so each stands once: {dict(places)}")
    return signed


def _after(second: Signed, first: Signed) -> Signed:
    """The image of the image."""
    return tuple(first[abs(i) - 1] * (1 if i > 0 else -1) for i in second)


def _check_bounds(spec: Spec, index: Array, sign: Array) -> None:
    low, high = (np.array([getattr(e, end) for e in spec.action]) for end in ("low", "high"))
    turned = sign < 0
    if not (
        np.array_equal(np.where(turned, -high[index], low[index]), np.tile(low, (len(index), 1)))
        and np.array_equal(
            np.where(turned, -low[index], high[index]), np.tile(high, (len(index), 1))
        )
    ):
        raise InvalidValue("a symmetry leads out of the bounds of the actions")
