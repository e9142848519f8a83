"""Parents, layers and siblings as a graph: from left to right, each family by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from skillkit.report.page.found import Found, Library, anchor
from skillkit.report.page.markup import Html, clipped, element, listed, scrolling

ROW, COLUMN, NODE, MARGIN = 50, 60, 38, 2  # from row to row, between columns, a node's height
LETTER = 7.9  # mean width of a character of a name [px]; wide enough for any system font
NAME = 28  # characters of a name that are drawn


@dataclass(frozen=True)
class Family:
    """Versions that are related, parents before children."""

    members: Sequence[Found]
    edges: Sequence[tuple[int, int]]  # parent, child; indices of members
    siblings: Sequence[tuple[int, int]]  # trained in one run


def families(library: Library) -> list[Family]:
    """The latest versions and those they were made of, as far as these are here; no lone ones."""
    shown = _with_ancestors(library)
    edges = {key: [i for p in _parents(library, f) if (i := p.entry.content_id) != key]
             for key, f in shown.items()}  # fmt: skip
    runs = _runs(shown)
    joined = [(key, parent) for key, parents in edges.items() for parent in parents]
    joined += [(run[0], other) for run in runs for other in run[1:]]
    found = []
    for keys in _connected(list(shown), joined):
        if len(keys) > 1:
            place = {key: index for index, key in enumerate(keys)}
            found.append(
                Family(
                    [shown[key] for key in keys],
                    [(place[parent], place[key]) for key in keys for parent in edges[key]],
                    [(place[run[i]], place[run[j]]) for run in runs if run[0] in place
                     for i, j in _pairs(len(run))],
                )
            )  # fmt: skip
    return sorted(found, key=lambda family: -len(family.members))


def section(library: Library) -> Html:
    """The part of the page; every skill's own part says the same in words."""
    found = families(library)
    drawn = [scrolling(draw(family), f"Family of {family.members[0].name}") for family in found]
    related = {member.entry.content_id for family in found for member in family.members}
    lone = [element("a", f.name, href=f"#{anchor(f.name)}") for f in library.latest
            if f.entry.content_id not in related]  # fmt: skip
    return element(
        "section",
        element("h2", "What is made of what", id="family"),
        element(
            "p",
            "From left to right: a skill, and what was composed of it, stacked on it or trained "
            "from it. A dashed line joins skills of one run, which share their replay.",
        ),
        drawn,
        element("p", "Without relatives here: ", listed(lone), ".") if lone else "",
        aria_labelledby="family",
    )


def draw(family: Family) -> Html:
    """The graph of one family, as large as it needs to be."""
    columns = _columns(family)
    widths = [max(_width(family.members[i]) for i in column) for column in columns]
    lefts = [MARGIN + sum(widths[:n]) + n * COLUMN for n in range(len(columns))]
    at = {
        i: (lefts[n], MARGIN + row * ROW, widths[n])
        for n, column in enumerate(columns)
        for row, i in enumerate(column)
    }
    width = lefts[-1] + widths[-1] + MARGIN
    height = ROW * max(map(len, columns))
    return element(
        "svg",
        [_edge(at[parent], at[child]) for parent, child in family.edges],
        [_run(at[one], at[two]) for one, two in _neighbours(family, columns)],
        [_node(member, *at[i]) for i, member in enumerate(family.members)],
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        class_="family",
        role="group",
        aria_label=f"{len(family.members)} related skills",
    )


def _node(found: Found, x: float, y: float, width: float) -> Html:
    return element(
        "a",
        element("title", f"{found.reference}: {found.made}"),
        element("rect", x=f"{x:.0f}", y=f"{y:.0f}", width=f"{width:.0f}", height=NODE, rx=3),
        element("text", _short(found), x=f"{x + 10:.0f}", y=f"{y + 16:.0f}"),
        element("text", found.made, x=f"{x + 10:.0f}", y=f"{y + 31:.0f}", class_="quiet"),
        href=f"#{anchor(found.name)}",
        class_=found.manifest.kind,
    )


