"""import: the command that takes what other programs have made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skillkit import console
from skillkit.commands.options import (
    SEED,
    open_registry,
    registry_option,
    set_option,
    tasks_option,
)
from skillkit.errors import InvalidValue, UnknownName

if TYPE_CHECKING:
    from skillkit.skill import Skill

FORMATS = {"sb3": "--task", "minari": "--skill"}  # and the option that each needs


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--format", "form", required=True, help="sb3: a policy; minari: a replay.")
@click.option(
    "--task", metavar="TASK", help="sb3: what the policy was trained for, gym:ID or ours."
)
@click.option("--skill", metavar="SKILL", help="minari: the skill that gets the replay.")
@click.option("--name", help="Name of the skill; the task's or that of SKILL by default.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of what it does here.")
@set_option
@tasks_option
@registry_option
def import_(
    source: Path,
    form: str,
    task: str | None,
    skill: str | None,
    name: str | None,
    seed: int,
    pairs: tuple[str, ...],
    registry: str | None,
) -> None:
    """Make a skill of what another program has made; nothing in SOURCE is executed.

    sb3: the zip of a Stable-Baselines3 SAC model, with an MLP policy. Its actor, critics and
    temperature become a skill that acts as it did there; it then plays TASK for a replay and for
    its figures.

    minari: the folder of a Minari dataset in HDF5, as `skillkit export` writes it. It takes the
    place of the replay of SKILL, in the next version of that skill.
    """
    if form not in FORMATS:
        raise UnknownName("import format", form, FORMATS)
    given = {"--task": task, "--skill": skill}
    for option, value in given.items():
        if (value is not None) != (option == FORMATS[form]):
            verb = "takes no" if value is not None else "needs"
            raise InvalidValue(f"--format {form} {verb} {option}; see skillkit import --help")
    where = open_registry(registry)
    made = (
        _from_sb3(source, str(task), name, seed, pairs)
        if form == "sb3"
        else _from_minari(source, str(skill), pairs, registry)
    )
    saved = made.save(name, where)
    console.announce(saved)


def _from_sb3(
    source: Path, task: str, name: str | None, seed: int, pairs: tuple[str, ...]
) -> Skill:
    from skillkit.importers import sb3
    from skillkit.workflows.adopt import adopt
    from skillkit.workflows.settings import assignments

    learned = sb3.read(source)
    with console.Progress("environment steps") as progress:
        return adopt(
            learned,
            task,
            source=source.name,
            settings=assignments(pairs),
            name=name,
            seed=seed,
            on_event=progress,
        )


def _from_minari(
    source: Path, reference: str, pairs: tuple[str, ...], registry: str | None
) -> Skill:
    from skillkit.commands.options import open_skill
    from skillkit.importers import minari
    from skillkit.workflows.adopt import with_replay

    if pairs:
        raise InvalidValue("--format minari has no settings; leave out --set")
    skill = open_skill(reference, registry)
    return with_replay(skill, minari.read(source, skill), source.name)
