"""Turning: what is stored is what the robot could have lived, and what is taught is to change."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skillkit import train, train_together
from skillkit.collector import Collector, Exploration
from skillkit.envs import Task, make
from skillkit.envs.symmetry import images
from skillkit.envs.terms import Along
from skillkit.errors import InvalidValue
from skillkit.replay import ReplayBuffer
from skillkit.turning import Turning
from skillkit.workflows.checkpoints import Checkpoints
from skillkit.workflows.frames import taught
from tests.workflows.test_frames import GROUP, ROAM, table

ENVS, STEPS, EVERY = 8, 400, 10
WAY = math.cos(math.pi / 8), math.sin(math.pi / 8)
HEADING = replace(table.speed(), function=Along(("x_velocity", "y_velocity"), WAY))
TAUGHT = replace(ROAM, symmetric=False, terms=(HEADING, table.effort()))
DIRECTED = replace(ROAM, directed=TAUGHT)


def collected(every: float = EVERY) -> tuple[ReplayBuffer, Task]:
    """Steps of nobody's policy, seen from one frame after another."""
    spec, goal = DIRECTED.spec, TAUGHT
    env = make(DIRECTED, ENVS, seed=0)
    replay = ReplayBuffer(ENVS * STEPS, spec.observation_dim, spec.action_dim, 0.9)
    exploration, generator = Exploration(turn_every=every), torch.Generator().manual_seed(0)
    turning = Turning(table, every, ENVS, generator)
    collector = Collector(env, spec, replay, generator, exploration, [goal], turning)
    for _ in range(STEPS):
        collector.step(())
    return replay, goal


def test_what_is_stored_obeys_the_physics_in_the_frame_it_is_seen_from() -> None:
    replay, goal = collected()
    obs, action, reward, _, next_obs = (column.numpy() for column in replay.all())
    native = goal.spec.native(action)
    np.testing.assert_allclose(next_obs, table.step(obs, native, ()), atol=1e-5)
    np.testing.assert_allclose(reward, goal.reward(obs, native, next_obs), atol=1e-6)


def test_the_world_goes_on_where_it_was_seen_from_another_frame() -> None:
    """Where a frame begins a row of its own begins: no transition leads from one into another."""
    replay, _ = collected()
    obs, _, _, _, next_obs = (column.numpy() for column in replay.all())
    then, now = obs[ENVS:], next_obs[:-ENVS]  # of one environment each
    seen = np.stack([now[:, i] * sign for i, sign in
                     zip(GROUP.observation, GROUP.observation_sign, strict=True)])  # fmt: skip
    image = np.isclose(seen, then, atol=1e-5).all(-1)  # (8, rows)
    truncated = np.arange(len(now)) // ENVS % ROAM.horizon == ROAM.horizon - 1
    assert image[:, ~truncated].any(0).all()
    assert 1 - image[0].mean() == pytest.approx(7 / 8 / EVERY, rel=0.3)  # one of 8 stays
    episode = replay.since()["episode"].numpy()
    same = episode[ENVS:] == episode[:-ENVS]
    assert image[0, same].all() and 1 - same.mean() == pytest.approx(1 / EVERY, rel=0.3)


def test_the_deed_is_turned_back_as_what_is_seen_is_turned() -> None:
    turning = Turning(table, 1, 8, torch.Generator())
    turning.frame = np.arange(8)
    seen = turning.seen(np.tile([0.0, 0.0, 1.0, 0.5], (8, 1)))  # a velocity, and a force along it
    np.testing.assert_array_equal(turning.acted(seen[:, 2:]), np.tile([1.0, 0.5], (8, 1)))


@pytest.mark.slow
def test_it_learns_one_way_and_its_images_are_the_others() -> None:
    """Whoever holds the compass goes where it says, from whatever way he was on."""
    skill = train(DIRECTED, settings={"explore.turn_every": 10, "train.steps": 4_000})
    ways = np.array(skill.policy.directions)  # type: ignore[attr-defined]
    angles = np.degrees(np.arctan2(ways[:, 1], ways[:, 0]))
    assert np.sort(angles) == pytest.approx(np.arange(-157.5, 180, 45), abs=8)
    act, env = skill.controller(deterministic=False), make(ROAM, 64, seed=1)
    rng, (obs, _) = np.random.default_rng(0), env.reset()
    for _ in range(3):  # each from the way that it was going
        chosen = rng.integers(8, size=64)
        noise = np.concatenate((ways[chosen], np.zeros((64, 2))), axis=1).astype(np.float32)
        for _ in range(15):
            obs, *_ = env.step(act.batch(obs, noise))
        assert np.mean(np.sum(obs[:, 2:] * ways[chosen], axis=1)) > 0.6


def test_without_a_frame_to_turn_to_it_is_refused() -> None:
    few: dict[str, Any] = {"explore.turn_every": 10}
    with pytest.raises(InvalidValue, match=r"explore\.turn_every is for symmetric tasks"):
        train("point_x", settings=few)
    with pytest.raises(InvalidValue, match=r"explore\.turn_every takes at least 1 step"):
        Exploration(turn_every=0.5)
    with pytest.raises(InvalidValue, match="directed is for symmetric tasks"):
        replace(ROAM, symmetric=False, directed=TAUGHT)
    with pytest.raises(InvalidValue, match="directed task must have the same scene"):
        replace(ROAM, directed=replace(TAUGHT, scene="other.xml"))


def test_the_task_itself_is_taught_where_nothing_is_directed() -> None:
    assert taught([DIRECTED]) == [TAUGHT] and taught([ROAM]) == [ROAM]
    assert taught([DIRECTED, ROAM]) == [DIRECTED, ROAM]


@pytest.mark.parametrize("tasks", [["locomotion", "ant_run"], ["2*locomotion"], ["locomotion"]])
def test_a_recipe_for_one_way_is_for_nothing_else(tasks: list[str]) -> None:
    """Nor for the same task where train.every_frame=false leaves the one way out."""
    brief = {"train.steps": 48, "train.warmup": 32, "train.evaluation_episodes": 2}
    brief |= {"train.final_episodes": 2, "train.every_frame": False}
    for skill in train_together(tasks, settings=brief):
        assert skill.manifest.config["explore"]["turn_every"] == 0


@pytest.mark.slow
def test_a_stopped_training_goes_on_in_its_frames(tmp_path: Path) -> None:
    brief = {"train.steps": 1_600, "train.warmup": 400, "explore.turn_every": 10}
    brief |= {"train.evaluation_episodes": 2, "train.final_episodes": 2}
    checkpoints = Checkpoints(tmp_path / "run", period=0.0)
    whole = train(DIRECTED, settings=brief, checkpoint=checkpoints)
    assert checkpoints.latest is not None
    resumed = train(DIRECTED, settings=brief, resume=checkpoints.latest)
    for ours, theirs in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)


assert images(table.spec, table.symmetries)[0].shape == (8, 4)  # what these tests count on
