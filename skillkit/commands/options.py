"""Options that several commands take, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from skillkit import console

if TYPE_CHECKING:
    from skillkit.registry import Registry
    from skillkit.skill import Skill

Command = TypeVar("Command", bound=Callable[..., Any])

EPISODES = console.Whole(1, 10_000)  # more say nothing new, and their intervals take gigabytes
SEED = console.Whole(min=0)
AMOUNT = console.Amount(min=0)


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


def tensorboard_option(command: Command) -> Command:
    text = "Write TensorBoard events to DIR/NAME_1, …; default $SKILLKIT_TENSORBOARD, else none."
    return click.option("--tensorboard", metavar="DIR", envvar="SKILLKIT_TENSORBOARD", help=text)(
        command
    )


@contextmanager
def reporting(
    unit: str, folder: str | None, label: str, resume: bool = False
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """An `on_event` callback: the progress bar and, if there is a folder, TensorBoard's events."""
    with ExitStack() as stack:
        shown: list[Callable[[Mapping[str, Any]], None]]
        shown = [stack.enter_context(console.Progress(unit))]
        if folder:
            from skillkit.report.events import Events

            written = Events.of_run(folder, label, resume)
            stack.callback(written.close)
            shown.append(written)

        def report(event: Mapping[str, Any]) -> None:
            for show in shown:
                show(event)

        yield report


def open_registry(folder: str | None) -> Registry:
    from skillkit.registry import Registry, search_path

    return Registry(search_path(folder))


def open_skill(reference: str, folder: str | None) -> Skill:
    from skillkit.skill import load

    return load(reference, open_registry(folder))
