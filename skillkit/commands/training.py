"""train and stack: the commands that learn from interaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from skillkit import console
from skillkit.commands.options import (
    AMOUNT,
    SEED,
    Command,
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
    from skillkit.skill import Skill


def _seeds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> list[int] | None:
    return None if value is None else [SEED(part, parameter, ctx) for part in value.split(",")]


def _training_options(command: Command) -> Command:
    """What every command that learns from interaction takes."""
    for option in reversed(
        (
            click.option("--name", help="Name of the skill; made of the arguments by default."),
            click.option("--algorithm", help="Learning algorithm; the recipe's by default."),
            click.option(
                "--seed",
                type=SEED,
                default=0,
                show_default=True,
                help="The one source of randomness.",
            ),
            click.option(
                "--device", default="auto", show_default=True, help="auto (the CPU), cpu or cuda."
            ),
            click.option("--resume", is_flag=True, help="Continue the run that was interrupted."),
            click.option(
                "--checkpoint-every",
                type=AMOUNT,
                default=60.0,
                show_default=True,
                help="Seconds between checkpoints.",
            ),
            tensorboard_option,
            set_option,
            tasks_option,
            registry_option,
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("expressions", metavar="TASKS...", nargs=-1, required=True)
@click.option(
    "--from", "parent", metavar="SKILL", help="Begin as the policy of SKILL: fine-tune it."
)
@click.option(
    "--seeds",
    metavar="LIST",
    callback=_seeds,
    help="Train with each of several seeds, 0,1,2; a version for each.",
)
@_training_options
def train(
    expressions: tuple[str, ...],
    parent: str | None,
    seeds: list[int] | None,
    seed: int,
    name: str | None,
    resume: bool,
    checkpoint_every: float,
    tensorboard: str | None,
    pairs: tuple[str, ...],
    registry: str | None,
    **options: Any,
) -> None:
    """Learn TASKS: for each a maximum-entropy policy and its soft Q-function.

    A task is a name from `skillkit tasks`, a sum such as push_x+push_y or 0.7*push_x+0.3*push_y, or
    any Gymnasium id with continuous actions, gym:HalfCheetah-v5. Several tasks of one domain are
    trained together: each learns from what all of them collect.
    """
    from skillkit.envs import task as find_task
    from skillkit.skill import load
    from skillkit.workflows import train as workflow
    from skillkit.workflows.naming import check_names, run_name
    from skillkit.workflows.seeds import check_seeds
    from skillkit.workflows.settings import assignments

    given = click.get_current_context().get_parameter_source("seed")
    if seeds is not None and given is not ParameterSource.DEFAULT:
        raise InvalidValue("--seed and --seeds exclude each other; leave one of them out")
    drawn = check_seeds([seed] if seeds is None else seeds)

    wanted = [find_task(expression) for expression in expressions]
    where = open_registry(registry)
    label = run_name(check_names(wanted, name), drawn)
    options |= {"settings": assignments(pairs), "name": name}
    options["parent"] = None if parent is None else load(parent, where)

    def learn(**run: Any) -> list[Skill]:
        return [*workflow.train_together(wanted, seed=drawn, **options, **run)]

    _learned(where, label, resume, checkpoint_every, tensorboard, learn)


@click.command()
@click.argument("base")
@click.option("--task", "expression", metavar="TASK", required=True, help="What the layer learns.")
@click.option("--reuse-replay", is_flag=True, help="Begin with what BASE has stored; at hold 1.")
@_training_options
def stack(
    base: str,
    expression: str,
    name: str | None,
    resume: bool,
    checkpoint_every: float,
    tensorboard: str | None,
    pairs: tuple[str, ...],
    registry: str | None,
    **options: Any,
) -> None:
    """Learn a new layer for TASK on top of BASE, a skill that stays as it is.

    BASE becomes part of the environment: the new layer acts by its latents. The result holds all
    its layers, and can be a base itself.
    """
    from skillkit.envs import task as find_task
    from skillkit.skill import load
    from skillkit.workflows import stack as workflow
    from skillkit.workflows.naming import run_name, stacked_name
    from skillkit.workflows.settings import assignments

    where = open_registry(registry)
    below, task = load(base, where), find_task(expression)
    called = stacked_name(below.name, task) if name is None else name
    label = run_name([called], [options["seed"]])
    settings = assignments(pairs)

    def learn(**run: Any) -> list[Skill]:
        return [workflow.stack(below, task, settings=settings, name=name, **options, **run)]

    _learned(where, label, resume, checkpoint_every, tensorboard, learn)


def _learned(
    where: Registry,
    label: str,
    resume: bool,
    checkpoint_every: float,
    tensorboard: str | None,
    learn: Callable[..., Sequence[Skill]],
) -> None:
    """Learn under checkpoints, save and announce: what train and stack share.

    Args:
        label: of the run in progress.
        tensorboard: folder of the event files; None: none are written.
        learn: makes the skills, given on_event, checkpoint and resume.
    """
    from skillkit.registry import locked
    from skillkit.workflows.checkpoints import Checkpoints

    folder = where.run_folder(label)
    checkpoints = Checkpoints(folder, checkpoint_every)
    with locked(folder), checkpoints.listening():
        if resume and checkpoints.latest is None:
            raise InvalidValue(f"there is no interrupted run of {label}; leave out --resume")
        if checkpoints.latest is not None and not resume:
            click.echo(
                f"this begins {label} anew; --resume continues the interrupted run", err=True
            )
        latest = checkpoints.latest if resume else None
        with reporting("environment steps", tensorboard, label, resume) as report:
            skills = learn(on_event=report, checkpoint=checkpoints, resume=latest)
        saved = [skill.save(registry=where) for skill in skills]
        checkpoints.clear()
    for skill in saved:
        console.announce(skill)
    console.spread(saved)
