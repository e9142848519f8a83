"""What skills have stored, as the experience of their own tasks and of others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from skillkit.composition import rules
from skillkit.envs import Task
from skillkit.errors import IncompatibleSkills
from skillkit.replay import ReplayBuffer, union

if TYPE_CHECKING:
    from skillkit.skill import Skill


FEW = 1e-3  # share of all that was rewarded, and of all that ended, that may be rounding


def is_of(skill: Skill, task: Task) -> bool:
    """Whether a task gives the rewards and terminations that a trained skill has stored.

    They are witnesses of what it was trained for: a task file can change, and its comments, too.

    Args:
        task: of the skill's domain, by its name the skill's own.
    """
    stored = skill.replay.all()
    obs, action, then = (x.numpy() for x in (stored.obs, stored.action, stored.next_obs))
    transition = obs, task.spec.native(action), then
    pairs = (
        (stored.reward.double().numpy(), task.reward(*transition)),
        (stored.discount.numpy() == 0.0, task.terminated(*transition)),
    )
    for was, now in np.asarray(pairs, np.float64):
        if not np.abs(was - now).sum() <= FEW * (np.abs(was) + np.abs(now)).sum():
            return False
    return True


def experienced(skills: Sequence[Skill]) -> list[Skill]:
    """The skills, and those beside them that were trained in the same runs: what a run has lived
    through is stored in parts, one with each of its skills."""
    found = list(skills)
    known = {skill.entry.content_id for skill in skills if skill.entry}
    for sibling in itertools.chain.from_iterable(skill.siblings for skill in skills):
        assert sibling.entry is not None, "it lies beside a stored skill"
        if sibling.entry.content_id not in known:
            known.add(sibling.entry.content_id)
            found.append(sibling)
    return found


def relabelled_union(skills: Sequence[Skill], task: Task) -> ReplayBuffer:
    """Every stored transition with the reward and the termination that `task` gives it.

    An algorithm that learns from this learns `task` offline: what composition competes with
    (thesis fig. 6.2), whether the task is the sum of the skills' own or not.

    Raises:
        IncompatibleSkills: the skills or the task are not of one world.
        InvalidValue: the domain's rewards are no functions of stored transitions.
    """
    rules.check_compatible([skill.manifest for skill in skills])
    for skill in skills:
        if skill.manifest.layers:
            raise IncompatibleSkills(
                f"{skill.name} is a stack, whose stored actions are latents; choose skills of one "
                "layer"
            )
        world = skill.manifest.task["domain"], skill.manifest.task["scene"], skill.spec
        if world != (task.domain, task.scene, task.spec):
            raise IncompatibleSkills(
                f"what {skill.name} has stored is no experience of {task.name}; choose a task of "
                f"the domain {world[0]} in the same scene"
            )
    merged = union([skill.replay for skill in skills])
    return merged.relabel(task.spec, task.reward, task.terminated)
