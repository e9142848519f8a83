"""After the distillation: soft policy iteration on what is stored, offline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from skillkit.algorithms import Improve, ImproveConfig
from skillkit.algorithms.improve import check_density
from skillkit.envs import Task
from skillkit.errors import InvalidValue
from skillkit.policies import Policy
from skillkit.q_functions import WeightedSum
from skillkit.replay import ReplayBuffer
from skillkit.types import Batch
from skillkit.workflows.common import check_finite
from skillkit.workflows.extract import CHECK_EVERY
from skillkit.workflows.streams import composition


def improve(
    policy: Policy,
    q: WeightedSum,
    tasks: Sequence[Task],
    replay: ReplayBuffer,
    config: ImproveConfig,
    seed: int,
    report: Callable[..., None],
) -> Improve:
    """The learner after its last update: its `policy`, and the critics of that policy in its `q`.

    Args:
        policy: pi_S.
        q: Q_S.
        tasks: of the parts of Q_S, in their order.
        replay: what all skills have stored; its rewards do not matter.
        report: called now and then with the number of updates done, and the metrics by name.

    Raises:
        NonFinite: a loss became a NaN.
    """
    streams = composition(seed)
    learner = Improve(policy, q, config, streams.improver)
    stored, lengths = _of_each(tasks, replay)
    sampler = torch.Generator().manual_seed(streams.looks)
    for update in range(config.updates):
        if update % config.sweep_every == 0:
            targets = learner.look_ahead(stored, lengths)
        rows = torch.randint(len(targets), (config.batch_size,), generator=sampler)
        learner.anneal(update / config.updates)
        drawn = Batch(*(column[rows] for column in stored))
        metrics = learner.update(drawn._replace(reward=targets[rows]))
        if learner.updates % CHECK_EVERY == 0 or learner.updates == config.updates:
            check_finite(metrics, learner.updates)
            report(learner.updates, **{key: float(value) for key, value in metrics.items()})
    return learner


def check_improvable(tasks: Sequence[Task], policy: str) -> None:
    """Before anything is learned.

    Raises:
        InvalidValue: rewards that are no functions of stored transitions; a kind of policy without
            density.
    """
    check_density(policy)
    for task in tasks:
        if not task.relabellable:
            raise InvalidValue(
                f"the rewards of {task.name} cannot be computed for stored transitions; set "
                "improve.updates=0"
            )


def _of_each(tasks: Sequence[Task], replay: ReplayBuffer) -> tuple[Batch, torch.Tensor]:
    """Whole episodes with a reward for each task (B, N), and how long they are (E,)."""
    own = [replay.relabel(task.spec, task.reward, task.terminated) for task in tasks]
    first, episode = own[0].all(), own[0].episode[: len(own[0])]
    _, lengths = torch.unique_consecutive(episode, return_counts=True)
    return first._replace(reward=torch.stack([one.all().reward for one in own], -1)), lengths
