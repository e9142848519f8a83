"""adopt: what was made elsewhere -> Skill. A learned policy plays its task and becomes a skill; a
stored replay takes the place of a skill's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from skillkit.collector import Collector
from skillkit.envs import Task, make
from skillkit.envs import task as find_task
from skillkit.errors import IncompatibleSkills, InvalidValue
from skillkit.importers.sb3 import Learned
from skillkit.manifest import check_name, now
from skillkit.replay import ReplayBuffer
from skillkit.report import card
from skillkit.report.picture import draw
from skillkit.skill import Skill
from skillkit.workflows.common import OnEvent, arithmetic, controller, score
from skillkit.workflows.result import command_line, counts, unsaved
from skillkit.workflows.settings import check_seed, plain, resolve, spawn

REPORT_EVERY = 1_000  # environment steps


@dataclass(frozen=True)
class ImportConfig:
    """What a policy does here before it is a skill; its own experience stayed where it was made."""

    steps: int = 20_000  # environment steps that it takes, sampled: its replay
    environments: int = 8  # that are stepped side by side
    final_episodes: int = 100  # evaluated at the end, for the numbers and the picture of the card

    def __post_init__(self) -> None:
        if min(self.steps, self.environments) < 1 or self.final_episodes < 2:
            raise InvalidValue(
                "import.steps and import.environments must be at least 1, and "
                "import.final_episodes at least 2"
            )


def adopt(
    learned: Learned,
    task: Task | str,
    *,
    source: str,
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> Skill:
    """A skill of a policy and a Q-function that another program has learned.

    Args:
        learned: what an importer read.
        task: the one that it was learned for, e.g. "gym:Pendulum-v1".
        source: where it was read, as a command names it.
        settings: overrides of `ImportConfig`, {"import.steps": 50_000}.
        name: of the skill; the task's own by default.
        seed: of what it does here.
        on_event: called with {"kind": "progress", ...}.

    Returns:
        An unsaved skill.

    Raises:
        IncompatibleSkills: observations or actions are not those of the task.
        UnknownName, InvalidValue: a task, setting or name that does not exist or fit.
    """
    check_seed(seed)
    found = find_task(task) if isinstance(task, str) else task
    config: ImportConfig = resolve(settings or {}, **{"import": ImportConfig})["import"]
    options = {"format": "sb3", "task": found.name, "name": name, "seed": seed}
    name = check_name(found.label if name is None else name)
    check_fits(learned, found)
    policy, q = learned.policy, learned.q
    with arithmetic(1):
        replay = _experience(learned, found, config, seed, on_event or (lambda event: None))
        final = score(policy, found, config.final_episodes, paths=True)
    size = final.episodes, final.seed
    figure, _ = draw(name, found, controller(found, policy), lambda: q, *size, played=final)
    sizes = {"policy": policy.kind, "hidden": list(policy.hidden), "alpha": q.alpha}
    return unsaved(
        name,
        found,
        policy,
        q,
        replay.episodes(),
        final,
        command=command_line("import", [source], options, settings or {}),
        figure=figure,
        kind="trained",
        algorithm="sac",
        config={"sac": {**sizes, "gamma": q.gamma}, "import": plain(config)},
        seed=seed,
        metrics={"steps": learned.steps},
        timing={"updates": learned.updates},
    )


def check_fits(learned: Learned, task: Task) -> None:
    """Whether a policy can play a task as it played where it was learned.

    Raises:
        IncompatibleSkills: other sizes, or other bounds of the actions.
    """
    spec, policy = task.spec, learned.policy
    has = policy.observation_dim, policy.action_dim
    needs = spec.observation_dim, spec.action_dim
    if has != needs:
        raise IncompatibleSkills(
            f"the policy takes {has[0]} observation entries and gives {has[1]} actions, and "
            f"{task.name} has {needs[0]} and {needs[1]}; name the task that it was trained for"
        )
    for was, is_now in ((learned.low, spec.low), (learned.high, spec.high)):
        if was and not (len(was) == len(is_now) and np.allclose(was, is_now, rtol=1e-5)):
            raise IncompatibleSkills(
                f"the policy was trained with actions bounded by {list(was)}, and those of "
                f"{task.name} are by {is_now.tolist()}; name the task that it was trained for"
            )


def _experience(
    learned: Learned, task: Task, config: ImportConfig, seed: int, notify: OnEvent
) -> ReplayBuffer:
    """What the policy does, sampled, in episodes of its task."""
    starts, noises = spawn(seed, 2)
    env, spec = make(task, config.environments, seed=starts), task.spec
    sizes = spec.observation_dim, spec.action_dim
    replay = ReplayBuffer(config.steps + config.environments, *sizes, learned.q.gamma)
    collector = Collector(env, spec, replay, torch.Generator().manual_seed(noises))
    with closing(env):
        while collector.steps < config.steps:
            collector.step([learned.policy])
            if collector.before // REPORT_EVERY != collector.steps // REPORT_EVERY:
                notify({"kind": "progress", "step": collector.steps, "steps": config.steps})
    return replay


def with_replay(skill: Skill, replay: ReplayBuffer, source: str) -> Skill:
    """The same policy and Q-function with other experience, not yet saved.

    Args:
        replay: of the skill's own observations and actions.
        source: where it is from, for the card.
    """
    config = {**skill.manifest.config, "import": {"replay": source, "of": skill.reference}}
    manifest = dataclasses.replace(
        skill.manifest, replay=counts(replay.episodes()), config=config, created=now()
    )
    text = skill.card.replace(card.stored(skill.manifest), card.stored(manifest))
    return Skill(
        manifest,
        policy=skill.policy,
        q=skill.q,
        replay=replay,
        curve=skill.curve,
        card=f"{text.rstrip()}\n\nThe replay was imported from {source} for {skill.reference}.\n",
        figure=skill.figure,
    )
