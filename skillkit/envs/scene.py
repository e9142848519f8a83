"""Scene: what stands in the world of a task beside its robot, an MJCF file in `assets/`.

A MuJoCo domain takes the file into its model. Whoever moves in a plane, or draws one, asks only for
the walls: where one cannot be, seen from above.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from skillkit.envs.mujoco import compiled
from skillkit.types import Array


@dataclass(frozen=True, eq=False)
class Walls:
    """W rectangles, parallel to the axes.

    Where two of them meet they must overlap: a point has no size, and what it touches it may slide
    along, so it could pass between walls that only touch each other.

    Attributes:
        low: their lower left corners [m]. (W, 2)
        high: their upper right corners [m]. (W, 2)
    """

    low: Array
    high: Array

    def slide(self, start: Array, end: Array) -> Array:
        """Go from start to end along x, then along y, each as far as the walls let. (E, 2) each

        The way is continuous, so however long the step is, it leads through no wall.
        """
        place = start.copy()
        for axis, other in ((0, 1), (1, 0)):
            here, aside = place[:, None, axis], place[:, None, other]  # (E, 1)
            low, high = self.low[:, axis], self.high[:, axis]  # (W,)
            ahead = (self.low[:, other] < aside) & (aside < self.high[:, other])  # (E, W)
            most = np.where(ahead & (here <= low), low, np.inf).min(axis=1, initial=np.inf)
            least = np.where(ahead & (here >= high), high, -np.inf).max(axis=1, initial=-np.inf)
            place[:, axis] = np.clip(end[:, axis], least, most)
        return place


@cache
def walls(scene: Path) -> Walls:
    """The walls of a scene: of each geom that can be touched the rectangle around it.

    Raises:
        InvalidValue: the file is missing or MuJoCo refuses it.
    """
    model = compiled(scene)
    import mujoco

    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    solid = (model.geom_contype | model.geom_conaffinity) > 0
    solid &= model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE  # a floor
    turn = data.geom_xmat[solid].reshape(-1, 3, 3)
    middle, half = model.geom_aabb[solid, :3], model.geom_aabb[solid, 3:]
    centre = data.geom_xpos[solid] + np.einsum("wij,wj->wi", turn, middle)
    reach = np.einsum("wij,wj->wi", np.abs(turn), half)
    return Walls((centre - reach)[:, :2], (centre + reach)[:, :2])
