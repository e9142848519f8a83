"""Whether a faster arithmetic learns as well: returns with it and without it, seed by seed.

    python benchmarks/precision.py                                # what is missing, then the table
    python benchmarks/precision.py --rows Pendulum-v1 --seeds 0
    python benchmarks/precision.py --show                         # the table of what there is

A row is a skill that `skillkit train` makes, in each of the ways, and the return of 100 episodes
of its mode. The ways agree where their means differ by less than the seeds of one way do.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import click
from matplotlib.figure import Figure
from rows import Bench, Result, check, markdown, options
from speed import fill

from skillkit.envs import task
from skillkit.report.plots import STYLES, render

WAYS = {"float32": [], "bfloat16": ["--set", "train.precision=bfloat16"]}
TASKS: dict[str, tuple[str, dict[str, int]]] = {
    "Pendulum-v1": (
        "gym:Pendulum-v1",
        {"train.steps": 8_000, "train.environments": 1, "train.update_every": 1},
    ),
    "point_roam": ("point_roam", {}),
    "push_x": ("push_x", {"train.steps": 100_000}),
}


def returns(rows: Sequence[Result], name: str, way: str) -> list[float]:
    """Mean return of each seed."""
    chosen = [row for row in rows if (row["row"], row["way"]) == (name, way)]
    chosen.sort(key=lambda row: row["seed"])
    return [row["deterministic"]["return"]["mean"] for row in chosen]


def table(rows: Sequence[Result]) -> str:
    """One line for each task."""

    def lines() -> Iterator[list[str]]:
        for name in TASKS:
            plain, fast = (returns(rows, name, way) for way in WAYS)
            if plain and fast:
                apart = statistics.mean(fast) - statistics.mean(plain)
                spread = max(max(each) - min(each) for each in (plain, fast))
                numbers = (" ".join(f"{value:.1f}" for value in each) for each in (plain, fast))
                yield [name, *numbers, f"{apart:+.1f}", f"{spread:.1f}"]

    head = ["task", *(f"return, {way}" for way in WAYS), "means differ by", "seeds differ by"]
    return markdown(head, lines())


def picture(rows: Sequence[Result]) -> bytes:
    """Return against steps, a line for each seed."""
    drawn = [name for name in TASKS if returns(rows, name, "float32")]
    figure = Figure(figsize=(4 * len(drawn), 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        axes.set(title=name, xlabel="environment steps", ylabel="return")
        for (colour, marker), way in zip(STYLES, WAYS, strict=False):
            curves = [row["curve"] for row in rows if (row["row"], row["way"]) == (name, way)]
            for index, curve in enumerate(curves):
                x, y = ([point[key] for point in curve] for key in ("step", "return"))
                axes.plot(x, y, color=colour, marker=marker, ms=4, label=None if index else way)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return render(figure)


@click.command()
@options
def main(
    seeds: list[str],
    rows: list[str],
    show: bool,
    **of: Any,
) -> None:
    """Train what is missing, and print the table."""
    check(rows, TASKS)
    bench = Bench("precision", **of)
    for name in [] if show else rows or TASKS:
        reference, asked = TASKS[name]
        limits = [word for key, value in asked.items() for word in ("--set", f"{key}={value}")]
        for seed in seeds:
            for way, words in WAYS.items():
                command = ["train", reference, *limits, *words, "--seed", seed]
                bench.measure(
                    f"{name}.{way}.{seed}", command, task(reference),
                    row=name, way=way, seed=int(seed),
                )  # fmt: skip
    found = bench.found()
    bench.publish("returns", f"\n{table(found)}\n", picture(found))
    fill()


if __name__ == "__main__":
    main()
