"""The picture of one skill, as it suits its task; PyTorch only where a Q-function is drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from skillkit.controller import Controller
from skillkit.envs import Task
from skillkit.evaluation import Evaluation, Progress, evaluate
from skillkit.fan import fan
from skillkit.report import above, landscape, plots
from skillkit.report.landscape import Choice

if TYPE_CHECKING:
    from skillkit.q_functions import SoftQ

GRID = 50  # actions along each side of the contours
SAMPLES = 100  # actions of the policy in each state


def draw(
    name: str,
    task: Task,
    act: Controller,
    q: Callable[[], SoftQ],
    episodes: int,
    seed: int,
    played: Evaluation | None = None,
    progress: Progress | None = None,
) -> tuple[bytes, str]:
    """A PNG, and what it comes to in words if it says more than an evaluation.

    A landscape if the task has one; where there is no goal in a plane, the fan of fixed latents;
    where it is a disc of the plane, the paths to it; else where episodes end, or their returns.

    Args:
        act: of the skill, deterministic.
        q: its Q-function, which only a landscape needs.
        played: episodes of the mode with their paths, if they were played before.
    """
    play = partial(evaluate, act.batch, task, episodes, seed, begin=act.reset, progress=progress)
    if task.landscape is not None:
        sampled = play(noise_dim=act.noise_dim, paths=True)
        return landscape.picture(name, sampled, choices(task, act, q())), ""
    aimless = task.solved is None and not any(term.goals for term in task.terms)
    if task.on.plane and aimless and act.noise_dim:
        found = fan(
            act.batch, task, act.noise_dim, episodes, seed=seed, begin=act.reset, progress=progress
        )
        return above.fan(name, found), str(found)
    played = played or play(paths=True)
    if above.goal_disc(task):
        return above.paths(name, played), ""
    return plots.outcome({name: played}), ""


def choices(task: Task, act: Controller, q: SoftQ) -> list[Choice]:
    """Q and samples in the states of the task's landscape; none unless there are two actions.

    And none of a stack, whose Q-function judges latents.
    """
    if task.landscape is None or task.spec.action_dim != 2 or act.stacked:
        return []
    import torch  # here alone: whatever else is drawn does without

    axis = np.linspace(-1, 1, GRID, dtype=np.float32)
    actions = torch.from_numpy(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2))
    noise = np.random.default_rng(0).standard_normal((SAMPLES, act.noise_dim), np.float32)
    found = []
    for state in np.array(task.landscape.states, np.float32):
        with torch.no_grad():
            values = q(torch.from_numpy(state).expand(len(actions), -1), actions)
        samples = act.unit(np.tile(state, (SAMPLES, 1)), noise)
        found.append(Choice(state, values.numpy().reshape(GRID, GRID), samples))
    return found
