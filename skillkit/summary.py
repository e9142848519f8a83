"""What a list says of a skill: some fields of its skill.json, read without judging the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from skillkit.manifest import KINDS, MANIFEST, Manifest
from skillkit.migrations import FORMAT, migrated
from skillkit.reading import read_text


class Summary(NamedTuple):
    """These fields are as `Manifest` wants them; for the others there is `skillkit verify`."""

    kind: str
    algorithm: str
    task: str  # its expression
    domain: str
    alpha: float  # [r/nat]
    created: str
    evaluation: Any  # metric -> its mean and more; a stranger's may be anything

    @staticmethod
    def load(folder: Path) -> Summary:
        """Read it from the folder of a skill, a tenth of the work of reading all.

        Raises:
            CorruptSkill: skill.json is missing, no JSON, or no manifest.
        """
        try:
            data = json.loads(read_text(folder / MANIFEST), parse_constant=_refuse)
            found = _of(migrated(data))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            manifest = Manifest.load(folder)  # which says what is wrong
            found = _of(manifest.to_json())
        return found


def _of(data: Mapping[str, Any]) -> Summary:
    task, alpha = data["task"], data["alpha"]
    found = Summary(
        data["kind"],
        data["algorithm"],
        task["expression"],
        task["domain"],
        alpha,
        data["created"],
        data["metrics"].get("evaluation", {}),
    )
    for value, fits in zip(found, _SHAPE, strict=True):
        if not fits(value):
            raise ValueError("no manifest has this")
    if data["format"] != FORMAT:
        raise ValueError("this is of another format")
    return found


def _text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 1000 and value.isprintable()


def _time(value: Any) -> bool:
    return datetime.fromisoformat(value).tzinfo is not None


def _temperature(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1e300


_SHAPE: tuple[Callable[[Any], bool], ...] = (
    KINDS.__contains__,
    _text,
    _text,
    _text,
    _temperature,
    _time,
    lambda value: True,
)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")
