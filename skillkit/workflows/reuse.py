"""Exact relabelling: what a base has stored, as the experience of a new layer on top of it.

At hold 1 and in the same scene a stored (s, a) is (s, h = f^-1(a; s)) of the new layer; no log-det
enters. A base in every frame gives the images of what it has stored as well. The critic of the base
is no start: it counts the base's reward and entropy, for which the prior stands already (THEORY 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skillkit.algorithms.actor_critic import ActorCritic
from skillkit.algorithms.learner import step
from skillkit.envs import Task
from skillkit.envs.latent import latent_spec
from skillkit.errors import IncompatibleSkills, InvalidValue, NonFinite
from skillkit.functional.losses import critic_loss
from skillkit.policies import SymmetricPolicy
from skillkit.replay import ReplayBuffer
from skillkit.skill import Skill
from skillkit.types import Array, Batch
from skillkit.workflows.base import Base
from skillkit.workflows.common import OnEvent, check_finite
from skillkit.workflows.frames import lived_in_every_frame
from skillkit.workflows.run import Run
from skillkit.workflows.streams import training

REUSE_HOLD = 1  # decisions of the base per latent
TOLERANCE = 1e-5  # between an action and that of its latent; also relative, where there is no tanh


@dataclass(frozen=True)
class ReuseConfig:
    """What is done with the base's transitions before the first new step."""

    updates: int = 5_000  # of the critics, towards the value of the identity; 0: none

    def __post_init__(self) -> None:
        if self.updates < 0:
            raise InvalidValue(f"reuse.updates must not be negative, got {self.updates}")


class Experience(NamedTuple):
    """Transitions of a new layer, episode after episode."""

    batch: Batch  # its actions are latents
    episode: Tensor  # (B,) which rows follow each other
    left_out: int  # transitions of the base that no latent gives back

    @property
    def counts(self) -> dict[str, int]:
        """What a manifest says of it."""
        return {"reused_transitions": len(self.episode), "left_out_transitions": self.left_out}


def experience(skill: Skill, base: Base, task: Task, seed: int = 0) -> Experience:
    """What a skill has stored, as the layer on top of it would have lived it in a task.

    The rows keep the discount of the base; where it is 0, the task ends. `seed`: of the compasses,
    for a base in every frame.

    Raises:
        InvalidValue: a latent would last; or the rewards of the domain are not known.
        IncompatibleSkills: what the skill has stored is no experience of the task; says why.
        NonFinite: the task's reward is no number there.
    """
    check_reusable(skill, base, task)

    def native(obs: Array, action: Array) -> Array:
        """What an action of the base's top layer makes those below it do."""
        u = torch.from_numpy(np.float32(action))
        for layer in reversed(base.layers[:-1]):
            u = layer.act(torch.from_numpy(obs), u)
        return task.spec.native(u.numpy())

    def reward(obs: Array, action: Array, next_obs: Array) -> Array:
        return task.reward(obs, native(obs, action), next_obs)

    def terminated(obs: Array, action: Array, next_obs: Array) -> Array:
        return task.terminated(obs, native(obs, action), next_obs)

    with torch.no_grad():
        as_stored, top = latent_spec(task.spec, REUSE_HOLD), base.layers[-1]
        lived, inverse = skill.replay, top.inverse
        if isinstance(top, SymmetricPolicy):
            generator = torch.Generator().manual_seed(training(seed).compasses)
            lived, compass = lived_in_every_frame(lived, top, task, generator)
            inverse = partial(top.inverse_at, compass)
        relabelled = lived.relabel(as_stored, reward, terminated)
        batch, pre_tanh = relabelled.all(), relabelled.episodes()["pre_tanh"]
        latent = inverse(batch.obs, batch.action, pre_tanh)
        again = top.act(batch.obs, latent)
    if not bool(batch.reward.isfinite().all()):
        raise NonFinite(
            f"{task.name} gives a transition of {skill.name} a reward that is no number"
        )
    close = torch.isclose(again, batch.action, rtol=TOLERANCE, atol=TOLERANCE)
    exact = close.all(-1) & latent.isfinite().all(-1)
    episode = relabelled.episode + (~exact).cumsum(0)  # nothing follows across a gap
    kept = Batch(*(column[exact] for column in batch._replace(action=latent)))
    return Experience(kept, episode[exact], int((~exact).sum()))


