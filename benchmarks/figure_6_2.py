"""The thesis' Figure 6.2: gradient steps and seconds until a policy pushes to a corner.

    python benchmarks/figure_6_2.py --seeds 0,1,2     # what is missing; table, figure
    python benchmarks/figure_6_2.py --tasks push_x_middle+push_y --ways composed,direct

Ways to the same task, push_x+push_y, from the constituents that table_6_1.py trains: composition
(0 interactions), direct training with the constituents' recipe, the same with plans for that task,
as the constituents had while they were trained together, and offline soft Q-learning on the union
of the constituents' replays, which the composition has as well. Each is evaluated every 1,000
gradient steps; seconds are those of learning, on one thread, and for direct training of collecting
too. Offline learning stops after 10 times the composer's steps.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import click
import torch
from matplotlib.figure import Figure
from rows import RESULTS, SEED, check, listed, markdown, whole_numbers, write
from table_6_1 import MERGES, REGISTRIES, Table

from skillkit import Registry, Skill, train
from skillkit.algorithms import SQL, Distill, DistillConfig, Improve, ImproveConfig, Learner
from skillkit.composition.experience import experienced, relabelled_union
from skillkit.console import Progress
from skillkit.controller import Controller
from skillkit.envs import Task, task
from skillkit.evaluation import evaluate
from skillkit.policies import Policy
from skillkit.q_functions import WeightedSum
from skillkit.replay import union
from skillkit.report.plots import STYLES, render
from skillkit.skill import arrays
from skillkit.workflows.extract import WATCHED
from skillkit.workflows.improve import Stored
from skillkit.workflows.merge import MERGING
from skillkit.workflows.recipes import configure, for_composing
from skillkit.workflows.settings import resolve

FOLDER = RESULTS / "figure_6_2"
WAYS = ("composed", "direct", "planned", "offline")
EVERY, GOAL, EPISODES = 1_000, 0.15, 100
Row = dict[str, float]  # updates, seconds, final_distance [m], return [r]
Batch = Callable[[], Any]


def distance(policy: Policy, goal: Task) -> Row:
    """The mode of a live policy in the summed task."""
    act = Controller(goal.spec, {"kind": policy.kind, "config": policy.config}, arrays(policy))
    found = evaluate(act.batch, goal, EPISODES, SEED).means()
    return {key: found[key] for key in ("final_distance", "return")}


def learn(learner: Learner, sample: Batch, updates: int, before: Row, goal: Task) -> Iterator[Row]:
    """Updates, and a row after every thousand in all, and the last."""
    steps, seconds = before["updates"], before["seconds"]
    for update in range(updates):
        started = time.perf_counter()
        learner.anneal(update / updates)
        learner.update(sample())
        seconds += time.perf_counter() - started
        steps += 1
        if steps % EVERY == 0 or update + 1 == updates:
            yield {"updates": steps, "seconds": seconds, **distance(learner.policy, goal)}


def composing(goal: Task) -> tuple[DistillConfig, ImproveConfig]:
    """As `skillkit compose` does it unless something else is asked for."""
    configs = resolve(for_composing(goal.recipe[1], MERGING), **MERGING)
    return configs["distill"], configs["improve"]


def composed(goal: Task, parts: list[Skill], seed: int) -> list[Row]:
    """What `skillkit compose` does, looked at on the way."""
    replay = union([skill.replay for skill in experienced(parts)])
    q = WeightedSum([part.q for part in parts], [0.5, 0.5], sum(part.alpha for part in parts) / 2)
    generator = torch.Generator().manual_seed(seed)
    (config, further), parents = composing(goal), [(part.policy, part.q) for part in parts]
    learner = Distill(goal.spec, q, config, seed, parents=parents)

    def sample() -> Any:
        return replay.sample(config.batch_size, generator)

    started = time.perf_counter()
    learner.begin(replay.sample(WATCHED, generator).obs)
    first = {"updates": 0, "seconds": time.perf_counter() - started}
    rows = [first | distance(learner.policy, goal)]
    rows += learn(learner, sample, config.updates, first, goal)
    if further.updates:
        started = time.perf_counter()
        improver = Improve(learner.policy, q, further, seed)
        stored = Stored([task(part.task) for part in parts], replay, seed)
        rows[-1]["seconds"] += time.perf_counter() - started
        batch = partial(stored.batch, improver)
        rows += learn(improver, batch, further.updates, rows[-1], goal)
    return rows


def direct(goal: Task, seed: int, way: str) -> list[Row]:
    """Training from scratch, with the constituents' recipe and update ratio."""
    place = Registry([REGISTRIES / f"figure_6_2.{way}.{seed}"])
    settings = {"train.evaluate_every": 2 * EVERY, "train.evaluation_episodes": EPISODES}
    if way == "planned":
        settings["plan.every"] = goal.recipe[1]["plan.every"]
    with Progress("environment steps") as progress:
        skill = train(goal, seed=seed, settings=settings, on_event=progress).save(registry=place)
    done, timing = skill.curve[-1]["step"], skill.manifest.timing
    warmup = skill.manifest.config["train"]["warmup"]
    found = []
    for row in skill.curve:
        share = max(row["step"] - warmup, 0) / (done - warmup)
        times = {"updates": share * timing["updates"], "seconds": share * timing["seconds"]}
        found.append({**times, **{key: row[key] for key in ("final_distance", "return")}})
    return found


