"""SAC on HalfCheetah-v5: steps per second of whole trainings, and updates per second alone.

    python benchmarks/learner.py
    python benchmarks/learner.py --rows training.2 --without sbx
    python benchmarks/learner.py --rows population --device cuda
    python benchmarks/learner.py --show

2x256 networks, batches of 256, one environment, one update per step. A population is several skills
of the pusher that are trained together: they update one after the other, or at once. Every
contestant is a process of its own, which trains a stretch when it is its turn. The ceiling is the
rate of large matrix products on the same processor, for the work of one update; it is measured in
turn with the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import torch
from peers import PEERS, Worker, python
from rows import Result, check, listed, markdown
from speed import Figures, Speed, cell, in_turn, options, ratio

from skillkit.algorithms import ALGORITHMS

HERE = Path(__file__).parent / "scripts"
ENVIRONMENT = "HalfCheetah-v5"
NAMES = {"sb3": "Stable-Baselines3", "sbx": "SBX"}
WIDTHS = {"sac.hidden": [256, 256], "sac.batch_size": 256, "sac.automatic_alpha": True}
ALONE = {"train.environments": 1, "train.update_every": 1}
WAYS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"train.precision": "bfloat16"},
    "compiled": {"train.compile": True},
    "compiled-bfloat16": {"train.compile": True, "train.precision": "bfloat16"},
}
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SAC, Gaussian": ("sac", {}),
    "SAC, flow": ("sac", {"sac.policy": "real_nvp"}),
    "soft Q-learning": ("sql", {"sql.hidden": [256, 256], "sql.batch_size": 256}),
}
KINDS = ("float32", "bfloat16")
ROWS = {f"{what}.{threads}": threads for what in ("training", "updates") for threads in (2, 1)}
ROWS["population"] = 2
SKILLS = (
    "push_x", "push_y", "push_x_middle", "push_x_right", "push_xy", "push_xy_middle",
    "push_x+push_y", "push_x_right+push_y",
)  # fmt: skip
SIZES = (1, 2, 4, 8)  # of a population


def ours(
    algorithm: str,
    threads: int,
    warmup: int,
    settings: Mapping[str, Any],
    tasks: Sequence[str] = (f"gym:{ENVIRONMENT}",),
    device: str = "cpu",
) -> Worker:
    asked = {**ALONE, **(WIDTHS if algorithm == "sac" else {}), **settings}
    words = [",".join(tasks), algorithm, str(threads), str(warmup), json.dumps(asked), device]
    return Worker([sys.executable, str(HERE / "learn_skillkit.py"), *words], threads)


def theirs(peer: str, threads: int, warmup: int) -> Worker:
    words = [peer, ENVIRONMENT, str(threads), str(warmup)]
    return Worker([python(peer), str(HERE / "train_sb3.py"), *words], threads)


class Turns:
    """What is measured of a row, each by its worker; all of them live as long as `stack`."""

    def __init__(self, stack: ExitStack, threads: int, warmup: int, calls: int) -> None:
        self.stack, self.threads, self.warmup = stack, threads, warmup
        self.workers: dict[str, Worker] = {}
        self.measures: dict[str, Callable[[], Figures]] = {}
        self.calls = calls  # of matrix products

    def add(self, name: str, worker: Worker, figure: str, count: int) -> None:
        """It does `count` of what it is asked for by `figure`, and the rate is kept."""
        self.workers[name] = self.stack.enter_context(worker)

        def measure() -> Figures:
            found = worker(**{figure: count})
            return {"rate": count / found["seconds"]}

        measure()  # the first time does not count
        self.measures[name] = measure

    def run(self, repeats: int) -> dict[str, dict[str, list[float]]]:
        first = next(iter(self.workers.values()))
        return in_turn({**self.measures, "products": lambda: first(products=self.calls)}, repeats)

    @property
    def about(self) -> dict[str, Any]:
        return {name: worker.about for name, worker in self.workers.items()}


def training(turns: Turns, steps: int, ways: Sequence[str], without: Sequence[str]) -> None:
    for way in ways:
        worker = ours("sac", turns.threads, turns.warmup, WAYS[way])
        turns.add(f"skillkit, {way}", worker, "steps", steps)
    for peer in PEERS:
        if peer not in without:
            worker = theirs(peer, turns.threads, turns.warmup)
            turns.add(NAMES[peer], worker, "steps", steps)


def updates(turns: Turns, count: int, ways: Sequence[str]) -> None:
    for name, (algorithm, settings) in LEARNERS.items():
        learner, _ = ALGORITHMS[algorithm]
        for way in ways:
            if learner.compilable or "train.compile" not in WAYS[way]:
                worker = ours(algorithm, turns.threads, turns.warmup, settings | WAYS[way])
                turns.add(f"{name}, {way}", worker, "updates", count)


def population(turns: Turns, count: int, device: str) -> None:
    for kind in ("gaussian", "real_nvp"):
        for size in SIZES:
            for how, stacked in (("one by one", False), ("at once", True)):
                settings = {"sac.policy": kind, "sac.alpha_start": None, "train.stacked": stacked}
                tasks = SKILLS[:size]
                worker = ours("sac", turns.threads, turns.warmup, settings, tasks, device)
                turns.add(f"{kind}, {size}, {how}", worker, "updates", count)


def assemble(found: Sequence[Result]) -> Iterator[str]:
    """The tables, Markdown."""
    for what, unit in (("training", "environment steps/s"), ("updates", "updates/s")):
        rows = [row for row in found if row["row"].startswith(what)]
        peers = list(NAMES.values()) if what == "training" else []
        head = ["threads", "who", unit, *(f"times {peer}" for peer in peers)]
        head += [f"share of {kind} products" for kind in KINDS]
        lines = [line for row in rows for line in _lines(row, peers)]
        if lines:
            yield markdown(head, lines)
    head = ["on", "policy", "skills", "how", "updates/s of each", "in all", "times one skill"]
    head += [f"share of {kind} products" for kind in KINDS]
    lines = [line for row in found if row["row"] == "population" for line in _population(row)]
    if lines:
        yield markdown(head, lines)
    head = ["on", *(f"{kind} products [GFLOP/s]" for kind in KINDS)]
    lines = [
        [_where(row), *(_giga(row["figures"]["products"][kind]) for kind in KINDS)] for row in found
    ]
    yield markdown(head, lines)


def _population(row: Result) -> Iterator[list[str]]:
    figures = row["figures"]
    for name, about in row["about"].items():
        kind, size, how = name.split(", ")
        each = figures[name]["rate"]
        whole = [int(size) * rate for rate in each]
        spent = [about["flops"] * rate for rate in whole]
        times = ratio(whole, figures[f"{kind}, 1, {how}"]["rate"])
        shares = [f"{ratio(spent, figures['products'][kind]):.1%}" for kind in KINDS]
        yield [
            _where(row), kind, size, how, cell(each, ".0f"), cell(whole, ".0f"), f"{times:.2f}",
            *shares,
        ]  # fmt: skip


def _on_gpu(row: str, device: str) -> bool:
    return row == "population" and device == "cuda"


def _where(row: Result) -> str:
    """The processor that the products are of."""
    found = "threads" if row["threads"] > 1 else "thread"
    return str(row.get("gpu") or f"{row['threads']} {found}")


def _lines(row: Result, peers: Sequence[str]) -> Iterator[list[str]]:
    figures, about = row["figures"], row["about"]
    for name in about:
        rates = figures[name]["rate"]
        times = [
            f"{ratio(rates, figures[peer]['rate']):.2f}" if peer in figures else ""
            for peer in peers
        ]
        work = _work(about, name.rpartition(", ")[0])
        shares = ["", ""]
        if work:
            spent = [work * rate for rate in rates]
            shares = [f"{ratio(spent, figures['products'][kind]):.0%}" for kind in KINDS]
        yield [str(row["threads"]), name, cell(rates, ".0f"), *times, *shares]


def _work(about: Mapping[str, Any], learner: str) -> float | None:
    """FLOP of one of its updates; compiled ones cannot be counted, but are the same."""
    each = [found for name, found in about.items() if learner and name.startswith(f"{learner}, ")]
    return next((found["flops"] for found in each if found.get("flops")), None)


def _giga(values: Sequence[float]) -> str:
    return cell([value / 1e9 for value in values], ".0f")


@click.command()
@options(ROWS)
@click.option("--steps", type=click.IntRange(1), default=300, help="Of one measurement.")
@click.option("--warmup", type=click.IntRange(256), default=1_000, help="Steps before the first.")
@click.option("--products", type=click.IntRange(1), default=50, help="Of matrices, at each turn.")
@click.option("--ways", callback=listed, default="float32,bfloat16", show_default=True)
@click.option("--without", type=click.Choice(list(PEERS)), multiple=True, help="A peer.")
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Of the population."
)
def main(
    rows: list[str],
    repeats: int,
    show: bool,
    results: Path,
    steps: int,
    warmup: int,
    products: int,
    ways: list[str],
    without: tuple[str, ...],
    device: str,
) -> None:
    """Measure --steps steps, or as many updates, of each contestant in turn."""
    check(ways, WAYS, "way")
    bench = Speed("learner", results)
    for row in [] if show else rows:
        click.echo(row, err=True)
        with ExitStack() as stack:
            turns = Turns(stack, ROWS[row], warmup, products)
            if row.startswith("training"):
                training(turns, steps, ways, without)
            elif row.startswith("updates"):
                updates(turns, steps, ways)
            else:
                population(turns, steps, device)
            figures = turns.run(repeats)
            on = {"gpu": torch.cuda.get_device_name()} if _on_gpu(row, device) else {}
            bench.keep(
                row, threads=turns.threads, steps=steps, about=turns.about, figures=figures, **on
            )
    found = bench.found(ROWS)
    bench.publish(found, *assemble(found))


if __name__ == "__main__":
    main()
