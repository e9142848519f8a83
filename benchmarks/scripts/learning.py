"""A training of skillkit in stretches: its loop as it is, or its updates alone; and a ceiling."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from skillkit.envs import Task, task
from skillkit.networks import precision
from skillkit.workflows import loop
from skillkit.workflows.loop import TrainConfig
from skillkit.workflows.recipes import configure, without
from skillkit.workflows.run import Run
from skillkit.workflows.seeds import Seeds
from skillkit.workflows.updates import update

NEVER = 10**12  # steps
WIDTH = 1024  # of the matrices whose product is the machine's ceiling


def wait(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def products(count: int, device: str = "cpu") -> dict[str, float]:
    """Rates of large matrix products [FLOP/s]."""
    found = {}
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(WIDTH, WIDTH).to(device, kind) for _ in range(2))
        out = a @ b
        wait(device)
        began = time.perf_counter()
        for _ in range(count):
            torch.mm(a, b, out=out)
        wait(device)
        found[name] = 2.0 * WIDTH**3 * count / (time.perf_counter() - began)
    return found


class Enough(Exception):
    """Ends a stretch."""


@dataclass
class Training:
    """A run that has filled its replay, and made a few updates.

    Attributes:
        learning: everything that a training consists of.
        config: of its loop.
    """

    learning: Seeds
    config: TrainConfig

    @property
    def run(self) -> Run:
        """The one there is."""
        return self.learning.runs[0]

    @staticmethod
    def begin(
        names: list[str],
        algorithm: str | None,
        settings: Mapping[str, Any],
        warmup: int,
        device: str = "cpu",
    ) -> Training:
        """As `skillkit train NAMES` with these settings would."""
        tasks: list[Task] = [task(name) for name in names]
        lender, recipe = tasks[0].recipe
        given = {"train.warmup": warmup, **settings}
        configs = configure(algorithm or lender, given, without(recipe, "stack.", "plan."), lender)
        run = Run(tasks, algorithm or lender, configs, 0, device)
        found = Training(Seeds([run], configs["train"]), configs["train"])
        while run.collector.steps < warmup:
            run.collector.step(())
        for _ in range(5):  # a compiled one is compiled now, and a recorded one recorded
            found.updates(1)
        return found

    @property
    def count(self) -> int:
        """Updates in all so far."""
        return sum(trainee.learner.updates for trainee in self.run.trainees)

    def whole(self, steps: int) -> dict[str, float]:
        """Some steps of the loop, with their updates; neither evaluation nor checkpoint."""
        config = replace(self.config, steps=NEVER, evaluate_every=NEVER)
        before, made, usual = self.run.collector.steps, self.count, loop.PROGRESS_EVERY
        began = time.perf_counter()
        try:
            loop.PROGRESS_EVERY = steps
            for _ in loop.learn(self.learning, config, _stop, None):
                pass
        except Enough:
            pass
        finally:
            loop.PROGRESS_EVERY = usual
        took = time.perf_counter() - began
        count = self.run.collector.steps - before
        return {"seconds": took, "steps": count, "updates": self.count - made}

    def updates(self, count: int) -> dict[str, float]:
        """So many updates of each learner and nothing else."""
        began = time.perf_counter()
        with precision(self.config.precision, self.run.device):
            for _ in range(count):
                update(self.learning, 1)
            wait(self.run.device)
        took = time.perf_counter() - began
        return {"seconds": took, "updates": count * len(self.run.trainees)}

    def flops(self) -> float:
        """Of the matrix products of one update of one learner."""
        with FlopCounterMode(display=False) as counter:
            trainee, run = self.run.trainees[0], self.run
            source = run.replay, run.sampler, run.sampling, run.augment
            trainee.update(trainee.batch(*source))
        return float(counter.get_total_flops())


def _stop(event: Mapping[str, Any]) -> None:
    if event["kind"] == "progress":
        raise Enough
