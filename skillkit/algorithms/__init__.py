"""Learners. A new algorithm is a file here and a line in the table."""

from skillkit.algorithms.distill import Distill, DistillConfig
from skillkit.algorithms.learner import Learner
from skillkit.algorithms.sac import SAC, SACConfig

ALGORITHMS = {"sac": (SAC, SACConfig)}  # those that learn a task from interaction

__all__ = ["ALGORITHMS", "SAC", "Distill", "DistillConfig", "Learner", "SACConfig"]
