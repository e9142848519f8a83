"""Distilling a composed skill: seconds, to which distance, and memory, by policy and skills.

    python benchmarks/composer.py
    python benchmarks/composer.py --rows growth
    python benchmarks/composer.py --show

Each distillation is a process of its own. The composed task is push_x+push_y. For four and eight
skills the two come twice and four times: the sum stays what it is, and only the work grows. The
ceiling is the rate of large matrix products in the same process, for the work of an update.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
from peers import Worker
from rows import Result, check, listed, markdown, whole_numbers
from speed import Figures, Speed, cell, in_turn, options, ratio

from skillkit.algorithms import DistillConfig
from skillkit.manifest import host

SCRIPT = Path(__file__).parent / "scripts" / "distil_skillkit.py"
KINDS = ("gaussian", "real_nvp", "implicit")
COUNTS = (2, 4, 8)
ROWS = ("quality", "growth")
GOAL = 0.18  # [m], what the shipped push_x+push_y comes to
CORES = host()["cores"]


def distilled(
    kind: str, count: int, updates: int, threads: int, episodes: int, products: int
) -> Figures:
    words = [kind, *map(str, (count, updates, threads, episodes, products, GOAL))]
    with Worker([sys.executable, str(SCRIPT), *words], threads) as worker:
        return worker.about


def _distilling(*what: object) -> Callable[[], Figures]:
    return lambda: distilled(*what)  # type: ignore[arg-type]


def assemble(found: Sequence[Result]) -> Iterator[str]:
    """The tables, Markdown."""
    for row in found:
        head = ["policy", "skills", "updates", "[s]", "[ms] per update"]
        played = row["row"] == "quality"
        head += ["distance [m]", f"[s] to {GOAL} m"] if played else ["times two skills"]
        head += ["memory more [MB]", "share of float32 products"]
        yield markdown(head, [_line(row, name, played) for name in row["figures"]])


def _line(row: Result, name: str, played: bool) -> list[str]:
    figures, updates = row["figures"][name], row["updates"]
    kind, count = name.split()
    seconds = figures["seconds"]
    cells = [kind, count, f"{updates:,}", cell(seconds, ".2f")]
    cells.append(cell([1e3 * value for value in figures["each"]], ".2f"))
    if played:
        reached = [value for value in figures["reached"] if value]
        often = len(reached) == len(seconds)
        first = cell(reached, ".1f") if often else f"in {len(reached)} of {len(seconds)}"
        cells += [cell(figures["distance"], ".3f"), first]
    else:
        two = row["figures"].get(f"{kind} {COUNTS[0]}")
        cells.append(f"{ratio(figures['each'], two['each']):.2f}" if two else "")
    spent = [work / took for work, took in zip(figures["flops"], figures["each"], strict=True)]
    share = ratio(spent, figures["ceiling"])
    return [*cells, cell(figures["memory"], ".0f"), f"{share:.0%}"]


@click.command()
@options(ROWS)
@click.option("--kinds", callback=listed, default=",".join(KINDS), show_default=True)
@click.option("--counts", callback=whole_numbers, default="2,4,8", help="Of skills, even.")
@click.option(
    "--updates", type=click.IntRange(1), default=DistillConfig.updates, help="To quality."
)
@click.option("--brief", type=click.IntRange(1), default=200, help="Updates, to see the growth.")
@click.option("--episodes", type=click.IntRange(2), default=50, help="At each look.")
@click.option("--products", type=click.IntRange(1), default=20, help="Of matrices, each time.")
@click.option("--threads", type=click.IntRange(1), default=CORES, help="All cores by default.")
def main(
    rows: list[str],
    repeats: int,
    show: bool,
    results: Path,
    kinds: list[str],
    counts: list[str],
    updates: int,
    brief: int,
    episodes: int,
    products: int,
    threads: int,
) -> None:
    """Distil two skills wholly, and two, four and eight briefly, with each kind of policy."""
    check(kinds, KINDS, "kind of policy")
    if odd := [count for count in counts if int(count) % 2 or count == "0"]:
        raise click.ClickException(f"--counts takes even numbers of skills, not {odd[0]}")
    bench = Speed("composer", results)
    for row in [] if show else rows:
        click.echo(row, err=True)
        numbers = ["2"] if row == "quality" else counts
        length, plays = (updates, episodes) if row == "quality" else (brief, 0)
        each = {
            f"{kind} {count}": _distilling(kind, int(count), length, threads, plays, products)
            for kind in kinds
            for count in numbers
        }
        bench.keep(row, updates=length, threads=threads, figures=in_turn(each, repeats))
    found = bench.found(ROWS)
    bench.publish(found, *assemble(found))


if __name__ == "__main__":
    main()
