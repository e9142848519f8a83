"""Fine-tuning: `train TASK --from SKILL` begins as the skill acts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import skillkit
from skillkit.envs import Task, task
from skillkit.errors import IncompatibleSkills, RunConflict
from skillkit.policies import POLICIES, StackedPolicy
from skillkit.skill import Skill, arrays, load
from skillkit.workflows.train import train_together
from skillkit.workflows.tuning import take_over
from tests.point_skills import SHORT, good, options
from tests.point_skills import skillkit as command
from tests.toys import stirred

QUICK = {
    **SHORT,
    "sac.hidden": (16,),
    "sac.policy": "gaussian",
    "train.steps": 400,
    "train.warmup": 200,
    "train.evaluate_every": 400,
    "train.final_episodes": 2,
}
ROAM, MAZE = task("point_roam"), task("point_maze")


def train(expression: str, **options: Any) -> Skill:
    return skillkit.train(expression, settings=QUICK | options.pop("settings", {}), **options)


@pytest.fixture(scope="module")
def roam() -> Skill:
    """Reads two velocities; the mazes' policies read the position as well."""
    return train("point_roam", name="rover")


def made(kind: str, inputs: Any = None, **options: Any) -> Any:
    return POLICIES[kind](4, 2, (16,), inputs, **options)


def holding(policy: Any, skill: Skill) -> Skill:
    """The skill with another policy."""
    return Skill(skill.manifest, policy=policy, q=skill.q, replay=skill.replay, curve=[])


# What it begins as


@pytest.mark.parametrize("kind", POLICIES)
def test_it_acts_as_the_skill_does(kind: str, roam: Skill, float64: None) -> None:
    """Every kind of policy; what the skill does not read weighs nothing, and can be learned."""
    torch.manual_seed(0)
    learned, policy = stirred(made(kind, ROAM.reads)), stirred(made(kind))
    take_over(policy, holding(learned, roam), MAZE, "sac")
    obs, noise = torch.randn(8, 4), torch.randn(8, policy.noise_dim)
    torch.testing.assert_close(policy.act(obs, noise), learned.act(obs, noise))
    elsewhere = obs + torch.tensor([3.0, -2.0, 0.0, 0.0])
    torch.testing.assert_close(policy.act(elsewhere, noise), policy.act(obs, noise))
    policy.act(obs, noise).square().sum().backward()
    slopes = policy.net.layers[0].weight.grad[:, :2]  # of x and y
    assert (slopes != 0).any(0).all()


def test_entries_are_found_by_name(roam: Skill, float64: None) -> None:
    """y_velocity and then x_velocity, in a policy that reads all four in the spec's order."""
    torch.manual_seed(0)
    learned, policy = stirred(made("gaussian", [3, 2])), made("gaussian")
    take_over(policy, holding(learned, roam), MAZE, "sac")
    obs = torch.randn(8, 4)
    torch.testing.assert_close(policy.mode(obs), learned.mode(obs))
    torch.testing.assert_close(
        policy.net.layers[0].weight[:, 3], learned.net.layers[0].weight[:, 0]
    )


def test_the_skill_acts_until_the_first_update(
    roam: Skill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No uniform warm-up; and the critics are not the skill's."""
    with torch.no_grad():
        still = holding(made("gaussian"), roam)
        still.policy.net.layers[-1].weight.zero_()
        still.policy.net.layers[-1].bias.copy_(torch.tensor([0.4, -0.2, -9.0, -9.0]))  # std .007
    settings = {"train.steps": 400, "train.warmup": 392}
    monkeypatch.setattr("skillkit.workflows.loop.update", lambda learning, count: None)
    found = train("point_maze", parent=still, settings=settings)
    assert found.manifest.timing["updates"] == 0
    assert all(np.array_equal(v, arrays(found.policy)[k]) for k, v in arrays(still.policy).items())
    expected = torch.tanh(torch.tensor([0.4, -0.2])).expand(400, 2)
    torch.testing.assert_close(found.replay.all().action, expected, atol=0.03, rtol=0)
    blank = train("point_maze", settings=settings)
    assert all(np.array_equal(v, arrays(blank.q)[k]) for k, v in arrays(found.q).items())


# What comes out of it


def test_what_a_tuned_skill_says_of_itself(roam: Skill) -> None:
    base = roam.save()
    before = {key: value.tobytes() for key, value in arrays(base.policy).items()}
    found = train("point_maze", parent="rover", name="tuned")
    assert found.manifest.kind == "trained" and found.manifest.parents == [base.as_parent]
    assert "skillkit train point_maze --from rover@1 --name tuned --seed 0" in found.card
    assert "| rover@1 |" in found.card
    assert {key: value.tobytes() for key, value in arrays(base.policy).items()} == before
    assert found.policy.inputs is None  # it can learn to read where it is
    assert found.save().reference == "tuned@1"


def test_several_tasks_can_begin_as_one_skill(roam: Skill) -> None:
    pair = train_together(["point_x", "point_y"], settings=QUICK, parent=roam)
    assert [skill.manifest.parents for skill in pair] == 2 * [[roam.as_parent]]


def test_the_command(roam: Skill) -> None:
    roam.save()
    good("train", "point_maze", "--from", "rover", *options(QUICK | {"sac.hidden": 16}))
    assert load("point_maze").manifest.parents == [load("rover").as_parent]
    assert "no skill is called 'rove'" in command("train", "point_maze", "--from", "rove").sentence


def test_a_run_goes_on_where_it_was(roam: Skill, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def checkpoint(save: Callable[[Path], None]) -> None:
        if not folder.exists():
            folder.mkdir()
            save(folder)

    longer = {"train.steps": 1_200, "train.warmup": 1_000}  # the first chance comes at 1,000
    done = train("point_maze", parent=roam, settings=longer, checkpoint=checkpoint)
    again = train("point_maze", parent=roam, settings=longer, resume=folder)
    assert again.metrics["steps"] == done.metrics["steps"]
    assert again.manifest.parents == [roam.as_parent]
    for other in (None, holding(made("gaussian"), roam)):
        with pytest.raises(RunConflict, match="the interrupted run has from '[0-9a-f]{64}', not"):
            train("point_maze", parent=other, settings=longer, resume=folder)


# What cannot be


@pytest.mark.parametrize(
    ("expression", "changes", "sentence"),
    [
        ("push_x", {}, "cannot be a beginning of push_x: it acts in the domain point"),
        ("point_maze", {"sac.policy": "real_nvp"}, "policy=gaussian.*--set sac.policy=gaussian"),
        ("point_maze", {"sac.hidden": (8, 8)}, "hidden=16,.*8,8; add --set sac.hidden=16"),
        ("point_maze", {"sac.hidden": (8,)}, "--set sac.hidden=16"),
    ],
)
def test_refusals(roam: Skill, expression: str, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(IncompatibleSkills, match=sentence) as caught:
        train(expression, parent=roam, settings=changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("learned", "policy", "on", "sentence"),
    [
        (made("gaussian"), made("gaussian", ROAM.reads), ROAM, "it reads x, and policies of point"),
        (made("real_nvp", couplings=4), made("real_nvp"), MAZE, "--set sac.flow.couplings=4"),
        (StackedPolicy([made("gaussian"), made("gaussian", squash=False)], [1]), made("gaussian"),
         MAZE, "its stacked policy is made of several"),
    ],
)  # fmt: skip
def test_other_refusals(learned: Any, policy: Any, on: Task, sentence: str, roam: Skill) -> None:
    with pytest.raises(IncompatibleSkills, match=sentence):
        take_over(policy, holding(learned, roam), on, "sac")
