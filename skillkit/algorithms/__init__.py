"""Learners. A new algorithm is a file here and a line in the table."""

from typing import Any

from skillkit.algorithms.actor_critic import ActorCritic
from skillkit.algorithms.distill import Distill, DistillConfig
from skillkit.algorithms.improve import Improve, ImproveConfig
from skillkit.algorithms.learner import Learner
from skillkit.algorithms.sac import SAC, SACConfig
from skillkit.algorithms.sql import SQL, SQLConfig

# Those that learn a task from interaction: the learner and its hyperparameters.
ALGORITHMS: dict[str, tuple[type[ActorCritic], type[Any]]] = {
    "sac": (SAC, SACConfig),
    "sql": (SQL, SQLConfig),
}

__all__ = [
    "ALGORITHMS",
    "SAC",
    "SQL",
    "ActorCritic",
    "Distill",
    "DistillConfig",
    "Improve",
    "ImproveConfig",
    "Learner",
    "SACConfig",
    "SQLConfig",
]
