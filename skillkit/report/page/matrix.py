"""Pairwise disagreement as a matrix, and the commands for the pairs that nobody has tried."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from skillkit.report.page.found import Found, Library, anchor
from skillkit.report.page.markup import (
    Html,
    clipped,
    commands,
    element,
    folded,
    joined,
    listed,
    scrolling,
    table,
)
from skillkit.report.page.numbers import decimals
from skillkit.report.page.pairs import Measured, Pairs, groups, measured, why_not

COLUMNS = 24  # skills of one matrix; those that were composed most often come first
SENTENCES = 40  # about groups that differ
OTHERS = 500  # measured pairs that no matrix has room for
SHADES = 5


def section(library: Library, options: str) -> Html:
    """The part of the page about what composes with what.

    Args:
        options: of every command, where the registry is not the usual one.
    """
    pairs, found = measured(library), groups(library)
    several = [_ranked(group, pairs) for group in found.together if len(group) > 1]
    alone = [group[0] for group in found.together if len(group) == 1]
    return element(
        "section",
        element("h2", "What composes with what", id="composition"),
        element(
            "p",
            "Skills of one table can be composed with each other. A number is the disagreement G "
            "of the two in equal parts, its mean over stored states [r] and below that its 95 % "
            "quantile, as the composition it links to measured them: 0 where they agree, and the "
            "fainter the less within its table. A dot: the rules allow it, and nobody has tried.",
        ),
        [_matrix(group, pairs, options) for group in several],
        _others(library, pairs, [group[:COLUMNS] for group in several]),
        _apart(found.together),
        _sentence("Nothing here to compose with: ", alone, "."),
        [_sentence("", some, f": {why}.") for why, some in _by_reason(found.never)],
        aria_labelledby="composition",
    )


def _ranked(group: Sequence[Found], pairs: Pairs) -> list[Found]:
    """Those of the most measured pairs first."""
    count = Counter(identity for pair in pairs for identity in pair)
    return sorted(group, key=lambda found: -count[found.entry.content_id])


def _matrix(group: Sequence[Found], pairs: Pairs, options: str) -> Html:
    members, rest = group[:COLUMNS], group[COLUMNS:]
    cells = {
        (i, j): pairs.get(_pair(a, b))
        for (i, a), (j, b) in itertools.permutations(enumerate(members), 2)
    }
    largest = max((cell.mean for cell in cells.values() if cell), default=0.0)
    head = [
        element("th", f"{n}", element("span", f" {member.name}", class_="unseen"), scope="col")
        for n, member in enumerate(members, start=1)
    ]
    rows = [
        element(
            "tr",
            element("th", f"{i + 1} ", _link(member), scope="row"),
            [_cell(cells.get((i, j)), i == j, largest) for j in range(len(members))],
        )
        for i, member in enumerate(members)
    ]
    label = _shared(group[0])
    made = element(
        "table",
        element("caption", label),
        element("thead", element("tr", element("th", "skill", scope="col"), head)),
        element("tbody", rows),
        class_="matrix",
    )
    more = folded(f"{len(rest)} more that compose with these", listed(map(_link, rest)))
    untried = [(members[i], members[j]) for (i, j), cell in cells.items() if i < j and not cell]
    return joined(
        scrolling(made, f"Disagreement, {label}"),
        more,
        _commands(untried, options) if untried else "",
    )


def _shared(found: Found) -> str:
    """What the skills of a group have in common, as far as a reader needs it."""
    task = found.manifest.task
    world = found.task if found.task.startswith("gym:") else f"domain {found.domain}"
    scene = f" with {clipped(task['scene'], 60)}" if task.get("scene") else ""
    return f"{clipped(world, 80)}{scene}, discount {found.manifest.gamma:g}"


def _cell(measured: Measured | None, same: bool, largest: float) -> Html:
    if same:
        return element("td", class_="same")
    if measured is None:
        spoken = element("span", "allowed, never composed", class_="unseen")
        return element("td", element("span", "\N{MIDDLE DOT}", aria_hidden="true"), spoken)
    share = measured.mean / largest if largest > 0 else 0.0
    shade = 1 + min(SHADES - 1, max(0, int(SHADES * share)))
    link = element("a", decimals(measured.mean), href=f"#{anchor(measured.child.name)}")
    return element("td", link, element("small", decimals(measured.q95)), class_=f"shade-{shade}")


def _commands(untried: Sequence[tuple[Found, Found]], options: str) -> Html:
    """What would tell."""
    lines = [f"skillkit compose {one.name} {two.name}{options}" for one, two in untried]
    count = f"{len(lines)} pairs" if len(lines) > 1 else "1 pair"
    return folded(f"{count} to try: the commands", commands(lines))


def _others(library: Library, pairs: Pairs, shown: Iterable[Sequence[Found]]) -> Html:
    """Measured pairs of older versions, and those that a matrix has no room for."""
    drawn = {_pair(a, b) for group in shown for a, b in itertools.combinations(group, 2)}
    rows: list[tuple[str, ...]] = []
    for pair, row in pairs.items():
        both = [library.versions.get(identity) for identity in pair]
        if pair not in drawn and len(rows) < OTHERS:
            names = sorted(found.reference if found else "one that is not here" for found in both)
            what = " and ".join(names)
            rows.append((what, decimals(row.mean), decimals(row.q95), _link(row.child)))
    caption = "Of older versions, and what a matrix has no room for"
    head = ("pair", "mean [r]", "95 % [r]", "measured by")
    count = f"{len(rows)} more measured pairs" if len(rows) > 1 else "1 more measured pair"
    return folded(count, table(head, rows, caption))


def _apart(together: Sequence[Sequence[Found]]) -> Html:
    """Why groups of one domain are not one group; skills of different domains never compose."""
    if len(together) < 2:
        return Html("")
    sentences = itertools.islice(_differences(together), SENTENCES)
    items = [element("li", sentence) for sentence in sentences]
    return joined(
        element("p", "Skills of different domains do not compose."),
        element("ul", items) if items else "",
    )


def _differences(together: Sequence[Sequence[Found]]) -> Iterator[str]:
    for one, two in itertools.combinations(together, 2):
        if one[0].domain == two[0].domain:
            yield why_not(one[0], two[0])


def _by_reason(never: Sequence[tuple[Found, str]]) -> Iterable[tuple[str, list[Found]]]:
    found: dict[str, list[Found]] = {}
    for skill, why in never:
        found.setdefault(why, []).append(skill)
    return found.items()


def _sentence(before: str, some: Sequence[Found], after: str) -> Html:
    return element("p", before, listed(map(_link, some)), after) if some else Html("")


def _pair(one: Found, two: Found) -> frozenset[str]:
    return frozenset((one.entry.content_id, two.entry.content_id))


def _link(found: Found) -> Html:
    return element("a", found.name, href=f"#{anchor(found.name)}")
