"""push and pull: a skill to and from another place."""

from __future__ import annotations

import click

from skillkit.commands.options import open_registry, registry_option


@click.command()
@click.argument("skill")
@click.argument("url")
@registry_option
def push(skill: str, url: str, registry: str | None) -> None:
    """Write a version of SKILL, as `skillkit pack` does, to a URL: s3://bucket/push_x.skill.

    A folder works as well, and any protocol that fsspec knows. With a slash at its end the URL is a
    folder, and the file is NAME-vN.skill. Nothing that is there is written over.
    """
    from skillkit.transfer import push, shown

    entry = open_registry(registry).verify(skill)
    where = push(entry, url)
    click.echo(f"{shown(where)}: {entry.reference}")
    click.echo(f"content id {entry.content_id}")


@click.command()
@click.argument("url")
@click.option("--as", "name", metavar="NAME", help="Instead of the name that it was packed under.")
@registry_option
def pull(url: str, name: str | None, registry: str | None) -> None:
    """Save the skill at URL as the next version of its name, as `skillkit unpack` does.

    Nothing in it is executed, and nothing of it is stored before all of it was checked.
    """
    from skillkit.transfer import pull, shown

    entry = pull(url, open_registry(registry), name)
    click.echo(f"{shown(url)} is {entry.reference}")
    click.echo(f"content id {entry.content_id}")
