"""What a stack stands on: a skill's policy, frozen, as a part of the environment (THEORY 7)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

from skillkit.envs import Task
from skillkit.envs.latent import Act, LatentAction
from skillkit.envs.vector import ResumableEnv
from skillkit.errors import IncompatibleSkills
from skillkit.integrity import fingerprint
from skillkit.manifest import Layer, Parent
from skillkit.policies import POLICIES, Policy, StackedPolicy
from skillkit.runtimes import RUNTIMES
from skillkit.skill import Skill, arrays
from skillkit.types import Spec
from skillkit.workflows.common import controller

FIRST_HOLD, NEXT_HOLD = 3, 1  # decisions of the layer below (thesis app. C.4)


@dataclass(frozen=True)
class Base:
    """Frozen layers, from the bottom up, and the hold of the one that is to come on top.

    Attributes:
        parent: the skill they are of.
        layers: their policies, which nothing changes any more.
        holds: for how many decisions of the layer below a latent is held: of every layer but the
            bottom one, the new one's last.
        records: what a manifest says of the layers.
    """

    parent: Parent
    layers: tuple[Policy, ...]
    holds: tuple[int, ...]
    records: tuple[Layer, ...]

    @property
    def steps_per_decision(self) -> int:
        """Environment steps for which the new layer holds its latent."""
        return math.prod(self.holds)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells a run on this base from a run on another one."""
        prints = [record["fingerprint"] for record in self.records]
        return {"base": prints, "stack.hold": self.holds[-1]}

    def wrap(self, env: ResumableEnv, task: Task, gamma: float) -> tuple[ResumableEnv, Spec]:
        """The environment of the new layer's latents, and their spec."""
        bottom, *upper = self.layers
        acts: list[Act] = [controller(task, bottom).batch]
        acts += [RUNTIMES[layer.kind](layer.config, arrays(layer)) for layer in upper]
        spec = task.spec
        for layer, act, hold in zip(self.layers, acts, self.holds, strict=True):
            env = wrapped = LatentAction(env, act, spec, hold, gamma, layer.noise_dim)
            spec = wrapped.interface
        return env, spec

    def with_layer(
        self, name: str, task: str, algorithm: str, seed: int, steps: int, policy: Policy
    ) -> list[Layer]:
        """What a manifest says of all layers, once there is a new one on top."""
        new: Parent = {"name": name, "version": None, "content_id": None}
        return [*self.records, record(new, task, algorithm, seed, steps, policy)]

    def topped(self, policy: Policy) -> StackedPolicy:
        """The whole stack, with the new layer on top."""
        return StackedPolicy([*self.layers, policy], self.holds)


def base_of(skill: Skill, task: Task, hold: int | None = None) -> Base:
    """A skill as what a task's upper layer stands on.

    Args:
        hold: of the new layer; None: 3 on a single layer, 1 on a stack.

    Raises:
        IncompatibleSkills: it is of another domain, reads what the task does not observe, has
            other actions, or cannot be inverted; says what could be a base.
        CorruptSkill: it is not what it was when it was saved.
    """
    check_domain(skill, task)
    policy = skill.policy
    if not policy.onto:
        able = ", ".join(kind for kind, made in POLICIES.items() if made.onto)
        raise IncompatibleSkills(
            f"{skill.name} cannot be a base: its {policy.kind} policy cannot be inverted, so some "
            f"of its actions have no latent; policies of the kinds {able} can"
        )
    layers: list[Policy] = [policy]
    holds: tuple[int, ...] = ()
    if isinstance(policy, StackedPolicy):
        layers, holds = policy.each, policy.holds
    if hold is None:
        hold = NEXT_HOLD if holds else FIRST_HOLD
    frozen = tuple(
        read_by_name(copy.deepcopy(layer), skill.spec, task.spec, skill.name)
        .eval()
        .requires_grad_(False)
        for layer in layers
    )
    return Base(skill.as_parent, frozen, (*holds, hold), tuple(records(skill)))


def check_domain(skill: Skill, task: Task, role: str = "a base") -> None:
    """A skill acts in tasks of its domain alone; the scene may differ.

    Raises:
        IncompatibleSkills: another domain, other actions or another control period.
    """
    was = skill.manifest.task["domain"]
    if was != task.domain:
        raise IncompatibleSkills(
            f"{skill.name} cannot be {role} of {task.name}: it acts in the domain {was}, and the "
            f"task is one of {task.domain}; choose a task of {was}, or a skill of {task.domain}"
        )
    if (skill.spec.action, skill.spec.dt) != (task.spec.action, task.spec.dt):
        raise IncompatibleSkills(
            f"{skill.name} cannot be {role} of {task.name}: the actions of {was} or its control "
            f"period changed since it was trained; train {skill.name} again"
        )


def read_by_name(policy: Policy, was: Spec, now: Spec, name: str) -> Policy:
    """The same policy for another observation of the domain: it finds its entries by name.

    Raises:
        IncompatibleSkills: an entry that it reads is not observed any more.
    """
    if was.observation == now.observation:
        return policy
    reads = policy.inputs if policy.inputs is not None else range(was.observation_dim)
    names = [was.observation[index].name for index in reads]
    if missing := set(names) - {entry.name for entry in now.observation}:
        raise IncompatibleSkills(
            f"{name} cannot be a base here: it reads {min(missing)}, which its domain does not "
            f"observe any more; train {name} again"
        )
    if policy.kind not in POLICIES:
        raise IncompatibleSkills(
            f"{name} cannot be a base here: its domain observes other entries than when its "
            f"{policy.kind} policy was made; train {name} again"
        )
    places = {"observation_dim": now.observation_dim, "inputs": now.index(tuple(names))}
    moved = POLICIES[policy.kind](**policy.config | places)
    moved.load_state_dict(policy.state_dict())
    return moved


def records(skill: Skill) -> list[Layer]:
    """What a child's manifest says of a skill's layers, which become its own."""
    made = skill.manifest
    if made.layers:
        *lower, top = made.layers
        return [*lower, {**top, **skill.as_parent}]
    steps = made.metrics.get("steps")
    return [record(skill.as_parent, skill.task, made.algorithm, made.seed, steps, skill.policy)]


def record(
    skill: Parent, task: str, algorithm: str, seed: int, steps: int | None, policy: Policy
) -> Layer:
    """What a manifest says of one layer."""
    return {
        **skill,
        "task": task,
        "algorithm": algorithm,
        "seed": seed,
        "steps": steps,
        "fingerprint": fingerprint(arrays(policy)),
    }
