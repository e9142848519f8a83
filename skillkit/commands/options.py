"""Options that several commands take, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from skillkit import console

if TYPE_CHECKING:
    from skillkit.registry import Registry
    from skillkit.skill import Skill

Command = TypeVar("Command", bound=Callable[..., Any])

EPISODES = console.Whole(1, 10_000)  # more say nothing new, and their intervals take gigabytes
SEED = console.Whole(min=0)


def registry_option(command: Command) -> Command:
    text = "Folder of your skills; default $SKILLKIT_REGISTRY, else ./.skillkit."
    return click.option("--registry", metavar="DIR", help=text)(command)


def tasks_option(command: Command) -> Command:
    def add(ctx: click.Context, parameter: click.Parameter, folder: str | None) -> None:
        if folder is not None:
            from skillkit.envs import add_tasks

            add_tasks(folder)

    text = "Folder of your own task files, beside those in $SKILLKIT_TASKS."
    return click.option(
        "--tasks", metavar="DIR", callback=add, expose_value=False, is_eager=True, help=text
    )(command)


def set_option(command: Command) -> Command:
    text = "Override a setting, e.g. sac.alpha=0.1; repeatable."
    return click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help=text)(command)


def open_registry(folder: str | None) -> Registry:
    from skillkit.registry import Registry, search_path

    return Registry(search_path(folder))


def open_skill(reference: str, folder: str | None) -> Skill:
    from skillkit.skill import load

    return load(reference, open_registry(folder))
