"""One call of a controller: how long it takes, and whether it ever comes late at 1 kHz.

    python benchmarks/controller.py
    python benchmarks/controller.py --rows loop --seconds 60     # the control loop alone
    python benchmarks/controller.py --show

17 observations, 6 actions, one thread. The floor is what NumPy needs for the matrix products of
the policy alone. In the control loop the controllers' seconds alternate with those of an empty
loop, of one that spins as long as the longest call takes, and of the longest one's products alone,
which read as much memory: they miss what the machine misses.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from peers import Worker, python
from rows import Result, markdown
from speed import Figures, Speed, cell, in_turn, options, ratio

from skillkit.algorithms.sac import SACConfig
from skillkit.controller import Controller
from skillkit.policies import Policy, StackedPolicy, make_policy
from skillkit.skill import arrays
from skillkit.types import Array, Entry, Spec
from skillkit.workflows.common import part

HERE = Path(__file__).parent
SIZES = 17, 6  # HalfCheetah's
SPEC = Spec(
    tuple(Entry(f"observation_{i}") for i in range(SIZES[0])),
    tuple(Entry(f"action_{i}", "", -1.0, 1.0) for i in range(SIZES[1])),
    0.05,
)
LATENTS = Spec(SPEC.observation, tuple(Entry(f"latent_{i}") for i in range(SIZES[1])), 0.05)
PERIOD = 1e-3  # of the control loop [s]
SPIN = 3e-4  # of it, at the end of a period, waiting without sleep [s]
ROWS = {
    "gaussian": "Gaussian, 2x256",
    "real_nvp": "flow, 2 couplings, 2x256",
    "stacked": "Gaussian, 2x256, on a frozen flow, 2x256",
    "growth": "memory",
    "loop": "control loop",
}
GROWTH = 200_000  # calls
CALLS = 1_000  # that tell how long the spinning loop spins
SPINNING, PRODUCTS = "spinning as long as stacked", "products alone of stacked"

Act = Callable[[Array], Any]


def policy(kind: str) -> Policy:
    """Of random weights: what they are does not matter to the clock."""
    torch.manual_seed(0)
    if kind != "stacked":
        return make_policy(SPEC, SACConfig(policy=kind), None)
    bottom = make_policy(SPEC, SACConfig(policy="real_nvp"), None)
    top = make_policy(LATENTS, SACConfig(policy="gaussian"), None)
    return StackedPolicy([bottom, top], (1,))  # the top decides at every step: the dearest case


def ours(kind: str, deterministic: bool = True) -> Controller:
    found = policy(kind)
    return Controller(SPEC, part(found), arrays(found), deterministic)


def timed(act: Act, obs: Array, calls: int) -> Figures:
    """[us]"""
    took = np.empty(calls)
    clock = time.perf_counter_ns
    for i in range(calls):
        began = clock()
        act(obs)
        took[i] = clock() - began
    p50, p99, worst = np.percentile(took, [50, 99, 100]) / 1000
    return {"p50": p50, "p99": p99, "worst": worst}


def products(kind: str) -> Act:
    """The matrix products of a policy and nothing else: what no NumPy can do without."""
    weights = [np.array(w.T, order="C") for w in arrays(policy(kind)).values() if w.ndim == 2]
    inputs = [np.ones(len(w), np.float32) for w in weights]
    outputs = [np.empty(w.shape[1], np.float32) for w in weights]
    each = list(zip(inputs, weights, outputs, strict=True))

    def act(obs: Array) -> None:
        for x, weight, out in each:
            np.dot(x, weight, out)

    return act


def bare() -> Act:
    """A Gaussian policy as one writes it: no checks, no units, no bounds."""
    first, a, second, b, last, c = arrays(policy("gaussian")).values()
    first, second, last = (np.array(w.T, order="C") for w in (first, second, last))

    def act(obs: Array) -> Array:
        x = np.maximum(obs @ first + a, 0)
        x = np.maximum(x @ second + b, 0)
        return np.tanh((x @ last + c)[: SIZES[1]])

    return act


def onnx(kind: str) -> Act:
    """ONNX Runtime on what `skillkit export` writes."""
    import onnxruntime

    from skillkit.exporters.graph import policy_model

    found = policy(kind)
    model = policy_model(SPEC, part(found), arrays(found), 0)
    asked = onnxruntime.SessionOptions()
    asked.intra_op_num_threads = asked.inter_op_num_threads = 1
    asked.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), asked, providers=["CPUExecutionProvider"]
    )
    inputs = {value.name: value.shape[1] for value in session.get_inputs()}
    held = {k: np.zeros((1, n), np.float32) for k, n in inputs.items() if k != "observation"}
    return lambda obs: session.run(["action"], {"observation": obs[None], **held})


def contestants(kind: str, calls: int, sb3: Worker | None) -> dict[str, Callable[[], Figures]]:
    obs = np.random.default_rng(0).normal(size=SIZES[0]).astype(np.float32)
    acts: dict[str, Act] = {
        "skillkit": ours(kind),
        "skillkit, sampled": ours(kind, deterministic=False),
        "products alone": products(kind),
    }
    if find_spec("onnx") and find_spec("onnxruntime"):
        acts["ONNX Runtime"] = onnx(kind)
    if kind == "gaussian":
        acts["bare NumPy"] = bare()
    for act in acts.values():
        timed(act, obs, calls // 10 + 1)  # to warm up
    found = {name: _timing(act, obs, calls) for name, act in acts.items()}
    if sb3 is not None and kind == "gaussian":
        sb3(calls=calls // 10 + 1)
        found["SB3 predict"] = lambda: sb3(calls=calls)
    return found


def _timing(act: Act, obs: Array, calls: int) -> Callable[[], Figures]:
    return lambda: timed(act, obs, calls)


def growth(calls: int) -> dict[str, Figures]:
    """Policy -> bytes allocated by Python and resident in memory, more after many calls."""
    obs = np.zeros(SIZES[0], np.float32)
    found = {}
    for kind in list(ROWS)[:3]:
        for how in (True, False):
            act = ours(kind, how)
            tracemalloc.start()
            for _ in range(1000):  # what is allocated once
                act(obs)
            gc.collect()
            resident = _resident()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(calls // 10):
                act(obs)
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            for _ in range(calls):
                act(obs)
            name = kind if how else f"{kind}, sampled"
            more = {"calls": calls, "traced": after - before, "resident": _resident() - resident}
            found[name] = more
    return found


def _resident() -> int:
    """Of this process [bytes]; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


