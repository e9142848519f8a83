"""The thesis' Figure 7.4: does a second layer on the same reward bring what one layer does not?

    python benchmarks/figure_7_4.py                         # what is missing; table, figure
    python benchmarks/figure_7_4.py --seeds 0 --rows one_layer,four_couplings
    python benchmarks/figure_7_4.py --show                  # the table of what there is

Every way takes as many steps in all. The second layer is added half-way, at hold 1, so the first
one goes on acting at every step. Two layers at alpha on one reward amount to one layer at alpha/2
(THEORY 7), which is therefore beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
from matplotlib.figure import Figure
from rows import Bench, Result, check, markdown, numbers, options

from skillkit.envs import task
from skillkit.report.plots import STYLES, render

WAYS = {
    "one_layer": "one layer throughout",
    "second_layer": "a second layer, added half-way",
    "four_couplings": "one layer of four couplings, end to end",
    "half_temperature": "one layer at half the temperature",
}
ROWS = WAYS | {"half": "one layer, half of the steps: what the second one stands on"}
POINTS = 30  # of a learning curve


def command(row: str, expression: str, below: str, seed: int, steps: int) -> list[str]:
    """What makes a row, after `skillkit`."""
    _, recipe = task(expression).recipe
    own = {
        "second_layer": {"stack.hold": 1},
        "four_couplings": {"sac.flow.couplings": 4},
        "half_temperature": {"sac.alpha": recipe["sac.alpha"] / 2},
    }
    share = 2 if row in ("second_layer", "half") else 1
    common = {"train.steps": steps // share, "train.evaluate_every": steps // POINTS}
    words = ["stack", below, "--task"] if row == "second_layer" else ["train"]
    pairs = [f"{key}={value}" for key, value in (common | own.get(row, {})).items()]
    return [*words, expression, "--seed", str(seed), *(w for p in pairs for w in ("--set", p))]


def measure(bench: Bench, row: str, expression: str, seed: int, steps: int) -> None:
    """A row, after the one that it stands on."""
    if row == "second_layer":
        measure(bench, "half", expression, seed, steps)
    label, below = (f"{expression}.{name}.{seed}" for name in (row, "half"))
    words = command(row, expression, bench.skill_name(below), seed, steps)
    bench.measure(label, words, task(expression), row=row, task=expression, seed=seed)


def table(rows: Sequence[Result]) -> str:
    """One line for each way; a number for each seed."""

    def lines() -> Iterator[list[str]]:
        for row, text in ROWS.items():
            if several := [one for one in rows if one["row"] == row]:
                steps = f"{several[0]['steps']:,}"
                returns = (numbers(several, how, "return", "mean", ".1f")
                           for how in ("deterministic", "sampled"))  # fmt: skip
                yield [text, steps, *returns]

    return markdown(["way", "steps of its own", "return [r]", "return, sampled"], lines())


def picture(rows: Sequence[Result]) -> bytes:
    """Return against the steps; the second layer goes on where its base ends."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="environment steps in all", ylabel="return [r]")
    first = {one["seed"]: one["steps"] for one in rows if one["row"] == "half"}
    for (colour, marker), (row, text) in zip(STYLES, WAYS.items(), strict=False):
        for index, one in enumerate(one for one in rows if one["row"] == row):
            before = first.get(one["seed"], 0) if row == "second_layer" else 0
            x, y = ([point[key] for point in one["curve"]] for key in ("step", "return"))
            label = None if index else text
            axes.plot([before + step for step in x], y, color=colour, marker=marker, ms=4,
                      label=label)  # fmt: skip
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return render(figure)


@click.command()
@click.option("--task", "expression", default="ant_run", show_default=True)
@click.option("--steps", default=300_000, show_default=True, help="Of a way, in all.")
@options
def main(
    expression: str, steps: int, seeds: list[str], rows: list[str], show: bool, **of: Any
) -> None:
    """Measure the rows that are missing, print the table, draw the figure."""
    check(rows, ROWS)
    bench = Bench("figure_7_4", **of)
    for seed in [] if show else seeds:
        for row in rows or ROWS:
            measure(bench, row, expression, int(seed), steps)
    found = bench.found(task=expression)
    bench.publish(expression, table(found), picture(found))


if __name__ == "__main__":
    main()
