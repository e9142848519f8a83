"""Rotation of the world about its vertical, by any angle, as observations show it.

Entries turn in pairs: (x, y) by the angle itself, as positions and velocities do, or by half of it,
as the halves (w, z) and (x, y) of a quaternion do. All others stay. What is here is for NumPy and
for PyTorch alike; the tables have to be of the same library as what is turned.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from skillkit.errors import InvalidValue

Pair = tuple[int, int, float]  # two positions, and the share of the angle by which they turn
SHARES = (1.0, 0.5)


class Rotation(NamedTuple):
    """R(delta) x = still x + cos(delta) whole x + sin(delta) x @ turned, and so on with halves."""

    still: Any  # (O,) float32, 1 where an entry stays
    whole: Any  # (O,), 1 where it turns by the angle
    turned: Any  # (O, O): a quarter turn of these pairs
    half: Any  # (O,), 1 where it turns by half of it
    half_turned: Any  # (O, O)


def rotation(size: int, pairs: Sequence[Pair]) -> Rotation:
    """The tables of a rotation, NumPy float32, for observations of so many entries.

    Raises:
        InvalidValue: a position that is not there or comes twice, or another share.
    """
    places = [position for first, second, _ in pairs for position in (first, second)]
    if len(set(places)) < len(places) or not set(places) <= set(range(size)):
        raise InvalidValue(f"a rotation turns pairs of {size} entries, each of them once")
    if any(share not in SHARES for *_, share in pairs):
        raise InvalidValue("a rotation turns a pair of entries by the angle or by half of it")
    masks, turns = np.zeros((2, size), np.float32), np.zeros((2, size, size), np.float32)
    for first, second, share in pairs:
        of = SHARES.index(share)
        masks[of, [first, second]] = 1
        turns[of, first, second], turns[of, second, first] = 1, -1
    return Rotation(1 - masks.sum(0), masks[0], turns[0], masks[1], turns[1])


def rotated(x: Any, cos: Any, sin: Any, of: Rotation) -> Any:
    """R(delta) x by up to half a turn; -sin turns back. (..., O), (...,), (...,) -> (..., O)

    delta / 2 is the direction of (1 + cos delta, sin delta), also where that is short.
    """
    cos, sin = cos[..., None], sin[..., None]
    length = ((1 + cos) ** 2 + sin**2) ** 0.5
    back = length == 0  # exactly half a turn
    cos_half, sin_half = (1 + cos) / (length + back), (sin + back) / (length + back)
    whole = cos * of.whole * x + sin * (x @ of.turned)
    half = cos_half * of.half * x + sin_half * (x @ of.half_turned)
    return of.still * x + whole + half


def deviation(compass: Any, direction: Any) -> tuple[Any, Any]:
    """Cosine and sine of the angle from a direction (a unit vector) to a compass.

    A compass of no length deviates from nothing. (..., 2), (..., 2) -> (...,), (...,)
    """
    (cx, cy), (dx, dy) = ((v[..., 0], v[..., 1]) for v in (compass, direction))
    length = (cx * cx + cy * cy) ** 0.5
    none = length == 0
    return (cx * dx + cy * dy + none) / (length + none), (dx * cy - dy * cx) / (length + none)
