"""Point: a mass that slides over a plane, for lessons and tests; it trains in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from skillkit.envs import BatchedDomain, Task, Term, Walls
from skillkit.envs.terms import Effort, Speed, Within, arrival, distance, within
from skillkit.types import Array, Entry

MASS = 0.5  # [kg]
DRAG = 1.0  # [N s/m]; the top speed is 1 m/s, reached with a time constant of .5 s
RADIUS = 1.0  # [m]; closer to the goal of a sparse task than this is at the goal
PLANE = {"x": "x", "y": "y"}


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

    def confine(self, before: Array, after: Array, walls: Walls) -> Array:
        """Slide along what is in the way; the velocity into it is gone."""
        position = walls.slide(before[:, :2], after[:, :2])
        velocity = np.where(position == after[:, :2], after[:, 2:], 0.0)
        return np.concatenate((position, velocity), axis=-1)

    def distance(self, **goal: float) -> Term:
        """Minus the distance to x, y or both: distance(x=1) [m]."""
        return distance(PLANE, goal)

    def speed(self) -> Term:
        """Distance covered per second, in whatever direction [m/s]."""
        return Term("speed", Speed(("x", "y"), self.dt))

    def effort(self) -> Term:
        """Minus the squared forces [N^2]."""
        return Term("effort", Effort(), -0.05)

    def within(self, radius: float, **goal: float) -> Within:
        """Success: closer than `radius` to the goal [m]."""
        return within(radius, PLANE, goal)

    def arrival(self, **goal: float) -> Term:
        """Whether the step ends at the goal: arrival(x=3, y=-3)."""
        return arrival(RADIUS, PLANE, goal)


point = Point()


def reach(name: str, summary: str, **goal: float) -> Task:
    """Be at the goal as soon and as long as possible, for 5 s."""
    terms = (point.distance(**goal), point.effort())
    return Task(name, point, summary, terms, horizon=50, solved=point.within(0.1, **goal))


point_x = reach("point_x", "reach x = 1 m", x=1)
point_y = reach("point_y", "reach y = 1 m", y=1)
# Effort is dear, so that .67 m/s is the best speed and no force comes to its bound: the box of
# forces is strongest in its corners, and cheap effort would draw all latents there.
point_roam = Task(
    "point_roam",
    point,
    "move, in any direction",
    (point.speed(), 15 * point.effort()),
    horizon=50,
    inputs=("x_velocity", "y_velocity"),  # it moves alike everywhere, and so can be stacked on
    recipe=(
        "sac",
        point.recipe[1]
        | {
            "sac.policy": "real_nvp",
            "sac.alpha": 0.2,  # as much as keeps all directions open
            "sac.final_rate": 0.0,
            "train.steps": 15_000,
        },
    ),
)


# For a layer on point_roam, whose latents come to the goal by chance, and oftener if they last. At
# 1 r/nat the reward of 100 pays for choosing among the base's directions, not for leaving what it
# knows. Critics without normalisation have come to believe in goals that are not there.
SPARSE = {
    **point.recipe[1],
    "sac.policy": "real_nvp",
    "sac.alpha": 1.0,
    "sac.normalised": True,
    "explore.correlation": 0.9,
    "train.steps": 40_000,
    "train.environments": 16,
    "train.warmup": 5_000,
    "train.update_every": 6,
    "train.evaluate_every": 10_000,
}


def in_the_middle(rng: np.random.Generator) -> Array:
    """At the origin, give or take .1 m, at rest. -> (4,)"""
    return np.concatenate((rng.normal(0, 0.1, 2), np.zeros(2)))


def go(name: str, summary: str, scene: str | None = None, **goal: float) -> Task:
    """Come to the goal within 15 s; nothing but that is rewarded."""
    there = point.arrival(**goal)
    return Task(
        name,
        point,
        summary,
        terms=(100 * there,),
        horizon=150,
        start=in_the_middle,
        ends=there.function,
        solved=point.within(RADIUS, **goal),
        scene=scene,
        recipe=("sac", SPARSE),
    )


point_goal = go("point_goal", "come to (3, -3) m in the open", x=3, y=-3)
CROSS = "small_cross_maze.xml"
point_maze = go("point_maze", "come to (3, -3) m through a cross maze", CROSS, x=3, y=-3)
# A motion bonus: 1*point_maze+1*point_maze_roam, or with other weights.
point_maze_roam = replace(
    point_maze,
    name="point_maze_roam",
    summary="move about the cross maze until at (3, -3) m",
    terms=(point.speed(),),
)
point_maze_north = go("point_maze_north", "come to (3, 3) m through a cross maze", CROSS, x=3, y=3)
point_maze_east = go("point_maze_east", "come to (6, 0) m through a cross maze", CROSS, x=6, y=0)
