"""What a task says its skills read, from the task file to the controller."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from skillkit.algorithms import ALGORITHMS
from skillkit.controller import Controller
from skillkit.envs import Task, task
from skillkit.errors import InvalidValue, UnknownName
from skillkit.skill import Skill, load
from skillkit.workflows.compose import compose
from skillkit.workflows.train import train, train_together
from tests.point_skills import BRIEF, SHORT
from tests.toys import batch, spec

pytestmark = pytest.mark.usefixtures("no_pictures")
SMALL = {**SHORT, "sac.hidden": (8,)}


def narrow(name: str, inputs: tuple[str, ...]) -> Task:
    return replace(task(name), inputs=inputs)


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        (("x", "speed"), UnknownName, "observation entry.*'speed'.*x_velocity"),
        ((), InvalidValue, "task 'point_x': inputs must name at least one"),
        (("x", "y", "x"), InvalidValue, "and each once"),
    ],
)
def test_names_are_checked_where_the_task_is_declared(
    inputs: tuple[str, ...], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        narrow("point_x", inputs)


def test_names_become_positions() -> None:
    assert narrow("point_x", ("y_velocity", "x")).reads == [3, 0]
    assert task("point_x").reads is None
    assert task("point_roam").reads == [2, 3]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_learner_reads_nothing_else(algorithm: str) -> None:
    make, config = ALGORITHMS[algorithm]
    learner = make(spec(4), config(hidden=(8,)), 0, inputs=(3, 0))
    for i in range(3):
        learner.update(batch(16, observations=4, seed=i))
    obs, action = torch.randn(32, 4), torch.rand(32, 2)
    noise = learner.noise(32)
    for position, matters in enumerate((True, False, False, True)):
        other = obs.clone()
        other[:, position] += 1
        same = [
            torch.equal(learner.policy.act(obs, noise), learner.policy.act(other, noise)),
            torch.equal(learner.q(obs, action), learner.q(other, action)),
            torch.equal(learner.target(obs, action), learner.target(other, action)),
        ]
        assert same == [not matters] * 3
    assert learner.policy.config["inputs"] == learner.q.config["inputs"] == [3, 0]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_without_inputs_nothing_changes(algorithm: str) -> None:
    make, config = ALGORITHMS[algorithm]
    plain, named = (make(spec(), config(hidden=(8,)), 0, **kw) for kw in ({}, {"inputs": None}))
    for learner in (plain, named):
        learner.update(batch(16))
    ours, theirs = plain.state(), named.state()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours | theirs)
    assert plain.q.config == named.q.config and "inputs" not in plain.q.config


@pytest.fixture(scope="module")
def roaming() -> Skill:
    return train("point_roam", settings=SMALL)


def assert_blind_to_position(act: Controller) -> None:
    rng = np.random.default_rng(0)
    obs, noise = rng.normal(size=(20, 4)), rng.normal(size=(20, act.noise_dim))
    elsewhere = obs + (5, -3, 0, 0)
    np.testing.assert_array_equal(act.unit(obs, noise), act.unit(elsewhere, noise))
    np.testing.assert_array_equal(act.batch(obs), act.batch(elsewhere))
    faster = obs + (0, 0, 1, 1)
    assert not np.allclose(act.unit(obs, noise), act.unit(faster, noise))


def test_a_stored_skill_knows_what_it_reads(roaming: Skill, tmp_path: Path) -> None:
    saved = load(roaming.save(registry=str(tmp_path)).name, str(tmp_path))
    for part in (saved.manifest.policy, saved.manifest.q):
        assert part["config"]["inputs"] == [2, 3]
    assert_blind_to_position(saved.controller())
    obs, action = torch.randn(9, 4), torch.rand(9, 2)
    elsewhere = obs + torch.tensor([5.0, -3.0, 0.0, 0.0])
    assert torch.equal(saved.q(obs, action), saved.q(elsewhere, action))
    assert torch.equal(saved.q(obs, action), roaming.q(obs, action))


FILE = """
from skillkit.envs import Task, domain

point = domain("point")
READ = {"horizon": 50, "inputs": ("x_velocity", "y_velocity")}
drift = Task("drift", point, "move", (point.speed(), point.effort()), **READ)
stay = Task("stay", point, "do nothing", (point.effort(),), **READ)
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.setenv("SKILLKIT_TASKS", str(tmp_path))


@pytest.mark.usefixtures("tasks")
def test_together_each_reads_its_own() -> None:
    skills = train_together(("point_x", "drift"), settings=SMALL)
    assert [skill.policy.inputs for skill in skills] == [None, (2, 3)]
    assert_blind_to_position(skills[1].controller())


@pytest.mark.usefixtures("tasks")
def test_a_composed_policy_reads_what_its_parts_read() -> None:
    both = compose([train(name, settings=SMALL) for name in ("drift", "stay")], settings=BRIEF)
    assert both.policy.inputs == (2, 3)
    assert_blind_to_position(both.controller())
