"""The one environment: many episodes of a task, in step, behind Gymnasium's VectorEnv.

Sub-environments never reset by themselves (AutoresetMode.DISABLED): the observation that `step`
returns is always the true next one, and ended sub-environments are reset by mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from skillkit.envs.interaction import interact
from skillkit.envs.task import Task
from skillkit.errors import InvalidValue, NonFinite
from skillkit.types import Array, Spec


class ResumableEnv(VectorEnv[Array, Array, Array]):
    """A vector environment that a training can leave and take up again."""

    def state(self) -> dict[str, Any] | None:
        """Plain data with which `load_state` continues the running episodes, bit for bit.

        None where nothing can: they must begin anew.
        """
        return None

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`, in an environment that was made as that one was."""
        raise NotImplementedError


class Simulation(Protocol):
    """Dynamics of E independent copies of a domain."""

    @property
    def state(self) -> Array:
        """Everything that the next step depends on. -> (E, S) float64"""

    def reset(self, ids: Array, starts: Sequence[Any]) -> None:
        """Put the copies `ids` into the states `starts`."""

    def step(self, action: Array, rngs: Sequence[np.random.Generator]) -> None:
        """Advance every copy by one control period under native actions (E, A)."""

    def observe(self) -> Array:
        """-> (E, O)"""

    def load_state(self, state: Array, ids: Array | None = None) -> None:
        """Continue from that state, all copies or those; what is observed is up to date then."""


def spaces(spec: Spec) -> tuple[Box, Box]:
    """Observation and action space of one sub-environment."""
    low = np.array([entry.low for entry in spec.observation], np.float32)
    high = np.array([entry.high for entry in spec.observation], np.float32)
    return Box(low, high, dtype=np.float32), Box(
        spec.low.astype(np.float32), spec.high.astype(np.float32), dtype=np.float32
    )


