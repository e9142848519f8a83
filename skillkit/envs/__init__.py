"""Physics and tasks, in NumPy: what a skill is learned on.

    from skillkit.envs import make, task

    env = make(task("push_x+push_y"), num_envs=8, seed=0)

`import skillkit.envs` also registers `skillkit/<task>-v0` and `skillkit/Task-v0` with Gymnasium.
"""

import warnings

from skillkit.envs.batched import BatchedDomain
from skillkit.envs.catalog import add_tasks, domain, make, task, task_names
from skillkit.envs.domain import Domain
from skillkit.envs.expression import combine
from skillkit.envs.interaction import forbid_interaction
from skillkit.envs.landscape import Landscape
from skillkit.envs.mujoco import MujocoDomain
from skillkit.envs.registration import register
from skillkit.envs.scene import Walls, walls
from skillkit.envs.task import Quantities, Task, Term
from skillkit.errors import SkillkitError

__all__ = [
    "BatchedDomain",
    "Domain",
    "Landscape",
    "MujocoDomain",
    "Quantities",
    "Task",
    "Term",
    "Walls",
    "add_tasks",
    "combine",
    "domain",
    "forbid_interaction",
    "make",
    "task",
    "task_names",
    "walls",
]

try:  # last, because task files import from this package
    register()
except SkillkitError as error:  # the user meets it when asking for a task
    warnings.warn(str(error), stacklevel=2)
