"""pack and unpack: a skill as one file."""

from __future__ import annotations

from pathlib import Path

import click

from skillkit import console
from skillkit.commands.options import open_registry, registry_option
from skillkit.errors import CorruptSkill


@click.command()
@click.argument("skill")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: NAME.skill."
)
@registry_option
def pack(skill: str, output: Path | None, registry: str | None) -> None:
    """Write a version of SKILL into one file, for `skillkit unpack` anywhere.

    With its replay, so it can be composed there. Of its parents it has the names and checksums
    only: pack them too if they are wanted. Aliases, tags and notes are yours and stay here.
    """
    from skillkit import packs
    from skillkit.names import folder_name
    from skillkit.storage import replacing

    entry = open_registry(registry).verify(skill)
    path = output or Path(folder_name(entry.name) + packs.SUFFIX)
    with replacing(path) as file:
        packs.pack(entry, file)
    click.echo(f"{path}: {entry.reference}, {console.size(path.stat().st_size)}")
    click.echo(f"content id {entry.content_id}")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--as", "name", metavar="NAME", help="Instead of the name that it was packed under.")
@registry_option
def unpack(file: Path, name: str | None, registry: str | None) -> None:
    """Save the skill in FILE as the next version of its name.

    Nothing in it is executed, and nothing of it is stored before all of it was checked. A version
    of that name with the same files is not saved again. The content id tells whether it is the
    very skill that was packed; who made it, it cannot tell.
    """
    from skillkit import packs

    where = open_registry(registry)
    try:
        with file.open("rb") as source:
            entry = packs.unpack(source, where, name)
    except CorruptSkill as error:
        raise CorruptSkill(f"{file}: {error}") from error
    click.echo(f"{file} is {entry.reference}")
    click.echo(f"content id {entry.content_id}")
