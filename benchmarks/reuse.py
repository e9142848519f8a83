"""How much sooner a layer comes to a sparse goal if it begins with its base's replay (THEORY 7).

    python benchmarks/reuse.py                              # what is missing, then the table
    python benchmarks/reuse.py --seeds 0 --rows point_goal --ways empty,reuse
    python benchmarks/reuse.py --rows ant_goal --seeds 0,1  # needs the skill locomotion
    python benchmarks/reuse.py --show                       # the table of what there is

A row is one stack of one seed by the function of `skillkit stack`, at hold 1 but for one way, and
is written to results/reuse/ with its learning curve. The bases of the point are trained here, with
the same seed, and kept in a registry of their own. The ant's is the shipped one, whose transitions
come with their images in all frames. An interrupted run goes on with the next row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rows import check, listed, markdown, whole_numbers, write

from skillkit import Registry, Skill, load, stack, train
from skillkit.console import Progress
from skillkit.envs import Task, task
from skillkit.errors import UnknownName
from skillkit.workflows.base import base_of
from skillkit.workflows.reuse import REUSE_HOLD, experience

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "reuse"
REGISTRY = Registry([HERE.parent / ".skillkit" / "reuse"])

SHARE, IN_A_ROW = 0.8, 3  # success that counts; evaluations that must show it, for chance shows one
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "empty": ("an empty replay", {}),
    "reuse": ("the base's replay, critics fitted", {"reuse_replay": True}),
    "unfitted": ("the base's replay alone", {"reuse_replay": True, "reuse.updates": 0}),
    "held": ("an empty replay, latents held", {}),
}


def roaming(horizon: int) -> Callable[[int], Skill]:
    """point_roam of one seed, in episodes that long [steps]; trained where it is missing."""
    made = replace(task("point_roam"), name=f"point_roam_{horizon}", horizon=horizon)

    def base(seed: int) -> Skill:
        name = f"{made.name}.{seed}"
        try:
            return load(name, REGISTRY)
        except UnknownName:
            with Progress("environment steps") as progress:
                return train(made, seed=seed, on_event=progress).save(name, REGISTRY)

    return base


@dataclass(frozen=True)
class Row:
    """A base and the task that is stacked on it."""

    base: Callable[[int], Skill]  # from the seed
    of: str  # what the table says of the base
    task: Task
    settings: Mapping[str, Any]
    held: Mapping[str, Any]  # instead of the same, where latents are held


# A KL that is paid at each step instead of each third one takes a third of the recipe's price; of
# the ant's, whose recipe is for hold 10, a tenth.
POINT = {"sac.alpha": 1 / 3, "train.steps": 20_000, "train.evaluate_every": 1_000}
POINT_HELD = {"stack.hold": 3, "sac.alpha": 1.0}
ANT = {
    "sac.alpha": 0.15,
    "explore.correlation": 0.99,
    "train.steps": 150_000,
    "train.evaluate_every": 10_000,
}
ANT_HELD = {"stack.hold": 10, "sac.alpha": 1.5, "explore.correlation": 0.9}
SHORT, LONG = (f"point_roam, episodes of {seconds} s" for seconds in (5, 15))
ROWS = {
    "point_goal": Row(roaming(50), SHORT, task("point_goal"), POINT, POINT_HELD),
    "point_goal.15s": Row(roaming(150), LONG, task("point_goal"), POINT, POINT_HELD),
    "ant_goal": Row(lambda seed: load("locomotion"), "locomotion", task("ant_goal"), ANT, ANT_HELD),
}


def file(row: str, way: str, seed: int) -> Path:
    return RESULTS / f"{row}.{way}.{seed}.json"


def make(name: str, way: str, seed: int) -> None:
    """Stack as the row and the way ask for, unless it is there, and write it down."""
    if file(name, way, seed).exists():
        return
    click.echo(f"{name}, {WAYS[way][0]}, seed {seed}", err=True)
    row, asked = ROWS[name], dict(WAYS[way][1])
    base = row.base(seed)
    reuse = asked.pop("reuse_replay", False)
    settings = {**row.settings, "stack.hold": REUSE_HOLD, "train.evaluation_episodes": 50, **asked}
    settings |= row.held if way == "held" else {}
    with Progress("environment steps") as progress:
        skill = stack(
            base, row.task, reuse_replay=reuse, settings=settings, seed=seed, on_event=progress
        )
    lived = experience(base, base_of(base, row.task, REUSE_HOLD), row.task)
    goals = lived.batch.reward > 0
    result = {
        "row": name,
        "way": way,
        "seed": seed,
        "settings": settings,
        "base_transitions": len(goals),
        "base_goals": int(goals.sum()),
        "curve": [{key: one[key] for key in ("step", "success")} for one in skill.curve],
        "metrics": skill.metrics,
        "timing": skill.manifest.timing,
    }
    write(file(name, way, seed), result)


def reached(curve: Sequence[Mapping[str, float]]) -> str:
    """Steps at the first of three evaluations in a row with enough success."""
    enough = [row["success"] >= SHARE for row in curve]
    for first in range(len(curve) - IN_A_ROW + 1):
        if all(enough[first : first + IN_A_ROW]):
            return f"{curve[first]['step']:,.0f}"
    return f"not in {curve[-1]['step']:,.0f}"


def assemble() -> str:
    """The table of every row that was measured, Markdown."""
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    head = ["task", "base", "of its transitions at the goal", "begins with", "seeds"]
    head += [f"steps to {SHARE:.0%} success", "success of 100 episodes at the end", "seconds"]
    lines = []
    for name, row in ROWS.items():
        for way, (words, _) in WAYS.items():
            if same := [one for one in found if (one["row"], one["way"]) == (name, way)]:
                rates = [one["metrics"]["evaluation"]["success"]["mean"] for one in same]
                goals = [f"{one['base_goals']} of {one['base_transitions']:,}" for one in same]
                cells = [row.task.name, row.of, "; ".join(goals), words]
                cells += [", ".join(str(one["seed"]) for one in same)]
                cells += ["; ".join(reached(one["curve"]) for one in same)]
                cells += ["; ".join(f"{rate:.2f}" for rate in rates)]
                cells += ["; ".join(f"{one['timing']['seconds']:.0f}" for one in same)]
                lines.append(cells)
    return markdown(head, lines)


@click.command()
@click.option("--seeds", callback=whole_numbers, default="0,1", show_default=True)
@click.option("--rows", callback=listed, default="point_goal,point_goal.15s", show_default=True)
@click.option("--ways", callback=listed, default=",".join(WAYS), show_default=True)
@click.option("--show", is_flag=True, help="Measure nothing: assemble what there is.")
def main(seeds: list[str], rows: list[str], ways: list[str], show: bool) -> None:
    """Measure the rows that are missing, and print the table."""
    check(rows, ROWS)
    check(ways, WAYS)
    for seed in [] if show else seeds:
        for row in rows:
            for way in ways:
                make(row, way, int(seed))
    text = assemble()
    (HERE / "results" / "reuse.md").write_text(text)
    click.echo(text)


if __name__ == "__main__":
    main()
