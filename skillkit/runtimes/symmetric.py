"""A policy in every frame of a symmetric robot, without PyTorch (`skillkit.policies.symmetric`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.rotation import deviation, rotated, rotation
from skillkit.runtimes.network import ClippedGaussian, Deterministic, Gaussian, Implicit
from skillkit.runtimes.real_nvp import RealNVP
from skillkit.types import Array

COMPASS = 2  # latents of it, before those of the policy inside
MOST = 1 << 10  # frames
INSIDE: dict[str, type[Gaussian | Deterministic | Implicit | RealNVP]] = {
    "gaussian": Gaussian,
    "clipped_gaussian": ClippedGaussian,
    "deterministic": Deterministic,
    "implicit": Implicit,
    "real_nvp": RealNVP,
}


class Symmetric:
    """a = g^-1 f(eps; g R s), where g is the frame whose direction is nearest to the compass.

    Raises:
        CorruptSkill: a malformed config, or tensors that do not fit it.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        sizes = config["observation_dim"], config["action_dim"]
        part = config.get("inside")
        kind, described = (
            (part.get("kind"), part.get("config")) if isinstance(part, Mapping) else (None, None)
        )
        if kind not in [*INSIDE] or not isinstance(described, Mapping):
            raise CorruptSkill(f"a symmetric policy has one inside, {', '.join(INSIDE)}")
        for key in ("observation_dim", "action_dim", "squash"):
            if described.get(key) != config.get(key):
                raise CorruptSkill(
                    f"the policy inside has {key} {described.get(key)!r}, and its frames "
                    f"{config.get(key)!r}"
                )
        directions = config.get("directions")
        if not isinstance(directions, list) or not 1 <= len(directions) <= MOST:
            raise CorruptSkill(f"a symmetric policy has 1 to {MOST} directions")
        self._compass = _numbers(directions).T.copy()  # (2, G)
        tables = config.get("frames")
        if not isinstance(tables, list | tuple) or len(tables) != 2:
            raise CorruptSkill("the frames of a symmetric policy are two tables")
        (self._seen, self._sign), (self._moved, self._turn) = (
            _signed(table, size, len(directions)) for table, size in zip(tables, sizes, strict=True)
        )
        self._turn_the_world(config.get("rotation", []), sizes[0])
        own = {key.removeprefix("inside."): value for key, value in tensors.items()}
        if any(not key.startswith("inside.") for key in tensors):
            raise CorruptSkill("a tensor of the policy does not belong to the one inside")
        self._inside = INSIDE[str(kind)](described, own)
        self.noise_dim = COMPASS + self._inside.noise_dim

    def _turn_the_world(self, pairs: Any, size: int) -> None:
        length = np.linalg.norm(self._compass, axis=0)
        rows: list[Any] = pairs if isinstance(pairs, list) and len(pairs) <= size else [None]
        try:
            triples = [(i, j, of) for i, j, of in rows]
            if not all(type(i) is type(j) is int for i, j, _ in triples):
                raise ValueError
            self._rotation = rotation(size, triples) if triples else None
        except (TypeError, ValueError, InvalidValue) as error:
            raise CorruptSkill(
                f"the rotation of a symmetric policy is a list of pairs of {size} entries, and the "
                "share of the angle, 1 or .5, by which each turns"
            ) from error
        if triples and not (length > 0).all():
            raise CorruptSkill("a symmetric policy with a rotation needs directions to turn to")
        self._ways = (self._compass / np.where(length > 0, length, 1)).T.copy()  # (G, 2)

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        if noise is None:
            g, eps = np.zeros(obs.shape[:-1], np.int64), None
        else:
            compass, eps = noise[..., :COMPASS], noise[..., COMPASS:]
            g = (compass @ self._compass).argmax(-1)
            if self._rotation is not None:
                cos, sin = deviation(compass, self._ways[g])
                obs = rotated(obs, cos, -sin, self._rotation)
        seen = np.take_along_axis(obs, self._seen[g], -1) * self._sign[g]
        unit = self._inside(seen, eps) * self._turn[g]
        action = np.empty_like(unit)
        np.put_along_axis(action, self._moved[g], unit, -1)
        return action


def _numbers(rows: list[Any]) -> Array:
    """(G, 2) float32"""
    if all(isinstance(row, list | tuple) and len(row) == COMPASS for row in rows):
        found = [x for row in rows for x in row]
        if all(isinstance(x, int | float) and abs(x) < 1e6 for x in found):
            return np.array(rows, np.float32)
    raise CorruptSkill("the directions of a symmetric policy are pairs of numbers")


def _signed(table: Any, size: int, count: int) -> tuple[Array, Array]:
    """Positions from 0 and signs. -> (G, size) int64, (G, size) float32"""
    whole = list(range(1, size + 1))
    rows = table if isinstance(table, list) and len(table) == count else [None]
    for row in rows:
        if not isinstance(row, list) or not all(type(p) is int for p in row):
            row = []
        if sorted(map(abs, row)) != whole:
            raise CorruptSkill(
                f"a frame of a symmetric policy is no signed permutation of 1 to {size}"
            )
    signed = np.array(rows)
    return np.abs(signed) - 1, np.sign(signed).astype(np.float32)
