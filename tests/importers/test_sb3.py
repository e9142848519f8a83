"""A SAC model of Stable-Baselines3 acts here as it acted there, to 1e-5; what could not is refused.

The models are written in its layout without it, and judged by formulas of their own; where it is
installed one is made, saved and asked by itself.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.errors import InvalidValue
from skillkit.importers import sb3
from skillkit.skill import load
from skillkit.workflows.adopt import adopt
from tests.importers.models import act, described, judge, pth, saved, weights
from tests.point_skills import good
from tests.point_skills import skillkit as answer

PARITY = 1e-5
QUICK = ["--set=import.steps=300", "--set=import.final_episodes=2"]
SERIALISED = {":type:": "<class 'dict'>", ":serialized:": "gAWVVwA="}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"pi": (), "qf": (), "critics": 1},
        {"observations": 1, "actions": 1, "pi": (5,), "qf": (4, 3), "critics": 3},
    ],
)
def test_actor_and_critics_are_the_same(sizes: dict[str, Any], tmp_path: Path) -> None:
    model = weights(**sizes)
    found = sb3.read(saved(tmp_path / "model.zip", model))
    policy, critics = found.policy, found.q.config["critics"]
    obs, noise = 9 * torch.randn(200, policy.observation_dim), torch.randn(200, policy.action_dim)
    with torch.no_grad():
        log_std = policy.moments(obs)[1]  # type: ignore[operator]
        for given, action in ((noise, policy.act(obs, noise)), (0 * noise, policy.mode(obs))):
            assert (action - act(model, obs, given)).abs().max() <= PARITY
        each = torch.stack([judge(model, i, obs, action) for i in range(critics)])
        torch.testing.assert_close(found.q.all(obs, action), each, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.q(obs, action), each.amin(0), rtol=1e-5, atol=1e-5)
    assert log_std.min() == -20 and log_std.max() == 2  # the ends were met


@pytest.mark.parametrize(
    ("variables", "alpha"),
    [
        ({"log_ent_coef": torch.tensor([-2.0])}, np.exp(-2)),
        ({"ent_coef_tensor": torch.tensor(0.3)}, 0.3),
    ],
)
def test_temperature_and_numbers(variables: Any, alpha: float, tmp_path: Path) -> None:
    found = sb3.read(saved(tmp_path / "model.zip", variables=variables))
    assert (found.q.alpha, found.q.gamma) == pytest.approx((alpha, 0.98))
    assert (found.steps, found.updates, found.low, found.high) == (5000, 4900, (-1, -1), (1, 1))


@pytest.mark.parametrize("low", [None, "[-1. ... -1.]"])
def test_bounds_that_the_file_does_not_say_are_not_compared(low: Any, tmp_path: Path) -> None:
    about = described(action_space={"low": low})
    assert sb3.read(saved(tmp_path / "model.zip", about=about)).low == ()


def without(*keys: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in weights().items() if key not in keys}


EXTRA = {"actor.features_extractor.cnn.0.weight": torch.zeros(3, 3)}
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "td3": (
        lambda path: saved(path, about=described(policy_class={"__module__": "sb3.td3"})),
        "its policy is one of sb3.td3; only those of stable_baselines3.sac.policies are read",
    ),
    "state-dependent noise": (
        lambda path: saved(path, about=described(use_sde=True)),
        r"its noise depends on the state \(use_sde\)",
    ),
    "another activation": (
        lambda path: saved(
            path, about=described(policy_kwargs=SERIALISED | {"activation_fn": "<class 'Tanh'>"})
        ),
        "its activation is <class 'Tanh'>; only ReLU networks are read",
    ),
    "another extractor": (
        lambda path: saved(path, about=described(policy_kwargs={"features_extractor_class": "C"})),
        "it extracts features by C; only plain MLPs are read",
    ),
    "what is not known": (
        lambda path: saved(path, about=described(policy_kwargs={"temperature": 1})),
        "its policy_kwargs have temperature, which is not known here",
    ),
    "images": (
        lambda path: saved(path, weights() | EXTRA),
        "its actor has features_extractor.cnn.0.weight; only plain MLPs are read",
    ),
    "layer normalisation": (
        lambda path: saved(path, weights() | {"critic.qf0.1.weight": torch.ones(12)}),
        "its qf0 is more than linear layers",
    ),
    "no critics": (
        lambda path: saved(path, {k: v for k, v in weights().items() if "critic" not in k}),
        "it has no critics",
    ),
    "a NaN": (
        lambda path: saved(path, weights() | {"actor.mu.bias": torch.tensor([np.nan, 0])}),
        "policy.pth holds a NaN",
    ),
    "a layer less": (lambda path: saved(path, without("actor.mu.weight")), "or damaged"),
    "a misfit": (
        lambda path: saved(path, weights() | {"critic.qf0.0.weight": torch.zeros(12, 9)}),
        "or damaged",
    ),
    "no dictionary": (lambda path: saved(path, pth([1, 2])), "or damaged"),
    "no zip": (lambda path: path.write_bytes(b"PK"), "or damaged"),
    "no file": (lambda path: None, "there is no file"),
    "nothing said": (lambda path: saved(path, about={}), "or damaged"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_a_sentence(what: str, tmp_path: Path) -> None:
    make, sentence = REFUSED[what]
    make(tmp_path / "model.zip")
    with pytest.raises(InvalidValue, match=sentence) as found:
        sb3.read(tmp_path / "model.zip")
    assert "model.zip" in str(found.value) and "\n" not in str(found.value)


# -------------------------------------------------------------------------------------- strangers


class Payload:
    """What a pickle would call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def test_nothing_in_it_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.load(io.BytesIO(pth(Payload())), weights_only=False)  # noqa: TID251, so it would work
    assert (tmp_path / "executed").exists()
    (tmp_path / "executed").unlink()
    with pytest.raises(InvalidValue, match="or damaged"):
        sb3.read(saved(tmp_path / "model.zip", pth({"actor.mu.bias": Payload()})))
    import base64
    import pickle  # noqa: TID251, what Stable-Baselines3 would unpickle

    serialised = {":serialized:": base64.b64encode(pickle.dumps(Payload())).decode()}
    sb3.read(saved(tmp_path / "model.zip", about=described(_last_obs=serialised)))
    assert not (tmp_path / "executed").exists()


