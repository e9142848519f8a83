"""Every named task as a Gymnasium id, and `skillkit/Task-v0` for any expression."""

from __future__ import annotations

import gymnasium

from skillkit.envs.catalog import task_names

ENTRY_POINT = "skillkit.envs.single:SingleEnv"


def register() -> None:
    """Register what is not registered yet: skillkit/push_x-v0, …, skillkit/Task-v0.

    Raises:
        SkillkitError: see `catalog`.
    """
    if "skillkit/Task-v0" not in gymnasium.registry:
        gymnasium.register("skillkit/Task-v0", ENTRY_POINT)
    for name in task_names():
        if f"skillkit/{name}-v0" not in gymnasium.registry:
            gymnasium.register(f"skillkit/{name}-v0", ENTRY_POINT, kwargs={"task": name})
