"""Looking ahead within a training, for the compositions that will come of it.

Each sum of the tasks is composed from what the run would store by now: rehearsed. Its policy acts
in some of the episodes, and plans begin on its path. What is stored at the end thus holds where
such a composition comes, what becomes of its hopes there, and what would be better.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from skillkit.collector import Exploration
from skillkit.composition import rules
from skillkit.envs import Task, combine
from skillkit.envs.planning import Plan, Planner, check_plannable, sums
from skillkit.errors import InvalidValue
from skillkit.policies import Policy
from skillkit.q_functions import WeightedSum
from skillkit.replay import ReplayBuffer, union
from skillkit.workflows.common import controller
from skillkit.workflows.merge import Summands, merge
from skillkit.workflows.streams import search

if TYPE_CHECKING:
    from skillkit.workflows.run import Trainee


class Ahead(NamedTuple):
    """What was found for the sums of the tasks that are trained together."""

    plans: dict[str, Plan]  # by the name of the sum
    rehearsed: list[Policy]  # what acts for each sum of several
    steps: int  # that were simulated


def look_ahead(
    trainees: Sequence[Trainee],
    replay: ReplayBuffer,
    configs: Mapping[str, Any],
    at: tuple[int, int],
    report: Callable[[float], None],
) -> Ahead:
    """Compose each sum of their tasks, and look for a plan from where its policy leads.

    Args:
        replay: of the run.
        at: the random stream of the searches, and the steps of the training.
        report: called now and then with the share that is done.
    """
    every = sums([trainee.task for trainee in trainees])
    stored = _stored(replay, configs["train"].replay_stored, configs["plan"].share_of_latest)
    plans: dict[str, Plan] = {}
    rehearsed: list[Policy] = []
    steps = 0
    for index, chosen in enumerate(every):
        summands = [trainees[i] for i in chosen]
        task, seed = combine([one.task for one in summands]), search(*at, index)

        def half(before: float, done: float) -> None:
            report((before + done / 2) / len(every))

        policy = summands[0].policy
        if len(summands) > 1:
            policy = _rehearsed(summands, task, stored, configs, seed, partial(half, index))
            rehearsed.append(policy)
        act = controller(task, policy).batch
        with closing(Planner(task, replay.gamma, configs["plan"], seed)) as planner:
            plans[task.name] = planner.plan(act, partial(half, index + 0.5))
            steps += planner.steps
    return Ahead(plans, rehearsed, steps)


def _stored(replay: ReplayBuffer, limit: int, latest: float) -> ReplayBuffer:
    """What the skills would keep together."""
    kept = [replay.episodes(limit, column, latest) for column in range(replay.tasks)]
    return union([ReplayBuffer.from_episodes(own, replay.gamma) for own in kept])


def _rehearsed(
    trainees: Sequence[Trainee],
    task: Task,
    stored: ReplayBuffer,
    configs: Mapping[str, Any],
    seed: int,
    report: Callable[[float], None],
) -> Policy:
    """What composing the skills as they are would give for the sum of their tasks."""
    config, further = configs["distill"], configs["improve"]
    updates = config.updates + further.updates
    weights = [1 / len(trainees)] * len(trainees)
    alpha = rules.default_temperature(weights, [one.learner.alpha for one in trainees])
    critics = [copy.deepcopy(one.learner.q).cpu() for one in trainees]
    policies = [copy.deepcopy(one.policy).cpu() for one in trainees]
    q, tasks = WeightedSum(critics, weights, alpha), [one.task for one in trainees]
    found = merge(
        Summands(q, policies, tasks, task, stored),
        config,
        further,
        seed,
        lambda update, **_: report(update / updates),
    )
    return found.policy.requires_grad_(False)


def check_plans(tasks: Sequence[Task], stacked: bool, explore: Exploration) -> None:
    """What is wrong with plans here is said before anything is learned.

    Raises:
        InvalidValue: an upper layer, a world that is seen from frames, one that is not simulated
            here, or no sum.
    """
    if stacked or explore.turn_every:
        which = "single layers" if stacked else "a world that is seen from one frame"
        raise InvalidValue(f"plan.every is for {which}; leave it out")
    check_plannable(tasks[0])
    if not sums(tasks):
        names = " and ".join(task.name for task in tasks)
        raise InvalidValue(
            f"plans are made for sums of tasks, and there is none of {names}; train tasks together "
            "that can be had at once, or leave plan.every out"
        )
