"""Instant composition: saved, loaded, controlled and composed again like any skill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.algorithms import Distill
from skillkit.controller import Controller
from skillkit.errors import InvalidValue, UnknownName
from skillkit.functional.losses import actor_loss
from skillkit.skill import Skill, load
from skillkit.workflows.compose import compose
from skillkit.workflows.train import train
from tests.point_skills import BRIEF, SHORT, good, options, trained

BRIEF_INSTANT: dict[str, Any] = {
    "compose.final_episodes": 2,
    "compose.estimate_states": 16,
    "compose.estimate_updates": 0,
    "instant.candidates": 8,
}


def instant(*skills: Skill | str, **changes: Any) -> Skill:
    settings = BRIEF_INSTANT | changes.pop("settings", {})
    return compose(skills, instant=True, settings=settings, **changes)


@pytest.fixture(scope="module")
def parts() -> list[Skill]:
    """Two trained skills and a distilled one."""
    names = ("point_x", "point_y", "point_x+point_y")
    return [load(name, trained()) for name in names]


@pytest.fixture(scope="module")
def pair(parts: list[Skill]) -> Skill:
    return instant(*parts[:2])


def test_it_says_what_it_is(parts: list[Skill], pair: Skill) -> None:
    found = pair.manifest
    assert (pair.name, pair.task) == ("point_x+point_y.instant", "point_x+point_y")
    assert (found.kind, found.algorithm, found.policy["kind"]) == (
        "composed", "resample", "resampled",
    )  # fmt: skip
    assert [parent["name"] for parent in found.parents] == ["point_x", "point_y"]
    assert found.weights == [0.5, 0.5] and found.metrics["interactions"] == 0
    assert found.timing["updates"] == 0 and 0 < found.timing["seconds_per_action"] < 1
    assert set(found.config) == {"compose", "instant"}
    assert "skillkit compose point_x@1 point_y@1 --instant --seed 0" in pair.card
    assert pair.figure.startswith(b"\x89PNG")


def test_its_q_function_is_the_sum(parts: list[Skill], pair: Skill) -> None:
    generator = torch.Generator().manual_seed(0)
    obs, action = torch.randn(20, 4, generator=generator), torch.zeros(20, 2)
    with torch.no_grad():
        expected = 0.5 * parts[0].q(obs, action) + 0.5 * parts[1].q(obs, action)
        torch.testing.assert_close(pair.q(obs, action), expected)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("count", [2, 4])
def test_saved_and_loaded_it_acts_as_before(parts: list[Skill], count: int, tmp_path: Path) -> None:
    skill = instant(*[*parts, parts[0]][:count], name="all")
    saved = skill.save(registry=tmp_path)
    again = load("all", tmp_path)
    obs = skill.replay.all().obs[:20]
    noise = torch.randn(20, skill.policy.noise_dim, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(again.policy.mode(obs), skill.policy.mode(obs))
    torch.testing.assert_close(again.policy.act(obs, noise), skill.policy.act(obs, noise))
    assert again.policy.config == skill.policy.config
    control = Controller.load(saved.folder)  # which checks the probe
    live, native = skill.controller(), skill.spec.native
    assert np.allclose(control.batch(obs.numpy()), native(skill.policy.mode(obs).numpy()), 0, 1e-5)
    assert (control.batch(obs.numpy()) == live.batch(obs.numpy())).all()
    assert control.noise_dim == 1 + 8 * (count + 1) * 2


@pytest.mark.usefixtures("no_pictures")
def test_weights_temperature_and_seed_matter(parts: list[Skill], pair: Skill) -> None:
    obs = pair.replay.all().obs[:200]
    noise = torch.randn(200, pair.policy.noise_dim, generator=torch.Generator().manual_seed(0))

    def actions(skill: Skill) -> torch.Tensor:
        return torch.stack([skill.policy.mode(obs), skill.policy.act(obs, noise)])

    before = actions(pair)
    assert torch.equal(actions(instant(*parts[:2])), before)
    for changes, moved in (
        ({"weights": (0.9, 0.1)}, (True, True)),
        ({"temperature": 0.001}, (False, True)),  # the mode is the same at every temperature
        ({"seed": 1}, (True, False)),  # only the fixed candidates are drawn
    ):
        different = (actions(instant(*parts[:2], **changes)) != before).flatten(1).any(1)
        assert tuple(different.tolist()) == moved, changes


def test_its_mode_is_better_for_the_sum_than_its_parts(parts: list[Skill], pair: Skill) -> None:
    obs = pair.replay.all().obs[:500]
    with torch.no_grad():
        own = pair.q(obs, pair.policy.mode(obs))
        for part in parts[:2]:
            assert (own >= pair.q(obs, part.policy.mode(obs)) - 1e-5).all()


# Skills of soft Q-learning, whose policies have no density


@pytest.fixture(scope="module")
def samplers() -> list[Skill]:
    sizes = {"sql.hidden": (16,), "sql.particles": 4, "sql.value_samples": 4}
    names = ("point_x", "point_y")
    return [train(name, algorithm="sql", settings=SHORT | sizes) for name in names]


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("how", [{"instant": True}, {"settings": {"distill.policy": "implicit"}}])
def test_policies_without_density_compose(
    samplers: list[Skill], how: dict[str, Any], tmp_path: Path
) -> None:
    sizes = {"distill.particles": 4, "distill.batch_size": 16, "distill.updates": 10}
    settings = BRIEF_INSTANT if how.get("instant") else BRIEF | sizes | how["settings"]
    skill = compose(samplers, **how | {"settings": settings, "name": "both"})
    saved = skill.save(registry=tmp_path)
    obs = skill.replay.all().obs[:20]
    control = Controller.load(saved.folder)
    unit = skill.policy.mode(obs)
    assert np.allclose(
        control.batch(obs.numpy()), skill.spec.native(unit.detach().numpy()), 0, 1e-5
    )
    torch.testing.assert_close(load("both", tmp_path).policy.mode(obs), unit)


def test_trust_needs_densities(samplers: list[Skill]) -> None:
    def no_work(event: Mapping[str, Any]) -> None:
        raise AssertionError("it was found out after the work")

    with pytest.raises(InvalidValue, match="distill.trust needs the densities of the parents"):
        compose(samplers, settings=BRIEF | {"distill.trust": 0.1}, on_event=no_work)


# Composed further


def test_instant_skills_compose_instantly(parts: list[Skill], pair: Skill, tmp_path: Path) -> None:
    found = instant(pair, parts[0], name="more")
    assert found.task == "0.75*point_x+0.25*point_y"
    obs = found.replay.all().obs[:20]
    action = torch.zeros(20, 2)
    with torch.no_grad():
        expected = 0.75 * parts[0].q(obs, action) + 0.25 * parts[1].q(obs, action)
        torch.testing.assert_close(found.q(obs, action), expected)
    assert len(found.policy.config["policies"]) == 3
    found.save(registry=tmp_path)
    torch.testing.assert_close(load("more", tmp_path).policy.mode(obs), found.policy.mode(obs))


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("distil", [{}, {"distill.trust": 0.1}])
def test_instant_skills_distil(parts: list[Skill], pair: Skill, distil: dict[str, Any]) -> None:
    """A policy with a density at last, closer to the sum's than an untrained one."""
    sizes = {"distill.hidden": (16,), "distill.batch_size": 32, "distill.learning_rate": 1e-2}

    def loss(updates: int) -> float:
        settings = BRIEF | sizes | distil | {"distill.updates": updates}
        skill = compose((pair, parts[0]), settings=settings)
        assert skill.policy.kind == "gaussian"
        noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
        obs = skill.replay.all().obs[:500]
        with torch.no_grad():
            action, log_prob = skill.policy.act_and_log_prob(obs, noise)
            return float(actor_loss(log_prob, skill.q(obs, action), skill.alpha))

    assert loss(80) < loss(1)


