"""The thesis' Table 6.1: final distances of pushing skills, trained, directly trained, and merged.

    python benchmarks/table_6_1.py                         # what is missing, then the table
    python benchmarks/table_6_1.py --seeds 0,1,2 --rows push_x,push_x+push_y
    python benchmarks/table_6_1.py --algorithm sql --way apart --seeds 0
    python benchmarks/table_6_1.py --show                  # the table of what there is

A row is one skill of one seed: it is trained or composed by the same functions as `skillkit train`
and `skillkit compose`, kept in a registry of its own, evaluated on 100 episodes of a seed that no
training sees, and written to results/table_6_1/. An interrupted run goes on with the next row.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from rows import RESULTS, SEED, check, listed, whole_numbers, write

from skillkit import Registry, Skill, compose, load, train, train_together
from skillkit.console import Progress
from skillkit.envs import task
from skillkit.errors import UnknownName
from skillkit.evaluation import evaluate

FOLDER = RESULTS / "table_6_1"
REGISTRIES = Path(__file__).parents[1] / ".skillkit" / "table_6_1"

CONSTITUENTS = {"push_x": 0.13, "push_x_middle": 0.07, "push_x_right": 0.10, "push_y": 0.08}
EUCLIDEAN = {"push_xy": 0.11, "push_xy_middle": 0.12, "push_xy_right": 0.18}
MERGES = {"push_x+push_y": 0.11, "push_x_middle+push_y": 0.09, "push_x_right+push_y": 0.15}
DIRECT = {f"{name}.direct": EUCLIDEAN[goal] for name, goal in zip(MERGES, EUCLIDEAN, strict=True)}
THESIS = CONSTITUENTS | EUCLIDEAN | DIRECT | MERGES  # soft Q-learning [m]

TOGETHER = {"train.steps": 400_000}  # of all four, half of what they take apart
EPISODES = 100  # of the evaluations
WAYS = {"together": [*CONSTITUENTS, *MERGES], "apart": list(THESIS)}  # and the rows of each
ALGORITHMS = ("sac", "sql")


class Table:
    """The rows of one algorithm, way of training and seed."""

    def __init__(self, algorithm: str, way: str, seed: int) -> None:
        self.algorithm, self.way, self.seed = algorithm, way, seed
        self.registry = Registry([REGISTRIES / f"{algorithm}.{way}.{seed}"])

    def file(self, row: str) -> Path:
        return FOLDER / f"{self.algorithm}.{self.way}.{self.seed}.{row}.json"

    def make(self, row: str) -> None:
        """Measure the row, unless that is done."""
        if not self.file(row).exists():
            self.record(row, self.skill(row))

    def skill(self, row: str) -> Skill:
        """What the row measures; trained or composed, unless it is there."""
        try:
            return load(row, self.registry)
        except UnknownName:
            for made in self.skills(row):
                made.save(registry=self.registry)
            return load(row, self.registry)

    def skills(self, row: str) -> Iterator[Skill]:
        """The skill of a row, with those that come with it."""
        label = f"{row} ({self.algorithm}, {self.way}, seed {self.seed})"
        click.echo(label, err=True)
        if row in MERGES:
            parts = [self.skill(part) for part in row.split("+")]
            with Progress("updates") as progress:
                yield compose(parts, seed=self.seed, on_event=progress)
        else:
            options: dict[str, Any] = {"algorithm": self.algorithm, "seed": self.seed}
            with Progress("environment steps") as progress:
                if row in CONSTITUENTS and self.way == "together":
                    parts = list(CONSTITUENTS)
                    yield from train_together(
                        parts, settings=TOGETHER, on_event=progress, **options
                    )
                else:
                    yield train(row.removesuffix(".direct"), on_event=progress, **options)

    def record(self, row: str, skill: Skill) -> None:
        """Evaluate, and write the row."""
        distance = {}
        for how in ("deterministic", "sampled"):
            act = skill.controller(deterministic=how == "deterministic")
            noise = 0 if how == "deterministic" else act.noise_dim
            found = evaluate(act.batch, task(skill.task), EPISODES, SEED, noise_dim=noise)
            values = found.metrics["final_distance"]
            distance[how] = {"mean": float(np.mean(values)), "std": float(np.std(values))}
        result = {
            "row": row,
            "algorithm": self.algorithm,
            "way": self.way,
            "seed": self.seed,
            "distance": distance,
            "interactions": skill.metrics.get("steps", skill.metrics.get("interactions")),
            "timing": skill.manifest.timing,
        }
        write(self.file(row), result)


def assemble() -> str:
    """The table of every row that was measured, Markdown."""
    found = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    head = ["task", "thesis (SQL)"]
    columns = [(a, w) for a in ALGORITHMS for w in WAYS if _rows(found, a, w)]
    head += [f"{algorithm}, {way}" for algorithm, way in columns]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row, thesis in THESIS.items():
        cells = [_cell(_rows(found, *column, row)) for column in columns]
        lines.append("| " + " | ".join([row, f"{thesis:.2f}", *cells]) + " |")
    return "\n".join(lines) + "\n"


def _rows(found: Iterable[Any], algorithm: str, way: str, row: str = "") -> list[Any]:
    wanted = {"algorithm": algorithm, "way": way} | ({"row": row} if row else {})
    return [one for one in found if all(one[key] == value for key, value in wanted.items())]


def _cell(rows: Sequence[Any]) -> str:
    """Mean over the seeds of the mean and of the standard deviation over episodes; sampled."""
    if not rows:
        return ""
    mode, sampled = ([row["distance"][how] for row in rows] for how in ("deterministic", "sampled"))
    mean, std, noisy = (
        statistics.mean(one[key] for one in several)
        for several, key in ((mode, "mean"), (mode, "std"), (sampled, "mean"))
    )
    worst = max(one["mean"] for one in mode)
    seeds = f"{len(rows)} seeds, at most {worst:.3f}" if len(rows) > 1 else "1 seed"
    return f"{mean:.3f} ± {std:.3f} ({noisy:.3f} sampled; {seeds})"


@click.command()
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default="sac", show_default=True)
@click.option("--way", type=click.Choice(list(WAYS)), default="together", show_default=True)
@click.option("--seeds", callback=whole_numbers, default="0", show_default=True)
@click.option("--rows", callback=listed, help="All by default.")
@click.option("--show", is_flag=True, help="Measure nothing: assemble what there is.")
def main(algorithm: str, way: str, seeds: list[str], rows: list[str], show: bool) -> None:
    """Measure the rows that are missing, and print the table."""
    check(rows, WAYS[way])
    for seed in [] if show else seeds:
        for row in rows or WAYS[way]:
            Table(algorithm, way, int(seed)).make(row)
    text = assemble()
    (RESULTS / "table_6_1.md").write_text(text)
    click.echo(text)


if __name__ == "__main__":
    main()
