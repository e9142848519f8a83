"""What a command shows: tables on standard output, progress on standard error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

PIPE_WIDTH = 160  # columns where the output is no terminal


class Progress:
    """A progress bar on a terminal, one line every tenth elsewhere; an `on_event` callback."""

    SHOWN = ("return", "entropy", "alpha", "distillation_loss")

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.console = Console(stderr=True)
        columns = (
            TextColumn("{task.completed:>9,.0f}/{task.total:,.0f} " + unit),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]} {task.fields[numbers]}"),
        )
        self.bar = Bar(*columns, console=self.console, transient=True)
        self.row = self.bar.add_task("", total=None, visible=False, speed="", numbers="")
        self.tenth = 0

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["kind"] != "progress":
            return
        done, total = event["step"], event["steps"]
        numbers = "  ".join(f"{key} {event[key]:.4g}" for key in self.SHOWN if key in event)
        speed = self.bar.tasks[0].speed
        rate = f"{speed:.0f}/s" if speed else ""
        self.bar.update(
            self.row, completed=done, total=total, visible=True, speed=rate, numbers=numbers
        )
        if not self.console.is_terminal and self.unit != "episodes":
            tenth = 10 * done // total
            if tenth > self.tenth:
                self.tenth = tenth
                click.echo(f"{done:,}/{total:,} {self.unit}  {rate}  {numbers}", err=True)


def table(*columns: str, title: str | None = None) -> Table:
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(table: Table) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    console.print(table)
