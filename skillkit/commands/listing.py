"""list: what there is, filtered and in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from skillkit import console
from skillkit.commands.options import open_registry, registry_option
from skillkit.errors import CorruptSkill, InvalidValue, UnknownName

if TYPE_CHECKING:
    from skillkit.registry import Entry, Registry
    from skillkit.summary import Summary


@dataclass(frozen=True)
class Row:
    """What `list` knows of a version."""

    entry: Entry
    summary: Summary
    aliases: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def cost(self, metric: str, sign: int) -> float:
        """The metric times the sign; infinite if unmeasured, and a stranger's may be anything."""
        with suppress(KeyError, TypeError, ValueError):
            return sign * float(self.summary.evaluation[metric]["mean"])
        return math.inf

    @property
    def time(self) -> float:
        """Of making [s since 1970]."""
        return datetime.fromisoformat(self.summary.created).timestamp()

    def has(self, tag: str) -> bool:
        """Whether it has KEY=VALUE, or KEY with any value."""
        key, equals, value = tag.partition("=")
        return key in self.tags and (not equals or self.tags[key] == value)


ORDERS: dict[str, Callable[[Row], Any]] = {  # the smallest comes first; of equals as by name
    "name": lambda row: (row.entry.name, row.entry.version),
    "created": lambda row: -row.time,
    "return": lambda row: row.cost("return", -1),
    "distance": lambda row: row.cost("final_distance", 1),
    "size": lambda row: -row.entry.size,
}


@click.command("list")
@click.option("--domain", help="Only skills of this domain.")
@click.option("--kind", help="Only trained, composed or stacked ones.")
@click.option("--tag", "tags", multiple=True, metavar="KEY[=VALUE]", help="Only with this tag.")
@click.option("--all", "every", is_flag=True, help="Every version, not just each skill's latest.")
@click.option(
    "--sort",
    type=click.Choice(tuple(ORDERS)),
    default="name",
    show_default=True,
    help="Newest, highest return, smallest distance or largest first.",
)
@registry_option
def list_(
    domain: str | None,
    kind: str | None,
    tags: tuple[str, ...],
    every: bool,
    sort: str,
    registry: str | None,
) -> None:
    """The skills in the registry and those shipped with skillkit."""
    where = open_registry(registry)
    entries = where.list()
    if not entries:
        click.echo("there are no skills yet; skillkit train TASK makes one")
        return
    rows, damaged = _read(where, list(where.entries()) if every else entries)
    _check(rows, domain, kind, tags)
    chosen = [
        row
        for row in rows
        if domain in (None, row.summary.domain)
        and kind in (None, row.summary.kind)
        and all(row.has(tag) for tag in tags)
    ]
    if damaged and (domain, kind, tags) != (None, None, ()):
        click.echo(f"left out, because damaged: {', '.join(damaged)}", err=True)
        damaged = {}
    if chosen or damaged:
        _show(sorted(chosen, key=ORDERS[sort]), damaged, sort)
    else:
        click.echo("no skill is like that; skillkit list shows what there is")


def _read(where: Registry, entries: Sequence[Entry]) -> tuple[list[Row], dict[str, str]]:
    """What can be listed, and what is wrong with the rest, by reference."""
    rows, damaged = [], {}
    for entry in entries:
        try:
            rows.append(Row(entry, entry.summary, **_words(where, entry)))
        except CorruptSkill as error:
            damaged[entry.reference] = str(error)
    return rows, damaged


def _words(where: Registry, entry: Entry) -> dict[str, Any]:
    """Aliases and tags, as far as they can be read: the rest is for `verify` to tell."""
    found: dict[str, Any] = {}
    with suppress(CorruptSkill):
        words = where.aliases(entry.name).items()
        found["aliases"] = [word for word, version in words if version == entry.version]
    with suppress(CorruptSkill):
        found["tags"] = where.tags(entry)
    return found


def _check(rows: list[Row], domain: str | None, kind: str | None, tags: tuple[str, ...]) -> None:
    """Refuse what must be a mistype."""
    from skillkit.manifest import KINDS

    domains = {row.summary.domain for row in rows}
    if domain is not None and domain not in domains:
        raise UnknownName("domain of a skill here", domain, domains)
    if kind is not None and kind not in KINDS:
        raise UnknownName("kind of skill", kind, KINDS)
    if not all(tag.partition("=")[0] for tag in tags):
        raise InvalidValue("--tag takes KEY or KEY=VALUE, as skillkit tag does")


def _show(rows: list[Row], damaged: dict[str, str], sort: str) -> None:
    """A line a skill; with a column for what it is sorted by, and for words if it has any."""
    words = any(row.aliases or row.tags for row in rows)
    more = [sort] * (sort in ("created", "size")) + ["aliases, tags"] * words
    head = ("skill", "version", "task", "made by", "alpha", "return", "distance", *more, "origin")
    lines = [_cells(row, more) for row in rows]
    for reference, sentence in damaged.items():
        cells = (*reference.split("@"), "damaged: " + sentence)
        lines.append((*cells, *[""] * (len(head) - len(cells))))
    console.show_rows(head, lines)


def _cells(row: Row, more: Sequence[str]) -> tuple[str, ...]:
    found = row.summary
    extra: dict[str, Callable[[], str]] = {
        "created": lambda: found.created,
        "size": lambda: console.size(row.entry.size),
        "aliases, tags": lambda: ", ".join(filter(None, (*row.aliases, console.tags(row.tags)))),
    }
    return (
        row.entry.name,
        str(row.entry.version),
        found.task,
        f"{found.kind}, {found.algorithm}",
        f"{found.alpha:g}",
        console.mean(found.evaluation, "return", ".1f"),
        console.mean(found.evaluation, "final_distance", ".2f"),
        *(extra[column]() for column in more),
        row.entry.origin,
    )
