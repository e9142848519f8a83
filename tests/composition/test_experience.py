"""All that skills have stored, as the experience of another task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from skillkit.composition.experience import is_of, relabelled_union
from skillkit.envs import Quantities, Task, Term, task
from skillkit.errors import IncompatibleSkills
from skillkit.skill import Skill, load
from skillkit.types import Array
from skillkit.workflows.stack import stack
from skillkit.workflows.train import train
from tests.point_skills import FLOW, trained


@pytest.fixture(scope="module")
def skills() -> list[Skill]:
    return [load(name, trained()) for name in ("point_x", "point_y")]


@pytest.mark.parametrize("expression", ["point_x+point_y", "0.2*point_x+0.8*point_y", "point_roam"])
def test_every_transition_has_the_reward_of_the_task(skills: list[Skill], expression: str) -> None:
    wanted = task(expression)
    replay = relabelled_union(skills, wanted)
    found, stored = replay.all(), [skill.replay.all() for skill in skills]
    assert len(replay) == sum(len(skill.replay) for skill in skills)
    for name in ("obs", "action", "next_obs"):
        expected = torch.cat([getattr(batch, name) for batch in stored])
        torch.testing.assert_close(getattr(found, name), expected, rtol=0, atol=0)
    transition = found.obs.numpy(), wanted.spec.native(found.action.numpy()), found.next_obs.numpy()
    reward = torch.from_numpy(wanted.reward(*transition).astype(np.float32))
    torch.testing.assert_close(found.reward, reward)
    torch.testing.assert_close(found.discount, torch.full_like(reward, skills[0].gamma))


def test_of_the_sum_it_is_the_weighted_sum(skills: list[Skill]) -> None:
    parts = [relabelled_union(skills, task(name)).all().reward for name in ("point_x", "point_y")]
    both = relabelled_union(skills, task("0.2*point_x+0.8*point_y")).all().reward
    torch.testing.assert_close(both, 0.2 * parts[0] + 0.8 * parts[1])


def test_the_skills_keep_their_own_rewards(skills: list[Skill]) -> None:
    before = skills[0].replay.all().reward.clone()
    relabelled_union(skills, task("point_y"))
    assert torch.equal(skills[0].replay.all().reward, before)


def test_another_domain_is_refused(skills: list[Skill]) -> None:
    with pytest.raises(IncompatibleSkills, match="no experience of push_x; choose a task of the"):
        relabelled_union(skills, task("push_x"))


def test_a_stack_is_refused_whose_actions_are_latents(skills: list[Skill]) -> None:
    flow = train("point_roam", settings=FLOW)
    with pytest.raises(IncompatibleSkills, match="stored actions are latents"):
        relabelled_union([stack(flow, "point_x", settings=FLOW)], task("point_x"))


def rare(weight: float) -> Task:
    """A reward that one transition of thousands meets, as in a maze."""

    def met(state: Quantities, action: Array, then: Quantities) -> Array:
        return (np.arange(len(action)) == 7).astype(float)

    return replace(task("point_x"), terms=(Term("met", met, weight),))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (task("point_x"), [True, False]),
        (task("point_y"), [False, False]),
        (replace(task("point_x"), ends=lambda s, a, n: n["x"] > 0), [False, False]),
        (rare(1000), [False, True]),
        (rare(100), [False, False]),
    ],
)
def test_what_is_stored_tells_the_task(
    skills: list[Skill], wanted: Task, expected: list[bool]
) -> None:
    base = skills[0]
    replay = base.replay.relabel(base.spec, rare(1000).reward, rare(1000).terminated)
    sparse = Skill(base.manifest, policy=base.policy, q=base.q, replay=replay)
    assert [is_of(skill, wanted) for skill in (base, sparse)] == expected
