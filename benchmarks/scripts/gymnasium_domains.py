"""Gymnasium's HalfCheetah-v5 and Ant-v5 as domains of skillkit, and our pusher as Gymnasium's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv, mujoco_env
from gymnasium.spaces import Box

from skillkit.envs import MujocoDomain, Task, Term
from skillkit.envs.mujoco import MujocoSimulation, compiled
from skillkit.envs.task import Quantities
from skillkit.envs.terms import Effort
from skillkit.envs.vector import ResumableEnv, TaskVectorEnv
from skillkit.types import Array, Entry, Spec

if TYPE_CHECKING:
    from mujoco.batch import Batch

ASSETS = Path(mujoco_env.__file__).parent / "assets"
DT = 0.05  # of both [s]
HEALTHY = (0.2, 1.0)  # height of an ant's torso [m]


class Theirs(MujocoDomain):
    """A model of Gymnasium's. The last entry is where the robot is, which only the reward reads."""

    frame_skip = 5

    @property
    def model_file(self) -> Path:
        return ASSETS / self.asset

    @cached_property
    def spec(self) -> Spec:
        bounds = compiled(self.model_file).actuator_ctrlrange
        action = (Entry(f"action_{i}", "N m", *map(float, b)) for i, b in enumerate(bounds))
        return Spec(self.entries, tuple(action), DT)

    def forward(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return (then["place"] - now["place"]) / DT

    def noisy(self, rng: np.random.Generator) -> tuple[Array, Array]:
        model = compiled(self.model_file)
        return model.qpos0 + rng.uniform(-0.1, 0.1, model.nq), 0.1 * rng.normal(size=model.nv)


def numbered(count: int) -> tuple[Entry, ...]:
    return (*(Entry(f"observation_{i}") for i in range(count)), Entry("place", "m"))


class HalfCheetah(Theirs):
    name = "gymnasium_half_cheetah"
    asset = "half_cheetah.xml"
    entries = numbered(17)

    def observe(self, batch: Batch) -> Array:
        return np.concatenate((batch.qpos[:, 1:], batch.qvel, batch.qpos[:, :1]), axis=-1)

    def start(self, rng: np.random.Generator) -> tuple[Array, Array]:
        return self.noisy(rng)


class Stale(MujocoSimulation):
    """What is derived from the state stays one substep behind, as Gymnasium leaves it.

    An episode begins with all of it computed, accelerations included: the solver starts there.
    """

    def reset(self, ids: Array, starts: Sequence[Any]) -> None:
        super().reset(ids, starts)
        self.batch.forward(ids=ids)

    def step(self, action: Array, rngs: Any) -> None:
        self.batch.ctrl = action
        self.batch.step(nstep=self.domain.frame_skip)


class Ant(Theirs):
    name = "gymnasium_ant"
    asset = "ant.xml"
    entries = numbered(27)

    def observe(self, batch: Batch) -> Array:
        torso = batch.model.body("torso").id
        return np.concatenate((batch.qpos[:, 2:], batch.qvel, batch.xpos[:, torso, :1]), axis=-1)

    def start(self, rng: np.random.Generator) -> tuple[Array, Array]:
        qpos, qvel = self.noisy(rng)
        model = compiled(self.model_file)
        return qpos - model.qpos0 + model.numeric("init_qpos").data, qvel

    def vector_env(self, task: Task, num_envs: int, seed: int, threads: int) -> ResumableEnv:
        simulation = Stale(self, compiled(self.model_file), num_envs, threads)
        return TaskVectorEnv(task, simulation, self.start, num_envs, seed)

    def unhealthy(self, now: Quantities, action: Array, then: Quantities) -> Array:
        height = then["observation_0"]
        return ~((HEALTHY[0] <= height) & (height <= HEALTHY[1]))

    def survival(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return 1.0 - self.unhealthy(now, action, then)


def half_cheetah() -> Task:
    on = HalfCheetah()
    terms = (Term("forward", on.forward), Term("effort", Effort(), -0.1))
    return Task("HalfCheetah-v5", on, "run", terms, 1000)


def ant() -> Task:
    on = Ant()
    terms = (
        Term("forward", on.forward),
        Term("survival", on.survival),
        Term("effort", Effort(), -0.5),
    )
    return Task("Ant-v5", on, "run", terms, 1000, ends=on.unhealthy)


class PlainPusher(MujocoEnv):
    """push_x as an environment of Gymnasium's, written as its own Pusher-v5 is."""

    metadata = {"render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"]}

    def __init__(self) -> None:
        model = Path(__file__).parents[2] / "tasks" / "assets" / "pusher.xml"
        space = Box(-np.inf, np.inf, (12,), np.float64)
        super().__init__(str(model), 5, space)

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        reward, info = self._get_rew(action)
        self.do_simulation(action, self.frame_skip)
        return self._get_obs(), reward, False, False, info

    def _get_rew(self, action: Array) -> tuple[float, dict[str, float]]:
        distance = -abs(self.get_body_com("puck")[0] + 1)
        effort = -0.1 * np.square(action).sum()
        return distance + effort, {"reward_distance": distance, "reward_effort": effort}

    def reset_model(self) -> Array:
        qpos = np.zeros(self.model.nq)
        qpos[:3] = self.np_random.uniform(-0.1, 0.1, 3)
        qpos[3:5] = self.np_random.uniform((0.3, -1.0), (1.0, -0.4))
        self.set_state(qpos, np.zeros(self.model.nv))
        return self._get_obs()

    def _get_obs(self) -> Array:
        arm = self.data.qpos.flatten()[:3], self.data.qvel.flatten()[:3]
        return np.concatenate((*arm, self.get_body_com("fork"), self.get_body_com("puck")))


gymnasium.register("PlainPusher-v0", PlainPusher, max_episode_steps=300)
