"""The loop that every training shares: collect, update, evaluate now and then, checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from skillkit.errors import InvalidValue, NonFinite, UnknownName
from skillkit.networks import PRECISIONS, precision
from skillkit.workflows.common import Event, OnEvent, check_finite, score
from skillkit.workflows.run import Run, numbers
from skillkit.workflows.seeds import Seeds
from skillkit.workflows.updates import update


class Save(Protocol):
    """Writes the state of a run; see `Run.save`."""

    def __call__(self, folder: Path, before: Path | None = None) -> None: ...


Checkpoint = Callable[[Save], None]


@dataclass(frozen=True)
class TrainConfig:
    """The loop around a learner."""

    steps: int = 200_000  # environment steps in all
    environments: int = 8  # that are stepped side by side
    warmup: int = 2_000  # environment steps with uniform actions before the first update
    update_every: int = 1  # environment steps per update
    replay_capacity: int = 1_000_000  # transitions kept while training
    replay_stored: int = 50_000  # transitions kept in the saved skill
    evaluate_every: int = 20_000  # environment steps between points of the learning curve
    evaluation_episodes: int = 20  # per point of the learning curve
    final_episodes: int = 100  # evaluated at the end, for the numbers and the picture of the card
    every_frame: bool = True  # a symmetric task is taught in one frame, and its policy acts in all
    threads: int = 1  # of the learner; small networks gain nothing from more
    precision: str = "float32"  # or bfloat16 for products between hidden layers: quicker if wide
    compile: bool = False  # updates as native code: a C++ compiler and half a minute, then quicker
    stacked: bool | None = None  # skills and seeds learn in one update; None: on a GPU, recorded

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UnknownName("precision", self.precision, PRECISIONS)
        sizes = (self.steps, self.environments, self.update_every, self.threads)
        if min(*sizes, self.replay_capacity, self.replay_stored, self.evaluate_every) < 1:
            raise InvalidValue("every train setting that counts something must be at least 1")
        if min(self.warmup, self.evaluation_episodes - 2, self.final_episodes - 2) < 0:
            raise InvalidValue(
                "train.warmup must not be negative, and evaluations take at least 2 episodes"
            )

    @property
    def updates(self) -> int:
        """Of each learner in all, where a decision is a step of the environment."""
        first, last = (
            -(-max(step, 1) // self.environments) * self.environments
            for step in (self.warmup, self.steps)
        )
        return max(last - first + self.environments, 0) // self.update_every


def learn(
    learning: Seeds, config: TrainConfig, notify: OnEvent, checkpoint: Checkpoint | None
) -> Iterator[dict[str, Any]]:
    """The loop: yields a row of a learning curve for each skill at each evaluation.

    Raises:
        NonFinite: a loss became a NaN.
    """
    runs, trainees = learning.runs, learning.trainees
    collector = runs[0].collector  # whose steps are those of all
    while collector.steps < config.steps:
        before = collector.steps
        for run in runs:  # before any of them goes on: a checkpoint meanwhile holds all in step
            if run.plans_due:
                _look_ahead(learning, run, notify, checkpoint)
        for run in runs:
            _collect(learning, run, config)
        if collector.steps >= config.warmup:
            (due,) = {run.owes((collector.steps - before) / config.update_every) for run in runs}
            for trainee in trainees:
                trainee.learner.anneal(min(1.0, collector.steps / config.steps))
            with precision(config.precision, learning.device):
                update(learning, due)
        done = collector.steps >= config.steps
        evaluating = _crossed(before, collector.steps, config.evaluate_every) or done
        reporting = _crossed(before, collector.steps, PROGRESS_EVERY)
        if evaluating or reporting:
            _check(learning)
        for run in runs * evaluating:
            yield from _evaluate(run, config, {"seed": run.seed} if len(runs) > 1 else {})
        if reporting:
            notify(_progress(learning, config))
            if checkpoint is not None:
                checkpoint(learning.save)


def _collect(learning: Seeds, run: Run, config: TrainConfig) -> None:
    """One step of each environment: uniform actions at first, then those of the policies."""
    warm = run.collector.steps >= config.warmup or run.parent is not None
    try:
        policies = [trainee.learner.policy for trainee in run.trainees] if warm else ()
        run.collector.step(policies, run.rehearsed)
    except NonFinite:
        _check(learning)  # a diverged policy is not the task's fault
        raise


def _look_ahead(learning: Seeds, run: Run, notify: OnEvent, checkpoint: Checkpoint | None) -> None:
    """It takes minutes; stopped meanwhile, it begins anew."""

    def report(done: float) -> None:
        notify({"kind": "search", "step": run.collector.steps, "done": done})
        if checkpoint is not None:
            checkpoint(learning.save)

    for task, plan in run.look_ahead(report).items():
        numbers = {"value": plan.value, "own": plan.own}
        notify({"kind": "plan", "task": task, "step": run.collector.steps, **numbers})


def _evaluate(run: Run, config: TrainConfig, which: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """The next row of each skill's learning curve."""
    for trainee in run.trainees:
        found = score(trainee.policy, trainee.task, config.evaluation_episodes)
        row = {"step": run.collector.steps, **numbers(trainee.metrics), **found.means()}
        trainee.curve.append(row)
        yield {"task": trainee.task.name, **which, **row}


PROGRESS_EVERY = 1_000  # environment steps between progress events: the only host syncs


def _check(learning: Seeds) -> None:
    """One that diverges stops all, and is named."""
    several = len(learning.trainees) > 1
    for run in learning.runs:
        for trainee in run.trainees:
            whose = f"{trainee.task.name}, seed {run.seed}: " if several else ""
            check_finite(trainee.metrics, run.collector.steps, whose)


def _crossed(before: int, now: int, period: int) -> bool:
    return before // period != now // period


def _progress(learning: Seeds, config: TrainConfig) -> Event:
    """Where training stands; of several skills the averages."""
    returns = [value for run in learning.runs for value in run.collector.returns]
    recent = {"return": sum(returns) / len(returns)} if returns else {}
    each = [numbers(trainee.metrics) for trainee in learning.trainees]
    averages = {key: sum(own[key] for own in each) / len(each) for key in each[0]}
    steps = {"step": learning.runs[0].collector.steps, "steps": config.steps}
    return {"kind": "progress", **steps, **averages, **recent}
