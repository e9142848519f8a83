"""compose: what the sum of skills is, what its policy does, and which skills have none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.algorithms import Distill
from skillkit.envs import make, task
from skillkit.errors import IncompatibleSkills, InteractionForbidden, InvalidValue, UnknownName
from skillkit.functional.losses import actor_loss
from skillkit.policies import Policy
from skillkit.replay import ReplayBuffer
from skillkit.skill import Skill, arrays, load
from skillkit.workflows import compose as compose_module
from skillkit.workflows.compose import compose
from skillkit.workflows.improve import check_improvable
from skillkit.workflows.recipes import giving_way
from skillkit.workflows.train import train
from tests.point_skills import BRIEF, SHORT, trained

pytestmark = pytest.mark.usefixtures("no_pictures")
SETTINGS = {**BRIEF, "distill.hidden": (16,), "distill.batch_size": 32}


def quick(*skills: Skill | str, **changes: Any) -> Skill:
    """A composition of a third of a second."""
    settings = SETTINGS | changes.pop("settings", {})
    return compose(skills, settings=settings, **changes)


@pytest.fixture(scope="module")
def x() -> Skill:
    return load("point_x", trained())


@pytest.fixture(scope="module")
def y() -> Skill:
    return load("point_y", trained())


@pytest.fixture(scope="module")
def both(x: Skill, y: Skill) -> Skill:
    return quick(x, y)


@pytest.fixture(scope="module")
def roam() -> Skill:
    return train("point_roam", settings=SHORT | {"sac.hidden": (16,)})


def points() -> tuple[torch.Tensor, torch.Tensor]:
    """Observations and unit actions to compare Q-functions at."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(50, 4, generator=generator), 2 * torch.rand(50, 2, generator=generator) - 1


# --------------------------------------------------------------------------------- what it is


def test_the_skill_says_what_it_was_made_of(x: Skill, y: Skill, both: Skill) -> None:
    found = both.manifest
    assert (both.name, both.task, found.kind) == ("point_x+point_y", "point_x+point_y", "composed")
    assert both.entry is None
    assert x.entry is not None and y.entry is not None
    assert found.parents == [
        {"name": "point_x", "version": 1, "content_id": x.entry.content_id},
        {"name": "point_y", "version": 1, "content_id": y.entry.content_id},
    ]
    assert found.weights == [0.5, 0.5] and found.metrics["exponents"] == [0.5, 0.5]
    assert found.metrics["covered"] is True
    assert set(found.metrics["parents"]) == {"point_x", "point_y"}
    assert found.metrics["evaluation"]["episodes"] == 3
    assert "skillkit compose point_x@1 point_y@1 --seed 0" in both.card
    assert both.figure.startswith(b"\x89PNG")


@pytest.mark.parametrize("weights", [None, (0.7, 0.3), (2.0, 1.0), (0.0, 1.0)])
def test_its_q_function_is_the_weighted_sum(
    x: Skill, y: Skill, weights: tuple[float, float] | None
) -> None:
    found = quick(x, y, weights=weights)
    w = weights or (0.5, 0.5)
    obs, action = points()
    with torch.no_grad():
        expected = w[0] * x.q(obs, action) + w[1] * y.q(obs, action)
        torch.testing.assert_close(found.q(obs, action), expected)
    assert found.alpha == pytest.approx(w[0] * x.alpha + w[1] * y.alpha)
    assert found.gamma == x.gamma
    assert found.manifest.weights == list(w)
    assert sum(found.metrics["exponents"]) == pytest.approx(1)


def test_another_temperature_changes_the_exponents_and_the_policy(
    x: Skill, y: Skill, both: Skill
) -> None:
    cold = quick(x, y, temperature=0.02)
    assert cold.alpha == 0.02 and cold.q.alpha == 0.02
    assert cold.metrics["exponents"] == pytest.approx([0.5 * 0.1 / 0.02] * 2)
    assert cold.metrics["covered"] is False
    obs, action = points()
    torch.testing.assert_close(cold.q(obs, action), both.q(obs, action))
    assert not np.array_equal(*(arrays(s.policy)["net.layers.0.weight"] for s in (cold, both)))


