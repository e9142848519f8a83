"""skill.json of an older format, read as one of today's; no file of a skill is ever rewritten.

Whoever changes the format raises FORMAT, adds the step from the one before, and leaves a golden
skill of that one in tests/golden: skills that people have stay theirs, content id and all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

FORMAT = 1

Step = Callable[[dict[str, Any]], dict[str, Any]]
MIGRATIONS: dict[int, Step] = {}  # from format N to N + 1, for every N below FORMAT


def migrated(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same in today's format, or as it is if no step begins at its own."""
    while type(number := data.get("format")) is int and number in MIGRATIONS:
        data = {**MIGRATIONS[number](dict(data)), "format": number + 1}
    return data
