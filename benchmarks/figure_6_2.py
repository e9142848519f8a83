"""The thesis' Figure 6.2: gradient steps and seconds until a policy pushes to (-1, -1).

    python benchmarks/figure_6_2.py --seeds 0,1,2     # what is missing; table, figure

Three ways to the same task, push_x+push_y, from the constituents that table_6_1.py trains:
composition (0 interactions), direct training with the constituents' recipe, and offline soft
Q-learning on the union of the constituents' replays, which the composition has as well. Each is
evaluated every 1,000 gradient steps; seconds are those of learning, on one thread, and for direct
training of collecting too. Offline learning stops after 10 times the composer's steps.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import click
import torch
from matplotlib.figure import Figure
from rows import RESULTS, SEED, whole_numbers, write
from table_6_1 import REGISTRIES, Table

from skillkit import Registry, Skill, load, train
from skillkit.algorithms import SQL, Distill, DistillConfig, Learner
from skillkit.composition.experience import relabelled_union
from skillkit.console import Progress
from skillkit.controller import Controller
from skillkit.envs import task
from skillkit.evaluation import evaluate
from skillkit.policies import Policy
from skillkit.q_functions import WeightedSum
from skillkit.replay import union
from skillkit.report.plots import STYLES, render
from skillkit.skill import arrays
from skillkit.workflows.extract import WATCHED
from skillkit.workflows.train import configure

SUM, PARTS = "push_x+push_y", ("push_x", "push_y")
EVERY, GOAL, EPISODES = 1_000, 0.15, 100
Row = dict[str, float]  # updates, seconds, final_distance [m], return [r]
Batch = Callable[[], Any]


def distance(policy: Policy) -> Row:
    """The mode of a live policy in the summed task."""
    goal = task(SUM)
    act = Controller(goal.spec, {"kind": policy.kind, "config": policy.config}, arrays(policy))
    found = evaluate(act.batch, goal, EPISODES, SEED).means()
    return {key: found[key] for key in ("final_distance", "return")}


def learn(learner: Learner, sample: Batch, updates: int, before: Row) -> Iterator[Row]:
    """Updates, and a row after every thousand of them."""
    steps, seconds = before["updates"], before["seconds"]
    for update in range(updates):
        started = time.perf_counter()
        learner.anneal(update / updates)
        learner.update(sample())
        seconds += time.perf_counter() - started
        steps += 1
        if (update + 1) % EVERY == 0:
            yield {"updates": steps, "seconds": seconds, **distance(learner.policy)}


def composed(parts: list[Skill], seed: int) -> list[Row]:
    """What `skillkit compose` does, looked at on the way."""
    goal, replay = task(SUM), union([part.replay for part in parts])
    q = WeightedSum([part.q for part in parts], [0.5, 0.5], sum(part.alpha for part in parts) / 2)
    generator = torch.Generator().manual_seed(seed)
    config, parents = DistillConfig(), [(part.policy, part.q) for part in parts]
    learner = Distill(goal.spec, q, config, seed, parents=parents)

    def sample() -> Any:
        return replay.sample(config.batch_size, generator)

    started = time.perf_counter()
    learner.begin(replay.sample(WATCHED, generator).obs)
    first = {"updates": 0, "seconds": time.perf_counter() - started}
    return [first | distance(learner.policy), *learn(learner, sample, config.updates, first)]


def direct(seed: int) -> list[Row]:
    """Training from scratch, with the constituents' recipe and update ratio."""
    place = Registry([REGISTRIES / f"figure_6_2.{seed}"])
    settings = {"train.evaluate_every": 2 * EVERY, "train.evaluation_episodes": EPISODES}
    with Progress("environment steps") as progress:
        skill = train(SUM, seed=seed, settings=settings, on_event=progress).save(registry=place)
    done, timing = skill.curve[-1]["step"], skill.manifest.timing
    warmup = skill.manifest.config["train"]["warmup"]
    found = []
    for row in skill.curve:
        share = max(row["step"] - warmup, 0) / (done - warmup)
        times = {"updates": share * timing["updates"], "seconds": share * timing["seconds"]}
        found.append({**times, **{key: row[key] for key in ("final_distance", "return")}})
    return found


