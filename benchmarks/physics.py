"""Steps per second of the vector environment, observation, reward and resets included.

    python benchmarks/physics.py
    python benchmarks/physics.py --rows pusher,ant --sizes 64
    python benchmarks/physics.py --show

The ceiling is `mujoco.batch` alone, which plays the very same episodes: the same starts, actions
and resets, and comes to the same last state, bit for bit. Ant-v5 and HalfCheetah-v5 are Gymnasium's
models, observations and rewards as domains of skillkit (benchmarks/scripts/gymnasium_domains.py),
compared with Gymnasium step for step before anything is measured. Ant-v5 is without the contact
forces, of which Gymnasium shows those of an intermediate stage of the integrator.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import gymnasium
import numpy as np
from gymnasium.vector import SyncVectorEnv
from rows import Result, markdown, whole_numbers
from scripts.gymnasium_domains import ant, half_cheetah
from speed import Figures, Speed, cell, in_turn, options, ratio

from skillkit.envs import Task, make, task
from skillkit.envs.mujoco import compiled
from skillkit.manifest import host
from skillkit.types import Array

STARTS, ACTIONS = 0, 1  # seeds
ANT = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}
CHECKED = 300  # steps
CORES = host()["cores"]


@dataclass(frozen=True)
class Row:
    """A task, and how Gymnasium makes one environment of it, if it can."""

    task: Callable[[], Task]
    single: Callable[[], gymnasium.Env[Any, Any]] | None = None
    same: bool = False  # in all that is observed and rewarded


ROWS = {
    "pusher": Row(partial(task, "push_x"), partial(gymnasium.make, "PlainPusher-v0")),
    "ant": Row(partial(task, "ant_run")),
    "HalfCheetah-v5": Row(half_cheetah, partial(gymnasium.make, "HalfCheetah-v5"), same=True),
    "Ant-v5": Row(ant, partial(gymnasium.make, "Ant-v5", **ANT), same=True),
}


def compare(task: Task, single: gymnasium.Env[Any, Any]) -> None:
    """Play the same episodes here and there.

    Raises:
        ClickException: an observation, a reward or a termination differs.
    """
    env, rng = make(task, 1, STARTS), np.random.default_rng(ACTIONS)
    there: Any = single.unwrapped
    env.reset()
    begin = True
    for step in range(CHECKED):
        if begin:
            single.reset()
            batch = env.simulation.batch  # type: ignore[attr-defined]
            there.set_state(batch.qpos[0].copy(), batch.qvel[0].copy())
        action = rng.uniform(task.spec.low, task.spec.high)
        obs, reward, terminated, truncated, _ = env.step(action[None])
        seen, paid, ended, _, _ = there.step(action)
        same = np.array_equal(obs[0, : len(seen)], seen.astype(np.float32))
        if not same or ended != terminated[0] or abs(paid - reward[0]) > 1e-4:
            raise click.ClickException(f"{task.name} is not Gymnasium's at step {step}")
        begin = bool((terminated | truncated)[0])
        if begin:
            env.reset()


class Script:
    """What `steps` steps of a vector environment consist of: actions, and resets to states."""

    def __init__(self, task: Task, size: int, steps: int) -> None:
        self.task, self.steps = task, steps
        env: Any = make(task, size, STARTS)
        batch = env.simulation.batch
        shape = (steps, size, task.spec.action_dim)
        low, high = task.spec.low, task.spec.high
        self.actions = np.random.default_rng(ACTIONS).uniform(low, high, shape)
        self.resets: dict[int, tuple[Array, Array, Array]] = {}
        env.reset(seed=STARTS)
        self.begin = batch.qpos.copy(), batch.qvel.copy()
        for step, action in enumerate(self.actions):
            *_, terminated, truncated, _ = env.step(action)
            if (done := terminated | truncated).any():
                env.reset(options={"reset_mask": done})
                ids = np.flatnonzero(done)
                self.resets[step] = ids, batch.qpos[ids], batch.qvel[ids]
        self.end = batch.qpos.copy()

    def ours(self, threads: int) -> Callable[[], Figures]:
        """The vector environment, on the script's own starts and actions."""
        env = make(self.task, len(self.end), STARTS, threads)

        def measure() -> Figures:
            env.reset(seed=STARTS)
            began = time.perf_counter()
            for action in self.actions:
                *_, terminated, truncated, _ = env.step(action)
                if (done := terminated | truncated).any():
                    env.reset(options={"reset_mask": done})
            return self._rate(began)

        return measure

    def raw(self, threads: int) -> Callable[[], Figures]:
        """`mujoco.batch` alone, on the same script.

        Raises:
            ClickException: by the measurement, if it does not end in the same state.
        """
        from mujoco.batch import Batch

        domain: Any = self.task.on
        model = compiled(domain.model_file, self.task.scene_file)
        batch = Batch(model, len(self.end), threads)
        qpos, qvel, ctrl = (batch.bind(name) for name in ("qpos", "qvel", "ctrl"))

        def measure() -> Figures:
            batch.reset()
            qpos[:], qvel[:] = self.begin
            began = time.perf_counter()
            for step, action in enumerate(self.actions):
                ctrl[:] = action
                batch.step(nstep=domain.frame_skip)
                if step in self.resets:
                    ids, positions, velocities = self.resets[step]
                    batch.reset(ids=ids)
                    qpos[ids], qvel[ids] = positions, velocities
            found = self._rate(began)
            if not np.array_equal(qpos, self.end):
                raise click.ClickException(f"{self.task.name} is not what mujoco.batch plays")
            return found

        return measure

    def gymnasium(self, single: Callable[[], gymnasium.Env[Any, Any]]) -> Callable[[], Figures]:
        """SyncVectorEnv, which resets by itself."""
        env = SyncVectorEnv([single] * len(self.end))
        actions = self.actions.astype(np.float32)

        def measure() -> Figures:
            env.reset(seed=STARTS)
            began = time.perf_counter()
            for action in actions:
                env.step(action)
            return self._rate(began)

        return measure

    def _rate(self, began: float) -> Figures:
        count = self.steps * len(self.end)
        return {"rate": count / (time.perf_counter() - began)}


