"""What collecting, evaluating and checkpoints add to a learner's own time, recipe by recipe.

    python benchmarks/training.py
    python benchmarks/training.py --rows push_x,ant_run
    python benchmarks/training.py --show

The loop of `skillkit train` runs in stretches, in turn with its updates alone. An evaluation of the
learning curve and a checkpoint are timed beside them, and counted as often as the recipe and the
command have them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

import click
from rows import Result, markdown
from scripts.learning import Training
from speed import Figures, Speed, cell, in_turn, options

from skillkit.workflows.checkpoints import Checkpoints
from skillkit.workflows.common import arithmetic, score


@dataclass(frozen=True)
class Row:
    """What is trained."""

    tasks: tuple[str, ...]
    algorithm: str | None = None  # None: the recipe's
    settings: Mapping[str, Any] = field(default_factory=dict)


CHECKPOINT_EVERY = signature(Checkpoints).parameters["period"].default  # [s]
PUSHER = ("push_x", "push_x_middle", "push_x_right", "push_y")
ROWS = {
    "push_x": Row(("push_x",)),
    "pusher_together": Row(PUSHER),
    "push_x_sql": Row(("push_x",), "sql"),
    "ant_run": Row(("ant_run",)),
    "locomotion": Row(("locomotion",)),
    "point_roam": Row(("point_roam",)),
    "HalfCheetah-v5": Row(("gym:HalfCheetah-v5",)),
}


def measures(training: Training, steps: int, folder: Path) -> dict[str, Callable[[], Figures]]:
    run, config = training.run, training.config
    updates = max(1, steps // config.update_every)
    latest: list[Path] = []

    def timed(what: Callable[[], Any]) -> Figures:
        began = time.perf_counter()
        what()
        return {"seconds": time.perf_counter() - began}

    def play() -> None:
        for trainee in run.trainees:
            score(trainee.policy, trainee.task, config.evaluation_episodes)

    def save() -> None:
        to = folder / str(len(latest))
        to.mkdir()
        run.save(to, latest[-1] if latest else None)
        latest.append(to)

    return {
        "whole": lambda: training.whole(steps),
        "updates": lambda: training.updates(updates),
        "evaluation": lambda: timed(play),
        "checkpoint": lambda: timed(save),
    }


def costs(row: Result) -> list[dict[str, float]]:
    """Seconds per update of one learner in each turn: the updates, and what comes on top."""
    figures, per = row["figures"], row["per_update"]
    turns = []
    for i in range(len(figures["whole"]["seconds"])):
        at = {name: {k: v[i] for k, v in found.items()} for name, found in figures.items()}
        alone = at["updates"]["seconds"] / at["updates"]["updates"]
        whole = at["whole"]["seconds"] / at["whole"]["updates"]
        played = at["evaluation"]["seconds"] * per["evaluations"]
        saved = at["checkpoint"]["seconds"] * (whole + played) / row["checkpoint_every"]
        turns.append(
            {"alone": alone, "collecting": whole - alone, "played": played, "saved": saved}
        )
    return turns


def assemble(found: Sequence[Result]) -> Iterator[str]:
    """The table, Markdown."""
    head = ["recipe", "steps per update", "environments", "updates alone [ms]"]
    head += ["collecting", "evaluating", "checkpoints", "learner's share of the whole"]
    lines = []
    for row in found:
        turns = costs(row)
        cells = [cell([1e3 * turn[name] for turn in turns], ".2f") for name in turns[0]]
        shares = [turn["alone"] / sum(turn.values()) for turn in turns]
        setting = row["setting"]
        lines.append(
            [row["row"], str(setting["update_every"]), str(setting["environments"]), *cells,
             f"{statistics.median(shares):.0%}"]
        )  # fmt: skip
    yield markdown(head, lines)


@click.command()
@options(ROWS)
@click.option("--steps", type=click.IntRange(1), default=800, help="Of one stretch.")
@click.option("--warmup", type=click.IntRange(256), default=4_000, help="Steps before the first.")
def main(rows: list[str], repeats: int, show: bool, results: Path, steps: int, warmup: int) -> None:
    """Measure stretches of --steps environment steps."""
    bench = Speed("training", results)
    for name in [] if show else rows:
        click.echo(name, err=True)
        row = ROWS[name]
        training = Training.begin([*row.tasks], row.algorithm, row.settings, warmup)
        config = training.config
        with arithmetic(config.threads), tempfile.TemporaryDirectory() as folder:
            each = measures(training, steps, Path(folder))
            in_turn({key: each[key] for key in ("whole", "updates")}, 1)
            figures = in_turn(each, repeats)
        per = config.update_every / config.evaluate_every / len(row.tasks)
        bench.keep(
            name,
            figures=figures,
            per_update={"evaluations": per},
            checkpoint_every=CHECKPOINT_EVERY,
            setting={"update_every": config.update_every, "environments": config.environments},
        )
    found = bench.found(ROWS)
    bench.publish(found, *assemble(found))


if __name__ == "__main__":
    main()