def _edge(parent: tuple[float, float, float], child: tuple[float, float, float]) -> Html:
    x0, y0 = parent[0] + parent[2], parent[1] + NODE / 2
    x1, y1 = child[0], child[1] + NODE / 2
    bend = max(30.0, abs(x1 - x0) / 2)
    path = f"M{x0:.0f} {y0:.0f}C{x0 + bend:.0f} {y0:.0f} {x1 - bend:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"
    tip = f"M{x1 - 6:.0f} {y1 - 4:.0f}L{x1:.0f} {y1:.0f}L{x1 - 6:.0f} {y1 + 4:.0f}"
    return element("path", d=path + tip, class_="edge")


def _run(one: tuple[float, float, float], two: tuple[float, float, float]) -> Html:
    (x, y0, _), (_, y1, _) = sorted((one, two), key=lambda place: place[1])
    return element("path", d=f"M{x + 5:.0f} {y0 + NODE:.0f}V{y1:.0f}", class_="run")


def _neighbours(family: Family, columns: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Siblings that are drawn one below the other."""
    pairs = {frozenset(pair) for pair in family.siblings}
    for column in columns:
        for above, below in zip(column, column[1:], strict=False):
            if frozenset((above, below)) in pairs:
                yield above, below


def _columns(family: Family) -> list[list[int]]:
    """Each member one column to the right of its last parent, near the rows of its parents."""
    parents: dict[int, list[int]] = {i: [] for i in range(len(family.members))}
    for parent, child in family.edges:
        parents[child].append(parent)
    depth = _depths(parents)
    columns: list[list[int]] = []
    row: dict[int, float] = {}
    for level in range(1 + max(depth.values())):
        column = [i for i in parents if depth[i] == level]
        near = {i: [row[p] for p in parents[i] if p in row] for i in column}
        column.sort(key=lambda i: sum(near[i]) / len(near[i]) if near[i] else i)
        row |= {i: float(n) for n, i in enumerate(column)}
        if column:
            columns.append(column)
    return columns


def _depths(parents: dict[int, list[int]]) -> dict[int, int]:
    """The longest way from a root; content ids make no circles, but a forged file may."""
    depth = dict.fromkeys(parents, 0)
    for _ in range(min(len(parents), 50)):
        deeper = {i: max((1 + depth[p] for p in of), default=0) for i, of in parents.items()}
        if deeper == depth:
            break
        depth = deeper
    return depth


def _with_ancestors(library: Library) -> dict[str, Found]:
    """By content id, parents before children."""
    shown: dict[str, Found] = {}
    pending = [(found, False) for found in reversed(library.latest)]
    entered: set[str] = set()
    while pending:
        found, ready = pending.pop()
        key = found.entry.content_id
        if ready:
            shown.setdefault(key, found)
        elif key not in entered:
            entered.add(key)
            pending.append((found, True))
            pending += [(parent, False) for parent in _parents(library, found)]
    return shown


def _parents(library: Library, found: Found) -> list[Found]:
    """Those that are here, each once; of a stack also the layers below."""
    records = [*found.manifest.parents, *found.manifest.layers[:-1]]
    there = {r["content_id"]: library.versions.get(r["content_id"] or "") for r in records}
    return [parent for parent in there.values() if parent is not None]


def _runs(shown: dict[str, Found]) -> list[list[str]]:
    """Content ids of skills that one run trained together."""
    runs: dict[object, list[str]] = {}
    for key, found in shown.items():
        if siblings := found.manifest.siblings:
            team = frozenset((found.manifest.name, *siblings))
            runs.setdefault((team, found.manifest.seed), []).append(key)
    return [run for run in runs.values() if len(run) > 1]


def _connected(keys: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[list[str]]:
    """The keys that are joined, directly or not, in their order."""
    home = {key: key for key in keys}

    def root(key: str) -> str:
        while home[key] != key:
            home[key] = key = home[home[key]]
        return key

    for one, two in pairs:
        if one in home and two in home:
            home[root(two)] = root(one)
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(root(key), []).append(key)
    return list(found.values())


def _pairs(number: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(number) for j in range(i)]


def _short(found: Found) -> str:
    return clipped(found.name, NAME)


def _width(found: Found) -> float:
    return 20 + LETTER * max(len(_short(found)), len(found.made) * 0.85)
