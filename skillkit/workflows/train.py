"""train: Task -> Skill. Collect, learn, evaluate, draw (thesis ch. 4 and 5).

Several tasks of one domain can be trained together: every transition is relabelled for each of
them, so each critic learns from what all the skills have seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from skillkit.envs import Task
from skillkit.envs import task as find_task
from skillkit.envs.planning import sums
from skillkit.skill import Skill, load
from skillkit.workflows.common import OnEvent, arithmetic, pick_device
from skillkit.workflows.frames import taught
from skillkit.workflows.loop import Checkpoint, TrainConfig, learn
from skillkit.workflows.merge import MERGING
from skillkit.workflows.naming import check_names
from skillkit.workflows.recipes import (
    EVERY,
    ONE_FRAME,
    PLANS,
    check_learns,
    configure,
    giving_way,
    without,
)
from skillkit.workflows.result import command_line, finished
from skillkit.workflows.run import Run
from skillkit.workflows.seeds import Seeds, check_seeds
from skillkit.workflows.settings import check_seed, parse
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
        device: "cpu", "cuda", or "auto", which is the CPU.
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
        recipe = without(recipe, ONE_FRAME)
    algorithm = recipe_algorithm if algorithm is None else algorithm
    recipe = without(recipe, "stack.")
    configs = _configured(algorithm, settings, recipe, recipe_algorithm)
    rehearsed = len(found) > 1 and sums(found) and configs[algorithm].alpha > 0
    if not rehearsed and EVERY not in settings:
        recipe = without(recipe, PLANS)
        configs = _configured(algorithm, settings, recipe, recipe_algorithm)
    config: TrainConfig = configs["train"]
    check_learns(config)
    notify = on_event or (lambda event: None)
    begun = load(parent) if isinstance(parent, str) else parent
    where = pick_device(device)
    options = {
        "from": None if begun is None else begun.reference,
        "name": name,
        "algorithm": algorithm if algorithm != recipe_algorithm else None,
        "device": where if where != "cpu" else None,
        "seed" if len(seeds) == 1 else "seeds": seeds,
    }
    command = command_line("train", [task.name for task in found], options, settings)
    with arithmetic(config.threads), ExitStack() as open_:
        runs = [
            open_.enter_context(closing(Run(found, algorithm, configs, seed, where)))
            for seed in seeds
        ]
        learning = Seeds(runs, config)
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


def _configured(
    algorithm: str, settings: Mapping[str, Any], recipe: Mapping[str, Any], lender: str
) -> dict[str, Any]:
    """The configs of a training, with those of its rehearsals if it looks ahead."""
    ahead = parse(EVERY, {EVERY: 0, **recipe, **settings}[EVERY], int)
    recipe, tables = giving_way(recipe, settings), MERGING if ahead else {}
    return configure(algorithm, settings, recipe, lender, **tables)