def distillation_loss(policy: Policy, target: Skill) -> float:
    """E_s [alpha KL(pi || exp(Q_S/alpha)/Z)] up to a constant, on the stored states."""
    obs = target.replay.all().obs
    noise = torch.randn(len(obs), 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        action, log_prob = policy.act_and_log_prob(obs, noise)
        return float(actor_loss(log_prob, target.q(obs, action), target.alpha))


def test_its_policy_is_the_best_of_all_for_the_sum(x: Skill, y: Skill) -> None:
    """On a sharp target, which shows after few updates what flat Q-functions would hide."""

    def composed(updates: int) -> Skill:
        sizes = {"distill.updates": updates, "distill.hidden": (32, 32)}
        return quick(x, y, weights=(10, 10), temperature=0.05, settings=sizes)

    found = composed(400)
    best, *parents = (distillation_loss(s.policy, found) for s in (found, x, y))
    assert best < min(parents) - 0.3
    assert best < distillation_loss(composed(1).policy, found) - 0.03


def test_its_replay_is_the_union(x: Skill, y: Skill, both: Skill) -> None:
    assert len(both.replay) == len(x.replay) + len(y.replay) == 3_200
    rewards = torch.cat([x.replay.all().reward, y.replay.all().reward])
    torch.testing.assert_close(
        both.replay.all().reward.sort().values, rewards.sort().values, rtol=0, atol=0
    )
    capped = quick(x, y, settings={"compose.replay_stored": 500})
    assert len(capped.replay) == capped.manifest.replay["transitions"] <= 500
    assert "replay_coverage" in capped.metrics


def test_of_one_episode_nothing_is_covered(x: Skill, y: Skill) -> None:
    one = quick(x, y, settings={"compose.replay_stored": 1})
    assert one.manifest.replay["episodes"] == 1 and "replay_coverage" not in one.metrics


def test_it_takes_no_step(x: Skill, y: Skill, both: Skill, monkeypatch: pytest.MonkeyPatch) -> None:
    assert both.metrics["interactions"] == 0
    env = make(task("point_x"), 1, seed=0)
    env.reset()
    monkeypatch.setattr(Distill, "update", lambda self, batch: env.step(np.zeros((1, 2))))
    with pytest.raises(InteractionForbidden):
        quick(x, y)


def test_what_it_costs_is_estimated(x: Skill, y: Skill, both: Skill) -> None:
    gaps = both.metrics["estimated"]
    assert all(np.isfinite([row["mean"], row["q95"]]).all() for row in gaps.values())
    assert gaps["optimal_gap_lower"]["mean"] <= gaps["distilled_gap"]["mean"]
    assert list(both.metrics["pairwise_disagreement"]) == ["point_x, point_y"]
    assert both.manifest.timing["estimate_seconds"] > 0
    for share in ("replay_coverage", "replay_coverage_goals"):
        assert 0 <= both.metrics[share] <= 1
    assert "| D, the bound of the thesis |" in both.card
    without = quick(x, y, settings={"compose.estimate_updates": 0})
    assert "estimated" not in without.metrics and "D, the bound" not in without.card


def test_progress_is_reported(x: Skill, y: Skill) -> None:
    events: list[Mapping[str, Any]] = []
    quick(x, y, on_event=events.append)
    progress = [event for event in events if event["kind"] == "progress"]
    assert (progress[-1]["step"], progress[-1]["steps"]) == (40, 40)
    played = [event["skill"] for event in events if event["kind"] == "evaluation"]
    assert played == ["point_x", "point_y", "point_x+point_y"]


IMPROVED = {"improve.updates": 30, "improve.evaluations": 10, "improve.sweep_every": 10}


def test_it_is_improved_on_request(x: Skill, y: Skill, both: Skill) -> None:
    """The critics become those of the new policy, in the same shape; still without a step."""
    events: list[Mapping[str, Any]] = []
    found = quick(x, y, settings=IMPROVED, on_event=events.append)
    assert found.metrics["interactions"] == 0
    progress = [event for event in events if event["kind"] == "progress"]
    assert (progress[-1]["step"], progress[-1]["steps"]) == (70, 70)
    assert found.manifest.timing["updates"] == 70
    assert found.manifest.q == both.manifest.q  # as it is described
    at = points()
    assert not torch.equal(found.q(*at), both.q(*at))
    assert any(not np.array_equal(value, arrays(both.policy)[key])
               for key, value in arrays(found.policy).items())  # fmt: skip
    assert found.metrics["disagreement_mean"] == both.metrics["disagreement_mean"]  # of the sum
    again = quick(x, y, settings=IMPROVED)
    assert all(np.array_equal(value, arrays(again.policy)[key])
               for key, value in arrays(found.policy).items())  # fmt: skip


def test_a_policy_without_density_is_not_improved(x: Skill, y: Skill) -> None:
    with pytest.raises(InvalidValue, match=r"no density to improve; .*improve.updates=0"):
        quick(x, y, settings=IMPROVED | {"distill.policy": "implicit"})


@pytest.mark.parametrize(
    ("settings", "updates"),
    [
        ({}, 30),
        ({"improve.updates": 10}, 10),
        ({"distill.policy": "implicit"}, 0),
        ({"distill.trust": 0.1}, 0),
        ({"distill.trust": 0.1, "improve.updates": 10}, 10),
    ],
)
def test_the_improvement_of_a_recipe_gives_way_to_what_was_asked_for(
    settings: dict[str, Any], updates: int, x: Skill, y: Skill, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recommended(recipe: Any, given: Any) -> Any:
        return giving_way(IMPROVED, given)

    monkeypatch.setattr(compose_module, "giving_way", recommended)
    found = quick(x, y, settings=settings)
    assert found.manifest.config["improve"]["updates"] == updates


def test_rewards_that_nobody_can_recompute_are_not_improved_upon() -> None:
    with pytest.raises(InvalidValue, match=r"gym:Pendulum-v1 cannot be computed .*updates=0"):
        check_improvable([task("gym:Pendulum-v1")], "gaussian")


# ---------------------------------------------------------------------------------- one seed


def test_the_seed_decides_everything(x: Skill, y: Skill, both: Skill) -> None:
    torch.manual_seed(5)
    again, other = quick(x, y), quick(x, y, seed=1)
    mine, same, others = (arrays(skill.policy) for skill in (both, again, other))
    assert all(np.array_equal(mine[key], same[key]) for key in mine)
    assert any(not np.array_equal(mine[key], others[key]) for key in mine)
    assert again.metrics == both.metrics


def test_its_parents_stay_as_they_were(x: Skill, y: Skill) -> None:
    before = {key: value.copy() for key, value in (arrays(x.policy) | arrays(x.q)).items()}
    quick(x, y)
    after = arrays(x.policy) | arrays(x.q)
    assert all(np.array_equal(before[key], after[key]) for key in before)


# -------------------------------------------------------------------------- skills of skills


def test_a_composition_composes_again(both: Skill, roam: Skill) -> None:
    found = quick(both, roam, weights=(0.8, 0.2))
    assert found.task == "0.4*point_x+0.4*point_y+0.2*point_roam"
    assert found.name == "0.4point_x+0.4point_y+0.2point_roam"
    assert [parent["name"] for parent in found.manifest.parents] == [both.name, "point_roam"]
    obs, action = points()
    expected = 0.8 * both.q(obs, action) + 0.2 * roam.q(obs, action)
    torch.testing.assert_close(found.q(obs, action), expected.detach())
    assert found.alpha == pytest.approx(0.8 * both.alpha + 0.2 * roam.alpha)


def test_three_at_once(x: Skill, y: Skill, roam: Skill) -> None:
    found = quick(x, y, roam)
    assert found.name == found.task == "point_x+point_y+point_roam"
    assert found.manifest.weights == [1 / 3] * 3
    pairs = ["point_x, point_y", "point_x, point_roam", "point_y, point_roam"]
    assert list(found.metrics["pairwise_disagreement"]) == pairs
    assert f"| G of {pairs[0]} alone |" in found.card
    assert len(found.replay) == sum(len(skill.replay) for skill in (x, y, roam))


def test_an_unsaved_parent_is_recorded_without_version(x: Skill, roam: Skill) -> None:
    parents = quick(x, roam).manifest.parents
    assert parents[1] == {"name": "point_roam", "version": None, "content_id": None}


def test_names_of_stored_skills_will_do(monkeypatch: pytest.MonkeyPatch, both: Skill) -> None:
    monkeypatch.setenv("SKILLKIT_REGISTRY", str(trained()))
    found = quick("point_x", "point_y@1", name="corner")
    assert found.name == "corner" and found.manifest.parents == both.manifest.parents


# ------------------------------------------------------------------------------- bad input


@pytest.fixture(scope="module")
def patient() -> Skill:
    """A skill with another discount."""
    return train("point_y", settings=SHORT | {"sac.hidden": (16,), "sac.gamma": 0.9})


@pytest.fixture(scope="module")
def pendulum() -> Skill:
    sizes = {"sac.hidden": (8,), "train.steps": 40, "train.warmup": 40, "train.final_episodes": 2}
    return train("gym:Pendulum-v1", settings=sizes)


@pytest.fixture(scope="module")
def greedy() -> Skill:
    """A skill without temperature."""
    recipe = {"sac.hidden": (16,), "sac.policy": "deterministic", "sac.alpha": 0.0}
    return train("point_y", settings=SHORT | recipe)


def test_another_gamma_is_refused(x: Skill, patient: Skill) -> None:
    with pytest.raises(
        IncompatibleSkills, match="gamma differs, 0.99 against 0.9; train them with"
    ):
        quick(x, patient)


def test_another_domain_is_refused(x: Skill, pendulum: Skill) -> None:
    with pytest.raises(IncompatibleSkills, match="domain differs.*choose skills of one domain"):
        quick(x, pendulum)


def test_one_that_was_taught_another_task_is_refused() -> None:
    """Its Q-function is of one direction, and the sum would be called by all of them."""
    said = "locomotion is taught in one direction.*train locomotion --set train.every_frame=false"
    with pytest.raises(IncompatibleSkills, match=said):
        compose(["locomotion", "locomotion"])


def test_a_skill_without_temperature_is_refused(x: Skill, greedy: Skill) -> None:
    with pytest.raises(InvalidValue, match="^point_y: .*train it with alpha above zero"):
        quick(x, greedy)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weights": (1.0,)}, "2 skills need 2 weights"),
        ({"weights": (1.0, 1.0, 1.0)}, "2 skills need 2 weights"),
        ({"weights": (-0.5, 1.5)}, "must not be negative"),
        ({"weights": (0.0, 0.0)}, "at least one weight must be above zero"),
        ({"weights": (float("nan"), 1.0)}, "weights must be finite"),
        ({"weights": (float("inf"), 1.0)}, "weights must be finite"),
        ({"weights": ("a", "b")}, "weights must be numbers"),
        ({"weights": "0.5,0.5"}, "weights must be numbers"),
        ({"temperature": 0.0}, "a temperature must be positive"),
        ({"temperature": -1.0}, "a temperature must be positive"),
        ({"temperature": float("nan")}, "a temperature must be positive"),
        ({"seed": -1}, "a seed is a whole number"),
        ({"name": "../corner"}, "is not a skill name"),
        ({"name": ""}, "is not a skill name"),
        ({"name": "point_x"}, "point_x is one of the skills composed; name the result"),
        ({"settings": {"distill.updates": 0}}, "every distill size must be positive"),
        ({"settings": {"compose.final_episodes": 1}}, "must be at least 2"),
        ({"settings": {"compose.estimate_updates": -1}}, "must not be negative"),
    ],
)
def test_what_cannot_be_composed(
    x: Skill, y: Skill, changes: dict[str, Any], sentence: str
) -> None:
    def no_work(event: Mapping[str, Any]) -> None:
        raise AssertionError("it was found out after the work")

    with pytest.raises(InvalidValue, match=sentence):
        quick(x, y, on_event=no_work, **changes)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x: quick(x), "at least two skills; name another"),
        (lambda x: quick(), "at least two skills; name another"),
        (lambda x: quick(x, x), "point_x is one of the skills composed"),
    ],
)
def test_it_takes_two(x: Skill, call: Callable[[Skill], object], sentence: str) -> None:
    with pytest.raises(InvalidValue, match=sentence):
        call(x)


