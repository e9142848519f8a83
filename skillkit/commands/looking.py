"""tasks and show: what can be trained, and everything about one skill."""

from __future__ import annotations

import click

from skillkit import console
from skillkit.commands.options import open_registry, registry_option, tasks_option
from skillkit.commands.relating import parents


@click.command()
@tasks_option
def tasks() -> None:
    """What can be trained, by domain."""
    from skillkit.envs import task, task_names

    table = console.table("domain", "task", "what it is")
    last = ""
    for name in task_names():
        found = task(name)
        table.add_row("" if found.domain == last else found.domain, name, found.summary)
        last = found.domain
    console.show(table)
    click.echo("also: sums such as push_x+push_y, and gym:ID for any continuous Gymnasium task")


@click.command()
@click.argument("skill")
@registry_option
def show(skill: str, registry: str | None) -> None:
    """Everything recorded about SKILL: a name, name@3 or name@word."""
    where = open_registry(registry)
    entry = where.verify(skill)
    found, labels = entry.manifest, where.labels(entry)
    table = console.table("", "")
    rows: dict[str, object] = {
        "skill": f"{entry.name}, version {entry.version} of {len(where.versions(entry.name))}",
        "saved as": "" if found.name == entry.name else found.name,
        "task": f"{found.task['expression']}, domain {found.task['domain']}",
        "made by": f"{found.kind}, {found.algorithm}, seed {found.seed}, {found.created}",
        "parents": " + ".join(parents(where, found)),
        "trained with": ", ".join(found.siblings),
        **console.layers(found),
        "alpha": f"{found.alpha:g} r/nat",
        "gamma": f"{found.gamma:g} per {found.spec.dt:g} s",
        "replay": f"{found.replay['transitions']:,} transitions in "
        f"{found.replay['episodes']} episodes",
        "size": console.size(entry.size),
        "origin": f"{entry.origin}, {entry.folder}",
        "aliases": ", ".join(w for w, v in where.aliases(entry.name).items() if v == entry.version),
        "tags": console.tags(labels.tags),
        "note": labels.note,
    }
    for key, value in (rows | console.rows(found.metrics) | console.rows(found.timing)).items():
        if value != "":
            table.add_row(key, str(value))
    console.show(table)
