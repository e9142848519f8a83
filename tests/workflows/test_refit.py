"""refit: before critics are added, each learns on what the other skills have stored."""

from __future__ import annotations

import pytest
import torch

from skillkit.envs import forbid_interaction, task
from skillkit.errors import InvalidValue, SkillkitError
from skillkit.functional.losses import td_target
from skillkit.q_functions import SoftQ, WeightedSum
from skillkit.replay import ReplayBuffer, union
from skillkit.skill import Skill, load
from skillkit.workflows.compose import compose
from skillkit.workflows.refit import RefitConfig, can_refit, refit
from skillkit.workflows.train import train
from tests.point_skills import BRIEF, SHORT, trained


@pytest.fixture(scope="module")
def x() -> Skill:
    return load("point_x", trained())


@pytest.fixture(scope="module")
def y() -> Skill:
    return load("point_y", trained())


def refitted(skill: Skill, replay: ReplayBuffer, updates: int = 600, seed: int = 0) -> SoftQ:
    return refit(skill, task(skill.task), replay, RefitConfig(updates), seed, lambda done: None)


def residual(q: SoftQ, skill: Skill, replay: ReplayBuffer) -> float:
    """Root mean square of y - Q on a replay relabelled for the skill's own task [r]."""
    goal = task(skill.task)
    batch = replay.relabel(goal.spec, goal.reward, goal.terminated).all()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(batch.obs), skill.policy.noise_dim, generator=generator)
    with torch.no_grad():
        action, log_prob = skill.policy.act_and_log_prob(batch.next_obs, noise)
        next_q = q(batch.next_obs, action)
        y = td_target(batch.reward, batch.discount, next_q, log_prob, skill.alpha)
        return float((y - q(batch.obs, batch.action)).square().mean().sqrt())


def test_the_critic_learns_where_the_other_skill_has_been() -> None:
    """At a short horizon, which little training is enough for."""
    settings = SHORT | {"sac.gamma": 0.5, "sac.hidden": (32,)}
    x, y = (train(f"point_{axis}", settings=settings) for axis in "xy")
    foreign = y.replay
    before, after = (
        residual(q, x, foreign) for q in (x.q, refitted(x, union([x.replay, foreign])))
    )
    assert after < 0.8 * before


def test_no_update_leaves_the_critic_as_it_was(x: Skill, y: Skill) -> None:
    left = refitted(x, y.replay, updates=0).state_dict()
    assert all(torch.equal(left[key], value) for key, value in x.q.state_dict().items())


def test_the_stored_skill_is_not_touched(x: Skill, y: Skill) -> None:
    before = {key: value.clone() for key, value in x.q.state_dict().items()}
    with forbid_interaction() as interaction:
        refitted(x, y.replay, updates=3)
    assert interaction.steps == 0
    assert all(torch.equal(before[key], value) for key, value in x.q.state_dict().items())


def test_the_seed_decides(x: Skill, y: Skill) -> None:
    once, again, other = (refitted(x, y.replay, 3, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert not all(torch.equal(once[key], other[key]) for key in once)


def test_it_goes_on_at_the_stored_temperature(x: Skill, y: Skill) -> None:
    q = refitted(x, y.replay, updates=3)
    assert (q.alpha, q.gamma) == (x.alpha, x.gamma)


def test_compose_adds_the_refitted_critics(x: Skill, y: Skill) -> None:
    done: list[int] = []

    def note(event: object) -> None:
        if isinstance(event, dict) and event["kind"] == "progress":
            done.append(event["step"])

    settings = BRIEF | {"refit.updates": 5}
    skill = compose([x, y], settings=settings, on_event=note)
    assert isinstance(skill.q, WeightedSum)
    for critic, parent in zip(skill.q.parts, (x, y), strict=True):
        same = [torch.equal(critic.state_dict()[k], v) for k, v in parent.q.state_dict().items()]
        assert not any(same)
    assert skill.metrics["interactions"] == 0
    assert done == [5, 10, 50]  # of one count: two refits of 5, then the distillation of 40
    assert skill.manifest.timing["updates"] == 50


def test_a_composed_part_is_taken_as_it_is(x: Skill, y: Skill) -> None:
    both = compose([x, y], settings=BRIEF)
    assert can_refit(x, task("point_x")) and not can_refit(both, task("point_x+point_y"))
    again = compose([both, x], name="again", settings=BRIEF | {"refit.updates": 2})
    assert isinstance(again.q, WeightedSum)
    kept = again.q.parts[0].state_dict()
    assert all(torch.equal(kept[key], value) for key, value in both.q.state_dict().items())


def test_a_count_below_zero_is_refused() -> None:
    with pytest.raises(InvalidValue, match="refit.updates must not be negative"):
        RefitConfig(-1)


def test_settings_of_another_time_are_answered_with_the_way_out(x: Skill, y: Skill) -> None:
    config = x.manifest.config | {"sac": {"cleverness": 3}}
    from dataclasses import replace

    odd = Skill(replace(x.manifest, config=config), policy=x.policy, q=x.q, replay=x.replay)
    with pytest.raises(SkillkitError, match="refit.updates=0"):
        refitted(odd, y.replay, updates=1)
