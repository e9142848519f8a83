"""A policy for a sum of soft Q-functions, from what is stored: distilled, and improved if asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from skillkit.algorithms import DistillConfig, ImproveConfig
from skillkit.algorithms.distill import check_trust
from skillkit.composition.instant import unfold
from skillkit.envs import Task
from skillkit.policies import Policy
from skillkit.q_functions import WeightedSum
from skillkit.replay import ReplayBuffer
from skillkit.workflows.extract import distil
from skillkit.workflows.improve import check_improvable, improve

MERGING: dict[str, type[Any]] = {"distill": DistillConfig, "improve": ImproveConfig}


@dataclass(frozen=True)
class Summands:
    """Skills whose rewards are added."""

    q: WeightedSum  # Q_S
    policies: Sequence[Policy]
    tasks: Sequence[Task]
    task: Task  # the sum of theirs
    replay: ReplayBuffer  # what all of them have seen; its rewards do not matter


class Merged(NamedTuple):
    """What they come to."""

    policy: Policy  # that of Q_S, or what it was improved to
    q: WeightedSum  # Q_S, or the critics of the improved policy
    updates: int


def merge(
    summands: Summands,
    config: DistillConfig,
    further: ImproveConfig,
    seed: int,
    report: Callable[..., None],
) -> Merged:
    """The policy of Q_S, improved if that was asked for; without interaction.

    Args:
        report: called now and then with the number of updates done, and the metrics by name.

    Raises:
        InvalidValue: parents to trust that have no density; rewards or a policy that cannot be
            improved.
        NonFinite: a loss became a NaN.
    """
    q, parents = unfold(summands.q, summands.policies)
    check_trust(config, parents)
    if further.updates:
        check_improvable(summands.tasks, config.policy)
    task, replay = summands.task, summands.replay
    first = distil(task.spec, q, parents, replay, config, seed, report, task.reads)
    if not further.updates:
        return Merged(first.policy, summands.q, first.updates)

    def later(update: int, **numbers: float) -> None:
        report(first.updates + update, **numbers)

    second = improve(first.policy, summands.q, summands.tasks, replay, further, seed, later)
    return Merged(second.policy, second.q, first.updates + second.updates)
