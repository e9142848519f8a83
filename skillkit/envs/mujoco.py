"""Domains simulated by MuJoCo, all sub-environments in one `mujoco.batch.Batch`."""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skillkit.envs.domain import PICTURE, Domain
from skillkit.envs.task import Task
from skillkit.errors import InvalidValue
from skillkit.types import Array, Entry, Spec

if TYPE_CHECKING:  # importing MuJoCo takes longer than listing every task
    from gymnasium.vector import VectorEnv
    from mujoco import MjData, MjModel
    from mujoco.batch import Batch

    from skillkit.envs.vector import ResumableEnv

SCENE = "scene/"  # before the name of everything that a scene brings
PERSISTENT = 128  # copies that have all of MuJoCo's memory each: 14 MB of addresses, .2 MB in use


class MujocoDomain(Domain):
    """A domain whose dynamics are an MJCF file.

    Attributes:
        asset: the MJCF file, in `assets/` beside the file that declares the domain.
        frame_skip: physics steps per control step.
        entries: the observation, in the order of `observe`.
        action_unit: of every actuator; names and bounds come from the model.
        camera: through which `draw` looks, unless the scene has one; None: MuJoCo's free camera.
    """

    asset: str
    frame_skip: int
    entries: tuple[Entry, ...]
    action_unit: str = "N m"
    camera: str | None = None

    @abstractmethod
    def observe(self, batch: Batch) -> Array:
        """Observation from fields of the batch, which are all current. -> (E, O)"""

    @abstractmethod
    def start(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw an initial state: qpos (nq,), qvel (nv,)."""

    def decorate(self, data: MjData, task: Task) -> None:
        """Move what is only drawn, such as a goal mark, before a picture is taken."""

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each observation entry, without loading the model."""
        return {entry.name: i for i, entry in enumerate(self.entries)}

    @property
    def model_file(self) -> Path:
        return self.folder / "assets" / self.asset

    @cached_property
    def spec(self) -> Spec:
        model = compiled(self.model_file)
        action = tuple(
            Entry(model.actuator(i).name, self.action_unit, float(low), float(high))
            for i, (low, high) in enumerate(model.actuator_ctrlrange)
        )
        return Spec(self.entries, action, model.opt.timestep * self.frame_skip)

    def sources(self) -> dict[str, bytes]:
        return super().sources() | {self.asset: self.model_file.read_bytes()}

    def vector_env(self, task: Task, num_envs: int, seed: int, threads: int) -> ResumableEnv:
        from skillkit.envs.vector import TaskVectorEnv

        model = compiled(self.model_file, task.scene_file)
        simulation = MujocoSimulation(self, model, num_envs, threads)
        return TaskVectorEnv(task, simulation, task.start or self.start, num_envs, seed)

    def draw(self, env: VectorEnv[Any, Any, Any], size: tuple[int, int] = PICTURE) -> Array:
        data = self.posed(env)
        renderer = _renderer(data.model, *size)
        views = [data.model.camera(i).name for i in range(data.model.ncam)]
        of_scene = [view for view in views if view.startswith(SCENE)]
        renderer.update_scene(data, of_scene[0] if of_scene else self.camera or -1)
        return np.array(renderer.render())

    def posed(self, env: VectorEnv[Any, Any, Any], data: MjData | None = None) -> MjData:
        """The first sub-environment as it is to be seen, in `data` if that is given."""
        import mujoco

        batch = env.unwrapped.simulation.batch  # type: ignore[attr-defined]
        found: MjData = batch.get_data(0, data)
        self.decorate(found, env.unwrapped.task)  # type: ignore[attr-defined]
        mujoco.mj_forward(batch.model, found)
        return found


class MujocoSimulation:
    """E copies of a world on a thread pool; bit-identical for any number of threads."""

    def __init__(self, domain: MujocoDomain, model: MjModel, num_envs: int, threads: int) -> None:
        import mujoco

        self.domain = domain
        self.batch = _batch()(model, num_envs, threads, persistent=num_envs <= PERSISTENT)
        # After a plain step, derived fields (positions of bodies, sensors) are one substep behind
        # the state; this stage brings them up to date. A persistent batch goes on from there.
        self._fresh = mujoco.mjtStage.mjSTAGE_VEL
        self._untouched = mujoco.mjtStage.mjSTAGE_NONE
        domain.observe(self.batch)  # binds what it reads: only bound fields are kept current

    def reset(self, ids: Array, starts: Sequence[Any]) -> None:
        self.batch.reset(ids=ids, stage=self._untouched)
        self.batch.qpos[ids] = np.stack([qpos for qpos, _ in starts])
        self.batch.qvel[ids] = np.stack([qvel for _, qvel in starts])
        self.batch.forward(ids=ids, stage=self._fresh)

    def step(self, action: Array, rngs: Sequence[np.random.Generator]) -> None:
        self.batch.ctrl[:] = action
        self.batch.step(nstep=self.domain.frame_skip, stage=self._fresh)

    def observe(self) -> Array:
        return self.domain.observe(self.batch)

    @property
    def state(self) -> Array:
        return np.asarray(self.batch.state)  # the solver's warm start is in it, too

    def load_state(self, state: Array, ids: Array | None = None) -> None:
        self.batch.state[slice(None) if ids is None else ids] = state
        self.batch.forward(ids=ids, stage=self._fresh)


@cache
def _batch() -> type[Batch]:
    """MuJoCo's batch, with the live view of a field kept once it has been asked for."""
    from mujoco.batch import Batch

    class Viewed(Batch):  # type: ignore[misc]  # MuJoCo has no types
        def __getattr__(self, name: str) -> Any:
            view = self.__dict__[name] = super().__getattr__(name)
            return view

    return Viewed


@cache
def body_id(model: MjModel, name: str) -> int:
    """Where a body is in the fields of the batch, looked up once."""
    return int(model.body(name).id)


@cache
def divert_warnings() -> None:
    """Send MuJoCo's warnings to the logger "skillkit.mujoco".

    By default they go to a file MUJOCO_LOG.TXT in whatever folder the user stands.

    Raises:
        InvalidValue: MuJoCo refuses to be imported, for what MUJOCO_GL says.
    """
    try:
        import mujoco
    except (AttributeError, ImportError, RuntimeError) as error:
        if not (backend := os.environ.get("MUJOCO_GL")):
            raise
        raise InvalidValue(
            f"MuJoCo cannot start with MUJOCO_GL={backend} ({' '.join(str(error).split())}); "
            "unset it, or set it to egl"
        ) from error

    if mujoco.get_mju_user_warning() is None:
        mujoco.set_mju_user_warning(logging.getLogger("skillkit.mujoco").info)


@cache
def compiled(asset: Path, scene: Path | None = None) -> MjModel:
    """The world of an MJCF file, with the bodies of a scene file added to it.

    Raises:
        InvalidValue: a file is missing or MuJoCo refuses it.
    """
    divert_warnings()
    import mujoco

    try:
        spec = mujoco.MjSpec.from_file(str(asset))
        if scene:
            spec.attach(
                mujoco.MjSpec.from_file(str(scene)),
                frame=spec.worldbody.add_frame(),
                prefix=SCENE,
            )
        model = spec.compile()
    except (ValueError, OSError) as error:
        files = f"{asset} with scene {scene}" if scene else str(asset)
        raise InvalidValue(f"MuJoCo cannot load {files}: {' '.join(str(error).split())}") from error
    # By default MuJoCo answers a diverged state with a silent reset in mid-episode.
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return model


@cache
def _renderer(model: MjModel, height: int, width: int) -> Any:
    import mujoco

    model.vis.quality.shadowsize = 1024  # a quarter of the default; without a GPU it is the time
    most = model.vis.global_
    most.offheight, most.offwidth = max(most.offheight, height), max(most.offwidth, width)
    try:
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # each GL backend has its own
        raise InvalidValue(
            "no picture without OpenGL; install its library EGL (libegl1 on Debian) and set "
            f"MUJOCO_GL=egl before Python starts ({' '.join(str(error).split())})"
        ) from error
