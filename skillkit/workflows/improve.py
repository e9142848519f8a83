"""After the distillation: policy iteration on what is stored, offline."""

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
    stored = Stored(tasks, replay, streams.looks)
    for update in range(config.updates):
        learner.anneal(update / config.updates)
        metrics = learner.update(stored.batch(learner))
        if learner.updates % CHECK_EVERY == 0 or learner.updates == config.updates:
            check_finite(metrics, learner.updates)
            report(learner.updates, **{key: float(value) for key, value in metrics.items()})
    return learner


class Stored:
    """Whole episodes with the rewards of several tasks, and batches of them with targets.

    Args:
        tasks: whose rewards.
        replay: its own rewards do not matter.
        seed: of the batches.
    """

    def __init__(self, tasks: Sequence[Task], replay: ReplayBuffer, seed: int) -> None:
        own = [replay.relabel(task.spec, task.reward, task.terminated) for task in tasks]
        rewards = torch.stack([one.all().reward for one in own], -1)  # (B, N)
        self.transitions = own[0].all()._replace(reward=rewards)
        episode = own[0].episode[: len(own[0])]
        _, self.lengths = torch.unique_consecutive(episode, return_counts=True)
        self.sampler = torch.Generator().manual_seed(seed)
        self.targets = rewards  # until the first look ahead
        self.better = torch.empty(0, dtype=torch.int64)  # rows that are worth more than the policy

    def batch(self, learner: Improve) -> Batch:
        """For its next update; now and then with a look ahead along everything."""
        config = learner.config
        if learner.updates % config.sweep_every == 0:
            self.targets, better = learner.look_ahead(self.transitions, self.lengths)
            self.better = better.nonzero().squeeze(1)
        size = (config.batch_size,)
        rows = torch.randint(len(self.targets), size, generator=self.sampler)
        if len(self.better):
            focused = torch.rand(size, generator=self.sampler) < config.focus
            chosen = torch.randint(len(self.better), size, generator=self.sampler)
            rows = torch.where(focused, self.better[chosen], rows)
        drawn = Batch(*(column[rows] for column in self.transitions))
        return drawn._replace(reward=self.targets[rows])


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