def contestants(row: Row, size: int, steps: int, threads: int) -> dict[str, Callable[[], Figures]]:
    script = Script(row.task(), size, max(1, steps // size))
    found: dict[str, Callable[[], Figures]] = {}
    for count in sorted({1, min(threads, size)}):
        found |= {f"skillkit {count}": script.ours(count), f"raw {count}": script.raw(count)}
    if row.single is not None:
        found["SyncVectorEnv"] = script.gymnasium(row.single)
    return found


def assemble(found: Sequence[Result]) -> Iterator[str]:
    """The table, Markdown."""
    head = ["task", "environments", "threads", "skillkit [steps/s]", "mujoco.batch"]
    head += ["SyncVectorEnv", "share of mujoco.batch", "times SyncVectorEnv"]
    lines = [
        [row["row"], size, *cells]
        for row in found
        for size, figures in row["figures"].items()
        for cells in _cells({name: each["rate"] for name, each in figures.items()})
    ]
    yield markdown(head, lines)


def _cells(rates: Mapping[str, Sequence[float]]) -> Iterator[list[str]]:
    """A line for each number of threads; SyncVectorEnv has one."""
    theirs = rates.get("SyncVectorEnv")
    for name in rates:
        if name.startswith("skillkit"):
            threads = name.split()[1]
            ours, raw = rates[name], rates[f"raw {threads}"]
            cells = [cell(each, ",.0f") if each else "" for each in (ours, raw, theirs)]
            times = f"{ratio(ours, theirs):.2f}" if theirs else ""
            yield [threads, *cells, f"{ratio(ours, raw):.0%}", times]


@click.command()
@options(ROWS)
@click.option("--sizes", callback=whole_numbers, default="1,8,64", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=10_000, help="Of one measurement.")
@click.option("--threads", type=click.IntRange(1), default=CORES, help="At most; all cores.")
def main(
    rows: list[str],
    repeats: int,
    show: bool,
    results: Path,
    sizes: list[str],
    steps: int,
    threads: int,
) -> None:
    """Count the steps of --sizes environments, on one thread and on --threads."""
    bench = Speed("physics", results)
    warnings.filterwarnings("ignore", "compiler attribute 'settotalmass'")  # Gymnasium's model
    for name in [] if show else rows:
        click.echo(name, err=True)
        row, figures = ROWS[name], {}
        if row.same and row.single is not None:
            compare(row.task(), row.single())
        for size in sizes:
            each = contestants(row, int(size), steps, threads)
            figures[size] = in_turn(each, repeats)
        bench.keep(name, steps=steps, threads=threads, figures=figures)
    found = bench.found(ROWS)
    bench.publish(found, *assemble(found))


if __name__ == "__main__":
    main()
