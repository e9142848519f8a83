"""Multigoal: a point that may go to any of four goals; the good policy keeps all four open.

The lesson of soft Q-learning (thesis ch. 3; THESIS_FACTS 3): where several actions are equally
good, exp(Q/alpha) has several modes; a Gaussian covers one, or also what is bad between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skillkit.envs import BatchedDomain, Landscape, Quantities, Task, Term
from skillkit.envs.terms import Arrival, Distance, Effort, Nearest, Within
from skillkit.types import Array, Entry

WALL = 7.0  # [m]; the point stays in the square that reaches so far from the middle
RADIUS = 1.0  # [m]; closer to a goal than this is at the goal
Goal = tuple[float, float]  # x, y [m]


class Multigoal(BatchedDomain):
    """x' = x + dt v, kept within the walls; the action is the velocity."""

    name = "multigoal"
    plane = ("x", "y")
    entries = (Entry("x", "m", -WALL, WALL), Entry("y", "m", -WALL, WALL))
    actions = (Entry("velocity_x", "m/s", -1.0, 1.0), Entry("velocity_y", "m/s", -1.0, 1.0))
    dt = 1.0
    recipe = (
        "sql",
        {
            "sql.alpha": 10.0,
            "sql.learning_rate": 3e-3,  # values go down to -400 r, a long way for a network
            "sql.final_rate": 0.0,
            "sql.hidden": (128, 128),
            "sql.value_samples": 32,
            "sql.target": "average",
            "sql.target_rate": 0.01,
            "sac.alpha": 10.0,
            "sac.learning_rate": 1e-3,
            "sac.final_rate": 0.0,
            "sac.hidden": (128, 128),
            # Actions that last show all goals before the policy prefers one: a goal that it does
            # not visit, its critic does not know, and so it stays away.
            "explore.correlation": 0.9,
            "train.steps": 40_000,
            "train.warmup": 10_000,
            "train.update_every": 3,
            "train.evaluate_every": 4_000,
        },
    )

    def start(self, rng: np.random.Generator) -> Array:
        """In the middle, give or take .1 m. -> (2,)"""
        return rng.normal(0.0, 0.1, 2)

    def step(self, state: Array, action: Array, rngs: Sequence[np.random.Generator]) -> Array:
        return np.clip(state + self.dt * action, -WALL, WALL)

    def nearest(self, *goals: Goal) -> Nearest:
        """Distance to the nearest of the goals [m]."""
        return Nearest(tuple(Distance((("x", x), ("y", y))) for x, y in goals))

    def distance(self, *goals: Goal) -> Term:
        """Minus the squared distance to the nearest of the goals after the step [m^2]."""
        return Term("distance", SquaredAfter(self.nearest(*goals)), -1.0)

    def effort(self) -> Term:
        """Minus the squared velocity [m^2/s^2]."""
        return Term("effort", Effort(), -30.0)

    def arrival(self, *goals: Goal) -> Term:
        """Whether the step leads to one of the goals."""
        return Term("arrival", Arrival(self.at(*goals)), 10.0)

    def at(self, *goals: Goal) -> Within:
        """Success: at one of the goals."""
        return Within(self.nearest(*goals), RADIUS)


@dataclass(frozen=True)
class SquaredAfter:
    """Square of a distance, after the step."""

    distance: Nearest

    def __call__(self, now: Quantities, action: Array, then: Quantities) -> Array:
        return np.square(self.distance.of(then))


world = Multigoal()
goals = {
    "goal_right": (5.0, 0.0),
    "goal_top": (0.0, 5.0),
    "goal_left": (-5.0, 0.0),
    "goal_bottom": (0.0, -5.0),
}
anywhere = tuple(goals.values())
multigoal = Task(
    "multigoal",
    world,
    "reach any one of four goals",
    terms=(world.distance(*anywhere), world.effort(), world.arrival(*anywhere)),
    horizon=30,
    ends=Arrival(world.at(*anywhere)),
    solved=world.at(*anywhere),
    outcomes={name: world.at(goal) for name, goal in goals.items()},
    landscape=Landscape(
        term="distance",
        title="squared distance to the nearest goal [m²]",
        reach=1.1 * WALL,
        marks=goals,
        states=((-2.5, 0.0), (0.0, 0.0), (2.5, 2.5)),
    ),
)
