"""Environment and policies in, replay out; with its own accounting of episodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from skillkit.envs import Task
from skillkit.envs.latent import LASTED
from skillkit.envs.vector import TaskVectorEnv
from skillkit.errors import InvalidValue
from skillkit.guide import Guide
from skillkit.policies import Policy
from skillkit.policies.policy import unsquash
from skillkit.policies.prior import Prior
from skillkit.replay import ReplayBuffer
from skillkit.turning import Turning
from skillkit.types import Array, Spec


@dataclass(frozen=True)
class Exploration:
    """How actions differ from independent samples of the policy; SAC learns from any of them."""

    correlation: float = 0.0  # rho of the noise between neighbouring steps, in [0, 1]. It stays
    # N(0, I) at each step, so every single action is the policy's own; but a push that lasts moves
    # a body where white noise only shakes it. At 1 an episode has one noise from its first step to
    # its last, and an upper layer before it learns anything one latent
    share: float = 0.0  # of steps whose actions are uniform instead, in [0, 1), in stretches.
    # They show the critics what lies beside the policy's own path, which composition needs. Those
    # of an upper layer are latents from N(0, I): what the layers below do by themselves
    length: float = 50.0  # of a stretch of uniform actions, on average [steps]
    hand_over: float = 0.0  # where several skills are trained together, how long one acts until
    # another takes over, on average [steps]; 0: an episode belongs to one. A skill thus learns what
    # to do where the others lead, which is what their composition will ask of it
    added_std: float = 0.0  # of noise that is added before the tanh, for a policy without any
    turn_every: float = 0.0  # in a symmetric task, how long the robot sees the world from one of
    # its frames until it sees it from another, on average [steps]; 0: always from the same

    def __post_init__(self) -> None:
        if not (0 <= self.correlation <= 1 and 0 <= self.share < 1):
            raise InvalidValue(
                "explore.correlation must lie in [0, 1], and explore.share in [0, 1)"
            )
        if self.length < 1 or self.added_std < 0:
            raise InvalidValue(
                "explore.length must be at least 1, and explore.added_std at least 0"
            )
        if self.hand_over != 0 and self.hand_over < 1:
            raise InvalidValue("explore.hand_over takes at least 1 step, or 0 for whole episodes")
        if self.turn_every != 0 and self.turn_every < 1:
            raise InvalidValue("explore.turn_every takes at least 1 step, or 0 for one frame")
        if (needed := self.share / (1 - self.share)) > self.length:  # with single steps between
            raise InvalidValue(
                f"explore.share={self.share:g} takes stretches of at least {needed:.3g} steps; "
                "raise explore.length"
            )


class Collector:
    """Steps E environments with one policy, or with several that share them, and stores it all.

    Several policies mean several tasks of one domain: each environment is in the hands of one
    policy at a time, and every transition is stored with the reward of every task.
    The observation after a step is always the true next one; finished episodes are reset by
    mask afterwards, so no transition ever crosses an episode boundary.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        spec: Spec,
        replay: ReplayBuffer,
        generator: torch.Generator,
        exploration: Exploration | None = None,
        tasks: Sequence[Task] = (),
        turning: Turning | None = None,
        guide: Guide | None = None,
    ) -> None:
        """`tasks`: whose rewards to store; none, and it is the environment's own reward.

        `turning`: from which frames the world is seen; with it come `tasks`, whose rewards are of
        what is seen.

        `guide`: which episodes are rehearsals, and along which plans others begin, once there are
        some; the world is simulated here.
        """
        self.tasks = tuple(tasks)
        self.env, self.spec, self.replay, self.generator = env, spec, replay, generator
        self.prior = Prior(spec.action_dim, spec.unbounded)
        self.exploration = exploration or Exploration()
        self.turning, self.guide = turning, guide
        self.steps = 0  # environment steps taken, over all environments
        self.before = 0  # of them before the latest call
        self.returns: deque[float] = deque(maxlen=20)  # of the latest finished episodes [r]
        self.obs: Array | None = None  # (E, O)
        self.episodes = env.num_envs  # begun so far
        self._episode = np.arange(env.num_envs)
        self._running = np.zeros(env.num_envs)
        self._last: dict[str, torch.Tensor] = {}  # the previous noise, by what it is for
        self._begun = torch.ones(env.num_envs, dtype=torch.bool)  # an episode, with this step
        self._straying = torch.zeros(env.num_envs, dtype=torch.bool)
        self._acting = torch.arange(env.num_envs) % max(len(self.tasks), 1)

    def state(self) -> dict[str, Any]:
        """Plain data, for a checkpoint: everything but the environment and the replay."""
        assert self.obs is not None, "there is nothing to save before the first step"
        return {
            "steps": self.steps,
            "before": self.before,
            "episodes": self.episodes,
            "returns": [*self.returns],
            "obs": self.obs.tolist(),
            "episode": self._episode.tolist(),
            "running": self._running.tolist(),
            "last": {purpose: noise.tolist() for purpose, noise in self._last.items()},
            "begun": self._begun.tolist(),
            "straying": self._straying.tolist(),
            "acting": self._acting.tolist(),
            "turning": self.turning.state() if self.turning else None,
            "guide": self.guide.state() if self.guide else None,
            "generator": self.generator.get_state().tolist(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`; the environment must go on where it was, too."""
        self.steps, self.before = state["steps"], state["before"]
        self.episodes = state["episodes"]
        self.returns.clear()
        self.returns.extend(state["returns"])
        self.obs = np.array(state["obs"], np.float32)
        self._episode = np.array(state["episode"])
        self._running = np.array(state["running"])
        self._last = {purpose: torch.tensor(noise) for purpose, noise in state["last"].items()}
        self._begun = torch.tensor(state["begun"])
        self._straying = torch.tensor(state["straying"])
        self._acting = torch.tensor(state["acting"])
        if self.turning:
            self.turning.load_state(state["turning"])
        if self.guide:
            self.guide.load_state(state["guide"])
        self.generator.set_state(torch.tensor(state["generator"], dtype=torch.uint8))

    def restart(self) -> None:
        """Begin a new episode in every environment, as if none had been running."""
        seed = int(torch.randint(2**31, (), generator=self.generator))  # not those of the beginning
        world, _ = self.env.reset(seed=seed)
        self.obs = self._seen(world)
        self._begun[:] = True
        self._running[:] = 0.0
        self._episode = self.episodes + np.arange(self.env.num_envs)
        self.episodes += self.env.num_envs

    def step(self, policies: Sequence[Policy], rehearsed: Sequence[Policy] = ()) -> None:
        """One step in every environment; without a policy the action is the prior's.

        Args:
            policies: one, or one for each of the tasks; none: the prior acts.
            rehearsed: those of sums of the tasks, which act in episodes of their own.
        """
        if self.obs is None:
            self.obs, _ = self.env.reset()
        u = self._choose([*policies, *rehearsed] if policies else (), self.obs)
        action, pre_tanh = self.prior.action(u).numpy(), u.numpy()
        native = self.spec.native(action)
        there = self.turning.acted(native) if self.turning else native
        world, reward, terminated, truncated, info = self.env.step(there)
        next_obs = self._seen(world)
        lasted = info.get(LASTED, np.ones(self.env.num_envs, np.int64))
        rewards = [task.reward(self.obs, native, next_obs) for task in self.tasks] or [reward]
        self.replay.add(
            self.obs, action, pre_tanh, np.stack(rewards, axis=1), terminated, truncated, next_obs,
            self._episode, self.steps, lasted,
        )  # fmt: skip
        self.before = self.steps
        self.steps += int(lasted.sum())
        self._running += np.mean(rewards, axis=0)
        world = self._reset(world, terminated | truncated, len(rehearsed))
        if self.turning:
            self._number(self.turning.turn())  # what comes is of another frame than what was
        self.obs = self._seen(world)

    def _seen(self, world: Array) -> Array:
        """Observations as the policies get them. (E, O)"""
        return self.turning.seen(world) if self.turning else world

    def _choose(self, policies: Sequence[Policy], obs: Array) -> torch.Tensor:
        """Pre-tanh actions. (E, O) -> (E, A)"""
        blind = self.prior.raw(self._noise("blind", self.spec.action_dim))
        if not policies:
            return blind
        u = self._act(policies, torch.from_numpy(obs))
        if self.exploration.added_std:
            u = u + self.exploration.added_std * self._noise("added", self.spec.action_dim)
        return self._guided(torch.where(self._stray()[:, None], blind, u))

    def _guided(self, u: torch.Tensor) -> torch.Tensor:
        """Where a plan is followed, it decides. (E, A) -> (E, A)"""
        if not (self.guide and self.guide.plans):
            return u
        ids, native = self.guide.actions()
        noise = self._noise("guide", u.shape[-1])[ids].numpy()
        if len(ids):
            action = self.spec.unit(native) + self.guide.strength[ids, None] * noise
            u[ids] = unsquash(torch.from_numpy(action).to(u))
        return u

    @torch.no_grad()
    def _act(self, policies: Sequence[Policy], obs: torch.Tensor) -> torch.Tensor:
        """The policy in charge of each environment acts. (E, O) -> (E, A)"""
        device = next(policies[0].parameters()).device
        noise = self._noise("policy", policies[0].noise_dim)
        if len(policies) == 1:
            return policies[0].raw(obs.to(device), noise.to(device)).cpu()
        if self.exploration.hand_over:
            chance = torch.rand(self.env.num_envs, generator=self.generator)
            shared = self._acting < len(self.tasks)  # who rehearses goes on to the end
            self._deal(shared & (chance < 1 / self.exploration.hand_over))
        u = torch.full((len(obs), self.spec.action_dim), torch.nan)  # for one in nobody's hands
        for index, policy in enumerate(policies):
            mine = self._acting == index
            u[mine] = policy.raw(obs[mine].to(device), noise[mine].to(device)).cpu()
        return u

    def _deal(self, where: torch.Tensor) -> None:
        """Another skill, drawn anew, takes charge of these environments. (E,) bool"""
        drawn = torch.randint(len(self.tasks), where.shape, generator=self.generator)
        self._acting = torch.where(where, drawn, self._acting)

    def _noise(self, purpose: str, dim: int) -> torch.Tensor:
        """eps_t = rho eps_{t-1} + sqrt(1 - rho^2) xi_t, which is N(0, I) for every rho. (E, dim)"""
        noise = torch.randn(self.env.num_envs, dim, generator=self.generator)
        if purpose in self._last:
            rho = self.exploration.correlation
            mixed = rho * self._last[purpose] + (1 - rho**2) ** 0.5 * noise
            noise = torch.where(self._begun[:, None], noise, mixed) if rho == 1 else mixed
        self._last[purpose] = noise
        return noise

    def _stray(self) -> torch.Tensor:
        """Which environments act uniformly now: a two-state Markov chain each. (E,) bool"""
        share, length = self.exploration.share, self.exploration.length
        begin = share / (1 - share) / length
        chance = torch.rand(self.env.num_envs, generator=self.generator)
        self._straying = torch.where(self._straying, chance >= 1 / length, chance < begin)
        return self._straying

    def _reset(self, obs: Array, done: Array, sums: int) -> Array:
        self._begun = torch.from_numpy(done)
        if not done.any():
            return obs
        self.returns.extend(self._running[done].tolist())
        self._running[done] = 0.0
        self._number(done)
        if len(self.tasks) > 1:
            self._deal(torch.from_numpy(done))
        fresh, _ = self.env.reset(options={"reset_mask": done})
        if self.guide and sums:
            ids, which = self.guide.rehearse(done, sums)
            self._acting[ids] = len(self.tasks) + torch.from_numpy(which)
            done = done & (self._acting < len(self.tasks)).numpy()
        if self.guide and self.guide.plans:
            ids, states, elapsed = self.guide.begin(done)
            if len(ids):
                assert isinstance(self.env, TaskVectorEnv)
                return self.env.begin(ids, states, elapsed)
        return np.asarray(fresh)

    def _number(self, begun: Array) -> None:
        """The next transitions of these environments are of episodes of their own. (E,) bool"""
        count = int(begun.sum())
        self._episode = self._episode.copy()
        self._episode[begun] = self.episodes + np.arange(count)
        self.episodes += count
