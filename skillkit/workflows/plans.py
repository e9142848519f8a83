"""Looking ahead within a training, for the compositions that will come of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from skillkit.collector import Exploration
from skillkit.composition import rules
from skillkit.composition.instant import instant_policy
from skillkit.envs import Task, combine
from skillkit.envs.planning import Plan, PlanConfig, Planner, check_plannable, sums
from skillkit.errors import InvalidValue
from skillkit.policies import Policy
from skillkit.q_functions import WeightedSum
from skillkit.workflows.common import controller
from skillkit.workflows.extract import InstantConfig
from skillkit.workflows.streams import search

if TYPE_CHECKING:
    from skillkit.workflows.run import Trainee


def searched(
    trainees: Sequence[Trainee],
    gamma: float,
    config: PlanConfig,
    at: tuple[int, int],
    report: Callable[[float], None],
) -> tuple[dict[str, Plan], int]:
    """A plan for each sum of their tasks, by its name, from where the skills' sum leads now.

    Args:
        at: the random stream of the searches, and the steps of the training.
        report: called now and then with the share that is done.

    Returns:
        The plans, and how many steps were simulated.
    """
    found: dict[str, Plan] = {}
    every, steps = sums([trainee.task for trainee in trainees]), 0
    for index, chosen in enumerate(every):
        summands = [trainees[i] for i in chosen]
        task, seed = combine([one.task for one in summands]), search(*at, index)
        act = controller(task, _joint(summands, seed)).batch
        with closing(Planner(task, gamma, config, seed)) as planner:
            found[task.name] = planner.plan(
                act, lambda done: report((len(found) + done) / len(every))
            )
            steps += planner.steps
    return found, steps


def _joint(trainees: Sequence[Trainee], seed: int) -> Policy:
    """What acts for the sum of their tasks, as far as they know: instantly composed."""
    if len(trainees) == 1:
        return trainees[0].policy
    weights = [1 / len(trainees)] * len(trainees)
    alpha = rules.default_temperature(weights, [one.learner.alpha for one in trainees])
    critics = [copy.deepcopy(one.learner.q).cpu() for one in trainees]
    policies = [copy.deepcopy(one.policy).cpu() for one in trainees]
    q = WeightedSum(critics, weights, alpha)
    return instant_policy(q, policies, InstantConfig().candidates, seed)


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
