"""The part of the page about one skill."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from skillkit.manifest import Manifest
from skillkit.report import card
from skillkit.report.page import curves, pictures, tables
from skillkit.report.page.found import Broken, Found, Library, Skill, anchor
from skillkit.report.page.markup import Html, clipped, commands, element, folded, joined, listed
from skillkit.report.page.numbers import finite, shown

RELATIVES = 24  # of one kind that are named


def article(skill: Skill, library: Library, film: pictures.Film, share: int, options: str) -> Html:
    """Everything that the page tells of a skill.

    Args:
        film: makes the clip.
        share: bytes of pictures.
        options: of every command, where the registry is not the usual one.
    """
    latest = skill.latest
    about = _broken(latest) if isinstance(latest, Broken) else [
        *_head(latest, library),
        element("div", _pictures(latest, film, share), _numbers(latest), class_="evidence"),
        _commands(latest, options),
        tables.settings(latest.manifest),
        tables.interface(latest.manifest),
        tables.origin(latest.manifest),
    ]  # fmt: skip
    version = element("span", f"@{latest.entry.version}", class_="version")
    title = element("h3", skill.name, version, id=f"{skill.id}@title")
    return element(
        "article", title, about, tables.older(skill, options),
        id=skill.id, aria_labelledby=f"{skill.id}@title",
    )  # fmt: skip


def _broken(broken: Broken) -> list[Html]:
    return [element("p", element("b", "Damaged: "), broken.sentence, class_="damaged")]


def _head(found: Found, library: Library) -> list[Html | str]:
    m = found.manifest
    facts = {
        "task": clipped(found.task, 200),
        "domain": clipped(found.domain, 80) + _scene(m),
        "made by": found.made + _effort(m),
        "seed": f"{m.seed}",
        "on": m.created[:10],
        "temperature": f"{shown(m.alpha)} r/nat",
        "discount": f"{shown(m.gamma)} per {m.spec.dt:g} s",
        "replay": f"{m.replay['transitions']:,} transitions",
        "saved as": "" if m.name == found.name else m.name,
        "from": "" if found.entry.origin == "yours" else clipped(found.entry.origin, 200),
    }
    return [
        element("p", found.summary, class_="summary") if found.summary else "",
        _labels(found),
        _facts(facts, "facts"),
        _facts(_relatives(found, library), "relatives"),
    ]


def _facts(facts: Mapping[str, Html | str], class_: str) -> Html:
    rows = [
        element("div", element("dt", key), element("dd", value))
        for key, value in facts.items()
        if value
    ]
    return element("dl", rows, class_=class_) if rows else Html("")


def _effort(manifest: Manifest) -> str:
    """', 400,000 steps, 3,497 s'."""
    steps, seconds = finite(manifest.metrics.get("steps")), finite(manifest.timing.get("seconds"))
    taken = "" if steps is None else f", {shown(steps)} steps"
    return taken + ("" if seconds is None else f", {shown(round(seconds))} s")


def _scene(manifest: Manifest) -> str:
    scene = manifest.task.get("scene")
    return f", {clipped(scene, 80)}" if scene else ""


def _labels(found: Found) -> Html:
    items = [element("li", word) for word in found.words]
    note = found.labels.note
    return joined(
        element("ul", items, class_="labels", aria_label="Labels") if items else "",
        element("p", note, class_="note") if note else "",
        [element("p", complaint, class_="damaged") for complaint in found.complaints],
    )


def _relatives(found: Found, library: Library) -> dict[str, Html | str]:
    m = found.manifest
    weights = itertools.chain(m.weights, itertools.repeat(None))
    parents = []
    for record, weight in zip(m.parents[:RELATIVES], weights, strict=False):
        name = f"{record['name']}@{record['version'] or '?'}"
        there = library.parent(record)
        times = "" if weight is None else f"{weight:g} × "
        parents.append(joined(times, _link(there) if there else f"{name} (not here)"))
    children = library.children.get(found.entry.content_id, [])
    return {
        "parents": _several(parents, len(m.parents)),
        "layers": _lines(tables.told(card.layers, m)),
        "trained with": clipped(", ".join(m.siblings[:RELATIVES]), 400),
        "made of it": _several([_link(child) for child in children[:RELATIVES]], len(children)),
    }


def _link(found: Found) -> Html:
    return element("a", found.reference, href=f"#{anchor(found.name)}")


def _several(parts: Sequence[Html], total: int) -> Html | str:
    rest = f" and {total - len(parts)} more" if total > len(parts) else ""
    return joined(listed(parts), rest)


def _lines(lines: Sequence[str]) -> Html:
    return joined([element("span", clipped(line, 200), class_="row") for line in lines[:RELATIVES]])


def _pictures(found: Found, film: pictures.Film, share: int) -> Html:
    figure, clip = pictures.figure(found, share), pictures.clip(found, film, share)
    missing = found.entry.folder / card.FIGURE if card.FIGURE in found.files else None
    return joined(
        element("figure", figure, class_="picture") if figure else "",
        folded("Clip", clip or ""),
        element("p", f"too large for this page, or damaged: {missing}")
        if missing and not figure
        else "",
    )


def _numbers(found: Found) -> Html:
    scores = (tables.results(found), tables.comparison(found), tables.costs(found))
    return element(
        "div",
        element("div", curves.panels(found.curve), class_="curves"),
        element("div", *scores, class_="tables"),
    )


def _commands(found: Found, options: str) -> Html:
    lines = [f"skillkit {verb} {found.reference}{options}" for verb in ("show", "evaluate", "plot")]
    again = [f"{found.command}  # what made it"] if found.command else []
    return commands([*lines, *again])
