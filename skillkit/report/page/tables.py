"""Tables about one skill: how good, at what cost, with which settings, and its older versions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from skillkit.manifest import Manifest
from skillkit.report import card
from skillkit.report.page.found import Broken, Found, Skill
from skillkit.report.page.markup import Html, clipped, commands, folded, joined, table
from skillkit.report.page.numbers import MISSING, decimals, finite, flat, shown, statistic
from skillkit.types import Entry

ROWS = 40  # of a table

T = TypeVar("T")


def results(found: Found) -> Html:
    """What an evaluation measured, with its spread."""
    scores = found.evaluation
    rows = [
        (
            _unit(key),
            decimals(statistic(scores, key)),
            decimals(statistic(scores, key, "std")),
            _interval(statistic(scores, key, "low"), statistic(scores, key, "high")),
        )
        for key in itertools.islice(scores, ROWS)
        if statistic(scores, key) is not None
    ]
    episodes = finite(scores.get("episodes"))
    count = "Episodes" if episodes is None else f"{shown(episodes)} episodes"
    caption = f"{count} of {found.reference}, deterministic"
    return table(("per episode", "mean", "std", "95 % of the mean"), rows, caption)


def comparison(found: Found) -> Html:
    """A composed skill beside its parents, all in its task."""
    parents = found.manifest.metrics.get("parents")
    if not isinstance(parents, dict):
        return Html("")
    rows = [
        (clipped(name), *(decimals(statistic(of, key)) for key in ("return", "final_distance")))
        for name, of in [*itertools.islice(parents.items(), ROWS), (found.name, found.evaluation)]
    ]
    return table(("skill", "return [r]", "distance"), rows, f"In {clipped(found.task)}")


def costs(found: Found) -> Html:
    """What is lost by composing, and every other number that was recorded."""
    rows = told(card.costs, found.manifest)[:ROWS]
    recorded = itertools.islice(found.manifest.metrics.items(), ROWS)
    numbers = [
        (clipped(key, 40).replace("_", " "), decimals(value))
        for key, value in ((key, finite(value)) for key, value in recorded)
        if value is not None and key != "steps"  # the article's head has those
    ]
    return joined(
        table(("[r]", "mean", "95 %"), rows, "What the composition costs, estimated"),
        table(("number", "value"), numbers, "Also recorded"),
    )


def settings(manifest: Manifest) -> Html:
    """The resolved configuration."""
    caption = "As --set takes them"
    return folded("Settings", table(("setting", "value"), flat(manifest.config).items(), caption))


def interface(manifest: Manifest) -> Html:
    """What the policy reads and writes."""
    spec = manifest.spec
    rows = [*_entries("observation", spec.observation), *_entries("action", spec.action)]
    caption = f"{spec.observation_dim} observation and {spec.action_dim} action entries"
    made = table(("entry", "kind", "unit", "bounds"), rows, caption)
    return folded("Observation and action", made)


def origin(manifest: Manifest) -> Html:
    """With what it was made, and on what."""
    recorded: Mapping[str, Any] = {**manifest.versions, **manifest.timing, **manifest.host}
    made = table(("what", "value"), flat(recorded).items(), "Recorded when it was made")
    return folded("Software, time, machine", made)


def older(skill: Skill, options: str) -> Html:
    """Every other version, and the command that compares."""
    if not skill.older:
        return Html("")
    head = ("version", "made by", "seed", "on", "alpha", "return", "distance", "labels")
    more = f", and {skill.more} before them" if skill.more else ""
    several = "s" if len(skill.older) > 1 else ""
    compare = f"skillkit diff {skill.older[0].entry.reference} {skill.name}{options}"
    return folded(
        f"{len(skill.older)} older version{several}{more}",
        table(head, map(_version, skill.older), f"Older versions of {skill.name}"),
        commands([compare]),
    )


def told(tell: Callable[[Manifest], list[T]], manifest: Manifest) -> list[T]:
    """What the card says, or nothing: a stranger's metrics may be of any shape."""
    try:
        return tell(manifest)
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def _interval(low: float | None, high: float | None) -> str:
    return MISSING if low is None or high is None else f"{decimals(low)} to {decimals(high)}"


def _unit(key: str) -> str:
    unit = card.UNITS.get(key)
    return clipped(key, 40).replace("_", " ") + (f" [{unit}]" if unit else "")


def _entries(kind: str, entries: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    for entry in entries[:ROWS]:
        bounded = entry.low > float("-inf") or entry.high < float("inf")
        bounds = f"{shown(entry.low)} to {shown(entry.high)}" if bounded else ""
        yield clipped(entry.name, 60), kind, clipped(entry.unit, 30), bounds


def _version(version: Found | Broken) -> tuple[str, ...]:
    number = f"@{version.entry.version}"
    if isinstance(version, Broken):
        return number, f"damaged: {version.sentence}", *[""] * 6
    m, scores = version.manifest, version.evaluation
    return (
        number, version.made, f"{m.seed}", m.created[:10], shown(m.alpha),
        decimals(statistic(scores, "return")), decimals(statistic(scores, "final_distance")),
        ", ".join([*version.words, *filter(None, [version.labels.note])]),
    )  # fmt: skip
