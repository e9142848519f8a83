"""Point: a mass that slides over a plane, for lessons and tests; it trains in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skillkit.envs import BatchedDomain, Task, Term
from skillkit.envs.terms import Distance, Effort, Speed, Within, distance
from skillkit.types import Array, Entry

MASS = 0.5  # [kg]
DRAG = 1.0  # [N s/m]; the top speed is 1 m/s, reached with a time constant of .5 s


class Point(BatchedDomain):
    """m dv/dt = u - c v, semi-implicit Euler: the new velocity moves the position."""

    name = "point"
    plane = ("x", "y")
    entries = (
        Entry("x", "m"),
        Entry("y", "m"),
        Entry("x_velocity", "m/s"),
        Entry("y_velocity", "m/s"),
    )
    actions = (Entry("force_x", "N", -1.0, 1.0), Entry("force_y", "N", -1.0, 1.0))
    dt = 0.1
    recipe = (
        "sac",
        {
            "sac.alpha": 0.1,
            "sac.learning_rate": 1e-3,
            "sac.hidden": (64, 64),
            "train.steps": 10_000,
            "train.environments": 8,
            "train.update_every": 4,
        },
    )

    def start(self, rng: np.random.Generator) -> Array:
        """Anywhere in the square of 2 m, at rest. -> (4,)"""
        return np.concatenate((rng.uniform(-1, 1, 2), np.zeros(2)))

    def step(self, state: Array, action: Array, rngs: Sequence[np.random.Generator]) -> Array:
        position, velocity = state[:, :2], state[:, 2:]
        velocity = velocity + self.dt * (action - DRAG * velocity) / MASS
        return np.concatenate((position + self.dt * velocity, velocity), axis=-1)

    def distance(self, **goal: float) -> Term:
        """Minus the distance to x, y or both: distance(x=1) [m]."""
        return distance({"x": "x", "y": "y"}, goal)

    def speed(self) -> Term:
        """Distance covered per second, in whatever direction [m/s]."""
        return Term("speed", Speed(("x", "y"), self.dt))

    def effort(self) -> Term:
        """Minus the squared forces [N^2]."""
        return Term("effort", Effort(), -0.05)

    def within(self, radius: float, **goal: float) -> Within:
        """Success: closer than `radius` to the goal [m]."""
        return Within(Distance(tuple(self.distance(**goal).goals.items())), radius)


point = Point()


def reach(name: str, summary: str, **goal: float) -> Task:
    """Be at the goal as soon and as long as possible, for 5 s."""
    terms = (point.distance(**goal), point.effort())
    return Task(name, point, summary, terms, horizon=50, solved=point.within(0.1, **goal))


point_x = reach("point_x", "reach x = 1 m", x=1)
point_y = reach("point_y", "reach y = 1 m", y=1)
point_roam = Task(
    "point_roam", point, "move, in any direction", (point.speed(), point.effort()), horizon=50
)
