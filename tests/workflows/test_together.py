"""train with several tasks: one run and one replay, and as many skills as alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.envs import task
from skillkit.errors import IncompatibleSkills, InvalidValue
from skillkit.skill import Skill, arrays, load
from skillkit.workflows.checkpoints import Checkpoints
from skillkit.workflows.compose import compose
from skillkit.workflows.train import train, train_together
from tests.point_skills import BRIEF, SHORT, good, options, skillkit

pytestmark = pytest.mark.usefixtures("no_pictures")
SETTINGS = {**SHORT, "sac.hidden": (16, 16), "sac.batch_size": 32}
PAIR = ("point_x", "point_y")


def quick(*tasks: str, seed: int = 0, **changes: Any) -> tuple[Skill, ...]:
    settings = SETTINGS | changes.pop("settings", {})
    return train_together(tasks or PAIR, settings=settings, seed=seed, **changes)


@pytest.fixture(scope="module")
def pair() -> tuple[Skill, ...]:
    return quick()


@pytest.fixture(scope="module")
def alone() -> Skill:
    return train("point_x", settings=SETTINGS)


def rows(skill: Skill) -> set[tuple[float, ...]]:
    """The stored transitions, as values that can be compared."""
    batch = skill.replay.all()
    return {tuple(row) for row in torch.cat([batch.obs, batch.action], 1).tolist()}


def same(a: Skill, b: Skill) -> bool:
    return all(np.array_equal(v, arrays(b.policy)[k]) for k, v in arrays(a.policy).items())


def test_every_task_becomes_a_skill_that_knows_its_siblings(pair: tuple[Skill, ...]) -> None:
    assert [skill.task for skill in pair] == list(PAIR)
    assert [skill.manifest.siblings for skill in pair] == [["point_y"], ["point_x"]]
    assert all(skill.manifest.metrics["steps"] == 1_600 for skill in pair)  # of both together
    assert all("skillkit train point_x point_y --seed 0" in skill.card for skill in pair)


def test_each_learns_as_often_as_alone(pair: tuple[Skill, ...], alone: Skill) -> None:
    for skill in pair:
        assert skill.manifest.timing["updates"] == alone.manifest.timing["updates"]
        assert [row["step"] for row in skill.curve] == [row["step"] for row in alone.curve]


def test_every_reward_is_that_of_the_own_task(pair: tuple[Skill, ...]) -> None:
    for skill in pair:
        batch = skill.replay.all()
        native = skill.spec.native(batch.action.numpy())
        wanted = task(skill.task).reward(batch.obs.numpy(), native, batch.next_obs.numpy())
        np.testing.assert_allclose(batch.reward.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_the_stored_replays_share_no_transition_and_miss_none(pair: tuple[Skill, ...]) -> None:
    x, y = (rows(skill) for skill in pair)
    assert not x & y
    assert len(x) + len(y) == 1_600


def test_the_critics_differ_and_so_do_the_policies(pair: tuple[Skill, ...]) -> None:
    assert not same(*pair)
    obs = pair[0].replay.all().obs
    values = [skill.q(obs, skill.policy.mode(obs)) for skill in pair]
    assert (values[0] - values[1]).abs().mean() > 0.1


def test_one_task_is_what_it_was_alone(alone: Skill) -> None:
    (together,) = quick("point_x")
    assert same(together, alone) and together.manifest.siblings == []


def test_the_seed_decides_everything(pair: tuple[Skill, ...]) -> None:
    again, other = quick(), quick(seed=1)
    assert all(same(a, b) for a, b in zip(pair, again, strict=True))
    assert not any(same(a, b) for a, b in zip(pair, other, strict=True))


def test_a_row_of_the_curve_says_whose_it_is() -> None:
    events: list[Mapping[str, Any]] = []
    quick(on_event=events.append)
    found = [(e["task"], e["step"]) for e in events if e["kind"] == "evaluation"]
    assert found == [(name, step) for step in (800, 1_600) for name in PAIR]


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    quick(settings={"train.steps": 1_200}, checkpoint=Checkpoints(tmp_path, period=0.0))
    resumed = quick(resume=tmp_path / "checkpoint")
    for skill in resumed:
        assert skill.metrics["steps"] == 1_600
        assert [row["step"] for row in skill.curve] == [800, 1_600]


def test_siblings_compose(pair: tuple[Skill, ...]) -> None:
    composed = compose(pair, settings=BRIEF)
    assert len(composed.replay) == 1_600


@pytest.mark.parametrize(
    ("tasks", "complaint"),
    [((), "at least one task"), (("point_x", "point_x"), "a task comes twice")],
)
def test_what_cannot_be_trained(tasks: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(InvalidValue, match=complaint):
        train_together(tasks, settings=SETTINGS)


def test_a_name_is_for_one() -> None:
    with pytest.raises(InvalidValue, match="does not fit 2 skills"):
        quick(name="mine")


@pytest.mark.parametrize("other", ["push_x", "gym:Pendulum-v1"])
def test_other_domains_are_refused(other: str) -> None:
    with pytest.raises(IncompatibleSkills, match="cannot be"):
        quick("point_x", other)


def test_the_command(tmp_path: Path) -> None:
    where = ["--registry", tmp_path]
    said = good("train", *PAIR, *where, *options(SHORT))
    assert "saved point_x@1" in said and "saved point_y@1" in said
    assert "trained with" in good("show", "point_x", *where)
    assert "does not fit" in skillkit("train", *PAIR, "--name", "a", *where).sentence
    assert not list((tmp_path / ".runs").glob("*/*"))


TEAM = ("point_x", "point_y", "point_roam")
QUICKLY = {"distill.updates": 5, "compose.estimate_updates": 0, "compose.final_episodes": 2}


@pytest.fixture(scope="module")
def team() -> tuple[Skill, ...]:
    return quick(*TEAM)


def composed(registry: Path) -> Skill:
    return compose([load(name, registry) for name in PAIR], settings=QUICKLY)


def test_what_siblings_have_stored_is_composed_from(
    team: tuple[Skill, ...], tmp_path: Path
) -> None:
    for skill in team:
        skill.save(registry=tmp_path)
    assert [one.name for one in load("point_x", tmp_path).siblings] == ["point_y", "point_roam"]
    found = composed(tmp_path)
    assert found.metrics["experience"] == {"transitions": 1_600, "siblings": 1}
    assert rows(found) == set().union(*map(rows, team))


def test_a_sibling_that_is_not_there_is_not_missed(team: tuple[Skill, ...], tmp_path: Path) -> None:
    for skill in team[:2]:
        skill.save(registry=tmp_path)
    x, y = (rows(skill) for skill in team[:2])
    found = composed(tmp_path)
    assert found.metrics["experience"] == {"transitions": len(x | y), "siblings": 0}


def test_a_namesake_of_another_run_is_no_sibling(team: tuple[Skill, ...], tmp_path: Path) -> None:
    first = [skill.save(registry=tmp_path) for skill in team]
    for skill in (*quick("point_roam"), *quick(*TEAM, seed=1)[2:]):
        skill.save(registry=tmp_path)
    siblings = load("point_x", tmp_path).siblings
    assert [one.folder for one in siblings] == [one.folder for one in first[1:]]


def test_a_damaged_sibling_is_left_out_and_named(team: tuple[Skill, ...], tmp_path: Path) -> None:
    for skill in team:
        saved = skill.save(registry=tmp_path)
    with (saved.folder / "replay/00000.safetensors").open("ab") as file:
        file.write(b"!")
    with pytest.warns(UserWarning, match="what point_roam has stored is left out: .*point_roam"):
        found = composed(tmp_path)
    assert found.metrics["experience"]["siblings"] == 0


def test_skills_that_nobody_has_saved_have_none(team: tuple[Skill, ...]) -> None:
    assert team[0].siblings == []
