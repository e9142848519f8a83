"""The updates that runs owe: of one learner after the other, or of all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from skillkit.algorithms import SAC
from skillkit.algorithms.population import Population
from skillkit.errors import InvalidValue
from skillkit.replay import Sampling
from skillkit.types import Batch

if TYPE_CHECKING:
    from skillkit.workflows.run import Run, Trainee
    from skillkit.workflows.seeds import Seeds


def update(learning: Seeds, count: int) -> None:
    """So many updates of each learner, from the replays as they are.

    A run's sampler draws all that its first learner needs, then all of the second, and so on: on a
    CPU both ways learn from the same batches.
    """
    if learning.population is None:
        for run in learning.runs:
            for trainee in run.trainees:
                for _ in range(count):
                    trainee.update(_batch(run, trainee))
    elif count:
        each = [_batches(run, count) for run in learning.runs]
        batches = Batch(*(torch.cat(columns) for columns in zip(*each, strict=True)))
        for k in range(count):  # of (N, count, B, ...)
            metrics = learning.population.update(Batch(*(column[:, k] for column in batches)))
        for index, trainee in enumerate(learning.trainees):
            trainee.metrics = {name: values[index] for name, values in metrics.items()}


def _batch(run: Run, trainee: Trainee) -> Batch:
    return trainee.batch(run.replay, run.sampler, run.sampling, run.augment)


def _batches(run: Run, count: int) -> Batch:
    """So many batches for each learner. -> (N, count, B, ...)"""
    if run.sampling == Sampling():
        size = run.trainees[0].learner.config.batch_size
        return run.replay.sample_each(count, size, run.sampler)
    drawn = [_batch(run, trainee) for trainee in run.trainees for _ in range(count)]
    columns = (torch.stack(column) for column in zip(*drawn, strict=True))
    return Batch(*(column.unflatten(0, (-1, count)) for column in columns))


def population(runs: Sequence[Run], loop: Any) -> Population | None:
    """Of all the learners, if train.stacked says so, or says nothing and they can on a GPU.

    Raises:
        InvalidValue: it says so, and they cannot.
    """
    algorithm, device = runs[0].algorithm, runs[0].device
    trainees = [trainee for run in runs for trainee in run.trainees]
    tasks = [trainee.task for trainee in trainees]
    reason = None
    if algorithm != "sac":
        reason = f"for sac, and {algorithm} learns one skill after the other"
    elif loop.compile:
        reason = "another way to the same end than train.compile=true"
    elif any(task.reads != tasks[0].reads for task in tasks):
        names = " and ".join(task.name for task in tasks)
        reason = f"for skills that read the same, and {names} read different observation entries"
    if reason is not None and loop.stacked:
        raise InvalidValue(f"train.stacked=true is {reason}; leave it out")
    wanted = device == "cuda" if loop.stacked is None else loop.stacked
    if reason is not None or not wanted:
        return None
    learners = [trainee.learner for trainee in trainees]
    return Population([learner for learner in learners if isinstance(learner, SAC)])