def test_what_unfolds_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sb3, "LARGEST", 1 << 20)
    path = tmp_path / "model.zip"
    saved(path, about=described(zeros="0" * (2 << 20)))
    with pytest.raises(InvalidValue, match="data is larger than 1048576 bytes"):
        sb3.read(path)
    folded = io.BytesIO()
    stored = zipfile.ZipFile(io.BytesIO(pth({"actor.mu.bias": torch.zeros(1 << 19)})))
    with zipfile.ZipFile(folded, "w", zipfile.ZIP_DEFLATED) as archive:
        for info in stored.infolist():
            archive.writestr(info.filename, stored.read(info))
    with pytest.raises(InvalidValue, match="policy.pth unfolds to more than 1048576 bytes"):
        sb3.read(saved(path, folded.getvalue()))
    wide = torch.zeros(1).expand(1 << 20)  # four bytes that say they are many
    with pytest.raises(InvalidValue, match="policy.pth has tensors of more than 1048576 bytes"):
        sb3.read(saved(path, weights() | {"actor.mu.bias": wide}))


# ------------------------------------------------------------------------------------ the command


def test_a_model_becomes_a_skill(tmp_path: Path) -> None:
    model = weights()
    path = saved(tmp_path / "model.zip", model)
    said = good("import", path, "--format", "sb3", "--task", "point_x", *QUICK)
    assert said.startswith("saved point_x@1: return ")
    skill = load("point_x")
    obs = skill.replay.all().obs
    action = skill.controller().unit(obs.numpy(), None)
    assert np.abs(action - act(model, obs, torch.zeros(2)).numpy()).max() <= PARITY
    found = skill.manifest
    assert (found.kind, found.algorithm, found.alpha) == (
        "trained",
        "sac",
        pytest.approx(0.1353352),
    )
    assert found.metrics["steps"] == 5000 and found.timing == {"updates": 4900}
    assert found.replay["transitions"] == 304 == len(skill.replay)
    assert "skillkit import model.zip --format sb3 --task point_x --seed 0" in skill.card
    good("evaluate", "point_x", "--episodes", 2)
    good("verify")


def test_what_it_does_here_depends_on_the_seed_alone(tmp_path: Path, no_pictures: None) -> None:
    learned = sb3.read(saved(tmp_path / "model.zip"))
    brief = {"import.steps": 120, "import.final_episodes": 2}
    made = [
        adopt(learned, "point_x", source="model.zip", settings=brief, seed=seed)
        for seed in (0, 0, 1)
    ]
    one, same, other = (skill.replay.all() for skill in made)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.obs, other.obs)
    assert (one.action != learned.policy.mode(one.obs)).any(1).float().mean() > 0.9  # sampled
    assert len({skill.manifest.metrics["evaluation"]["return"]["mean"] for skill in made}) == 1


