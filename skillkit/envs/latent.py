"""A policy becomes part of the environment: its latent is the new action (thesis ch. 7; THEORY 7).

The frozen policy is a NumPy callable, (observation, latent) -> action of the environment below, and
decides anew at each step of that environment while one latent is held. An environment of latents
takes another policy on top, so a stack of any depth is made by wrapping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from skillkit.envs.vector import ResumableEnv, must_run, spaces
from skillkit.errors import InvalidValue, NonFinite
from skillkit.types import Array, Entry, Spec

Act = Callable[[Array, Array], Array]  # (E, O), (E, A) -> (E, A)
LASTED = "lasted"  # in a step's info: environment steps that each decision lasted (E,)


def latent_spec(spec: Spec, hold: int, width: int | None = None) -> Spec:
    """What an upper layer reads and writes: the same observation, and latents instead of actions.

    Args:
        spec: of the environment below.
        hold: how many of its steps a latent is held.
        width: entries of a latent; None: as many as an action has.
    """
    width = spec.action_dim if width is None else width
    latents = tuple(Entry(f"latent_{i}") for i in range(width))
    return Spec(spec.observation, latents, hold * spec.dt)


class LatentAction(ResumableEnv):
    """E episodes, acted upon by latents h (E, A), each held for up to `hold` steps of `env`.

    A decision that lasts m environment steps is worth R = sum_{k<m} gamma^k r_k; `info["lasted"]`
    holds m, and gamma^m discounts what follows. An episode that ends inside a hold ends the
    decision; its sub-environment is reset at once and runs idly until those beside it are through.

    Attributes:
        interface: what an upper layer reads and writes.

    Args:
        env: of native actions, or of latents.
        act: the policy below, from observations and latents to actions of `env`.
        spec: of `env`.
        hold: steps of `env` per decision, at least 1.
        gamma: discount per environment step.
        width: entries of a latent; None: as many as an action of `env` has.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        act: Act,
        spec: Spec,
        hold: int,
        gamma: float,
        width: int | None = None,
    ) -> None:
        if hold < 1:
            raise InvalidValue(f"a latent is held for at least 1 step, not {hold}")
        self.env: Any = env  # ours takes several seeds
        self.act, self.hold, self.gamma = act, hold, gamma
        self.interface = latent_spec(spec, hold, width)
        self.metadata, self.num_envs = env.metadata, env.num_envs
        self.single_observation_space, self.single_action_space = spaces(self.interface)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self.action_space = batch_space(self.single_action_space, env.num_envs)
        self._over = np.ones(env.num_envs, bool)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """As that of the environment below."""
        self._obs, info = self.env.reset(seed=seed, options=options)
        self._over &= ~(options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        return self._obs.copy(), info

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One decision in every sub-environment.

        Returns:
            Observation after it, R float64 (E,), terminated and truncated (E,), {"lasted": m (E,)}.

        Raises:
            InvalidValue: latents of the wrong shape, or a sub-environment that waits for reset.
            NonFinite: a latent that is no number; and whatever the environment below finds.
        """
        must_run(self._over, "of an upper layer")
        latent = self._checked(actions)
        final, reward = self._obs.copy(), np.zeros(self.num_envs)
        lasted = np.zeros(self.num_envs, np.int64)
        terminated, truncated = np.zeros((2, self.num_envs), bool)
        for step in range(self.hold):
            obs, r, ends, stops, info = self.env.step(self.act(self._obs, latent))
            now = ~(terminated | truncated)  # whose decision still lasts
            reward[now] += self.gamma ** lasted[now] * r[now]
            lasted[now] += info.get(LASTED, np.ones_like(lasted))[now]
            final[now] = obs[now]
            terminated |= now & ends
            truncated |= now & stops
            self._obs = obs
            if (terminated | truncated).all():
                break
            if (idle := ends | stops).any() and step + 1 < self.hold:
                self._obs, _ = self.env.reset(options={"reset_mask": idle})
        self._over = terminated | truncated
        return final, reward, terminated, truncated, {LASTED: lasted}

    def state(self) -> dict[str, Any] | None:
        """As `ResumableEnv.state`: between decisions no latent is held."""
        below = self.env.state()
        own = {"obs": self._obs.tolist(), "over": self._over.tolist()}
        return None if below is None else {"below": below, **own}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As `ResumableEnv.load_state`."""
        self.env.load_state(state["below"])
        self._obs = np.array(state["obs"], np.float32)
        self._over[:] = state["over"]

    def _checked(self, latent: Array) -> Array:
        """Finite numbers, (E, A)."""
        with np.errstate(over="ignore"):
            found = np.asarray(latent, np.float32)
        if found.shape != (needed := (self.num_envs, self.interface.action_dim)):
            raise InvalidValue(f"latents must have shape {needed}, got {found.shape}")
        if not np.isfinite(found).all():
            row, column = np.argwhere(~np.isfinite(found))[0]
            raise NonFinite(
                f"{self.interface.action[column].name} of sub-environment {row} is "
                f"{found[row, column]}; a latent must be a number"
            )
        return found

    def close_extras(self, **kwargs: Any) -> None:
        self.env.close()