def test_an_unknown_setting_is_answered_with_known_ones(x: Skill, y: Skill) -> None:
    with pytest.raises(UnknownName, match=r"'distil.updates'; did you mean distill.updates"):
        quick(x, y, settings={"distil.updates": 1})


def test_more_skills_than_a_figure_has_room_for(x: Skill, y: Skill) -> None:
    """Nine dots of colour are too many to tell apart, and no reason to lose the result."""
    found = quick(*[x, y] * 4, name="crowd")
    assert len(found.metrics["parents"]) == 8 and found.figure.startswith(b"\x89PNG")


def test_skills_of_one_name_and_no_version_are_told_apart(x: Skill) -> None:
    again = [train("point_x", settings=SHORT | {"sac.hidden": (16,)}, seed=s) for s in (0, 1)]
    found = quick(*again, x, name="three").metrics["parents"]
    assert list(found) == ["point_x", "point_x (2)", "point_x@1"]
    assert len({row["return"]["mean"] for row in found.values()}) == 3


@pytest.mark.parametrize("change", ["high", "observation"])
def test_a_domain_that_changed_since(x: Skill, y: Skill, change: str) -> None:
    """Alike among themselves; but what would act is today's robot."""

    def older(skill: Skill) -> Skill:
        spec = skill.spec
        if change == "high":
            was = replace(spec, action=tuple(replace(e, high=9.0) for e in spec.action))
        else:
            was = replace(spec, observation=spec.observation[1:])
        manifest = replace(skill.manifest, spec=was)
        return Skill(manifest, policy=skill.policy, q=skill.q, replay=skill.replay)

    with pytest.raises(IncompatibleSkills, match="changed since it was made; make point_x"):
        quick(older(x), older(y))


@pytest.mark.parametrize("what", ["rewarded", "ended"])
def test_a_task_that_changed_since(x: Skill, y: Skill, what: str) -> None:
    """What is stored tells; a comment in the task file would not."""

    def other(skill: Skill) -> Skill:
        episodes = skill.replay.episodes()
        if what == "rewarded":
            episodes["rewards"] += 0.01
        else:
            episodes["terminated"][:] = True
        stored = ReplayBuffer.from_episodes(episodes, skill.gamma)
        return Skill(skill.manifest, policy=skill.policy, q=skill.q, replay=stored)

    with pytest.warns(UserWarning, match="what point_y has stored was rewarded or ended otherwise"):
        quick(x, other(y))