def offline(parts: list[Skill], seed: int, updates: int) -> list[Row]:
    """Soft Q-learning from what is stored, and nothing else."""
    goal = task(SUM)
    lender, recipe = goal.recipe
    learner = SQL(goal.spec, configure("sql", recipe, lender)["sql"], seed)
    replay = relabelled_union(parts, goal)
    generator = torch.Generator().manual_seed(seed)

    def sample() -> Any:
        return replay.sample(learner.config.batch_size, generator)

    return list(learn(learner, sample, updates, {"updates": 0, "seconds": 0.0}))


def measure(seed: int) -> None:
    """The curves of one seed that are missing."""
    parts = []
    for name in PARTS:
        table = Table("sac", "together", seed)
        table.make(name)
        parts.append(load(name, table.registry))
    budget = 10 * DistillConfig().updates
    ways: dict[str, Callable[[], list[Row]]] = {
        "composed": lambda: composed(parts, seed),
        "direct": lambda: direct(seed),
        "offline": lambda: offline(parts, seed, budget),
    }
    for way, curve in ways.items():
        path = RESULTS / "figure_6_2" / f"{way}.{seed}.json"
        if not path.exists():
            click.echo(f"{way}, seed {seed}", err=True)
            write(path, {"curve": curve()})


def curves() -> dict[str, list[list[Row]]]:
    """Way -> the curve of each seed."""
    found: dict[str, list[list[Row]]] = {}
    for path in sorted((RESULTS / "figure_6_2").glob("*.json")):
        found.setdefault(path.name.split(".")[0], []).append(json.loads(path.read_text())["curve"])
    return found


def report() -> str:
    """Steps and seconds to the goal, medians over the seeds; never: the whole budget."""
    lines = [
        f"| way | gradient steps to {GOAL} m | seconds | reached by | best distance |",
        "| --- | --- | --- | --- | --- |",
    ]
    for way, several in curves().items():
        ends = [next((r for r in curve if r["final_distance"] <= GOAL), None) for curve in several]
        rows = [end or curve[-1] for end, curve in zip(ends, several, strict=True)]
        steps, seconds = (statistics.median(r[key] for r in rows) for key in ("updates", "seconds"))
        reached = sum(end is not None for end in ends)
        best = statistics.median(min(r["final_distance"] for r in curve) for curve in several)
        mark = "" if 2 * reached > len(ends) else ", not reached"
        lines.append(
            f"| {way} | {steps:,.0f}{mark} | {seconds:.0f} | {reached} of {len(ends)} seeds "
            f"| {best:.3f} |"
        )
    return "\n".join(lines) + "\n"


def picture() -> bytes:
    """Distance against gradient steps, logarithmic."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xlabel="gradient steps", ylabel="distance to (-1, -1) [m]")
    for (colour, marker), (way, several) in zip(STYLES, curves().items(), strict=False):
        for i, curve in enumerate(several):
            steps, values = zip(*((r["updates"], r["final_distance"]) for r in curve), strict=True)
            axes.plot(steps, values, color=colour, marker=marker, ms=4, label=way * (i == 0))
    axes.axhline(GOAL, color="#8A8A8A", ls="--", label=f"{GOAL} m")
    axes.set_xscale("symlog", linthresh=EVERY)  # the first point is that of no step at all
    axes.set_xlim(left=-EVERY / 50)
    axes.set_xticks([0, 1_000, 10_000, 100_000], ["0", "1,000", "10,000", "100,000"])
    axes.legend(frameon=False)
    return render(figure)


@click.command()
@click.option("--seeds", callback=whole_numbers, default="0", show_default=True)
@click.option("--show", is_flag=True, help="Measure nothing: assemble what there is.")
def main(seeds: list[str], show: bool) -> None:
    """Measure the curves that are missing, print the table, draw the figure."""
    torch.set_num_threads(1)
    for seed in [] if show else seeds:
        measure(int(seed))
    text = report()
    (RESULTS / "figure_6_2.md").write_text(text)
    (RESULTS / "figure_6_2.png").write_bytes(picture())
    click.echo(text)


if __name__ == "__main__":
    main()
