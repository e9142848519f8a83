"""Fine-tuning: a training whose policy begins as that of a skill, and not from random weights."""

from __future__ import annotations

from typing import Any

import torch

from skillkit.envs import Task
from skillkit.errors import IncompatibleSkills
from skillkit.integrity import fingerprint
from skillkit.policies import POLICIES, Policy, SymmetricPolicy
from skillkit.skill import Skill, arrays
from skillkit.types import Spec
from skillkit.workflows.base import check_domain
from skillkit.workflows.run import Run

FIRST = "net.layers.0.weight"  # of every kind of policy; its first columns are of what it reads
FOUND_BY_NAME = ("observation_dim", "inputs")  # of a policy's config; the rest is its shape


def begin_as(run: Run, skill: Skill) -> None:
    """Let the policies of a run that has not begun be that of a skill.

    Nothing else is taken over: the critics know nothing of the task yet, and the optimisers begin
    anew. No warm-up with uniform actions, either: the skill acts from the first step.

    Raises:
        IncompatibleSkills: the skill is of another domain, its policy is of another shape, or it
            reads what these policies do not; says what to change.
    """
    for trainee in run.trainees:
        check_domain(skill, trainee.task, "a beginning")
        take_over(trainee.learner.policy, skill, trainee.task, run.algorithm)
    run.parent = skill.as_parent
    run.identity["from"] = fingerprint(arrays(skill.policy))


def take_over(policy: Policy, skill: Skill, task: Task, algorithm: str) -> None:
    """Give a policy the parameters of a skill's, so that it acts as the skill does.

    Observation entries are found by name. Those that the skill does not read, as locomotion does
    not read where it is, weigh nothing at first; learning can change that.

    Args:
        policy: for the task, changed in place.
        algorithm: whose settings gave it its shape, for the sentence.

    Raises:
        IncompatibleSkills: as `begin_as`.
    """
    whose = f"{skill.name} cannot be a beginning of {task.name}"
    learned = skill.policy
    if isinstance(learned, SymmetricPolicy):
        learned = learned.inside  # as it was learned, in the first frame
    _check_shape(policy, learned, whose, algorithm)
    was, now = _reads(learned, skill.spec), _reads(policy, task.spec)
    if missing := [name for name in was if name not in now]:
        raise IncompatibleSkills(
            f"{whose}: it reads {missing[0]}, and policies of {task.name} do not; begin as a skill "
            "that reads less"
        )
    state = dict(learned.state_dict())
    first = state[FIRST]  # (H, entries read, and whatever else goes in)
    wide = first.new_zeros(len(first), len(now))
    wide[:, [now.index(name) for name in was]] = first[:, : len(was)]
    state[FIRST] = torch.cat((wide, first[:, len(was) :]), 1)
    policy.load_state_dict(state)


def _check_shape(policy: Policy, learned: Policy, whose: str, algorithm: str) -> None:
    """The same kind of policy and the same sizes: each is a setting of the algorithm."""
    if learned.kind not in POLICIES:
        raise IncompatibleSkills(
            f"{whose}: its {learned.kind} policy is made of several; only one of the kinds "
            f"{', '.join(POLICIES)} can be learned on"
        )
    wanted = _shape(learned)
    for setting, value in _shape(policy).items():
        if wanted[setting] != value:
            own, given = _typed(wanted[setting]), _typed(value)
            raise IncompatibleSkills(
                f"{whose}: its policy was made with {setting}={own}, and this one with {given}; "
                f"add --set {algorithm}.{setting}={own}"
            )


def _shape(policy: Policy) -> dict[str, Any]:
    """What settings say of a policy: its kind first, then its sizes."""
    sizes = {key: value for key, value in policy.config.items() if key not in FOUND_BY_NAME}
    hidden = sizes.pop("hidden")
    flow = {f"flow.{key}": value for key, value in sizes.items()}
    return {"policy": policy.kind, "hidden": hidden, **flow}


def _typed(value: Any) -> str:
    """A setting's value as --set takes it."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _reads(policy: Policy, spec: Spec) -> list[str]:
    """Names of the observation entries that a policy reads, in its order."""
    names = [entry.name for entry in spec.observation]
    return names if policy.inputs is None else [names[index] for index in policy.inputs]
