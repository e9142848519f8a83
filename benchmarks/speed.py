"""What the benchmarks of speed share; by itself it fills docs/speed.md with what they measured.

    python benchmarks/speed.py

Machines drift, so figures of different runs are not compared. Within one run the contestants are
measured in turn, again and again, and a ratio is the median of the ratios within each turn. A row
is a JSON file with every single figure, the versions and the machine.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rows import RESULTS, Command, Result, check, listed, write

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
MARK, END = "<!-- {}: filled in by benchmarks/speed.py -->", "<!-- end -->"  # of a table

Figures = dict[str, float]  # what one measurement of one contestant gives, by name


def options(rows: Iterable[str], seconds: float | None = None) -> Callable[[Command], Command]:
    """What a benchmark of speed takes: --rows, --repeats, --show, --results, perhaps --seconds."""
    known = list(rows)

    def chosen(ctx: click.Context, parameter: click.Parameter, text: str | None) -> list[str]:
        found = listed(ctx, parameter, text)
        check(found, known)
        return found or known

    folder = click.Path(file_okay=False, path_type=Path)
    positive = click.FloatRange(min=0, min_open=True)
    several = [
        click.option("--rows", callback=chosen, help=f"Of {', '.join(known)}; all by default."),
        click.option("--repeats", type=click.IntRange(1), default=5, show_default=True),
        click.option("--show", is_flag=True, help="Measure nothing: show what there is."),
        click.option("--results", type=folder, default=RESULTS, help="Where the figures go."),
    ]
    if seconds is not None:
        several.append(
            click.option(
                "--seconds", type=positive, default=seconds, show_default=True,
                help="Of one measurement.",
            )
        )  # fmt: skip

    def decorated(command: Command) -> Command:
        for option in reversed(several):
            command = option(command)
        return command

    return decorated


def in_turn(
    contestants: Mapping[str, Callable[[], Figures]], repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Contestant -> figure -> its value in each turn."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in contestants}
    for _ in range(repeats):
        for name, measure in contestants.items():
            for figure, value in measure().items():
                found[name].setdefault(figure, []).append(value)
    return found


def rate(step: Callable[[], Any], seconds: float, each: float = 1.0) -> float:
    """How often a second `step` is done, for that long at least, times `each`."""
    count, began = 0, time.perf_counter()
    while True:
        step()
        count += 1
        if (took := time.perf_counter() - began) >= seconds:
            return count * each / took


@dataclass(frozen=True)
class Speed:
    """A benchmark of speed.

    Attributes:
        name: of its folder of rows, of its table, and of its place in docs/speed.md.
        results: the folder of all of them.
    """

    name: str
    results: Path

    def keep(self, row: str, **found: Any) -> None:
        """Write what was measured of a row."""
        write(self.results / self.name / f"{row}.json", {"row": row, **found})

    def found(self, rows: Iterable[str]) -> list[Result]:
        """What was measured of these rows, in their order."""
        paths = [self.results / self.name / f"{row}.json" for row in rows]
        found = [json.loads(path.read_text()) for path in paths if path.exists()]
        if not found:
            raise click.ClickException(f"nothing was measured yet in {self.results / self.name}")
        return found

    def publish(self, found: Sequence[Result], *tables: str) -> None:
        """Print the tables, with the machine under them, and write them down."""
        machines = dict.fromkeys(machine(row) for row in found)
        text = "\n" + "\n".join([*tables, "".join(f"{line}\n" for line in machines)]) + "\n"
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / f"{self.name}.md").write_text(text)
        click.echo(text.strip())
        if self.results == RESULTS:
            fill()


def machine(row: Result) -> str:
    """Where and with what a row was measured."""
    host, versions = row["host"], row["versions"]
    with_what = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{host['processor']}, {host['cores']} cores, {host['os']}; {with_what}."


def cell(values: Sequence[float], form: str = ".1f") -> str:
    """The median, and what lies between the smallest and the largest."""
    middle = format(statistics.median(values), form)
    if len(values) == 1:
        return middle
    return f"{middle} ({format(min(values), form)} to {format(max(values), form)})"


def ratio(values: Sequence[float], of: Sequence[float]) -> float:
    """The median of the ratios within each turn."""
    return statistics.median(a / b for a, b in zip(values, of, strict=True))


def filled(text: str, results: Path) -> str:
    """The page with every table there is in its place."""
    for path in sorted(results.glob("*.md")):
        before, mark, rest = text.partition(MARK.format(path.stem))
        if mark:
            _, end, after = rest.partition(END)
            text = f"{before}{mark}\n{path.read_text()}{end}{after}"
    return text


def fill() -> None:
    """Bring docs/speed.md up to date."""
    PAGE.write_text(filled(PAGE.read_text(), RESULTS))


if __name__ == "__main__":
    fill()
