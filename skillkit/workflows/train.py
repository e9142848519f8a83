"""train: Task -> Skill. Collect, learn, evaluate, draw (thesis ch. 4 and 5).

Several tasks of one domain can be trained together: every transition is relabelled for each of
them, so each critic learns from what all the skills have seen.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from skillkit.algorithms import ALGORITHMS
from skillkit.collector import Exploration
from skillkit.envs import Task
from skillkit.envs import task as find_task
from skillkit.errors import InvalidValue, UnknownName
from skillkit.manifest import Manifest, check_name
from skillkit.names import MAX_NAME
from skillkit.replay import ReplayBuffer, Sampling
from skillkit.report import card
from skillkit.report.picture import draw
from skillkit.skill import Skill, load
from skillkit.workflows.common import (
    OnEvent,
    arithmetic,
    command_line,
    controller,
    describe,
    part,
    pick_device,
    score,
    summary,
)
from skillkit.workflows.frames import can_turn, in_every_frame, taught
from skillkit.workflows.loop import Checkpoint, TrainConfig, learn
from skillkit.workflows.run import Run, Trainee
from skillkit.workflows.seeds import Seeds, check_seeds
from skillkit.workflows.settings import check_seed, parse, plain, resolve
from skillkit.workflows.tuning import begin_as


def train(
    task: Task | str,
    *,
    settings: Mapping[str, Any] | None = None,
    algorithm: str | None = None,
    parent: Skill | str | None = None,
    name: str | None = None,
    seed: int = 0,
    device: str = "auto",
    on_event: OnEvent | None = None,
    checkpoint: Checkpoint | None = None,
    resume: Path | None = None,
) -> Skill:
    """Learn a maximum-entropy policy and its soft Q-function for a task.

    Args:
        task: a task or its expression, "push_x", "push_x+push_y", "gym:HalfCheetah-v5".
        settings: overrides of the task's recipe, {"sac.alpha": 0.1, "train.steps": 50_000}.
        algorithm: a name from `ALGORITHMS`; None takes the recipe's.
        parent: a skill, or the name of a stored one, whose policy the new one begins as: it is
            fine-tuned. The critics begin anew.
        name: of the skill; the task's own by default.
        seed: the one source of randomness.
        device: "auto", "cpu" or "cuda".
        on_event: called with {"kind": "progress" | "evaluation", ...} as training goes.
        checkpoint: called now and then with a function that writes the run into a folder.
        resume: a folder written that way; training continues from there.

    Returns:
        An unsaved skill; `save` publishes it.

    Raises:
        UnknownName, InvalidValue: a task or a setting that does not exist or fit.
        IncompatibleSkills: no policy of this task can begin as that of the parent.
        NonFinite: the environment or a loss gave a NaN; nothing is returned.

    A training that is much too short:

    >>> brief = {"train.steps": 400, "train.warmup": 300, "train.evaluation_episodes": 2}
    >>> skill = train("point_x", settings=brief | {"train.final_episodes": 2})
    >>> skill
    Skill('point_x', unsaved, task='point_x', alpha=0.1)
    >>> skill.metrics["steps"], len(skill.replay)
    (400, 400)
    >>> train("point_x", settings={"train.step": 400})
    Traceback (most recent call last):
    skillkit.errors.UnknownName: no setting is called 'train.step'; did you mean train.steps ...
    """
    check_seed(seed)  # one; train_together takes several
    (skill,) = train_together(
        [task], settings=settings, algorithm=algorithm, parent=parent, name=name, seed=seed,
        device=device, on_event=on_event, checkpoint=checkpoint, resume=resume,
    )  # fmt: skip
    return skill


def train_together(
    tasks: Sequence[Task | str],
    *,
    settings: Mapping[str, Any] | None = None,
    algorithm: str | None = None,
    parent: Skill | str | None = None,
    name: str | None = None,
    seed: int | Sequence[int] = 0,
    device: str = "auto",
    on_event: OnEvent | None = None,
    checkpoint: Checkpoint | None = None,
    resume: Path | None = None,
) -> tuple[Skill, ...]:
    """Learn several tasks in one run, on one shared replay, relabelled for each of them.

    The policies take turns in the same environments (`explore.hand_over`); each learner makes as
    many updates as it would alone, from everything that all of them have collected.

    Args:
        tasks: of one domain, scene and termination; the first one's recipe and start states.
        settings: overrides of that recipe; train.steps counts the steps of all together.
        name: only with a single task; see `train` for it and everything else.
        seed: one, or several that differ: then everything is learned once with each, in one
            process. What one seed shows may be its luck.

    Returns:
        One unsaved skill for each task and seed, seed by seed; those of one seed record each other
        as siblings.

    Raises:
        IncompatibleSkills: the tasks cannot share an environment; says why.
        UnknownName, InvalidValue, NonFinite: as `train`.

    >>> brief = {"train.steps": 400, "train.warmup": 300, "train.evaluation_episodes": 2}
    >>> brief |= {"train.final_episodes": 2}
    >>> both = train_together(["point_x", "point_y"], settings=brief)
    >>> [(skill.name, skill.manifest.siblings) for skill in both]
    [('point_x', ['point_y']), ('point_y', ['point_x'])]

    Each of several seeds takes train.steps steps, with environments and a replay of its own, and
    learns what it would alone; on a GPU, or with train.stacked=true, all learn in one update.

    >>> skills = train_together(["point_x"], settings=brief, seed=[0, 1])
    >>> [(skill.name, skill.manifest.seed) for skill in skills]
    [('point_x', 0), ('point_x', 1)]
    """
    seeds = check_seeds(seed)
    found = [find_task(task) if isinstance(task, str) else task for task in tasks]
    names = check_names(found, name)
    recipe_algorithm, recipe = found[0].recipe
    settings = settings or {}
    every_frame = parse("train.every_frame", settings.get("train.every_frame", True), bool)
    if not every_frame or taught(found) == found:
        recipe = without_frames(recipe)
    algorithm = recipe_algorithm if algorithm is None else algorithm
    configs = configure(algorithm, {**without_layers(recipe), **settings}, recipe_algorithm)
    config: TrainConfig = configs["train"]
    notify = on_event or (lambda event: None)
    begun = load(parent) if isinstance(parent, str) else parent
    options = [shlex.quote(task.name) for task in found]
    options += [] if begun is None else [f"--from {begun.reference}"]
    options += [] if name is None else [f"--name {name}"]
    if algorithm != recipe_algorithm:
        options.append(f"--algorithm {algorithm}")
    command = command_line(
        "train", *options, seed=seeds[0] if len(seeds) == 1 else seeds, settings=settings
    )
    with arithmetic(config.threads):
        where, alone = pick_device(device), len(seeds) == 1
        runs = [Run(found, algorithm, configs, seed, where, alone=alone) for seed in seeds]
        learning = runs[0] if alone else Seeds(runs, config)
        if begun is not None:
            for run in runs:
                begin_as(run, begun)
        if resume is not None:
            learning.load(resume)
        for event in learn(learning, config, notify, checkpoint):
            notify({"kind": "evaluation", **event})
        seconds = runs[0].seconds / len(runs)
        return tuple(
            finished(run, trainee, names, configs, command, seconds)
            for run in runs
            for trainee in run.trainees
        )


def without_layers(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe, but those of stacking alone."""
    return {key: value for key, value in recipe.items() if not key.startswith("stack.")}


