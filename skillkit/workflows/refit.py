"""Before critics are added, each learns what its task is worth where the other skills have been.

A critic knows the states of its own replay; off them it is a guess. But a reward is a function of
the stored transition, so the union of the replays can be relabelled for each task, and each skill's
own algorithm goes on on it: offline, for a few thousand updates, from where its training stopped.
The thesis adds the critics as they are, `refit.updates=0`; docs/LOG.md has the comparison.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from skillkit.algorithms import ALGORITHMS, Learner
from skillkit.envs import Task
from skillkit.errors import InvalidValue, SkillkitError
from skillkit.q_functions import SoftQ
from skillkit.replay import ReplayBuffer
from skillkit.skill import Skill
from skillkit.workflows.common import check_finite
from skillkit.workflows.settings import resolve, spawn


@dataclass(frozen=True)
class RefitConfig:
    """How long each critic goes on learning before it is added."""

    updates: int = 2_000  # per skill; 0 adds the critics as they are

    def __post_init__(self) -> None:
        if self.updates < 0:
            raise InvalidValue(f"refit.updates must not be negative, got {self.updates}")


def can_refit(skill: Skill, task: Task) -> bool:
    """Whether the skill can go on learning offline: it was trained, on a task that relabels."""
    return skill.manifest.algorithm in ALGORITHMS and task.relabellable


def refit(
    skill: Skill,
    task: Task,
    replay: ReplayBuffer,
    config: RefitConfig,
    seed: int,
    report: Callable[[int], None],
) -> SoftQ:
    """The skill's critic after more updates on `replay`, relabelled for its task.

    Args:
        task: the skill's own.
        replay: the union of what all skills stored; its rewards do not matter.
        report: called with the number of updates done, now and then.

    Raises:
        NonFinite: a loss became a NaN.
    """
    initial, batches = spawn(seed, 2)
    learner = _resumed(skill, initial)
    own = replay.relabel(task.spec, task.reward, task.terminated)
    sampler = torch.Generator().manual_seed(batches)
    for update in range(config.updates):
        learner.anneal(update / config.updates)
        metrics = learner.update(own.sample(learner.config.batch_size, sampler))
        if (update + 1) % REPORT_EVERY == 0 or update + 1 == config.updates:
            check_finite(metrics, update + 1)
            report(update + 1)
    return learner.q


REPORT_EVERY = 200  # updates


def _resumed(skill: Skill, seed: int) -> Learner:
    """The skill's learner as training left it, at its final temperature; the rate falls to zero."""
    algorithm = skill.manifest.algorithm
    make, table = ALGORITHMS[algorithm]
    try:
        stored = {f"{algorithm}.{k}": v for k, v in skill.manifest.config[algorithm].items()}
        config = resolve(stored, **{algorithm: table})[algorithm]
    except (SkillkitError, KeyError, AttributeError, TypeError) as error:
        raise InvalidValue(
            f"{skill.name} does not record settings that {algorithm} understands ({error}); "
            "compose with --set refit.updates=0"
        ) from error
    fixed = {"alpha": skill.alpha, "automatic_alpha": False, "final_rate": 0.0}
    learner = make(skill.spec, dataclasses.replace(config, **fixed), seed)
    learner.adopt(skill.policy, skill.q)
    return learner
