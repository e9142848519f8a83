"""report: the registry as a page for people who look before they read."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path

import click

from skillkit import console
from skillkit.commands.filming import draw_without_display
from skillkit.commands.options import open_registry, registry_option, tasks_option

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
@click.option(
    "--clips/--no-clips", default=True, show_default=True, help="Film each skill, once for all."
)
@tasks_option
@registry_option
def report(output: Path, clips: bool, registry: str | None) -> None:
    """One HTML page about every skill: curves, figures, numbers, families, what composes.

    The file needs no network and nothing beside itself, and can be mailed. What a skill says of
    itself is shown as text and never executed; a damaged skill is named with what is wrong. The
    clips are kept in the registry, so that only the first page takes the time of filming.
    """
    draw_without_display()
    from skillkit.report import page
    from skillkit.report.clips import CLIPS, Clips

    where = open_registry(registry)
    where.list()  # before a folder is made for the page of a registry that is not there
    output.parent.mkdir(parents=True, exist_ok=True)
    options = f" --registry {shlex.quote(registry)}" if registry else ""
    with console.Progress("skills") as progress:
        film = Clips(where.folders[0] / CLIPS) if clips else (lambda entry: b"")
        text = page.build(where, options, _patient(progress.counts), film)
    output.write_text(text, encoding="utf-8")
    click.echo(f"page: {output}, {console.size(output.stat().st_size)}")
    if isinstance(film, Clips) and film.refused:
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