def without_frames(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe, but for that of a single layer that is taught in one frame."""
    return {key: value for key, value in recipe.items() if key != "explore.turn_every"}


def configure(
    algorithm: str, settings: Mapping[str, Any], lender: str | None = None, **more: type
) -> dict[str, Any]:
    """The resolved configs of the loop and the algorithm, and of whatever `more` there is.

    What the recipe says of `lender`, its own algorithm, holds for this one too where both have the
    setting and this one's is not given; only the kind of policy is each algorithm's own.
    """
    if algorithm not in ALGORITHMS:
        raise UnknownName("algorithm", algorithm, ALGORITHMS)
    _, config = ALGORITHMS[algorithm]
    shared = {field.name for field in fields(config)} - {"policy"}
    mine, lent = {}, {}
    for key, value in settings.items():
        table, _, name = key.partition(".")
        if table not in ALGORITHMS or table == algorithm:
            mine[key] = value
        elif table == lender and name.partition(".")[0] in shared:
            lent[f"{algorithm}.{name}"] = value
    tables = {"train": TrainConfig, "explore": Exploration, "replay": Sampling}
    return resolve(lent | mine, **tables, **{algorithm: config}, **more)


def check_names(tasks: Sequence[Task], name: str | None = None) -> list[str]:
    """What the skills will be called: a composed task that is trained directly says so.

    Raises:
        InvalidValue: no task, one that comes twice, one name for several, or no legal name.
    """
    if not tasks:
        raise InvalidValue("training takes at least one task; `skillkit tasks` lists them")
    if name is not None and len(tasks) > 1:
        raise InvalidValue(f"one name, {name}, does not fit {len(tasks)} skills; leave it out")
    names = [f"{task.label}.direct" if task.parts else task.label for task in tasks]
    if len(set(names)) < len(names):
        raise InvalidValue(f"a task comes twice in {' '.join(names)}; name each one once")
    return [check_name(label) for label in ([name] if name is not None else names)]


def run_name(names: Sequence[str], seeds: Sequence[int] = (0,)) -> str:
    """What a run in progress is called, so that another with other seeds can go on beside it.

    Several skills share a run, and so do several seeds. A long name ends in a checksum of itself.
    """
    label = names[0] if len(names) == 1 else "+".join(names) + ".together"
    if [*seeds] != [0]:
        label += ".seed" + "-".join(map(str, seeds))
    if len(label) > MAX_NAME:
        digest = hashlib.sha256(label.encode()).hexdigest()[:8]
        label = f"{label[: MAX_NAME - 9].rstrip('/')}.{digest}"
    return check_name(label)


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
    episodes = run.replay.episodes(config.replay_stored, trainee.column)
    described = Manifest(
        kind="trained" if base is None else "stacked",
        name=name,
        task=describe(task),
        spec=task.spec,
        alpha=q.alpha,
        gamma=q.gamma,
        algorithm=run.algorithm,
        config={table: plain(values) for table, values in configs.items()},
        policy=part(policy),
        q=part(q),
        parents=[] if parent is None else [parent],
        layers=layers,
        siblings=[other for other in names if other != name],
        seed=run.seed,
        metrics={"evaluation": summary(final), "steps": steps, **counts},
        replay={"episodes": len(episodes["lengths"]), "transitions": len(episodes["actions"])},
        timing={"seconds": seconds, "updates": learner.updates},
    )
    return Skill(
        described,
        policy=policy,
        q=q,
        replay=ReplayBuffer.from_episodes(episodes, q.gamma),
        curve=trainee.curve,
        card=card.text(described, final, command),
        figure=figure,
    )
