"""Numbers as a person compares them; what a stranger recorded may be anything."""

from __future__ import annotations

import math
from typing import Any

from skillkit.report.page.markup import clipped

MINUS, MISSING = "\N{MINUS SIGN}", "\N{EN DASH}"


def finite(value: object) -> float | None:
    """The value if it is a number, without overflow; None otherwise."""
    if type(value) not in (int, float) or not -1e300 < value < 1e300:  # type: ignore[operator]
        return None
    return float(value)  # type: ignore[arg-type]


def shown(value: object, digits: int = 4) -> str:
    """A number in few digits, any other plain value as a short text, without what is nested."""
    if isinstance(value, list):
        items = ("…" if isinstance(item, list) else shown(item, digits) for item in value[:50])
        return clipped(", ".join(items)) or "none"
    if isinstance(value, dict):
        return "…"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    number = finite(value)
    if number is None:
        return clipped(value)
    if number == int(number) and abs(number) < 1e9:
        return f"{int(number):,}".replace("-", MINUS)
    return f"{number:.{digits}g}".replace("-", MINUS)


def statistic(measured: object, key: str, which: str = "mean") -> float | None:
    """One number of a metric that is recorded as mean, std and so on."""
    row = measured.get(key) if isinstance(measured, dict) else None
    return finite(row.get(which)) if isinstance(row, dict) else None


def decimals(value: float | None) -> str:
    """For a column: three significant digits, without an exponent where that is short."""
    if value is None:
        return MISSING
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        return f"{value:.2g}".replace("-", MINUS)
    places = max(0, 2 - math.floor(math.log10(size))) if size else 0
    return f"{value:,.{min(places, 3)}f}".replace("-", MINUS)


def flat(value: Any, prefix: str = "", limit: int = 200) -> dict[str, str]:
    """Nested settings by dotted names, at most `limit` of them."""
    found: dict[str, str] = {}
    for key, inner in value.items():
        name = f"{prefix}.{clipped(key, 60)}" if prefix else clipped(key, 60)
        if isinstance(inner, dict) and name.count(".") < 8:
            found |= flat(inner, name, limit - len(found))
        else:
            found[name] = shown(inner)
        if len(found) >= limit:
            break
    return found