def loop(act: Act, seconds: float) -> Figures:
    """One call each millisecond; a deadline is missed when its call is not back in time.

    It is missed by the call's own work if that alone, in time of the processor, takes the period;
    else the machine had something else to do.
    """
    obs = np.zeros(SIZES[0], np.float32)
    clock, processor = time.perf_counter, time.thread_time
    missed, own, latest, longest, k = 0, 0, 0.0, 0.0, 0
    began = clock() + PERIOD
    count = round(seconds / PERIOD)
    while k < count:
        due = began + k * PERIOD
        if (left := due - clock() - SPIN) > 0:
            time.sleep(left)
        while clock() < due:
            pass
        before = processor()
        act(obs)
        work, late = processor() - before, clock() - due
        latest, longest = max(latest, late), max(longest, work)
        lost = int(late / PERIOD)  # deadlines that passed by then
        missed += lost
        own += int(work / PERIOD)
        k += 1 + lost
    found = {"periods": count, "missed": missed, "own": own}
    return found | {"latest": 1e6 * latest, "longest": 1e6 * longest}


def control_loops(seconds: float) -> dict[str, dict[str, list[float]]]:
    """The controllers' loops and three that are no controllers, a second each in turn."""
    acts: dict[str, Act] = {kind: ours(kind) for kind in list(ROWS)[:3]}
    obs = np.zeros(SIZES[0], np.float32)
    longest = max(timed(act, obs, CALLS)["p50"] for act in acts.values()) / 1e6
    acts |= {"empty loop": lambda obs: None, SPINNING: partial(spin, longest)}
    acts[PRODUCTS] = products("stacked")
    slice_ = min(1.0, seconds)
    loops = {name: _looping(act, slice_) for name, act in acts.items()}
    return in_turn(loops, max(1, round(seconds / slice_)))


