"""The thesis' Figure 7.5: a maze with a reward at its goal alone, by layers and by one layer.

    python benchmarks/figure_7_5.py                                # what is missing; table, figure
    python benchmarks/figure_7_5.py --seeds 0 --rows scratch,tuned
    python benchmarks/figure_7_5.py --world point --steps 55000    # the same in small: point_maze
    python benchmarks/figure_7_5.py --show                         # the table of what there is

A row is a skill that one command makes, which its file names. Those on the base in the three mazes
take what their recipe takes, for every seed. All others are baselines in the first maze, take
--steps, and are measured for the first seed only, unless --rows names them. The recipe is the same
everywhere, but for temperature and kind of policy: one layer has those of the base, whose actions
it shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click
from matplotlib.figure import Figure
from rows import Bench, Result, check, markdown, numbers, options

from skillkit import Skill
from skillkit.envs import task
from skillkit.report.plots import STYLES, render

BASES = {"ant": "locomotion", "point": "point_roam"}
GOALS = {  # row -> what its maze's name ends with, what it is
    "stack": ("", "a layer on the base"),
    "stack_north": ("_north", "the same, north"),
    "stack_east": ("_east", "the same, east"),
}
BASELINES = {
    "stack_as_long": "a layer on the base, for as many steps as the following",
    "stack_sql": "the same by soft Q-learning",
    "scratch": "one layer from scratch",
    "tuned": "one layer, the base's, fine-tuned",
    "scratch_moving": "one layer from scratch, and 1 r per m/s",
    "tuned_moving": "one layer, fine-tuned, and 1 r per m/s",
    "four_couplings": "one layer of four couplings from scratch",
    "half_temperature": "one layer from scratch at half the temperature",
}
ROWS = {row: text for row, (_, text) in GOALS.items()} | BASELINES
WITHOUT_BASE = ("scratch", "scratch_moving", "four_couplings", "half_temperature")


def goal(world: str, row: str) -> str:
    """The task that a row is about."""
    end, _ = GOALS.get(row, ("", ""))
    return f"{world}_maze{end}"


def command(row: str, world: str, base: Skill, seed: int, steps: int) -> list[str]:
    """What makes a row, after `skillkit`."""
    maze = goal(world, row)
    moving = f"1*{maze}+1*{maze}_roam"
    limit = ["--set", f"train.steps={steps}"]
    kind = base.manifest.config["sac"]["policy"]
    _, recipe = task(maze).recipe
    of_base = ["--set", f"sac.policy={kind}"] * (kind != recipe["sac.policy"])
    limited = [*limit, *of_base]
    single = [*limited, "--set", f"sac.alpha={base.alpha:g}"]
    layer = ["stack", base.reference, "--task", maze]
    begun = ["--from", base.reference]
    words = {
        **dict.fromkeys(GOALS, layer),
        "stack_as_long": [*layer, *limit],
        "stack_sql": [*layer, "--algorithm", "sql", *limit],
        "scratch": ["train", maze, *single],
        "tuned": ["train", maze, *begun, *single],
        "scratch_moving": ["train", moving, *single],
        "four_couplings": ["train", maze, *single, "--set", "sac.flow.couplings=4"],
        "half_temperature": ["train", maze, *limited, "--set", f"sac.alpha={base.alpha / 2:g}"],
        "tuned_moving": ["train", moving, *begun, *single],
    }
    return [*words[row], "--seed", str(seed)]


def table(rows: Sequence[Result]) -> str:
    """One line for each row; a number for each seed."""

    def lines() -> Iterator[list[str]]:
        for row, text in ROWS.items():
            if several := [one for one in rows if one["row"] == row]:
                first = several[0]
                before = 0 if row in WITHOUT_BASE else first["base"]["steps"]
                yield [
                    text,
                    f"{first['steps']:,}",
                    f"{before:,}",
                    numbers(several, "deterministic", "final_distance", "median", ".2f"),
                    numbers(several, "deterministic", "success", "mean", ".2f"),
                    numbers(several, "sampled", "success", "mean", ".2f"),
                ]

    head = ["what", "steps", "before, of the base", "final distance [m], median", "success",
            "success, sampled"]  # fmt: skip
    return markdown(head, lines())


def picture(rows: Sequence[Result]) -> bytes:
    """Mean final distance in the first maze against the steps; those of the base do not count."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="environment steps", ylabel="mean final distance [m]")
    shown = {"stack": ROWS["stack"]} | BASELINES
    for (colour, marker), (row, text) in zip(STYLES, shown.items(), strict=False):
        for index, one in enumerate(one for one in rows if one["row"] == row):
            x, y = ([point[key] for point in one["curve"]] for key in ("step", "final_distance"))
            axes.plot(x, y, color=colour, marker=marker, ms=4, label=None if index else text)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return render(figure)


@click.command()
@click.option("--world", type=click.Choice(list(BASES)), default="ant", show_default=True)
@click.option("--base", help="Skill to stand on; locomotion or point_roam by default.")
@click.option("--steps", default=1_000_000, show_default=True, help="Of a baseline.")
@options
def main(
    world: str,
    base: str | None,
    steps: int,
    seeds: list[str],
    rows: list[str],
    show: bool,
    **of: Any,
) -> None:
    """Measure the rows that are missing, print the table, draw the figure."""
    check(rows, ROWS)
    bench = Bench("figure_7_5", **of)
    for seed in [] if show else seeds:
        below = bench.load(base or BASES[world])
        parent = {**below.as_parent, "steps": below.metrics["steps"]}
        for row in rows or (ROWS if seed == seeds[0] else GOALS):
            words = command(row, world, below, int(seed), steps)
            what = {"row": row, "world": world, "seed": int(seed), "base": parent}
            bench.measure(f"{world}.{row}.{seed}", words, task(goal(world, row)), **what)
    found = bench.found(world=world)
    bench.publish(world, table(found), picture(found))


if __name__ == "__main__":
    main()
