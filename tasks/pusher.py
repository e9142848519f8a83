"""Pusher: a three-link arm with a fork pushes a puck over a table (thesis ch. 6; THESIS_FACTS 1).

Everything happens in the plane: the heights of fork and puck never change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from skillkit.envs import MujocoDomain, Task, Term
from skillkit.envs.mujoco import body_id
from skillkit.envs.terms import Effort, Separation, distance
from skillkit.types import Array, Entry

if TYPE_CHECKING:
    from mujoco import MjData
    from mujoco.batch import Batch

# Weight of the distance between fork and puck [r/m], in every task of this domain alike: the sum
# of two tasks must stay one reward (THESIS_FACTS 1.4, 1.8).
C_ARM = 0.0
C_TORQUE = 0.1  # weight of the squared torques [r/(N m)^2]


class Pusher(MujocoDomain):
    name = "pusher"
    asset = "pusher.xml"
    frame_skip = 5
    plane = ("puck_x", "puck_y")
    entries = (
        *(Entry(f"joint_{i}", "rad") for i in (1, 2, 3)),
        *(Entry(f"joint_{i}_velocity", "rad/s") for i in (1, 2, 3)),
        Entry("fork_x", "m"),
        Entry("fork_y", "m"),
        Entry("fork_z", "m", constant=True),
        Entry("puck_x", "m"),
        Entry("puck_y", "m"),
        Entry("puck_z", "m", constant=True),
    )

    camera = "top"
    recipe = (
        "sac",
        {
            "sac.alpha": 0.01,  # at the end: entropy costs more than the last centimetres are worth
            "sac.alpha_start": 0.1,
            "sac.learning_rate": 1e-3,
            "sac.final_rate": 0.0,
            "sac.hidden": (128, 128),
            "sac.normalised": True,
            "sql.alpha": 0.15,  # lower, and uniform samples no longer find the soft value
            "sql.alpha_start": None,
            "sql.normalised": False,
            "sql.batch_size": 64,
            "sql.particles": 16,
            "sql.value_samples": 32,
            "explore.correlation": 0.9,
            "explore.hand_over": 75,  # where several are trained together
            "train.steps": 200_000,
            "train.warmup": 10_000,
            "train.update_every": 2,
            "train.replay_stored": 16_000,
            "plan.every": 20_000,  # for its sums: two pushes at once wait where each goes its way
            "plan.after": 0.5,
            "plan.candidates": 192,
            "plan.rounds": 25,
            "distill.updates": 400,  # where the improvement begins
            "improve.updates": 700,
        },
    )

    def observe(self, batch: Batch) -> Array:
        """Joints, the fork's centre of mass, the puck. -> (E, 12)"""
        fork, puck = body_id(batch.model, "fork"), body_id(batch.model, "puck")
        arm = batch.qpos[:, :3], batch.qvel[:, :3]
        return np.concatenate((*arm, batch.subtree_com[:, fork], batch.xpos[:, puck]), axis=-1)

    def start(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Arm near its zero pose, puck on the right of the table, at rest (THESIS_FACTS 1.5)."""
        arm, goal_mark = rng.uniform(-0.1, 0.1, 3), np.zeros(2)
        while True:
            puck = rng.uniform((0.3, -1.0), (1.0, -0.4))
            if np.linalg.norm(puck - (1.0, -1.0)) >= 0.45:
                return np.concatenate((arm, puck, goal_mark)), np.zeros(7)

    def decorate(self, data: MjData, task: Task) -> None:
        """Put the goal mark at the goal; on a goal line, at the point nearest to the puck."""
        zero = data.model.body("goal").pos
        for i, axis in enumerate("xy"):
            goal = task.goals.get(f"puck_{axis}", data.joint(f"puck_{axis}").qpos[0])
            data.joint(f"goal_{axis}").qpos = goal - zero[i]

    def distance(self, **goal: float) -> Term:
        """Minus the puck's distance to x, y or both: distance(x=-1), distance(x=-1, y=-1) [m]."""
        return distance({"x": "puck_x", "y": "puck_y"}, goal)

    def effort(self) -> Term:
        """Minus the squared torques [(N m)^2], at the weight that every pusher task gives them."""
        return Term("effort", Effort(), -C_TORQUE)

    def reach(self) -> Term:
        """Minus the distance between fork and puck [m], likewise."""
        fork, puck = ("fork_x", "fork_y", "fork_z"), ("puck_x", "puck_y", "puck_z")
        return Term("reach", Separation(fork, puck), -C_ARM)

    def pushing(self, **goal: float) -> tuple[Term, ...]:
        """The whole reward of a pusher task: distance, effort and, if it counts, reach."""
        always = (self.distance(**goal), self.effort())
        return (*always, self.reach()) if C_ARM else always


pusher = Pusher()


def push(name: str, summary: str, **goal: float) -> Task:
    """A task of THESIS_FACTS 1.4: 300 steps of .05 s, never terminated."""
    return Task(name, pusher, summary, pusher.pushing(**goal), horizon=300)


push_x = push("push_x", "push the puck to the left, x = -1 m", x=-1)
push_x_middle = push("push_x_middle", "push the puck to the middle, x = 0 m", x=0)
push_x_right = push("push_x_right", "push the puck to the right, x = 1 m", x=1)
push_y = push("push_y", "push the puck to the bottom, y = -1 m", y=-1)
push_xy = push("push_xy", "push the puck to (-1, -1) m", x=-1, y=-1)
push_xy_middle = push("push_xy_middle", "push the puck to (0, -1) m", x=0, y=-1)
push_xy_right = push("push_xy_right", "push the puck to (1, -1) m", x=1, y=-1)