@pytest.mark.slow
def test_it_is_composed_stacked_on_and_trained_on(tmp_path: Path, no_pictures: None) -> None:
    path = saved(tmp_path / "model.zip")
    where = [path, "--format", "sb3"]
    for task in ("point_x", "point_y"):
        good("import", *where, "--task", task, *QUICK)
    brief = ["distill.updates=5", "compose.final_episodes=2", "compose.estimate_updates=0"]
    good("compose", "point_x", "point_y", *(f"--set={pair}" for pair in brief))
    good("compose", "point_x", "point_y", "--instant", *(f"--set={pair}" for pair in brief[1:]))
    learn = ["train.steps=64", "train.final_episodes=2", "train.evaluation_episodes=2"]
    learn += ["train.warmup=0", "sac.batch_size=8"]
    options = [f"--set={pair}" for pair in learn]
    same = ["--set=sac.policy=clipped_gaussian", "--set=sac.hidden=16,8"]
    good("train", "point_y", "--from", "point_x", *same, *options)
    good("stack", "point_x", "--task", "point_y", *options)
    pytest.importorskip("onnxruntime")
    assert "from the policy" in good("export", "point_x", "--sample", "-o", tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--task", "point_x", "--format", "sb4"], "no import format is called 'sb4'; did you"),
        (["--format", "sb3"], "--format sb3 needs --task; see skillkit import --help"),
        (["--format", "sb3", "--task", "point_x", "--skill", "x"], "--format sb3 takes no --skill"),
        (["--format", "sb3", "--task", "push_x"], "the policy takes 4 observation entries and gi"),
        (["--format", "sb3", "--task", "point_x", "--set=import.steps=0"], "import.steps and im"),
        (["--format", "sb3", "--task", "point_x", "--set=sac.alpha=1"], "no setting is called"),
    ],
)
def test_wrong_options(arguments: list[str], sentence: str, tmp_path: Path) -> None:
    found = answer("import", saved(tmp_path / "model.zip"), *arguments)
    assert found.sentence.startswith(sentence)


def test_other_bounds_are_another_task(tmp_path: Path) -> None:
    space = {"low": "[-1. -1.]", "high": "[2. 2.]"}
    path = saved(tmp_path / "model.zip", about=described(action_space=space))
    found = answer("import", path, "--format", "sb3", "--task", "point_x").sentence
    assert found.startswith("the policy was trained with actions bounded by [2.0, 2.0], and those")


# ----------------------------------------------------------------------------- the program itself


@pytest.mark.parametrize(
    ("env", "task", "name"),
    [
        ("Pendulum-v1", "gym:Pendulum-v1", "Pendulum-v1"),  # actions from -2 to 2
        ("skillkit.envs:skillkit/point_x-v0", "point_x", "point_x"),  # ours, so it composes
    ],
)
def test_as_stable_baselines3_acts(env: str, task: str, name: str, tmp_path: Path) -> None:
    """Its own `predict` and its own critics, after some training."""
    library = pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 is not installed")
    learn = {"seed": 0, "learning_starts": 100, "device": "cpu"}
    model = library.SAC("MlpPolicy", env, policy_kwargs={"net_arch": [64, 32]}, **learn)
    model.learn(160)
    model.save(tmp_path / "model.zip")
    good("import", tmp_path / "model.zip", "--format", "sb3", "--task", task, *QUICK)
    skill = load(name)
    obs = skill.replay.all().obs
    half = (skill.spec.high - skill.spec.low) / 2

    control = skill.controller()
    wanted, _ = model.predict(obs.numpy(), deterministic=True)
    found = np.stack([control(one.numpy()) for one in obs])
    assert np.abs((found - wanted) / half).max() <= PARITY

    torch.manual_seed(1)
    wanted, _ = model.predict(obs.numpy(), deterministic=False)
    torch.manual_seed(1)
    noise = torch.randn(len(obs), skill.spec.action_dim)  # as Normal.rsample draws it
    with torch.no_grad():
        unit = skill.policy.act(obs, noise)
        assert np.abs(unit.numpy() - wanted / half).max() <= PARITY
        each = torch.cat(model.critic(obs, unit), 1).T
        torch.testing.assert_close(skill.q.all(obs, unit), each, rtol=1e-5, atol=1e-5)
    assert skill.alpha == pytest.approx(float(model.log_ent_coef.detach().exp()))
    assert skill.metrics["steps"] == 160 and skill.gamma == 0.99