def check_reusable(skill: Skill, base: Base, task: Task) -> None:
    """Whether each stored action was one decision of the new layer, in the new task's world.

    Raises:
        InvalidValue, IncompatibleSkills: it was not; says why.
    """
    if base.holds[-1] != REUSE_HOLD:
        raise InvalidValue(
            f"what {skill.name} has stored is one action a step, and no latent that is held for "
            f"{base.holds[-1]}; set stack.hold=1, or leave out --reuse-replay"
        )
    if base.steps_per_decision != 1:
        raise IncompatibleSkills(
            f"what {skill.name} has stored are decisions held for several steps, with the sum of "
            "their rewards, so no other task can judge them; leave out --reuse-replay"
        )
    stored, wanted = skill.manifest.task["scene"], task.scene
    if stored != wanted:
        raise IncompatibleSkills(
            f"what {skill.name} has stored is no experience of {task.name}: its scene is "
            f"{stored or 'the open'}, and the task's is {wanted or 'the open'}; "
            "leave out --reuse-replay"
        )
    if skill.spec.observation != task.spec.observation:
        raise IncompatibleSkills(
            f"what {skill.name} has stored is no experience of {task.name}: what its domain "
            f"observes changed since; train {skill.name} again, or leave out --reuse-replay"
        )


def begin(run: Run, found: Experience, updates: int, notify: OnEvent) -> None:
    """A run before its first step: the experience in its replay, and its critics fitted to it.

    Raises:
        InvalidValue: the replay is too small, or the new layer does not begin as the identity.
        NonFinite: the critics became NaN.
    """
    put(found, run.replay, run.env.num_envs)
    if updates:
        fit(run, updates, notify)


def put(found: Experience, replay: ReplayBuffer, lanes: int) -> None:
    """Store transitions as if `lanes` environments had met them side by side.

    The next one of an episode is then as far away as in what will be collected, where sampling
    looks for it. An episode that runs over the end of a lane becomes two. Their numbers are
    negative, those of what will be collected are not.

    Raises:
        InvalidValue: the replay is too small.
    """
    count = len(found.episode)
    if count > replay.capacity:
        raise InvalidValue(
            f"the base gives {count:,} transitions, and train.replay_capacity={replay.capacity} "
            "does not hold them; raise it"
        )
    odd = count % lanes  # too few for all lanes, and stored beforehand
    rows = torch.arange(odd, count).view(lanes, -1)
    begins = torch.ones(count, dtype=torch.bool)
    begins[1:] = found.episode[1:] != found.episode[:-1]
    begins[rows[:, :1].flatten()] = True
    piece = begins.cumsum(0)
    piece -= count + 1
    ends = found.batch.discount == 0
    for side_by_side in [torch.arange(odd)] * (odd > 0) + list(rows.T):
        obs, latent, reward, _, next_obs = (c[side_by_side].numpy() for c in found.batch)
        over, episode = ends[side_by_side].numpy(), piece[side_by_side].numpy()
        replay.add(
            obs, latent, latent, reward, over, np.zeros_like(over), next_obs, episode, step=0
        )


def fit(run: Run, updates: int, notify: OnEvent) -> None:
    """Evaluate the identity, as which the new layer begins, by its own critics and their target.

    y = r + gamma (1-d) min_i Qbar_i(s', h'), h' ~ N(0, I): the KL to the prior is 0 (THEORY 7).
    """
    (trainee,) = run.trainees
    learner = trainee.learner
    assert isinstance(learner, ActorCritic)
    check_identity(learner, run.replay.sample(64, run.sampler).obs)
    for update in range(updates):
        batch = run.replay.sample(learner.config.batch_size, run.sampler, 0, run.sampling)
        with torch.no_grad():
            y = batch.reward + batch.discount * learner.target(
                batch.next_obs, learner.noise(len(batch.reward))
            )
        loss = critic_loss(learner.q.all(batch.obs, batch.action), y)
        step(learner.optimizers["q"], loss)
        learner.track()
        if (update + 1) % REPORT_EVERY == 0 or update + 1 == updates:
            trainee.metrics = {"critic_loss": loss.detach()}
            check_finite(trainee.metrics, run.collector.steps)
            notify({"kind": "fit", "update": update + 1, "critic_loss": float(loss.detach())})


REPORT_EVERY = 1_000  # updates


def check_identity(learner: ActorCritic, obs: Tensor) -> None:
    """Whether the new layer changes nothing about the base as yet. (B, O)

    Raises:
        InvalidValue: it does.
    """
    noise = learner.noise(len(obs))
    with torch.no_grad():
        latent = learner.policy.raw(obs, noise)
    if latent.shape != noise.shape or not torch.allclose(latent, noise, atol=TOLERANCE):
        raise InvalidValue(
            f"a new layer of kind {learner.policy.kind} does not begin as the identity, to whose "
            "value the base's transitions lead; use sac with sac.policy=real_nvp, or leave the "
            "critics to what comes with reuse.updates=0"
        )
