"""report: the registry as a page for people who look before they read."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from skillkit import console
from skillkit.commands.filming import draw_without_display
from skillkit.commands.options import AMOUNT, open_registry, registry_option, tasks_option

if TYPE_CHECKING:
    from skillkit.report.clips import Clips

PATIENCE = 2.0  # seconds before a bar appears

Counts = Callable[[int, int], None]


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default="skills.html",
    show_default=True,
    help="HTML file to write.",
)
@click.option("--clips/--no-clips", default=True, show_default=True, help="A film of each skill.")
@click.option(
    "--film-for",
    type=AMOUNT,
    default=10.0,
    show_default=True,
    help="Seconds for clips that are not there yet; the next page goes on.",
)
@tasks_option
@registry_option
def report(output: Path, clips: bool, film_for: float, registry: str | None) -> None:
    """One HTML page about every skill: curves, figures, numbers, families, what composes.

    The file needs no network and nothing beside itself, and can be mailed. What a skill says of
    itself is shown as text and never executed; a damaged skill is named with what is wrong. The
    clips are kept in the registry: each skill is filmed once.
    """
    draw_without_display()
    from skillkit.home import CLIPS
    from skillkit.report import page
    from skillkit.report.clips import Clips

    where = open_registry(registry)
    where.list()  # before a folder is made for the page of a registry that is not there
    output.parent.mkdir(parents=True, exist_ok=True)
    options = f" --registry {shlex.quote(registry)}" if registry else ""
    with console.Progress("skills") as progress:
        film = Clips(where.folders[0] / CLIPS, film_for) if clips else (lambda entry: b"")
        text = page.build(where, options, _patient(progress.counts), film)
    output.write_text(text, encoding="utf-8")
    click.echo(f"page: {output}, {console.size(output.stat().st_size)}")
    if isinstance(film, Clips):
        _say_what_lacks(film)


def _say_what_lacks(film: Clips) -> None:
    """Of which skills the page has no clip, and why."""
    if film.left:
        click.echo(f"{film.left} skills are not filmed yet: the next page goes on, for --film-for")
    if film.refused:
        name, reason = next(iter(film.refused.items()))
        count = len(film.refused)
        rest = f", and {count - 1} more" if count > 1 else ""
        click.echo(f"without a clip: {name}, as {reason}{rest}")


def _patient(counts: Counts) -> Counts:
    """Say how far it is only if it takes long."""
    begin = time.monotonic()

    def later(done: int, total: int) -> None:
        if time.monotonic() - begin > PATIENCE:
            counts(done, total)

    return later
