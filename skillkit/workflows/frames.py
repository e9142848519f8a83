"""Frames: what was learned in one frame of a symmetric robot, for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skillkit.envs import Task
from skillkit.envs.symmetry import Images, images, rotation_pairs
from skillkit.errors import IncompatibleSkills, InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.fan import Fan
from skillkit.policies import Policy, SymmetricPolicy
from skillkit.policies.symmetric import COMPASS, turned_back
from skillkit.replay import ReplayBuffer, union
from skillkit.rotation import Pair
from skillkit.types import Array

Tables = tuple[list[list[int]], list[list[int]]]  # of states and actions, as a policy takes them


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
    ways = _directions(found, task, way)
    return SymmetricPolicy(policy, _tables(found), ways.tolist(), _pairs(task))


def can_turn(task: Task) -> bool:
    """Whether there are frames in which the task is the same, and a plane to tell them apart."""
    return task.symmetric and task.on.plane is not None


def taught(tasks: Sequence[Task]) -> list[Task]:
    """What the policies of a run are taught in their one frame: `directed`, if all tasks have it.

    Between directions that are equally good a policy dithers: at the end of a stride nothing says
    where it was going. So one is preferred while it learns, and symmetry gives the others.
    """
    found = [task.directed for task in tasks if task.directed is not None and can_turn(task)]
    return found if len(found) == len(tasks) else [*tasks]


def lived_in_every_frame(
    replay: ReplayBuffer, policy: SymmetricPolicy, task: Task, generator: torch.Generator
) -> tuple[ReplayBuffer, Tensor]:
    """What was lived in the first frame, and its images in the others, which are as real.

    While the policy inside was learned it saw and did what is stored: it acted in the first frame.
    In frame g it sees and does the same where the world is g^-1 of that, turned by the rest of the
    way to the compass. The physics of the open is the same there; a scene may have walls that no
    symmetry knows, so in one the first frame is all.

    Args:
        generator: of the compasses.

    Returns:
        The episodes, frame after frame, with rewards and ends as stored; and for each transition a
        compass, c ~ N(0, I) of those that say its frame; where the world turns, it is that of the
        whole episode but for its length. (B, 2)

    Raises:
        IncompatibleSkills: the frames of the policy are not those of the domain.
    """
    stored, frames = replay.episodes(), len(policy.directions)
    lengths, size = stored["lengths"].long(), len(stored["actions"])
    in_the_open = task.scene is None
    drawn = torch.randn(frames * max(size, 100), COMPASS, generator=generator)
    said = policy.frame(drawn)
    known = policy.frames == _tables(images(task.spec, task.on.symmetries))
    same = list(policy.pairs) == _pairs(task)
    if not known or not same or not bool((said == 0).any()):
        raise IncompatibleSkills(
            f"the frames of the base's policy are not those of the domain {task.domain} any more; "
            "train the base again, or leave out --reuse-replay"
        )
    replays, compasses = [], []
    for g in range(frames if in_the_open else 1):
        here = drawn[said == g]
        if not len(here):  # of two frames with one direction the second is never said
            continue
        compass = here[torch.arange(size) % len(here)]
        way = policy.ways[g].expand(len(lengths), COMPASS)
        if policy.pairs:  # the world of an episode is turned as a whole
            way = functional.normalize(here[torch.arange(len(lengths)) % len(here)])
            compass = compass.norm(dim=-1, keepdim=True) * way.repeat_interleave(lengths, 0)
        image = _image(stored, policy, torch.tensor(g), way)
        replays.append(ReplayBuffer.from_episodes(image, replay.gamma))
        compasses.append(compass)
    return union(replays), torch.cat(compasses)


def _image(
    stored: Mapping[str, Tensor], policy: SymmetricPolicy, g: Tensor, way: Tensor
) -> dict[str, Tensor]:
    """Episodes as they are seen from frame g, the world of each turned to its way. (N, 2)"""
    of_actions = dict.fromkeys(("actions", "pre_tanh"), policy.of_actions)
    frames = {"observations": policy.of_states, **of_actions}
    found = {**stored, **{key: turned_back(stored[key], g, of) for key, of in frames.items()}}
    ways = way.repeat_interleave(stored["lengths"].long() + 1, 0)
    world = policy.towards(found["observations"], ways, g.expand(len(ways)))
    return {**found, "observations": world}


def _pairs(task: Task) -> list[Pair]:
    """What turns with the world by any angle: nothing in a scene, whose walls stay."""
    return rotation_pairs(task.on) if task.scene is None else []


def _tables(found: Images) -> Tables:
    """Signed positions, counted from 1."""
    tables = (found.observation, found.observation_sign), (found.action, found.action_sign)
    state, action = (((index + 1) * sign).astype(int).tolist() for index, sign in tables)
    return state, action


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