class TaskVectorEnv(ResumableEnv):
    """E episodes of one task. Actions are native; whatever exceeds the bounds is clipped.

    One random generator per sub-environment: what happens in one does not depend on how many
    there are, nor on threads.
    """

    def __init__(
        self,
        task: Task,
        simulation: Simulation,
        start: Callable[[np.random.Generator], Any],
        num_envs: int,
        seed: int,
    ) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.task, self.simulation, self.num_envs = task, simulation, num_envs
        self.single_observation_space, self.single_action_space = spaces(task.spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._start = start
        self.rngs = [np.random.default_rng(pair) for pair in seeds(seed, num_envs)]
        self._elapsed = np.zeros(num_envs, np.int64)
        self._over = np.ones(num_envs, bool)  # needs a reset before it can step

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """Draw initial states; with options={"reset_mask": (E,) bool} only where it is True.

        Args:
            seed: restarts the generators: of sub-environment i with (seed, i), or, from a
                sequence, with (seed[i], 0); None continues them.

        Returns:
            Observation of every sub-environment, reset or not, float32 (E, O), and {}.

        Raises:
            InvalidValue: the mask is not a boolean array (E,) with at least one True.
        """
        mask = reset_mask(options, self.num_envs)
        ids = np.flatnonzero(mask)
        if seed is not None:
            self._reseed(seed, ids)
        self.simulation.reset(ids, [self._start(self.rngs[i]) for i in ids])
        self._elapsed[mask] = 0
        self._over[mask] = False
        return self._observe(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One control period in every sub-environment.

        Returns:
            Observation float32 (E, O), reward float64 (E,), terminated and truncated (E,), {}.

        Raises:
            InvalidValue: actions of the wrong shape, or a sub-environment that waits for reset.
            NonFinite: a NaN or an infinity, in an action, a state or a reward.
            InteractionForbidden: within `forbid_interaction`.
        """
        interact(self.num_envs)
        must_run(self._over, self.task.name)
        action = checked_actions(actions, self.task, self.num_envs)
        before = self._seen
        self.simulation.step(action, self.rngs)
        self._elapsed += 1
        after = self._observe()
        reward = self.task.reward(before, action, after)
        if not finite(reward):
            self._refuse(~np.isfinite(reward), "reward")
        terminated = self.task.terminated(before, action, after)
        truncated = ~terminated & (self._elapsed >= self.task.horizon)
        self._over = terminated | truncated
        return after, reward, terminated, truncated, {}

    def begin(self, ids: Array, states: Array, elapsed: Array) -> Array:
        """Begin episodes in states that such a simulation was in, after so many steps of theirs.

        Args:
            ids: of the sub-environments. (N,)
            states: rows of `simulation.state`. (N, S)
            elapsed: steps after which an episode was there, fewer than the horizon. (N,)

        Returns:
            Observation of every sub-environment, float32 (E, O).
        """
        self.simulation.load_state(states, ids)
        self._elapsed[ids] = elapsed
        self._over[ids] = False
        return self._observe()

    def state(self) -> dict[str, Any]:
        """As `ResumableEnv.state`."""
        return {
            "simulation": self.simulation.state.tolist(),
            "rngs": [rng.bit_generator.state for rng in self.rngs],
            "elapsed": self._elapsed.tolist(),
            "over": self._over.tolist(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As `ResumableEnv.load_state`."""
        self.simulation.load_state(np.array(state["simulation"]))
        for rng, saved in zip(self.rngs, state["rngs"], strict=True):
            rng.bit_generator.state = saved
        self._elapsed[:] = state["elapsed"]
        self._over[:] = state["over"]
        self._observe()

    def _observe(self) -> Array:
        obs = self.simulation.observe().astype(np.float32)
        for values in (self.simulation.state, obs):
            if not finite(values):
                self._refuse(np.asarray(~np.isfinite(values).all(axis=1)), "state")
        self._seen = obs.copy()  # the caller may change the array that it got
        return obs

    def _refuse(self, bad: Array, what: str) -> None:
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise NonFinite(
                f"task {self.task.name}: the {what} of sub-environment {i} is not finite after "
                f"{self._elapsed[i]} steps; check the model, the time step and the reward"
            )

    def _reseed(self, seed: int | Sequence[int | None], ids: Array) -> None:
        pairs = seeds(seed, self.num_envs)
        for i in ids:
            if (pair := pairs[i]) is not None:
                self.rngs[i] = np.random.default_rng(pair)


def seeds(seed: int | Sequence[int | None], num_envs: int) -> list[tuple[int, int] | None]:
    """What seeds each sub-environment: (seed, i), or (seed[i], 0) from a sequence.

    So sub-environment i does not depend on how many there are, and one environment with seed s
    equals sub-environment 0 of many.

    Raises:
        InvalidValue: a negative seed, or a sequence of another length.
    """
    if isinstance(seed, int | np.integer):
        pairs: list[tuple[int, int] | None] = [(int(seed), i) for i in range(num_envs)]
    else:
        pairs = [None if one is None else (int(one), 0) for one in seed]
    if len(pairs) != num_envs or any(pair and pair[0] < 0 for pair in pairs):
        raise InvalidValue(f"seed must be an integer >= 0, or {num_envs} of them, got {seed!r}")
    return pairs


def reset_mask(options: dict[str, Any] | None, num_envs: int) -> Array:
    """Which sub-environments to reset: all, unless options["reset_mask"] says otherwise.

    Raises:
        InvalidValue: the mask is not a boolean array (num_envs,) with at least one True.
    """
    if not options or "reset_mask" not in options:
        return np.ones(num_envs, bool)
    mask = options["reset_mask"]
    fits = isinstance(mask, np.ndarray) and mask.dtype == bool and mask.shape == (num_envs,)
    if not fits or not mask.any():
        raise InvalidValue(
            f"reset_mask must be a boolean array of shape ({num_envs},) with at least one True"
        )
    return np.asarray(mask)


def must_run(over: Array, name: str) -> None:
    """Refuse to step sub-environments whose episode is over.

    Raises:
        InvalidValue: one of them waits for a reset.
    """
    if over.any():
        raise InvalidValue(
            f"task {name}: sub-environment {int(np.flatnonzero(over)[0])} has no running episode; "
            'reset it first: env.reset(options={"reset_mask": terminated | truncated})'
        )


def checked_actions(actions: Array, task: Task, num_envs: int) -> Array:
    """Native actions, float64, clipped to their bounds. (E, A)

    Raises:
        InvalidValue: the wrong shape.
        NonFinite: a NaN.
    """
    action = np.asarray(actions, np.float64)
    if action.shape != (num_envs, task.spec.action_dim):
        raise InvalidValue(
            f"task {task.name}: actions must have shape ({num_envs}, {task.spec.action_dim}), "
            f"got {action.shape}"
        )
    action = action.clip(task.spec.low, task.spec.high)
    if not finite(action) and np.isnan(action).any():
        row, column = np.argwhere(np.isnan(action))[0]
        raise NonFinite(
            f"task {task.name}: action {task.spec.action[column].name} of sub-environment "
            f"{row} is NaN"
        )
    return action


def finite(values: Array) -> bool:
    """Whether all are finite, quickly; a False may also mean that their squares are not."""
    if values.size <= ONE_THREAD:
        return math.isfinite(np.vdot(values, values))
    flat, middle = values.reshape(-1), values.size // 2
    return finite(flat[:middle]) and finite(flat[middle:])


# For a longer product OpenBLAS wakes threads that spin for a while afterwards, on the cores that
# the physics needs next.
ONE_THREAD = 10_000
