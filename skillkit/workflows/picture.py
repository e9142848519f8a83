"""The picture of one skill: where its episodes end, or the landscape of its task if it has one."""

from __future__ import annotations

import numpy as np
import torch

from skillkit.controller import Controller
from skillkit.envs import Task
from skillkit.evaluation import Evaluation, evaluate
from skillkit.policies import Policy
from skillkit.q_functions import SoftQ
from skillkit.report import landscape, plots
from skillkit.report.landscape import Choice
from skillkit.workflows.common import controller

GRID = 50  # actions along each side of the contours
SAMPLES = 100  # actions of the policy in each state


def picture(name: str, policy: Policy, q: SoftQ, evaluation: Evaluation) -> bytes:
    """What goes beside the card: for a landscape as many episodes again, sampled this time."""
    task = evaluation.task
    if task.landscape is None:
        return plots.outcome({name: evaluation})
    act = controller(task, policy)
    sampled = evaluate(
        act.batch, task, evaluation.episodes, evaluation.seed, noise_dim=act.noise_dim, paths=True
    )
    return landscape.picture(name, sampled, choices(task, act, q))


def choices(task: Task, act: Controller, q: SoftQ) -> list[Choice]:
    """Q and samples in the states of the task's landscape; none unless there are two actions."""
    if task.landscape is None or task.spec.action_dim != 2:
        return []
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
