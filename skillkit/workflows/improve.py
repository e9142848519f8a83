"""After the distillation: soft policy iteration on the stored transitions, offline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from skillkit.algorithms.improve import Improve, ImproveConfig
from skillkit.envs import Task
from skillkit.policies import Policy
from skillkit.q_functions import WeightedSum
from skillkit.replay import ReplayBuffer
from skillkit.workflows.common import check_finite
from skillkit.workflows.settings import spawn

REPORT_EVERY = 200  # updates


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
    noises, batches = spawn(seed + 1, 2)  # other streams than the distillation's
    learner = Improve(policy, q, config, noises)
    own = replay.relabel(tasks[0].spec, [task.reward for task in tasks], tasks[0].terminated)
    sampler = torch.Generator().manual_seed(batches)
    for update in range(config.updates):
        learner.anneal(update / config.updates)
        metrics = learner.update(own.sample(config.batch_size, sampler, slice(None)))
        if learner.updates % REPORT_EVERY == 0 or learner.updates == config.updates:
            check_finite(metrics, learner.updates)
            report(learner.updates, **{key: float(value) for key, value in metrics.items()})
    return learner
