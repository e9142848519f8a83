"""skill.json, which says what a skill is. Standard library and NumPy, no torch."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.integrity import content_id as content_id
from skillkit.integrity import fingerprint
from skillkit.integrity import verify_checksums as verify_checksums
from skillkit.integrity import write_checksums as write_checksums
from skillkit.migrations import FORMAT, migrated
from skillkit.names import check_name as check_name
from skillkit.names import is_name
from skillkit.provenance import host as host
from skillkit.provenance import library_versions as library_versions
from skillkit.provenance import now as now
from skillkit.reading import RESTORE, described, fits, plain, read_json
from skillkit.types import Array, Spec

KINDS = ("trained", "composed", "stacked")
MANIFEST = "skill.json"
MAX_PARTS = 100  # parents or layers of a skill
MAX_VALUES = 10_000  # and names of them, in its settings or its metrics
MAX_TEXT = 1000  # characters


class Parent(TypedDict):
    """A skill that another was made of; one never saved has no version and no content id."""

    name: str
    version: int | None
    content_id: str | None


class Layer(TypedDict):
    """A policy of a stack: which skill it was made as, and its parameters' fingerprint.

    The newest one was made as the skill itself, whose version and content id it cannot know.
    """

    name: str
    version: int | None
    content_id: str | None
    task: str
    algorithm: str
    seed: int
    steps: int | None  # environment steps of its training; None: composed, without any
    fingerprint: str


# The shape of skill.json: rules, nested as the fields are; an error shows their names.


def _skill_name(value: Any) -> bool:
    return is_name(value)


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _text_or_null(value: Any) -> bool:
    return value is None or _text(value)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _object_of_a_few_thousand_short_values(value: Any) -> bool:
    """What somebody prints, a row for each."""
    found, left = 0, [value]
    while left and found <= MAX_VALUES:
        item = left.pop()
        inner = [*item.values(), *item] if isinstance(item, dict) else item
        if isinstance(inner, list):
            left += inner
            found += len(inner)
        elif isinstance(item, str) and len(item) > MAX_TEXT:
            return False
    return isinstance(value, dict) and found <= MAX_VALUES


def _number(value: Any) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300


def _number_from_0(value: Any) -> bool:
    return _number(value) and value >= 0


def _number_from_0_to_1(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _count_or_null(value: Any) -> bool:
    return value is None or _count(value)


def _utc_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).utcoffset() == timedelta(0)
    except (TypeError, ValueError):
        return False


_PART_SHAPE = {"kind": _text, "config": _object}
_SHAPE: dict[str, Any] = {
    "format": _count,
    "kind": _text,
    "name": _skill_name,
    "task": {"expression": _text, "domain": _text, "scene": _text_or_null, "source_hash": _text},
    "alpha": _number_from_0,
    "gamma": _number_from_0_to_1,
    "algorithm": _text,
    "config": _object_of_a_few_thousand_short_values,
    "policy": _PART_SHAPE,
    "q": _PART_SHAPE,
    "parents": [{"name": _skill_name, "version": _count_or_null, "content_id": _text_or_null}],
    "weights": [_number],
    "layers": [
        {
            "name": _skill_name,
            "version": _count_or_null,
            "content_id": _text_or_null,
            "task": _text,
            "algorithm": _text,
            "seed": _count,
            "steps": _count_or_null,
            "fingerprint": _text,
        }
    ],
    "siblings": [_skill_name],
    "seed": _count,
    "versions": _object_of_a_few_thousand_short_values,
    "metrics": _object_of_a_few_thousand_short_values,
    "replay": {"episodes": _count, "transitions": _count},
    "created": _utc_time,
    "timing": _object_of_a_few_thousand_short_values,
    "host": _object_of_a_few_thousand_short_values,
}


class Newer(InvalidValue):
    """A format that this skillkit does not know yet."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """skill.json: plain data, checked when built.

    Raises:
        InvalidValue: a field of the wrong shape, or data that JSON cannot hold.
    """

    format: int = FORMAT
    kind: str  # one of KINDS
    name: str
    task: dict[str, Any]  # expression, domain, scene or None, source_hash
    spec: Spec
    alpha: float  # [r/nat]
    gamma: float
    algorithm: str
    config: dict[str, Any]
    policy: dict[str, Any]  # kind, config
    q: dict[str, Any]  # kind, config
    parents: list[Parent] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)  # of a composed skill, one a parent
    layers: list[Layer] = field(default_factory=list)  # of a stacked skill, from the bottom up
    siblings: list[str] = field(default_factory=list)  # trained in the same run, on one replay
    seed: int
    versions: dict[str, str] = field(default_factory=library_versions)
    metrics: dict[str, Any] = field(default_factory=dict)
    replay: dict[str, int]  # episodes, transitions
    created: str = field(default_factory=now)
    timing: dict[str, Any] = field(default_factory=dict)  # [s]
    host: dict[str, Any] = field(default_factory=host)

    def __post_init__(self) -> None:
        for name, shape in _SHAPE.items():
            try:
                value = plain(getattr(self, name))
            except (TypeError, ValueError) as error:
                raise InvalidValue(f"{name!r} of a skill is not plain data: {error}") from error
            if not fits(value, shape):
                given = reprlib.repr(value)
                raise InvalidValue(f"{name!r} of a skill must be {described(shape)}, not {given}")
            object.__setattr__(self, name, value)
        if self.kind not in KINDS:
            raise InvalidValue(f"'kind' of a skill must be one of {', '.join(KINDS)}")
        if max(len(self.parents), len(self.layers)) > MAX_PARTS:
            raise InvalidValue(f"a skill has at most {MAX_PARTS} parents or layers")
        words = [w for e in self.spec.observation + self.spec.action for w in (e.name, e.unit)]
        if not all(_text(word) and word.isprintable() for word in words):
            raise InvalidValue(f"names and units are printable, up to {MAX_TEXT} characters")
        if len(self.weights) != (len(self.parents) if self.kind == "composed" else 0):
            raise InvalidValue("a composed skill has one weight for each parent, others have none")
        stacked = self.policy["kind"] == "stacked"
        embedded = self.policy["config"].get("layers") if stacked else []
        if not isinstance(embedded, list) or len(self.layers) != len(embedded):
            raise InvalidValue("'layers' of a skill must name each layer of its policy, if stacked")
        if stacked and not fits(self.policy["config"].get("holds"), [_count]):
            raise InvalidValue("'holds' of a stacked policy must be a list of counts")
        if self.kind == "stacked" and not stacked:
            raise InvalidValue("a stacked skill needs a policy of the kind 'stacked'")
        if self.spec.unbounded:
            raise InvalidValue("the actions of a skill have bounds; those of its upper layers none")
        if not 0 < self.spec.dt < 1e300:
            raise InvalidValue("the control period dt of a skill must be above 0")

    def check_layers(self, tensors: Mapping[str, Array]) -> None:
        """Compare the parameters of a stack's layers with their fingerprints.

        Raises:
            CorruptSkill: a layer is not the one that was embedded.
        """
        for index, layer in enumerate(self.layers):
            prefix = f"layers.{index}."
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if fingerprint(own) != layer["fingerprint"]:
                raise CorruptSkill(
                    f"layer {index} of {self.name}, {layer['name']}, is not the one that was "
                    f"embedded in it; {RESTORE}"
                )

    @property
    def run(self) -> tuple[object, ...]:
        """What skills that were trained together have in common, and with no other run's."""
        team = frozenset((self.name, *self.siblings))
        how = json.dumps(self.config, sort_keys=True)
        return team, self.seed, self.algorithm, how, self.metrics.get("steps")

    def to_json(self) -> dict[str, Any]:
        """Plain data, in the order of the fields."""
        data = {item.name: getattr(self, item.name) for item in fields(self)}
        if not self.layers:
            del data["layers"]
        return data | {"spec": self.spec.to_json()}

    @staticmethod
    def from_json(data: object) -> Manifest:
        """Inverse of `to_json`: exactly these fields, `layers` of a stack only, no coercion.

        An older format is read as today's (`migrations`).

        Raises:
            InvalidValue: not an object, another format, a field too many, too few or wrong.
        """
        if not isinstance(data, Mapping):
            raise InvalidValue(f"it is a {type(data).__name__} instead of an object")
        data = migrated(data)
        if data.get("format") != FORMAT:
            given = data.get("format")
            says = f"its format is {reprlib.repr(given)}, and this skillkit reads format {FORMAT}"
            if type(given) is int and given > FORMAT:
                raise Newer(f"{says}; a newer one wrote it, so upgrade yours")
            raise InvalidValue(says)
        names = {item.name for item in fields(Manifest)}
        if not data.get("layers"):
            names.remove("layers")
        if odd := sorted(data.keys() ^ names):
            raise InvalidValue(f"the field {reprlib.repr(odd[0])} is missing or unknown")
        try:
            spec = Spec.from_json(data["spec"])
        except OverflowError as error:
            raise InvalidValue("a number of the spec is too large") from error
        if spec.to_json() != data["spec"]:  # Spec would take "0.01" for a number
            raise InvalidValue("a field of the spec is missing, unknown or of the wrong type")
        return Manifest(**{**data, "spec": spec})

    def save(self, folder: Path) -> None:
        """Write skill.json into the folder of a skill."""
        text = json.dumps(self.to_json(), indent=2, allow_nan=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="ascii")

    @staticmethod
    def load(folder: Path) -> Manifest:
        """Read skill.json from the folder of a skill; its checksum is `verify_checksums`' business.

        Raises:
            CorruptSkill: skill.json is missing, not strict JSON, or not a manifest.
        """
        path = folder / MANIFEST
        try:
            return Manifest.from_json(read_json(path))
        except RecursionError as error:
            raise CorruptSkill(f"{path} is nested too deeply; {RESTORE}") from error
        except Newer as error:
            raise CorruptSkill(f"{path}: {error}") from error
        except InvalidValue as error:
            raise CorruptSkill(f"{path} is not a skill's manifest: {error}; {RESTORE}") from error
