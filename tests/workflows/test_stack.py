"""stack: a skill's policy becomes part of the environment, and stays as it is (THEORY 7)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import skillkit
from skillkit.envs import BatchedDomain, Task, domain, task
from skillkit.errors import (
    CorruptSkill,
    IncompatibleSkills,
    InvalidValue,
    RunConflict,
    SkillkitError,
    UnknownName,
)
from skillkit.evaluation import evaluate
from skillkit.manifest import write_checksums
from skillkit.policies import StackedPolicy
from skillkit.skill import Skill, arrays, load
from skillkit.types import Array, Entry
from skillkit.workflows.base import base_of
from tests.point_skills import SHORT

pytestmark = pytest.mark.usefixtures("no_pictures")
QUICK = {**SHORT, "sac.policy": "gaussian", "sac.hidden": (16,)}


def stack(base: Skill | str, expression: str | Task, **options: Any) -> Skill:
    settings = {**QUICK, **options.pop("settings", {})}
    return skillkit.stack(base, expression, settings=settings, **options)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """point_x, point_x/point_y on it (flow), and point_x/point_y/point_x on that; to read."""
    folder = tmp_path_factory.mktemp("registry")
    skillkit.train("point_x", settings=QUICK).save(registry=folder)
    flow = {"sac.policy": "real_nvp"}
    stack(load("point_x", folder), "point_y", settings=flow).save(registry=folder)
    second = load("point_x/point_y", folder)
    stack(second, "point_x", settings={"stack.hold": 2}, seed=1).save(registry=folder)
    return folder


@pytest.fixture
def mine(registry: Path, registry_folder: Path) -> Path:
    """The same, to write in."""
    shutil.copytree(registry, registry_folder, dirs_exist_ok=True)
    return registry_folder


NAMES = ["point_x/point_y", "point_x/point_y/point_x"]


def observations(steps: int) -> Array:
    return np.random.default_rng(0).standard_normal((steps, 4)).astype(np.float32)


# What comes out


def test_what_a_stacked_skill_says_of_itself(registry: Path) -> None:
    base, two, three = (load(name, registry) for name in ("point_x", *NAMES))
    made = two.manifest
    assert (made.kind, made.algorithm, two.task) == ("stacked", "sac", "point_y")
    assert made.parents == [base.as_parent] and three.manifest.parents == [two.as_parent]
    assert made.spec == base.spec and not made.weights
    assert made.config["stack"] == {"hold": 3} and made.policy["config"]["holds"] == [3]
    assert three.manifest.policy["config"]["holds"] == [3, 2]
    layers = three.manifest.layers
    assert [layer["task"] for layer in layers] == ["point_x", "point_y", "point_x"]
    assert [layer["name"] for layer in layers] == ["point_x", *NAMES]
    assert [layer["version"] for layer in layers] == [1, 1, None]
    assert [layer["content_id"] for layer in layers[:2]] == [
        base.as_parent["content_id"], two.as_parent["content_id"],
    ]  # fmt: skip
    assert [layer["seed"] for layer in layers] == [0, 0, 1]
    assert all(layer["steps"] >= 1_600 for layer in layers)
    assert "skillkit stack point_x@1 --task point_y --seed 0" in two.card
    assert "0. point_x@1: point_x, sac" in two.card
    assert two.figure.startswith(b"\x89PNG")
    assert {"success", "return"} <= two.metrics["evaluation"].keys()


def test_the_frozen_layers_are_bit_identical(registry: Path) -> None:
    base, two, three = (load(name, registry) for name in ("point_x", *NAMES))
    own = arrays(base.policy)
    for skill in (two, three):
        assert isinstance(skill.policy, StackedPolicy)
        embedded = arrays(skill.policy.each[0])
        assert embedded.keys() == own.keys()
        assert all(embedded[key].tobytes() == own[key].tobytes() for key in own)
    assert isinstance(two.policy, StackedPolicy) and isinstance(three.policy, StackedPolicy)
    middle, same = arrays(two.policy.top), arrays(three.policy.each[1])
    assert all(middle[key].tobytes() == same[key].tobytes() for key in middle)


def test_stacking_changes_nothing_about_the_base() -> None:
    base = skillkit.train("point_x", settings=QUICK)
    before = {key: value.copy() for key, value in arrays(base.policy).items()}
    found = stack(base, "point_y")
    after = arrays(base.policy)
    assert all(after[key].tobytes() == before[key].tobytes() for key in before)
    assert found.manifest.parents == [{"name": "point_x", "version": None, "content_id": None}]
    assert isinstance(found.policy, StackedPolicy)
    assert found.policy.each[0] is not base.policy  # training the base on does not change the stack


@pytest.mark.parametrize("name", NAMES)
def test_it_acts_the_same_after_reloading(registry: Path, name: str, tmp_path: Path) -> None:
    """The unsaved one, the saved one, and torch: whole episodes, sampled and by mode."""
    saved = load(name, registry)
    assert isinstance(saved.policy, StackedPolicy)
    again = saved.save(registry=tmp_path)
    for deterministic in (True, False):
        one, other = (
            skill.controller(deterministic, seed=3) for skill in (load(name, registry), again)
        )
        for obs in observations(20):
            np.testing.assert_array_equal(one(obs), other(obs))
    obs = torch.from_numpy(observations(16))
    with torch.no_grad():
        expected = saved.policy.mode(obs).numpy()
    np.testing.assert_allclose(saved.controller().unit(obs.numpy(), None), expected, atol=1e-5)
    _ = saved.q, again.q  # the probes agree


def test_a_row_of_its_replay_is_a_decision(registry: Path) -> None:
    """The rewards and discounts of the file are those of the task, played with the same latents."""
    two = load("point_x/point_y", registry)
    stored = load_file(two.folder / "replay" / "00000.safetensors")
    assert stored["discounts"].shape == stored["rewards"].shape and "pre_tanh" not in stored
    assert abs(stored["actions"]).max() > 1.5  # there is no tanh
    lengths = stored["lengths"]
    assert set(lengths.tolist()) <= {17}  # 50 steps: 16 decisions of 3, and one of 2
    last = np.cumsum(lengths) - 1
    expected = np.full(len(stored["discounts"]), 0.99**3)
    expected[last] = 0.99**2  # time ran out: the value goes on
    np.testing.assert_allclose(stored["discounts"], expected, rtol=1e-6)
    assert two.replay.held
    torch.testing.assert_close(
        two.replay.all().discount, torch.from_numpy(stored["discounts"]), rtol=0, atol=0
    )
    with pytest.raises(InvalidValue, match="several steps"):
        two.replay.relabel(two.spec, task("point_y").reward, task("point_y").terminated)
    three = load(NAMES[1], registry)
    assert three.replay.all().discount.max().item() == pytest.approx(0.99**2)  # 50 = 8 x 6 + 2
    assert three.replay.all().discount.min().item() == pytest.approx(0.99**6)


def test_its_q_function_judges_latents(registry: Path) -> None:
    two = load("point_x/point_y", registry)
    probe = load_file(two.folder / "probe.safetensors")
    assert isinstance(two.policy, StackedPolicy)
    with torch.no_grad():
        obs = torch.from_numpy(probe["observation"])
        torch.testing.assert_close(two.policy.top.mode(obs), torch.from_numpy(probe["latent"]))
        q = two.q(obs, torch.from_numpy(probe["latent"]))
    np.testing.assert_allclose(q, probe["q"], rtol=1e-4)


def test_a_figure_of_the_card_is_reproduced(registry: Path) -> None:
    """By its controller, which knows where episodes begin; without that it would not be."""
    two = load("point_x/point_y", registry)
    act = two.controller()
    found = evaluate(act.batch, task("point_y"), 4, begin=act.reset).means()
    assert found["return"] == two.metrics["evaluation"]["return"]["mean"]
    few = evaluate(act.batch, task("point_y"), 4, num_envs=3, begin=act.reset).means()
    assert few == found


def test_a_new_seed_is_another_skill_and_the_same_one_is_not(registry: Path) -> None:
    base = load("point_x", registry)
    one, same, other = (stack(base, "point_y", seed=seed) for seed in (5, 5, 6))
    prints = [skill.manifest.layers[-1]["fingerprint"] for skill in (one, same, other)]
    assert prints[0] == prints[1] != prints[2]


def test_what_helps_with_rare_rewards(mine: Path) -> None:
    """Each is a setting like any other, and the skill loads with it."""
    settings = {
        "replay.n_step": 3,
        "replay.rewarded_share": 0.25,
        "sac.value_scale": 50.0,
        "sac.normalised": True,
        "sac.automatic_alpha": True,
        "sac.target_entropy": -2.0,
        "explore.correlation": 1.0,
    }
    saved = stack(load("point_x"), "point_goal", settings=settings).save()
    config = saved.manifest.config
    assert config["replay"] == {"n_step": 3, "rewarded_share": 0.25, "symmetric": False}
    assert saved.manifest.q["config"]["scale"] == config["sac"]["value_scale"] == 50.0
    again = load(saved.name)
    assert again.q.config == saved.q.config and again.policy is not saved.policy


# Any invertible skill is a base


def test_a_composed_skill_is_a_base(mine: Path) -> None:
    skillkit.train("point_y", settings=QUICK).save(registry=mine)
    few = {"distill.updates": 20, "compose.final_episodes": 2}
    few |= {"compose.estimate_states": 16, "compose.estimate_updates": 2}
    parts = [load(name, mine) for name in ("point_x", "point_y")]
    skillkit.compose(parts, settings=few).save(registry=mine)
    found = stack(load("point_x+point_y", mine), "point_roam").save(registry=mine)
    assert found.name == "point_x+point_y/point_roam"
    assert found.manifest.layers[0]["steps"] is None
    assert load(found.name, mine).controller()(np.zeros(4)).shape == (2,)


def test_soft_q_learning_can_be_on_top_but_not_below(mine: Path) -> None:
    settings = {"sql.hidden": (8,), "sql.particles": 8, "sql.value_samples": 8, "train.steps": 800}
    base = load("point_x", mine)
    found = skillkit.stack(base, "point_y", algorithm="sql", settings=SHORT | settings)
    assert found.manifest.policy["config"]["layers"][1]["kind"] == "implicit"
    saved = found.save(registry=mine)
    assert load(saved.name, mine).controller(deterministic=False)(np.zeros(4)).shape == (2,)
    with pytest.raises(IncompatibleSkills, match="cannot be inverted.*gaussian, real_nvp can"):
        stack(load(saved.name, mine), "point_x")


def test_holds_by_default(registry: Path) -> None:
    """3 on a single layer, 1 above."""
    for name, holds in (("point_x", (3,)), ("point_x/point_y", (3, 1))):
        assert base_of(load(name, registry), task("point_y")).holds == holds
    assert base_of(load("point_x", registry), task("point_y"), 7).holds == (7,)


# Observations are found by name


class Wider(BatchedDomain):
    """The point with another observation: more entries, or fewer, in another order."""

    name, actions, dt = "point", domain("point").spec.action, 0.1

    def __init__(self, *names: str) -> None:
        self.entries = tuple(Entry(name) for name in names)

    def start(self, rng: np.random.Generator) -> Array:
        return np.zeros(len(self.entries))

    def step(self, state: Array, action: Array, rngs: Any) -> Array:
        return state


def elsewhere(*names: str) -> Task:
    return Task("elsewhere", Wider(*names), "", task("point_roam").terms[1:], horizon=5)


def test_a_base_reads_its_entries_by_name(registry: Path) -> None:
    base = load("point_x", registry)
    moved = base_of(base, elsewhere("wind", "y", "x", "x_velocity", "y_velocity"))
    obs = torch.from_numpy(observations(5))
    other = torch.cat([torch.ones(5, 1), obs[:, [1, 0, 2, 3]]], 1)
    with torch.no_grad():
        torch.testing.assert_close(moved.layers[0].mode(other), base.policy.mode(obs))
    assert moved.layers[0].observation_dim == 5


# What cannot be


@pytest.mark.parametrize(
    ("attempt", "error", "sentence"),
    [
        (lambda b: stack(b, "push_x"), IncompatibleSkills, "acts in the domain point"),
        (lambda b: stack(b, elsewhere("x", "y", "x_velocity")), IncompatibleSkills, "y_velocity"),
        (lambda b: stack(b, "no_such"), UnknownName, "no task is called"),
        (lambda b: stack("no_such", "point_y"), UnknownName, "no skill is called"),
        (lambda b: stack(b, "point_y", settings={"stack.hold": 0}), InvalidValue, "stack.hold"),
        (lambda b: stack(b, "point_y", settings={"stack.held": 1}), UnknownName, "stack.hold"),
        (lambda b: stack(b, "point_y", name="a//b"), InvalidValue, "not a skill name"),
        (lambda b: stack(b, "point_y", seed=-1), InvalidValue, "a seed is"),
        (lambda b: stack(b, "point_y", settings={"sac.alpha": 0, "sac.policy": "deterministic"}),
         InvalidValue, "held by its prior"),
        (lambda b: stack(b, "point_y", device="tpu"), InvalidValue, "--device takes"),
        (lambda b: skillkit.train("point_y", settings={"stack.hold": 1}), UnknownName, "hold"),
        (lambda b: skillkit.compose([b, b]), IncompatibleSkills, "point_x/point_y is a stack"),
        (lambda b: skillkit.compose([load("point_x", b.folder.parents[1]), b]),
         IncompatibleSkills, "point_x/point_y is a stack"),
    ],
)  # fmt: skip
def test_refusals(
    registry: Path, attempt: Callable[[Skill], Any], error: type[SkillkitError], sentence: str
) -> None:
    name = "point_x/point_y" if error is IncompatibleSkills and "stack" in sentence else "point_x"
    with pytest.raises(error, match=sentence) as caught:
        attempt(load(name, registry))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["deterministic"])
def test_a_base_that_cannot_be_inverted(kind: str) -> None:
    settings = QUICK | {"sac.policy": kind, "sac.alpha": 0.0}
    base = skillkit.train("point_x", settings=settings)
    with pytest.raises(
        IncompatibleSkills, match=f"its {kind} policy cannot be inverted.*gaussian, real_nvp can"
    ):
        stack(base, "point_y")


def tampered(folder: Path, change: Callable[[dict[str, Any], dict[str, Array]], Any]) -> None:
    """Change skill.json and the policy, and make the checksums fit again."""
    described = json.loads((folder / "skill.json").read_text())
    tensors = load_file(folder / "policy.safetensors")
    change(described, tensors)
    (folder / "skill.json").write_text(json.dumps(described))
    save_file(tensors, folder / "policy.safetensors")
    write_checksums(folder)


@pytest.mark.parametrize(
    "use", [lambda s: s.controller(), lambda s: s.policy, lambda s: stack(s, "point_x")]
)
@pytest.mark.parametrize(
    "change",
    [
        lambda d, t: t["layers.0.net.layers.0.bias"].__iadd__(1e-6),
        lambda d, t: d["layers"][0].update(fingerprint="0" * 64),
        lambda d, t: d["layers"].reverse(),
    ],
)
def test_an_embedded_layer_that_is_another_one(
    mine: Path, change: Callable[..., Any], use: Callable[[Skill], Any]
) -> None:
    folder = load("point_x/point_y").folder
    tampered(folder, change)
    with pytest.raises(CorruptSkill, match=r"layer 0 of point_x/point_y, point_x.* is not the one"):
        use(load("point_x/point_y"))


# Interrupted and resumed


def test_a_run_goes_on_where_it_was(registry: Path, tmp_path: Path) -> None:
    base, folder = load("point_x", registry), tmp_path / "run"
    found: Iterator[int] = iter(range(9))

    def checkpoint(save: Callable[[Path], None]) -> None:
        if next(found) == 0:
            folder.mkdir()
            save(folder)

    done = stack(base, "point_y", checkpoint=checkpoint)
    again = stack(base, "point_y", resume=folder)
    assert again.metrics["steps"] == pytest.approx(done.metrics["steps"], abs=24)
    assert again.replay.held
    for wrong, culprit in (
        ({"base": load("point_x/point_y", registry)}, "base"),
        ({"settings": {"stack.hold": 2}}, "stack.hold 3, not 2"),
    ):
        with pytest.raises(RunConflict, match=culprit):
            stack(wrong.pop("base", base), "point_y", resume=folder, **wrong)
    with pytest.raises(RunConflict, match="base"):
        skillkit.train("point_y", settings=QUICK, resume=folder)


def test_a_latent_has_no_mirror_image(mine: Path) -> None:
    with pytest.raises(InvalidValue, match="a latent has no mirror image"):
        stack(load("point_x"), "point_goal", settings={"replay.symmetric": True})
