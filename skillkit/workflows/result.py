"""What every workflow ends with: a skill that nobody has saved yet, and the command that makes it
again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from skillkit.envs import Task
from skillkit.evaluation import Evaluation
from skillkit.manifest import Manifest
from skillkit.policies import Policy
from skillkit.provenance import host
from skillkit.q_functions import SoftQ
from skillkit.replay import ReplayBuffer
from skillkit.report import card
from skillkit.report.picture import draw
from skillkit.skill import Skill
from skillkit.workflows.common import controller, part, score
from skillkit.workflows.frames import can_turn, in_every_frame
from skillkit.workflows.run import Run, Trainee
from skillkit.workflows.settings import plain


def finished(
    run: Run,
    trainee: Trainee,
    names: Sequence[str],
    configs: Mapping[str, Any],
    command: str,
    seconds: float,
    **counts: int,
) -> Skill:
    """Everything that was learned, with its numbers and its picture, not yet saved.

    `seconds` is what learning took; `counts` join the metrics.
    """
    task, learner, config = trainee.task, trainee.learner, configs["train"]
    name, base = names[trainee.column], trainee.base
    learner.policy.cpu()
    policy, q = trainee.policy, learner.q.cpu()
    final = score(policy, task, config.final_episodes, paths=True)
    if config.every_frame and base is None and can_turn(task):
        policy = in_every_frame(policy, final)  # whose mode is that of the first frame
    size = final.episodes, final.seed
    figure, _ = draw(name, task, controller(task, policy), lambda: q, *size, played=final)
    q.alpha = learner.alpha
    parent = run.parent if base is None else base.parent
    layers, steps = [], run.collector.steps
    if base is not None:
        layers = base.with_layer(name, task.name, run.algorithm, run.seed, steps, learner.policy)
    return unsaved(
        name,
        task,
        policy,
        q,
        run.replay.episodes(config.replay_stored, trainee.column, run.latest),
        final,
        command=command,
        figure=figure,
        curve=trainee.curve,
        kind="trained" if base is None else "stacked",
        algorithm=run.algorithm,
        config={table: plain(values) for table, values in configs.items()},
        parents=[] if parent is None else [parent],
        layers=layers,
        siblings=[other for other in names if other != name],
        seed=run.seed,
        metrics={"steps": steps, **({"planned": run.planned} if run.planned else {}), **counts},
        host=host() | {"device": run.device},
        timing={"seconds": seconds, "updates": learner.updates},
    )


def unsaved(
    name: str,
    task: Task,
    policy: Policy,
    q: SoftQ,
    episodes: Mapping[str, Tensor],
    played: Evaluation,
    *,
    command: str,
    figure: bytes,
    metrics: Mapping[str, Any],
    curve: Sequence[Mapping[str, Any]] = (),
    **described: Any,
) -> Skill:
    """A skill with its manifest and its card.

    Args:
        q: with the temperature of the skill.
        episodes: what it keeps of a replay, as `ReplayBuffer.episodes` gives it.
        played: the mode of the policy in its own task.
        command: that makes it again; `command_line` writes it.
        metrics: beside those of `played`.
        described: the other fields of the manifest.
    """
    manifest = Manifest(
        name=name,
        task=describe(task),
        spec=task.spec,
        alpha=q.alpha,
        gamma=q.gamma,
        policy=part(policy),
        q=part(q),
        metrics={"evaluation": summary(played), **metrics},
        replay=counts(episodes),
        **described,
    )
    return Skill(
        manifest,
        policy=policy,
        q=q,
        replay=ReplayBuffer.from_episodes(episodes, q.gamma),
        curve=curve,
        card=card.text(manifest, played, command),
        figure=figure,
    )


def command_line(
    command: str, arguments: Sequence[str], options: Mapping[str, Any], settings: Mapping[str, Any]
) -> str:
    """What to type to make a skill again.

    Args:
        options: by name, {"seed": 0, "instant": True}; None and False are left out.
        settings: that were given with --set.
    """
    words = ["skillkit", command, *arguments]
    for option, value in options.items():
        if value is True:
            words.append(f"--{option}")
        elif value is not None and value is not False:
            words += [f"--{option}", _text(value)]
    for key, value in settings.items():
        words += ["--set", f"{key}={_text(value)}"]
    return shlex.join(words)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def describe(task: Task) -> dict[str, Any]:
    """The task as a manifest records it."""
    return {
        "expression": task.name,
        "domain": task.domain,
        "scene": task.scene,
        "source_hash": task.source_hash,
    }


def summary(found: Evaluation) -> dict[str, Any]:
    """An evaluation as a manifest records it: how it was made, and each metric."""
    return {"episodes": found.episodes, "seed": found.seed, **found.summary()}


def counts(episodes: Mapping[str, Tensor]) -> dict[str, int]:
    """A replay as a manifest records it."""
    return {"episodes": len(episodes["lengths"]), "transitions": len(episodes["actions"])}
