"""What several skills have stored, as the experience of another task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from skillkit.composition import rules
from skillkit.envs import Task
from skillkit.errors import IncompatibleSkills
from skillkit.replay import ReplayBuffer, union

if TYPE_CHECKING:
    from skillkit.skill import Skill


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
        if reason := rules.unfit(skill.manifest):
            raise IncompatibleSkills(f"{skill.name} is {reason}")
        world = skill.manifest.task["domain"], skill.manifest.task["scene"], skill.spec
        if world != (task.domain, task.scene, task.spec):
            raise IncompatibleSkills(
                f"what {skill.name} has stored is no experience of {task.name}; choose a task of "
                f"the domain {world[0]} in the same scene"
            )
    merged = union([skill.replay for skill in skills])
    return merged.relabel(task.spec, task.reward, task.terminated)
