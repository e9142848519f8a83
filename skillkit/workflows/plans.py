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

from skillkit.algorithms.distill import check_trust
from skillkit.composition import rules
from skillkit.envs import Task, combine
from skillkit.envs.planning import Plan, Planner, check_plannable, sums
from skillkit.errors import InvalidValue, NonFinite
from skillkit.policies import Policy
from skillkit.q_functions import WeightedSum
from skillkit.replay import ReplayBuffer, union
from skillkit.workflows.common import controller
from skillkit.workflows.improve import check_improvable
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
        at: the random stream of what is looked for, and the steps of the training.
        report: called now and then with the share that is done.
    """
    every = sums([trainee.task for trainee in trainees])
    stored = _stored(replay, configs["train"].replay_stored, configs["plan"].latest)
    plans: dict[str, Plan] = {}
    rehearsed: list[Policy] = []
    steps = 0
    for index, chosen in enumerate(every):
        summands = [trainees[i] for i in chosen]
        task, seed = combine([one.task for one in summands]), search(*at, index)

        def done(share: float, before: float = index) -> None:
            report((before + share / 2) / len(every))

        policy = summands[0].policy
        if len(summands) > 1:
            policy = _composed(summands, task, stored, configs, seed, done)
            rehearsed.append(policy)
        act = controller(task, policy).batch
        with closing(Planner(task, replay.gamma, configs["plan"], seed)) as planner:
            plans[task.name] = planner.plan(act, partial(done, before=index + 0.5))
            steps += planner.steps
    return Ahead(plans, rehearsed, steps)


def _stored(replay: ReplayBuffer, limit: int, latest: float) -> ReplayBuffer:
    """What the skills would keep together."""
    each = [replay.episodes(limit, column, latest) for column in range(replay.tasks)]
    return union([ReplayBuffer.from_episodes(own, replay.gamma) for own in each])


def _composed(
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
    for q_i, one in zip(critics, trainees, strict=True):
        q_i.alpha = one.learner.alpha  # which has been falling
    policies = [copy.deepcopy(one.policy).cpu() for one in trainees]
    q, tasks = WeightedSum(critics, weights, alpha), [one.task for one in trainees]
    summands = Summands(q, policies, tasks, task, stored)

    def updated(count: int, **_: float) -> None:
        report(count / updates)

    try:
        found = merge(summands, config, further, seed, updated)
    except NonFinite as error:
        raise NonFinite(
            f"rehearsing {task.name}: {error}; the rates are those of distill and improve"
        ) from error
    return found.policy.requires_grad_(False)


def check_plans(
    trainees: Sequence[Trainee], played: Sequence[Task], configs: Mapping[str, Any]
) -> None:
    """What is wrong with looking ahead here is said before anything is learned.

    Args:
        played: the tasks as they are taught.

    Raises:
        InvalidValue: an upper layer, a world that is seen from frames or taught in one, or that is
            not simulated here; no sum; skills that have no composition, or none as it is set.
    """
    tasks = [one.task for one in trainees]
    if trainees[0].base or configs["explore"].turn_every or played != tasks:
        which = "single layers" if trainees[0].base else "a world that is seen from no frame"
        raise InvalidValue(f"plan.every is for {which}; leave it out")
    check_plannable(tasks[0])
    if not (found := sums(tasks)):
        names = " and ".join(task.name for task in tasks)
        raise InvalidValue(
            f"plans are made for sums of tasks, and there is none of {names}; train tasks together "
            "that can be had at once, or leave plan.every out"
        )
    if max(map(len, found)) > 1:
        for one in trainees:
            rules.check_temperature(one.learner.config.alpha, f"{one.task.name}: ")
        check_trust(configs["distill"], [(one.policy, one.learner.q) for one in trainees])
        if configs["improve"].updates:
            check_improvable(tasks, configs["distill"].policy)
