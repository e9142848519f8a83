"""What can be composed with what: by the rules, and as measured where two were composed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from skillkit.composition.rules import check_compatible, check_temperature, labels, unfit
from skillkit.envs import Task, combine, task
from skillkit.errors import IncompatibleSkills, InvalidValue, SkillkitError
from skillkit.manifest import Parent
from skillkit.report.page.found import Found, Library
from skillkit.report.page.numbers import statistic

PARENTS = 24  # of one composed skill, whose pairs are looked up


@dataclass(frozen=True)
class Measured:
    """The disagreement G of two skills in equal parts over stored states [r]."""

    mean: float
    q95: float | None
    child: Found  # whose composition measured it


Pairs = dict[frozenset[str], Measured]  # by the content ids of the two


def measured(library: Library) -> Pairs:
    """What composed skills have stored, the newest measurement of each pair."""
    found: Pairs = {}
    for child in sorted(library.versions.values(), key=lambda child: child.manifest.created):
        stored = child.manifest.metrics.get("pairwise_disagreement")
        for first, second in itertools.combinations(_labelled(child.manifest.parents), 2):
            key = f"{first[0]}, {second[0]}"
            mean = statistic(stored, key)
            if mean is not None and first[1] and second[1]:
                q95 = statistic(stored, key, "q95")
                found[frozenset((first[1], second[1]))] = Measured(mean, q95, child)
    return found


def _labelled(parents: Sequence[Parent]) -> list[tuple[str, str | None]]:
    """Parents as `compose` calls them, and their ids."""
    first = parents[:PARENTS]
    references = [p["name"] + (f"@{p['version']}" if p["version"] else "") for p in first]
    called = labels(list(zip((p["name"] for p in first), references, strict=True)))
    return list(zip(called, (p["content_id"] for p in first), strict=True))


@dataclass(frozen=True)
class Groups:
    """Skills by what the rules let them be composed with: with any of their own group."""

    together: Sequence[Sequence[Found]]
    never: Sequence[tuple[Found, str]]  # and why


def groups(library: Library) -> Groups:
    """Sort the latest versions; what the rules compare are equalities, so one of a group does."""
    together: list[list[Found]] = []
    never: list[tuple[Found, str]] = []
    for found in library.latest:
        try:
            if reason := unfit(found.manifest):
                raise InvalidValue(reason)
            check_temperature(found.manifest.alpha)
            home = next((group for group in together if not why_not(group[0], found)), None)
        except InvalidValue as error:
            never.append((found, str(error)))
            continue
        if home is None:
            together.append(home := [])
        home.append(found)
    return Groups(sorted(together, key=lambda group: -len(group)), never)


def why_not(first: Found, second: Found) -> str:
    """The sentence why two skills cannot be composed; empty if they can."""
    try:
        check_compatible([first.manifest, second.manifest])
        one, two = _task(first), _task(second)
        if one and two:
            combine([one, two])
    except IncompatibleSkills as error:
        return str(error)
    if one is two is None:
        return ""  # nobody can say
    stranger = first if one is None else second if two is None else None
    return f"the task of {stranger.name} is not here" if stranger else ""


def _task(found: Found) -> Task | None:
    """Its task, if that is declared here."""
    try:
        return task(str(found.manifest.task["expression"]))
    except SkillkitError:
        return None
