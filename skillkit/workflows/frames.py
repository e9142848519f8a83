"""Frames: what was learned in one frame of a symmetric robot, for all of them."""

from __future__ import annotations

import numpy as np

from skillkit.envs import Task
from skillkit.envs.symmetry import Images, images
from skillkit.errors import InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.fan import Fan
from skillkit.policies import Policy, SymmetricPolicy
from skillkit.types import Array


def in_every_frame(policy: Policy, played: Evaluation) -> SymmetricPolicy:
    """The policy in all frames of its task's domain, with a compass that says in which.

    Maximum entropy does not keep all ways open by itself: of ways that are equally good the one
    that was learned a little better is worth more than the temperature pays for the others. So it
    is learned in one frame, and is as good in the others because the physics is.

    Args:
        policy: of a symmetric task.
        played: episodes of its mode, which show where it leads.

    Raises:
        InvalidValue: the task is not symmetric, or its domain has no plane.
    """
    task = played.task
    if not can_turn(task):
        raise InvalidValue(f"{task.name} has no frames: it prefers a direction, or has no plane")
    found = images(task.spec, task.on.symmetries)
    way = np.mean(Fan(played).displacement, axis=0)
    tables = (found.observation, found.observation_sign), (found.action, found.action_sign)
    state, action = (((index + 1) * sign).astype(int).tolist() for index, sign in tables)
    return SymmetricPolicy(policy, (state, action), _directions(found, task, way).tolist())


def can_turn(task: Task) -> bool:
    """Whether there are frames in which the task is the same, and a plane to tell them apart."""
    return task.symmetric and task.on.plane is not None


def _directions(found: Images, task: Task, way: Array) -> Array:
    """The unit vectors that each frame's image is `way`. (2,) -> (G, 2)

    The image of the way that is gone in a frame is the way that was learned.
    """
    columns = list(task.spec.index(task.on.plane or ()))
    turns = np.zeros((len(found.observation), 2, 2))  # image of v = turn v
    for row, column in enumerate(columns):
        for other, source in enumerate(columns):
            here = found.observation[:, column] == source
            turns[here, row, other] = found.observation_sign[here, column]
    gone: Array = np.einsum("gji,j->gi", turns, way)  # turned back: turns are orthogonal
    return gone / max(float(np.linalg.norm(way)), 1e-9)
