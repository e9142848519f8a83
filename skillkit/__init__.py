"""Composable maximum-entropy robot skills.

Every command returns a `Skill`, and a `Skill` can go back into any command:

    train    Task          -> Skill
    compose  Skill, Skill… -> Skill
    stack    Skill x Task  -> Skill

>>> import skillkit
>>> skill = skillkit.load("push_x+push_y")
>>> skill.task
'push_x+push_y'
>>> control = skill.controller()
>>> control([0.0] * 12).shape  # torques, from an observation
(3,)

The public names are loaded on first use (PEP 562), so that `import skillkit` and a control loop
never pay for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skillkit.controller import Controller as Controller
    from skillkit.envs import Task as Task
    from skillkit.registry import Registry as Registry
    from skillkit.skill import Skill as Skill
    from skillkit.skill import load as load
    from skillkit.workflows.compose import compose as compose
    from skillkit.workflows.stack import stack as stack
    from skillkit.workflows.train import train as train
    from skillkit.workflows.train import train_together as train_together

__version__ = "0.1.0"

_HOME = {
    "train": "skillkit.workflows.train",
    "train_together": "skillkit.workflows.train",
    "compose": "skillkit.workflows.compose",
    "stack": "skillkit.workflows.stack",
    "load": "skillkit.skill",
    "Skill": "skillkit.skill",
    "Registry": "skillkit.registry",
    "Task": "skillkit.envs",
    "Controller": "skillkit.controller",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
