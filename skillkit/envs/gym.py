"""Any Gymnasium environment with Box observations and actions: "gym:HalfCheetah-v5"."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space

from skillkit.envs.domain import Domain
from skillkit.envs.interaction import interact
from skillkit.envs.mujoco import divert_warnings
from skillkit.envs.task import Task
from skillkit.envs.vector import (
    ResumableEnv,
    checked_actions,
    must_run,
    reset_mask,
    seeds,
    spaces,
)
from skillkit.errors import InvalidValue, NonFinite, UnknownName
from skillkit.types import Array, Entry, Spec

PREFIX = "gym:"
DEFAULT_HORIZON = 1000  # steps, of environments that set no limit


class GymDomain(Domain):
    """One Gymnasium id; its reward stays inside, so nothing of it can be relabelled."""

    relabellable = False

    def __init__(self, env_id: str) -> None:
        self.env_id, self.name = env_id, PREFIX + env_id
        self.horizon = gymnasium.spec(env_id).max_episode_steps or DEFAULT_HORIZON

    def create(self) -> gymnasium.Env[Any, Any]:
        """One environment that truncates after `horizon` steps.

        Raises:
            InvalidValue: it cannot be made here.
        """
        divert_warnings()  # many of them are MuJoCo's
        try:
            return gymnasium.make(self.env_id, max_episode_steps=self.horizon)
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise InvalidValue(f"Gymnasium cannot make {self.env_id}: {reason}") from error

    @cached_property
    def spec(self) -> Spec:
        env = self.create()
        try:
            seen, done = _box(self.name, "observation", env), _box(self.name, "action", env)
            observation = tuple(Entry(f"observation_{i}") for i in range(seen.shape[0]))
            action = tuple(
                Entry(f"action_{i}", "", float(low), float(high))
                for i, (low, high) in enumerate(zip(done.low, done.high, strict=True))
            )
            return Spec(observation, action, _control_period(env))
        finally:
            env.close()

    def sources(self) -> dict[str, bytes]:
        return {self.name: f"gymnasium {gymnasium.__version__}".encode()}

    def vector_env(self, task: Task, num_envs: int, seed: int, threads: int) -> ResumableEnv:
        return GymVectorEnv(task, self, num_envs, seed)


class GymVectorEnv(ResumableEnv):
    """E copies of a Gymnasium environment under the laws of `TaskVectorEnv`.

    Only they know their state, so what `ResumableEnv.state` asks for is not to be had.
    """

    def __init__(self, task: Task, domain: GymDomain, num_envs: int, seed: int) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.task, self.num_envs = task, num_envs
        self.single_observation_space, self.single_action_space = spaces(task.spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._envs = SyncVectorEnv(
            [domain.create] * num_envs, autoreset_mode=AutoresetMode.DISABLED
        )
        self._seeds = self._numbers(seed)  # for the first reset of each
        self._over = np.ones(num_envs, bool)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Array, dict[str, Any]]:
        """As `TaskVectorEnv.reset`."""
        mask = reset_mask(options, self.num_envs)
        if seed is not None:
            fresh = self._numbers(seed)
            self._seeds = [new if new is not None else old
                           for new, old in zip(fresh, self._seeds, strict=True)]  # fmt: skip
        obs, _ = self._envs.reset(seed=self._seeds, options={"reset_mask": mask.copy()})
        self._seeds = [None if reset else old
                       for reset, old in zip(mask, self._seeds, strict=True)]  # fmt: skip
        self._over[mask] = False
        return np.array(obs, np.float32), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """As `TaskVectorEnv.step`."""
        interact(self.num_envs)
        must_run(self._over, self.task.name)
        action = checked_actions(actions, self.task, self.num_envs)
        kind = self._envs.single_action_space.dtype
        obs, reward, terminated, truncated, _ = self._envs.step(action.astype(kind))
        if not (np.isfinite(obs).all() and np.isfinite(reward).all()):
            raise NonFinite(f"{self.task.name}: an observation or a reward is not finite")
        truncated = truncated & ~terminated
        self._over = terminated | truncated
        return (
            np.array(obs, np.float32),
            np.array(reward, np.float64),
            np.array(terminated),
            np.array(truncated),
            {},
        )

    def close_extras(self, **kwargs: Any) -> None:
        self._envs.close()

    def _numbers(self, seed: int | Sequence[int | None]) -> list[int | None]:
        """One integer per sub-environment, the same however many there are."""
        return [
            None if pair is None else int(np.random.SeedSequence(pair).generate_state(1)[0])
            for pair in seeds(seed, self.num_envs)
        ]


@cache
def gym_task(name: str) -> Task:
    """The task "gym:ID".

    Raises:
        UnknownName: no such id is registered.
        InvalidValue: spaces that skillkit cannot use, an environment that cannot be made here, or
            an id with a module prefix, which would import code.
    """
    env_id = name.removeprefix(PREFIX)
    if ":" in env_id:
        raise InvalidValue(
            f"{name}: an id with a module would import that module; import it yourself, for "
            f"instance in a task file, and use {PREFIX}{env_id.rpartition(':')[2]}"
        )
    try:
        domain = GymDomain(env_id)
    except gymnasium.error.Error:
        known = [PREFIX + known for known in gymnasium.registry]
        raise UnknownName("Gymnasium environment", name, known) from None
    task = Task(name, domain, f"Gymnasium's {env_id}", (), domain.horizon)
    _ = task.spec  # refuses what cannot be used now, not in the middle of a run
    return task


def _box(name: str, kind: str, env: gymnasium.Env[Any, Any]) -> Box:
    space = env.action_space if kind == "action" else env.observation_space
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise InvalidValue(
            f"{name} has the {kind} space {space}; skillkit needs a Box of one dimension"
        )
    if kind == "action" and not space.is_bounded():
        raise InvalidValue(f"{name} has unbounded actions; skillkit needs finite bounds")
    return space


def _control_period(env: gymnasium.Env[Any, Any]) -> float:
    """Seconds per step, as far as the environment says; 1 otherwise."""
    dt = getattr(env.unwrapped, "dt", None)
    fps = env.metadata.get("render_fps")
    return float(dt) if dt else 1 / fps if fps else 1.0
