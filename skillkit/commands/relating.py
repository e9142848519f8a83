"""diff and lineage: how skills differ, and of what they are made."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text
from rich.tree import Tree

from skillkit import console
from skillkit.commands.options import open_registry, registry_option
from skillkit.errors import CorruptSkill

if TYPE_CHECKING:
    from skillkit.manifest import Manifest
    from skillkit.registry import Entry, Registry


@click.command()
@click.argument("first")
@click.argument("second")
@registry_option
def diff(first: str, second: str, registry: str | None) -> None:
    """What is recorded about two skills, side by side, where it differs.

    Settings, metrics, versions of libraries, and the first digits of the checksums of their arrays.
    """
    where = open_registry(registry)
    entries = [where.verify(first), where.verify(second)]
    one, two = entries
    if one.content_id == two.content_id:
        click.echo(f"{one.reference} and {two.reference} are the same files")
        return
    left, right = (_recorded(entry) for entry in entries)
    table = console.table("", one.reference, two.reference)
    for key in dict.fromkeys([*left, *right]):
        if left.get(key) != right.get(key):
            table.add_row(key, *_apart(left.get(key), right.get(key)))
    console.show(table)


@click.command()
@click.argument("skill")
@registry_option
def lineage(skill: str, registry: str | None) -> None:
    """The skills that SKILL was made of, theirs in turn, and what is made of it.

    Parents are known by their content, so they are found under a new name, too.
    """
    where = open_registry(registry)
    entry = where.find(skill)
    tree = Tree(Text(f"{entry.reference}: {_about(entry)}"))
    _add_parents(tree, entry, where, {entry.content_id})
    console.show(tree)
    families = where.families()
    if entry.content_id in families:
        tree = Tree("what is made of it")
        _add_children(tree, entry, families, set())
        console.show(tree)


def parents(where: Registry, found: Manifest) -> list[str]:
    """Each with its weight, by the name that finds it now, and the one it had if it was another."""
    weights = [f"{weight:g} x " for weight in found.weights] or [""] * len(found.parents)
    names = []
    for parent in found.parents:
        was = f"{parent['name']}@{parent['version'] or '?'}"
        entry = where.parent(parent)
        renamed = entry is not None and entry.reference != was
        names.append(f"{entry.reference} (then {was})" if renamed and entry else was)
    return [weight + name for weight, name in zip(weights, names, strict=True)]


def _recorded(entry: Entry) -> dict[str, Any]:
    """skill.json and the checksums of the arrays, flat; settings as they are typed."""
    from skillkit.integrity import checksums

    data = entry.manifest.to_json()
    settings = _flat(data.pop("config"))
    arrays = {k: v[:8] for k, v in checksums(entry.folder).items() if k.endswith(".safetensors")}
    return settings | _flat(data) | arrays


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested data by dotted names; an evaluation's metric is one value, as `show` prints it."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    if value.keys() >= {"mean", "std"}:
        return {prefix: next(iter(console.rows({"": value}).values()))}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return found


def _apart(left: Any, right: Any) -> tuple[str, str]:
    """Two different values as texts that differ."""
    short = [f"{v:.6g}" if isinstance(v, float) else _plain(v) for v in (left, right)]
    one, two = short if short[0] != short[1] else map(repr, (left, right))
    return one, two


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "-" if value is None else str(value)


def _manifest(entry: Entry) -> Manifest | None:
    with suppress(CorruptSkill):
        return entry.manifest
    return None


def _about(entry: Entry) -> str:
    if (found := _manifest(entry)) is None:
        return "damaged, as skillkit verify tells"
    return f"{found.kind}, {found.algorithm}, {found.task['expression']}"


def _add_parents(tree: Tree, entry: Entry, where: Registry, seen: set[str]) -> None:
    if (found := _manifest(entry)) is None:
        return
    for record, name in zip(found.parents, parents(where, found), strict=True):
        parent = where.parent(record)
        if parent is None:
            lost = "never saved" if record["content_id"] is None else "not here any more"
            tree.add(Text(f"{name}: {lost}"))
        elif parent.content_id in seen:
            tree.add(Text(f"{name}: see above"))
        else:
            seen.add(parent.content_id)
            _add_parents(tree.add(Text(f"{name}: {_about(parent)}")), parent, where, seen)


def _add_children(
    tree: Tree, entry: Entry, families: dict[str, list[Entry]], seen: set[str]
) -> None:
    for child in families.get(entry.content_id, []):
        if child.content_id in seen:
            tree.add(Text(f"{child.reference}: see above"))
        else:
            seen.add(child.content_id)
            branch = tree.add(Text(f"{child.reference}: {_about(child)}"))
            _add_children(branch, child, families, seen)
