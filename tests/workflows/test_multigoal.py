"""Soft Q-learning on the task it was made for (thesis ch. 3): every goal stays open."""

from __future__ import annotations

import pytest

import skillkit
from skillkit.envs import task
from skillkit.evaluation import evaluate


@pytest.mark.slow
def test_the_sampled_policy_reaches_each_of_the_four_goals() -> None:
    skill = skillkit.train("multigoal")
    act = skill.controller(deterministic=False)
    found = evaluate(act.batch, task("multigoal"), 200, seed=7, noise_dim=act.noise_dim).means()
    assert skill.manifest.algorithm == "sql" and skill.alpha == 10
    assert min(found[name] for name in task("multigoal").outcomes) >= 0.15
    assert found["success"] > 0.95
    assert -210 < found["return"] < -180  # the exact soft optimum returns -192
