"""compose: the command that needs no interaction."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import click

from skillkit import console
from skillkit.commands.options import (
    SEED,
    open_registry,
    registry_option,
    reporting,
    set_option,
    tasks_option,
    tensorboard_option,
)
from skillkit.errors import InvalidValue

if TYPE_CHECKING:
    from skillkit.registry import Registry


@click.command()
@click.argument("skills", nargs=-1, required=True)
@click.option("--weights", help="One per skill, comma-separated; 1/N each by default.")
@click.option("--temperature", type=float, help="Of the result; sum of weight times alpha.")
@click.option("--instant", is_flag=True, help="Train nothing: resample the skills' actions.")
@click.option(
    "--name", help="Name of the skill; push_x+push_y or push_x+push_y.instant by default."
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="The one source of randomness."
)
@tensorboard_option
@set_option
@tasks_option
@registry_option
def compose(
    skills: tuple[str, ...],
    weights: str | None,
    temperature: float | None,
    instant: bool,
    name: str | None,
    seed: int,
    tensorboard: str | None,
    pairs: tuple[str, ...],
    registry: str | None,
) -> None:
    """Add the Q-functions of SKILLS; distil a policy for the sum from their replay."""
    from skillkit.skill import load
    from skillkit.workflows import compose as workflow
    from skillkit.workflows.settings import assignments

    where = open_registry(registry)
    parts = [load(reference, where) for reference in skills]
    _check_target(where, parts[0].name if name is None else name)
    label = name or "+".join(part.name for part in parts)
    with reporting("updates", tensorboard, label) as report:
        skill = workflow.compose(
            parts,
            weights=_numbers("--weights", weights),
            temperature=temperature,
            instant=instant,
            settings=assignments(pairs),
            name=name,
            seed=seed,
            on_event=report,
        )
    saved = skill.save(registry=where)
    console.composition(saved, where)
    console.announce(saved)


def _check_target(where: Registry, name: str) -> None:
    """Fail before the work and not after it: a name that is none, a registry that is read-only."""
    folder = where.run_folder(name)
    with suppress(OSError):
        folder.rmdir()  # unless an interrupted training has this name


def _numbers(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidValue(f"{option} takes comma-separated numbers, not {text!r}") from None
