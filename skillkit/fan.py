"""Fan: where the latents of a policy lead when each is held, seen from above (thesis ch. 7).

A skill is worth stacking on if its latents steer: the layer above chooses among the ways that they
lead. So they should lead far, in every direction, and not into a fall.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skillkit.envs import Task
from skillkit.errors import InvalidValue
from skillkit.evaluation import SEED, Act, Evaluation, Progress, evaluate
from skillkit.types import Array

OCTANTS = 8  # the sectors of the compass; the first is centred on the x axis
REACHED = 3  # as many latents reach an octant that counts as reached


@dataclass(frozen=True)
class Fan:
    """L episodes, each under a latent of its own.

    Attributes:
        evaluation: of these episodes, with their paths.
    """

    evaluation: Evaluation

    @property
    def seconds(self) -> float:
        """For how long a latent is held [s]."""
        task = self.evaluation.task
        return task.horizon * task.spec.dt

    @cached_property
    def displacement(self) -> Array:
        """From the start to the end, in the unit of the plane. (L, 2)"""
        played = self.evaluation
        columns = played.task.spec.index(played.task.on.plane or ())
        off = played.final_observations[:, columns] - played.initial_observations[:, columns]
        return off.astype(np.float64)

    @cached_property
    def distance(self) -> Array:
        """How far each of them led. (L,)"""
        return np.asarray(np.linalg.norm(self.displacement, axis=-1))

    @cached_property
    def fell(self) -> Array:
        """Which of them the task ended before time. (L,) bool"""
        return np.asarray(self.evaluation.metrics["length"] < self.evaluation.task.horizon)

    @cached_property
    def octants(self) -> Array:
        """How many latents lead into each octant, counter-clockwise. (8,)

        Only those that did not fall and led at least half as far as the median: a robot that
        stays where it is has reached nothing.
        """
        led = ~self.fell & (self.distance >= np.median(self.distance) / 2)
        angle = np.arctan2(self.displacement[led, 1], self.displacement[led, 0])  # [rad]
        sector = np.round(angle / (2 * np.pi / OCTANTS)).astype(int) % OCTANTS
        return np.bincount(sector, minlength=OCTANTS)

    def summary(self) -> dict[str, float]:
        """The numbers that it comes to."""
        return {
            "median_displacement": float(np.median(self.distance)),
            "octants": int((self.octants >= REACHED).sum()),
            "falls": float(self.fell.mean()),
        }

    def __str__(self) -> str:
        found, count = self.summary(), self.evaluation.episodes
        return (
            f"{count} fixed latents, {self.seconds:g} s each: median displacement "
            f"{found['median_displacement']:.1f} m, {found['octants']} of {OCTANTS} octants, "
            f"{100 * found['falls']:.0f} % fell"
        )


def fan(
    act: Act,
    task: Task,
    noise_dim: int,
    latents: int = 64,
    seconds: float = 10.0,
    seed: int = SEED,
    *,
    begin: Callable[[Array], None] | None = None,
    progress: Progress | None = None,
) -> Fan:
    """Hold latents drawn from N(0, I), one an episode, and see where they lead.

    Args:
        act, noise_dim, begin, progress: as in `evaluate`; of a skill's controller.
        task: only its domain, scene, start and termination matter.
        latents: L.
        seconds: for how long each is held [s].
        seed: of the latents and the start states; no training uses the default.

    Raises:
        InvalidValue: a domain without a plane, a policy without latents, or no time at all.
    """
    if task.on.plane is None or noise_dim < 1:
        raise InvalidValue(
            f"latents of {task.name} lead nowhere that can be seen; it takes a domain with a plane "
            "and a policy with noise"
        )
    steps = round(seconds / task.spec.dt)
    if steps < 1:
        raise InvalidValue(f"{seconds:g} s are not one step of {task.name}, {task.spec.dt:g} s")
    return Fan(
        evaluate(
            act,
            replace(task, horizon=steps),
            latents,
            seed,
            noise_dim=noise_dim,
            hold_noise=True,
            paths=True,
            begin=begin,
            progress=progress,
        )
    )
