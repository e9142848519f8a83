"""One Gymnasium environment: a batch of one, without the batch dimension."""

from __future__ import annotations

from typing import Any

import gymnasium

from skillkit.envs import catalog
from skillkit.envs.task import Task
from skillkit.errors import InvalidValue
from skillkit.types import Array


class SingleEnv(gymnasium.Env[Array, Array]):
    """A task as every Gymnasium tool knows it; actions are in native units.

    It truncates by itself at the task's horizon.
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, task: str | Task, render_mode: str | None = None) -> None:
        """
        Args:
            task: an expression such as "push_x+push_y", or a Task.
            render_mode: None or "rgb_array".
        """
        self.task = task if isinstance(task, Task) else catalog.task(task)
        if render_mode not in (None, "rgb_array"):
            raise InvalidValue(f"render_mode must be None or 'rgb_array', not {render_mode!r}")
        self.render_mode = render_mode
        self.metadata = self.metadata | {"render_fps": round(1 / self.task.spec.dt)}
        self.vector = catalog.make(self.task, 1, seed=0)
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space
        self._seeded = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begin an episode. -> observation float32 (O,), {}

        Args:
            seed: of this episode and those after it; None continues, from a random one at first.
        """
        super().reset(seed=seed)
        if seed is None and not self._seeded:  # never seeded: a random episode, as everywhere
            seed = int(self.np_random.integers(2**31))
        self._seeded = True
        obs, _ = self.vector.reset(seed=seed)
        return obs[0], {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """One control period under a native action (A,); beyond the bounds it is clipped.

        Returns:
            Observation float32 (O,), reward [r], terminated, truncated, {}.

        Raises:
            InvalidValue: an action of the wrong shape, or an episode that is over.
            NonFinite: a NaN or an infinity, in the action, the state or the reward.
        """
        obs, reward, terminated, truncated, _ = self.vector.step(action[None])
        return obs[0], float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> Array | None:
        """The picture, (height, width, 3) uint8, under render_mode "rgb_array"; None otherwise.

        Raises:
            InvalidValue: the domain has no picture, or there is no OpenGL.
        """
        return None if self.render_mode is None else self.task.on.draw(self.vector)

    def close(self) -> None:
        self.vector.close()
