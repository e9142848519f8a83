"""The loop that every training shares: collect, update, evaluate now and then, checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from skillkit.errors import InvalidValue, NonFinite, UnknownName
from skillkit.networks import PRECISIONS, precision
from skillkit.workflows.common import Event, OnEvent, check_finite, score
from skillkit.workflows.run import Run, Trainee, numbers
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
    stacked: bool | None = None  # a run's skills learn in one update; None: on a GPU, recorded

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


def learn(
    run: Run, config: TrainConfig, notify: OnEvent, checkpoint: Checkpoint | None
) -> Iterator[dict[str, Any]]:
    """The loop: yields a row of a learning curve for each skill at each evaluation."""
    collector, trainees = run.collector, run.trainees
    policies = [trainee.learner.policy for trainee in trainees]
    while collector.steps < config.steps:
        before = collector.steps
        try:
            warm = collector.steps >= config.warmup or run.parent is not None
            collector.step(policies if warm else ())
        except NonFinite:
            _check(trainees, collector.steps)  # a diverged policy is not the task's fault
            raise
        if collector.steps >= config.warmup:
            run.owed += (collector.steps - before) / config.update_every
            for trainee in trainees:
                trainee.learner.anneal(min(1.0, collector.steps / config.steps))
            with precision(config.precision, run.device):
                update(run, int(run.owed))
            run.owed %= 1
        due = _crossed(before, collector.steps, config.evaluate_every) or _done(run, config)
        reporting = _crossed(before, collector.steps, PROGRESS_EVERY)
        if due or reporting:
            _check(trainees, collector.steps)
        for trainee in trainees * due:
            found = score(trainee.policy, trainee.task, config.evaluation_episodes)
            row = {"step": collector.steps, **numbers(trainee.metrics), **found.means()}
            trainee.curve.append(row)
            yield {"task": trainee.task.name, **row}
        if reporting:
            notify(_progress(run, config))
            if checkpoint is not None:
                checkpoint(run.save)


PROGRESS_EVERY = 1_000  # environment steps between progress events: the only host syncs


def _check(trainees: Sequence[Trainee], step: int) -> None:
    for trainee in trainees:
        check_finite(trainee.metrics, step)


def _crossed(before: int, now: int, period: int) -> bool:
    return before // period != now // period


def _done(run: Run, config: TrainConfig) -> bool:
    return run.collector.steps >= config.steps


def _progress(run: Run, config: TrainConfig) -> Event:
    """Where the run stands; of several skills the averages."""
    returns = run.collector.returns
    recent = {"return": sum(returns) / len(returns)} if returns else {}
    each = [numbers(trainee.metrics) for trainee in run.trainees]
    averages = {key: sum(own[key] for own in each) / len(each) for key in each[0]}
    steps = {"step": run.collector.steps, "steps": config.steps}
    return {"kind": "progress", **steps, **averages, **recent}
