"""Several seeds in step: each learns what it would alone, from nothing of the others."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.algorithms.population import Population
from skillkit.envs import task
from skillkit.errors import InvalidValue, NonFinite, RunConflict
from skillkit.skill import Skill, arrays, load
from skillkit.types import Batch
from skillkit.workflows import loop, seeds
from skillkit.workflows.recipes import configure
from skillkit.workflows.run import Run
from skillkit.workflows.seeds import Seeds
from skillkit.workflows.train import train, train_together
from tests.point_skills import SHORT, good, options

pytestmark = pytest.mark.usefixtures("no_pictures")
TASKS = ["point_x", "point_y"]
SETTINGS = SHORT | {"train.steps": 800, "sac.hidden": (16,), "sac.batch_size": 16}
AT_ONCE = {"train.stacked": True}


def learned(skill: Skill) -> dict[str, Any]:
    """All numbers that training leaves, by name."""
    found = {f"policy.{key}": value for key, value in arrays(skill.policy).items()}
    found |= {f"q.{key}": value for key, value in arrays(skill.q).items()}
    return found | {key: value.numpy() for key, value in skill.replay.episodes().items()}


def in_step(*drawn: int, **changes: Any) -> Seeds:
    configs = configure("sac", SETTINGS | changes)
    tasks = [task(name) for name in TASKS]
    runs = [Run(tasks, "sac", configs, seed, "cpu") for seed in drawn]
    return Seeds(runs, configs["train"])


def test_each_is_what_it_would_be_alone() -> None:
    found = train_together(TASKS, settings=SETTINGS, seed=[5, 2])
    alone = [one for seed in (5, 2) for one in train_together(TASKS, settings=SETTINGS, seed=seed)]
    assert [skill.manifest.seed for skill in found] == [5, 5, 2, 2]
    for skill, single in zip(found, alone, strict=True):
        assert skill.name == single.name and skill.curve == single.curve
        assert skill.manifest.timing["updates"] == single.manifest.timing["updates"] > 0
        assert skill.manifest.siblings == single.manifest.siblings != []
        np.testing.assert_equal(learned(skill), learned(single))
    assert not np.array_equal(learned(found[0])["actions"], learned(found[2])["actions"])


def test_all_of_them_learn_in_one_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first updates; later a last digit of an action is another episode."""
    brief = SETTINGS | {"train.steps": 440, "train.warmup": 400}
    calls = []
    update = Population.update

    def counted(population: Population, batch: Batch) -> Any:
        calls.append(batch.reward.shape)
        return update(population, batch)

    monkeypatch.setattr(Population, "update", counted)
    found = train_together(TASKS, settings=brief | AT_ONCE, seed=[5, 2])
    assert calls == [(4, 16)] * found[0].manifest.timing["updates"]
    single = train_together(TASKS, settings=brief, seed=[5, 2])
    for ours, theirs in zip(found, single, strict=True):
        assert ours.manifest.timing["updates"] == theirs.manifest.timing["updates"] > 2
        mine, wanted = learned(ours), learned(theirs)
        for key, value in wanted.items():
            np.testing.assert_allclose(mine[key], value, rtol=1e-3, atol=1e-4, err_msg=key)
    together = in_step(5, 2, **AT_ONCE)
    assert together.population is not None
    assert together.population.learners == [one.learner for one in together.trainees]


def test_a_checkpoint_is_of_its_seeds(tmp_path: Path) -> None:
    begun = in_step(1, 2)
    for run in begun.runs:
        run.collector.step(())
    saved = tmp_path / "saved"
    saved.mkdir()
    begun.save(saved)
    with pytest.raises(RunConflict, match="has seed 1, seed 2; resume it with the same seeds"):
        in_step(1, 3).load(saved)
    with pytest.raises(RunConflict, match="train.stacked None, not True"):
        in_step(1, 2, **AT_ONCE).load(saved)
    in_step(2, 1).load(saved)
    with pytest.raises(RunConflict, match="has seed 1, seed 2; resume it with the same seeds"):
        in_step(1).load(saved)
    with pytest.raises(RunConflict, match="has one seed; resume it with the same seeds"):
        begun.load(saved / "seed 1")


def test_events_say_of_which_seed_they_are() -> None:
    events: list[Any] = []
    for drawn in ([5, 2], [5]):
        train_together(["point_x"], settings=SETTINGS, seed=drawn, on_event=events.append)
    points = [event.get("seed") for event in events if event["kind"] == "evaluation"]
    assert points == [5, 2, None]


def test_one_that_diverges_is_named() -> None:
    both = in_step(1, 2)
    for trainee in both.trainees:
        trainee.metrics = {"critic_loss": torch.tensor(1.0)}
    loop._check(both)
    both.trainees[3].metrics = {"critic_loss": torch.tensor(float("nan"))}
    with pytest.raises(NonFinite, match="^point_y, seed 2: critic_loss became nan before step 0"):
        loop._check(both)


def test_one_skill_has_one_seed() -> None:
    with pytest.raises(InvalidValue, match="a seed is a whole number"):
        train("point_x", seed=[0, 1])  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [[], [1, 1], [-1], [1.5]])
def test_what_are_no_seeds(wrong: list[Any]) -> None:
    with pytest.raises(InvalidValue, match="seed"):
        seeds.check_seeds(wrong)


def test_the_command(tmp_path: Path) -> None:
    brief = options(SETTINGS | {"sac.hidden": "16"})
    said = good("train", "point_x", "--seeds", "5,2", "--registry", tmp_path, *brief)
    assert "saved point_x@1" in said and "saved point_x@2" in said
    first, second = (load(f"point_x@{version}", tmp_path) for version in (1, 2))
    returns = [one.metrics["evaluation"]["return"]["mean"] for one in (first, second)]
    middle, apart = statistics.mean(returns), statistics.stdev(returns)
    assert f"point_x over 2 seeds: return {middle:.1f}, standard deviation {apart:.1f}" in said
    assert "over" not in good("train", "point_x", "--registry", tmp_path, *brief)
    assert (first.manifest.seed, second.manifest.seed) == (5, 2)
    assert all("skillkit train point_x --seeds 5,2 --set" in one.card for one in (first, second))
    (alone,) = train_together(["point_x"], settings=SETTINGS, seed=[2])
    obs = torch.zeros(1, alone.spec.observation_dim)
    assert torch.equal(second.policy.mode(obs), alone.policy.mode(obs))
    assert " --seed 2 " in alone.card