def offline(goal: Task, parts: list[Skill], seed: int, updates: int) -> list[Row]:
    """Soft Q-learning from what is stored, and nothing else."""
    lender, recipe = goal.recipe
    learner = SQL(goal.spec, configure("sql", {}, recipe, lender)["sql"], seed)
    replay = relabelled_union(experienced(parts), goal)
    generator = torch.Generator().manual_seed(seed)

    def sample() -> Any:
        return replay.sample(learner.config.batch_size, generator)

    return list(learn(learner, sample, updates, {"updates": 0, "seconds": 0.0}, goal))


def measure(name: str, seed: int, ways: Sequence[str]) -> None:
    """The curves of one task and seed that are missing."""
    table, goal = Table("sac", "together", seed), task(name)
    budget = 10 * sum(config.updates for config in composing(goal))

    @cache
    def parts() -> list[Skill]:  # direct training needs none
        return [table.skill(part) for part in name.split("+")]

    curves: dict[str, Callable[[], list[Row]]] = {
        "composed": lambda: composed(goal, parts(), seed),
        "direct": lambda: direct(goal, seed, "direct"),
        "planned": lambda: direct(goal, seed, "planned"),
        "offline": lambda: offline(goal, parts(), seed, budget),
    }
    for way in ways:
        path = FOLDER / goal.name / f"{way}.{seed}.json"
        if not path.exists():
            click.echo(f"{goal.name}, {way}, seed {seed}", err=True)
            write(path, {"curve": curves[way]()})


def found(name: str) -> dict[str, list[list[Row]]]:
    """Way -> the curve of each seed."""
    paths = {way: sorted((FOLDER / name).glob(f"{way}.*.json")) for way in WAYS}
    return {
        way: [json.loads(path.read_text())["curve"] for path in several]
        for way, several in paths.items()
        if several
    }


def report(tasks: Sequence[str]) -> str:
    """Steps and seconds to the goal, medians over the seeds; never: the whole budget."""
    head = ["task", "way", f"gradient steps to {GOAL} m", "seconds", "reached by", "best distance"]
    lines = [
        [name, way, *_summary(several)] for name in tasks for way, several in found(name).items()
    ]
    return markdown(head, lines)


def _summary(several: list[list[Row]]) -> list[str]:
    ends = [next((r for r in curve if r["final_distance"] <= GOAL), None) for curve in several]
    rows = [end or curve[-1] for end, curve in zip(ends, several, strict=True)]
    steps, seconds = (statistics.median(r[key] for r in rows) for key in ("updates", "seconds"))
    reached = sum(end is not None for end in ends)
    best = statistics.median(min(r["final_distance"] for r in curve) for curve in several)
    mark = "" if 2 * reached > len(ends) else ", not reached"
    return [
        f"{steps:,.0f}{mark}",
        f"{seconds:.0f}",
        f"{reached} of {len(ends)} seeds",
        f"{best:.3f}",
    ]


def picture(tasks: Sequence[str]) -> bytes:
    """Distance against gradient steps, logarithmic; a panel for each task."""
    figure = Figure(figsize=(6 * len(tasks), 4.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        axes.set(title=name, xlabel="gradient steps", ylabel="distance to the goal [m]")
        for (colour, marker), (way, several) in zip(STYLES, found(name).items(), strict=False):
            for i, curve in enumerate(several):
                points = [(row["updates"], row["final_distance"]) for row in curve]
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, ms=4,
                          label=way * (i == 0))  # fmt: skip
        axes.axhline(GOAL, color="#8A8A8A", ls="--", label=f"{GOAL} m")
        axes.set_xscale("symlog", linthresh=EVERY)  # the first point is that of no step at all
        axes.set_xlim(left=-EVERY / 50)
        axes.set_xticks([0, 1_000, 10_000, 100_000], ["0", "1,000", "10,000", "100,000"])
        axes.legend(frameon=False)
    return render(figure)


@click.command()
@click.option("--seeds", callback=whole_numbers, default="0", show_default=True)
@click.option("--tasks", callback=listed, default=next(iter(MERGES)), show_default=True)
@click.option("--ways", callback=listed, default=",".join(WAYS), show_default=True)
@click.option("--show", is_flag=True, help="Measure nothing: assemble what there is.")
def main(seeds: list[str], tasks: list[str], ways: list[str], show: bool) -> None:
    """Measure the curves that are missing, print the table of all, draw the figure."""
    check(tasks, MERGES, "task")
    check(ways, WAYS, "way")
    torch.set_num_threads(1)
    for name in [] if show else tasks:
        for seed in seeds:
            measure(name, int(seed), ways)
    measured = [name for name in MERGES if found(name)]
    text = report(measured)
    (RESULTS / "figure_6_2.md").write_text(text)
    (RESULTS / "figure_6_2.png").write_bytes(picture(measured))
    click.echo(text)


if __name__ == "__main__":
    main()