def spin(seconds: float, obs: Array) -> None:
    """Keep the processor for that long, without any work."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def _looping(act: Act, seconds: float) -> Callable[[], Figures]:
    return lambda: loop(act, seconds)


def assemble(found: list[Result]) -> Iterator[str]:
    """The tables, Markdown."""
    by_row = {row["row"]: row for row in found}
    head = ["policy", "who", "p50 [µs]", "p99 [µs]", "worst [µs]", "times ours", "share of floor"]
    lines = [line for kind in list(ROWS)[:3] if kind in by_row for line in _calls(by_row[kind])]
    if lines:
        yield markdown(head, lines)
    if "loop" in by_row:
        yield markdown(
            ["at 1 kHz", "periods", "missed", "by its own work", "latest [µs]", "most work [µs]"],
            [
                [name, f"{sum(f['periods']):,.0f}", f"{sum(f['missed']):.0f}",
                 f"{sum(f['own']):.0f}", f"{max(f['latest']):.0f}", f"{max(f['longest']):.0f}"]
                for name, f in by_row["loop"]["figures"].items()
            ],
        )  # fmt: skip
    if "growth" in by_row:
        yield markdown(
            ["more memory", "after calls", "Python's [bytes]", "of the process [bytes]"],
            [
                [name, f"{f['calls']:,}", f"{f['traced']:,}", f"{f['resident']:,}"]
                for name, f in by_row["growth"]["figures"].items()
            ],
        )


def _calls(row: Result) -> Iterator[list[str]]:
    figures: Mapping[str, Mapping[str, list[float]]] = row["figures"]
    us, floor = figures["skillkit"]["p50"], figures["products alone"]["p50"]
    for name, found in figures.items():
        times, share = ratio(found["p50"], us), ratio(floor, found["p50"])
        cells = [cell(found[key], ".1f") for key in ("p50", "p99", "worst")]
        yield [ROWS[row["row"]], name, *cells, f"{times:.2f}", f"{share:.0%}"]


@click.command()
@options(ROWS, seconds=60.0)
@click.option("--calls", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--without", type=click.Choice(["sb3"]), multiple=True, help="A peer to leave out.")
def main(
    rows: list[str],
    repeats: int,
    show: bool,
    results: Path,
    seconds: float,
    calls: int,
    without: tuple[str, ...],
) -> None:
    """Time the calls, and run the control loop for --seconds with each policy."""
    bench = Speed("controller", results)
    torch.set_num_threads(1)
    with ExitStack() as stack:
        sb3 = None
        if not show and "gaussian" in rows and "sb3" not in without:
            script = str(HERE / "scripts" / "predict_sb3.py")
            sb3 = stack.enter_context(Worker([python("sb3"), script, *map(str, SIZES)]))
        for row in [] if show else rows:
            click.echo(row, err=True)
            if row == "loop":
                bench.keep(row, seconds=seconds, figures=control_loops(seconds))
            elif row == "growth":
                bench.keep(row, figures=growth(min(GROWTH, 20 * calls)))
            else:
                figures = in_turn(contestants(row, calls, sb3), repeats)
                peers = sb3.about["versions"] if sb3 else {}
                bench.keep(row, calls=calls, figures=figures, peers=peers)
    found = bench.found(ROWS)
    bench.publish(found, *assemble(found))


if __name__ == "__main__":
    main()
