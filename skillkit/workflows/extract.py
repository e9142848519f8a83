"""From a soft Q-function to its policy: distilled from stored observations, or without training."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skillkit.algorithms import Distill, DistillConfig
from skillkit.algorithms.distill import Plateau
from skillkit.controller import Controller
from skillkit.errors import InvalidValue
from skillkit.policies import Policy
from skillkit.q_functions import SoftQ
from skillkit.replay import ReplayBuffer
from skillkit.types import Spec
from skillkit.workflows.common import check_finite
from skillkit.workflows.streams import composition

CHECK_EVERY = 200  # updates between progress reports, and between looks at the plateau
WATCHED = 2_048  # stored states on which policies are compared
CALLS = 200  # of a controller, timed


@dataclass(frozen=True)
class InstantConfig:
    """The policy without training."""

    candidates: int = 64  # actions per decision from each skill's policy, and uniformly

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise InvalidValue(f"instant.candidates must be at least 1, got {self.candidates}")


def seconds_per_action(control: Controller, observations: Tensor) -> float:
    """Median time of a control step on this machine, over the first ones. (B, O) -> [s]"""
    times = []
    for obs in observations[:CALLS].numpy():
        started = time.perf_counter()
        control(obs)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def distil(
    spec: Spec,
    q: SoftQ,
    parents: Sequence[tuple[Policy, SoftQ]],
    replay: ReplayBuffer,
    config: DistillConfig,
    seed: int,
    report: Callable[..., None],
    inputs: Sequence[int] | None = None,
) -> Distill:
    """The learner after its last update; its `updates` says how many it took.

    Args:
        q: Q_S.
        parents: the skills' policies and soft Q-functions.
        replay: only its observations are read.
        report: called now and then with the number of updates done, and the metrics by name.
        inputs: positions of the observation entries that the policy reads; None: all.

    Raises:
        NonFinite: the loss became a NaN.
    """
    streams = composition(seed)
    learner = Distill(spec, q, config, streams.learner, parents=parents, inputs=inputs)
    sampler = torch.Generator().manual_seed(streams.batches)
    watched = replay.sample(WATCHED, torch.Generator().manual_seed(streams.watched)).obs
    learner.begin(watched)
    plateau = Plateau(config.patience)
    for update in range(config.updates):
        look = config.patience > 0 and update % CHECK_EVERY == 0
        if look and plateau(update, learner.score(watched)):
            break
        learner.anneal(update / config.updates)
        metrics = learner.update(replay.sample(config.batch_size, sampler))
        if learner.updates % CHECK_EVERY == 0 or learner.updates == config.updates:
            check_finite(metrics, learner.updates)
            report(learner.updates, **{key: float(value) for key, value in metrics.items()})
    return learner
