"""Environment and policy in, replay out; with its own accounting of episodes."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv

from skillkit.errors import NonFinite
from skillkit.policies import Policy
from skillkit.policies.policy import unsquash
from skillkit.replay import ReplayBuffer
from skillkit.types import Array, Spec


class Collector:
    """Steps E environments with a policy and stores every transition.

    The observation after a step is always the true next one; finished episodes are reset by
    mask afterwards, so no transition ever crosses an episode boundary.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        spec: Spec,
        replay: ReplayBuffer,
        generator: torch.Generator,
        correlation: float = 0.0,
        exploration: float = 0.0,
    ) -> None:
        """Args:
        correlation: of the policy's noise eps between neighbouring steps, in [0, 1). eps stays
            N(0, I) at each step, so every single action is the policy's own; but a push that
            lasts moves a body where white noise only shakes it.
        exploration: std of Gaussian noise added to the pre-tanh action [-]; for policies that
            have no noise of their own.
        """
        self.env, self.spec, self.replay, self.generator = env, spec, replay, generator
        self.correlation, self.exploration = correlation, exploration
        self._last: torch.Tensor | None = None  # (E, A or noise_dim), the previous noise
        self.steps = 0  # environment steps taken, over all environments
        self.returns: deque[float] = deque(maxlen=20)  # of the latest finished episodes [r]
        self.obs: Array | None = None  # (E, O)
        self._running = np.zeros(env.num_envs)
        self._episode = np.arange(env.num_envs)
        self.episodes = env.num_envs  # begun so far

    def resume(self, steps: int, episodes: int) -> None:
        """Go on after an interruption: the environments begin new episodes."""
        self.steps, self.obs = steps, None
        self._running[:] = 0.0
        self._episode = episodes + np.arange(self.env.num_envs)
        self.episodes = episodes + self.env.num_envs

    def step(self, policy: Policy | None) -> None:
        """One step in every environment; without a policy the action is uniform."""
        if self.obs is None:
            self.obs, _ = self.env.reset()
        pre_tanh, action = self._choose(policy, self.obs)
        next_obs, reward, terminated, truncated, _ = self.env.step(self.spec.native(action))
        if not (np.isfinite(next_obs).all() and np.isfinite(reward).all()):
            raise NonFinite(
                f"the environment returned a NaN or an infinity at step {self.steps}; "
                "check the task's reward and the model's limits"
            )
        self.replay.add(
            self.obs, action, pre_tanh, reward, terminated, truncated, next_obs,
            self._episode, self.steps,
        )  # fmt: skip
        self.steps += self.env.num_envs
        self._running += reward
        self.obs = self._reset(next_obs, terminated | truncated)

    def _choose(self, policy: Policy | None, obs: Array) -> tuple[Array, Array]:
        """Pre-tanh and unit action. -> (E, A), (E, A)"""
        if policy is None:
            noise = self._noise(len(obs), self.spec.action_dim)
            action = torch.erf(noise / 2**0.5)  # = 2 Phi(eps) - 1, uniform on [-1, 1]
            return unsquash(action).numpy(), action.numpy()
        with torch.no_grad():
            device = next(policy.parameters()).device
            noise = self._noise(len(obs), policy.noise_dim)
            u = policy.raw(torch.from_numpy(obs).to(device), noise.to(device)).cpu()
            if self.exploration:
                u = u + self.exploration * torch.randn(u.shape, generator=self.generator)
        return u.numpy(), torch.tanh(u).numpy()

    def _noise(self, count: int, dim: int) -> torch.Tensor:
        """eps_t = rho eps_{t-1} + sqrt(1 - rho^2) xi_t, which is N(0, I) for every rho. (E, dim)"""
        noise = torch.randn(count, dim, generator=self.generator)
        if self.correlation and self._last is not None and self._last.shape == noise.shape:
            rho = self.correlation
            noise = rho * self._last + (1 - rho**2) ** 0.5 * noise
        self._last = noise
        return noise

    def _reset(self, obs: Array, done: Array) -> Array:
        if not done.any():
            return obs
        self.returns.extend(self._running[done].tolist())
        self._running[done] = 0.0
        count = int(done.sum())
        self._episode = self._episode.copy()
        self._episode[done] = self.episodes + np.arange(count)
        self.episodes += count
        return self.env.reset(options={"reset_mask": done})[0]
