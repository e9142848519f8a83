"""stack: Skill x Task -> Skill. The skill's policy becomes part of the environment, and its latent
is the action that a new layer learns; the loop is that of train (thesis ch. 7; THEORY 7)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skillkit.envs import Task
from skillkit.envs import task as find_task
from skillkit.errors import InvalidValue
from skillkit.names import check_name
from skillkit.skill import Skill, load
from skillkit.workflows.base import base_of
from skillkit.workflows.common import OnEvent, arithmetic, pick_device
from skillkit.workflows.loop import Checkpoint, learn
from skillkit.workflows.naming import stacked_name
from skillkit.workflows.recipes import ONE_FRAME, PLANS, check_learns, configure, without
from skillkit.workflows.result import command_line, finished
from skillkit.workflows.reuse import REUSE_HOLD, ReuseConfig, begin, experience
from skillkit.workflows.run import Run
from skillkit.workflows.seeds import Seeds
from skillkit.workflows.settings import check_seed


@dataclass(frozen=True)
class StackConfig:
    """How the new layer acts on those below."""

    hold: int | None = None  # decisions of the layer below for which a latent is held; None:
    # 3, and 1 on a stack or with --reuse-replay

    def __post_init__(self) -> None:
        if self.hold is not None and self.hold < 1:
            raise InvalidValue(f"stack.hold must be at least 1, got {self.hold}")


def stack(
    base: Skill | str,
    task: Task | str,
    *,
    reuse_replay: bool = False,
    settings: Mapping[str, Any] | None = None,
    algorithm: str | None = None,
    name: str | None = None,
    seed: int = 0,
    device: str = "auto",
    on_event: OnEvent | None = None,
    checkpoint: Checkpoint | None = None,
    resume: Path | None = None,
) -> Skill:
    """Learn a new layer for a task, on top of a skill whose policy stays as it is.

    The new layer maximises the task's reward less alpha KL(pi || N(0, I)) per decision: what it
    changes about the skill it pays for, so the skill's own reward persists (THEORY 7).

    Args:
        base: a skill, or the name of a stored one, with an invertible policy; a stack, too.
        task: of the base's domain; the scene may differ.
        reuse_replay: begin with what the base has stored, as experience of the new layer at hold 1,
            and critics fitted to it instead of a warm-up; in the base's own scene. A base in every
            frame gives it in all of them, in the open.
        settings: overrides of the task's recipe, {"stack.hold": 2, "sac.alpha": 0.1}.
        algorithm, name, seed, device, on_event, checkpoint, resume: as `train`; the name is
            "base/task" by default.

    Returns:
        An unsaved skill that holds all its layers.

    Raises:
        IncompatibleSkills: no base for this task, or no experience of it; says why.
        UnknownName, InvalidValue, NonFinite: as `train`.

    A training that is much too short:

    >>> brief = {"train.steps": 400, "train.warmup": 300, "train.evaluation_episodes": 2}
    >>> skill = stack("point_roam", "point_maze", settings=brief | {"train.final_episodes": 2})
    >>> skill.name, [layer["task"] for layer in skill.manifest.layers]
    ('point_roam/point_maze', ['point_roam', 'point_maze'])
    """
    check_seed(seed)
    below = load(base) if isinstance(base, str) else base
    found = find_task(task) if isinstance(task, str) else task
    label = stacked_name(below.name, found) if name is None else check_name(name)
    recipe_algorithm, recipe = found.recipe[0], without(found.recipe[1], ONE_FRAME, PLANS)
    algorithm = recipe_algorithm if algorithm is None else algorithm
    tables: dict[str, type] = {"stack": StackConfig}
    if reuse_replay:
        tables["reuse"] = ReuseConfig
        recipe = {**recipe, "train.warmup": 0}
    configs = configure(algorithm, settings or {}, recipe, recipe_algorithm, **tables)
    check_learns(configs["train"])
    layers = base_of(below, found, configs["stack"].hold or (REUSE_HOLD if reuse_replay else None))
    configs["stack"] = StackConfig(layers.holds[-1])
    notify = on_event or (lambda event: None)
    where = pick_device(device)
    options = {
        "task": found.name,
        "reuse-replay": reuse_replay,
        "name": name,
        "algorithm": algorithm if algorithm != recipe_algorithm else None,
        "device": where if where != "cpu" else None,
        "seed": seed,
    }
    command = command_line("stack", [below.reference], options, settings or {})
    with arithmetic(configs["train"].threads), ExitStack() as open_:
        lived = experience(below, layers, found, seed) if reuse_replay else None
        count = 0 if lived is None else len(lived.episode)
        run = Run([found], algorithm, configs, seed, where, layers, count)
        open_.enter_context(closing(run))
        learning = Seeds([run], configs["train"])
        if resume is not None:
            learning.load(resume)
        elif lived is not None:
            begin(run, lived, configs["reuse"].updates, notify)
        for event in learn(learning, configs["train"], notify, checkpoint):
            notify({"kind": "evaluation", **event})
        counts = {} if lived is None else lived.counts
        return finished(run, run.trainees[0], [label], configs, command, run.seconds, **counts)