# Bad input


def test_settings_of_a_training_are_refused(parts: list[Skill]) -> None:
    with pytest.raises(UnknownName, match="no setting is called 'distill.updates'"):
        instant(*parts[:2], settings={"distill.updates": 5})
    with pytest.raises(UnknownName, match="no setting is called 'instant.candidates'"):
        compose(parts[:2], settings={"instant.candidates": 5})
    with pytest.raises(InvalidValue, match="instant.candidates must be at least 1, got 0"):
        instant(*parts[:2], settings={"instant.candidates": 0})


def test_it_neither_learns_nor_steps(parts: list[Skill], monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any) -> None:
        raise AssertionError("an instant composition trains nothing")

    monkeypatch.setattr(Distill, "update", never)
    events: list[Mapping[str, Any]] = []
    instant(*parts[:2], on_event=events.append)
    assert [event["kind"] for event in events] == ["evaluation"] * 3


# The command


def test_the_command(tmp_path: Path) -> None:
    where = ["--registry", tmp_path]
    settings = options(BRIEF_INSTANT)
    parts = [load(name, trained()).save(registry=tmp_path).name for name in ("point_x", "point_y")]
    out = good("compose", *parts, "--instant", *where, *settings)
    assert "an action takes" in out and "0 updates" in out and "0 environment steps" in out
    assert "saved point_x+point_y.instant@1" in out
    name = "point_x+point_y.instant"
    shown = good("show", name, *where)
    assert "composed, resample" in shown and "seconds per action" in shown
    for more in ([], ["--sample"]):
        assert "return" in good("evaluate", name, "--episodes", 2, *more, *where)
    figure = tmp_path / "figure.png"
    good("plot", name, *parts, "--episodes", 2, "--output", figure, *where)
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert good("verify", name, *where).startswith("1 version is as it was saved")
