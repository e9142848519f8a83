"""Exported policies: ONNX Runtime computes what the policy does, and needs nothing but the file.

The graph is compared with PyTorch's policy, from which its tensors come, to 1e-5 of an action that
reaches from -1 to 1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import onnxruntime
import pytest
import torch

from skillkit.controller import Controller
from skillkit.errors import InvalidValue
from skillkit.exporters import EXPORTERS, onnx
from skillkit.exporters.graph import BUILDS, policy_model
from skillkit.policies import POLICIES, Policy
from skillkit.registry import shipped_folder
from skillkit.runtimes import RUNTIMES
from skillkit.skill import Skill, arrays, load
from skillkit.types import Array, Entry, Spec
from tests.point_skills import ROOT, good, trained
from tests.point_skills import skillkit as answer
from tests.runtimes.test_stacked import STACKS, stack
from tests.toys import spec, stirred

PARITY = 1e-5
SHIPPED = sorted(
    f"{folder.parent.name.replace('--', '/')}@{folder.name[1:]}"
    for folder in shipped_folder().glob("*/v*")
    if folder.is_dir()
)
SIZES: list[tuple[int, Sequence[int], int, Sequence[int] | None]] = [
    (1, (), 1, None),
    (4, (16, 16), 3, (2, 0)),
    (12, (128, 128), 3, None),
    (27, (30, 20, 50), 8, None),
]
LOW, HIGH = -3.0, 5.0


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def session(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def graph(policy: Policy, bounds: Spec, sample: bool = False) -> Any:
    described = {"kind": policy.kind, "config": policy.config}
    noise_dim = policy.noise_dim if sample else 0
    return session(policy_model(bounds, described, arrays(policy), noise_dim).SerializeToString())


def fed(graph: Any, obs: Any, noise: Any) -> dict[str, Array]:
    """Inputs of an episode's first step."""
    sizes = {value.name: value.shape[1] for value in graph.get_inputs()}
    given = {"observation": np.asarray(obs), "noise": np.asarray(noise)}
    given["memory"] = np.zeros((len(obs), sizes.get("memory", 0)), np.float32)
    return {name: given[name] for name in sizes}


def assert_same(policy: Policy, bounds: Spec, obs: torch.Tensor, sample: bool) -> None:
    noise = torch.randn(len(obs), policy.noise_dim)
    made = graph(policy, bounds, sample)
    (action,) = made.run(["action"], fed(made, obs, noise))
    with torch.no_grad():
        unit = policy.act(obs, noise) if sample else policy.mode(obs)
    half = (bounds.high - bounds.low) / 2
    assert np.abs((action - bounds.native(unit.numpy())) / half).max() <= PARITY


def test_every_policy_has_a_graph_or_a_reason() -> None:
    assert BUILDS.keys() | onnx.REFUSED.keys() == RUNTIMES.keys() >= POLICIES.keys()
    assert not BUILDS.keys() & onnx.REFUSED.keys()


@pytest.mark.parametrize("sample", [False, True])
@pytest.mark.parametrize(("observations", "hidden", "actions", "inputs"), SIZES)
@pytest.mark.parametrize("kind", POLICIES)
def test_the_policy_in_pytorch(
    kind: str,
    observations: int,
    hidden: Sequence[int],
    actions: int,
    inputs: Sequence[int] | None,
    sample: bool,
) -> None:
    policy = stirred(POLICIES[kind](observations, actions, hidden, inputs), 0.2)
    for rows in (1, 50):
        assert_same(
            policy,
            spec(observations, actions, LOW, HIGH),
            torch.randn(rows, observations),
            sample and policy.noise_dim > 0,
        )


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_skill(name: str) -> None:
    skill = load(name)
    probe = torch.from_numpy(skill.replay.all().obs[:300:3].numpy())
    near = probe + 0.3 * torch.randn(probe.shape)
    data = {sample: onnx.export(skill, sample)[0] for sample in (False, True)}
    half = (skill.spec.high - skill.spec.low) / 2
    for sample, model in data.items():
        made, noise = session(model), torch.randn(2 * len(near), skill.policy.noise_dim)
        obs = torch.cat([probe, near])
        (action,) = made.run(["action"], fed(made, obs, noise))
        unit = skill.policy.act(obs, noise) if sample else skill.policy.mode(obs)
        assert np.abs((action - skill.spec.native(unit.numpy())) / half).max() <= PARITY


@pytest.mark.parametrize("sample", [False, True])
@pytest.mark.parametrize(("kinds", "holds"), STACKS)
def test_a_stack_decides_in_the_rhythm_of_its_layers(
    kinds: tuple[str, ...], holds: tuple[int, ...], sample: bool
) -> None:
    """Episodes that begin at different steps, next to each other, against the controller's."""
    policy, bounds = stack(kinds, holds), spec(4, 2, -1.0, 3.0)
    sample = sample and policy.noise_dim > 0
    made = graph(policy, bounds, sample)
    held = int(any(hold > 1 for hold in holds))
    assert len(made.get_outputs()) == 1 + held
    described = {"kind": policy.kind, "config": policy.config}
    control = Controller(bounds, described, arrays(policy))
    rng = np.random.default_rng(0)
    memory: dict[str, Array] = {}
    for step in range(14):
        begins = np.array([step == 0, step % 5 == 0, step == 9])
        obs, noise = (rng.standard_normal((3, n), np.float32) for n in (4, policy.noise_dim))
        given = fed(made, obs, noise)
        if memory:
            given["memory"] = np.where(begins[:, None], 0, memory["memory"]).astype(np.float32)
        control.reset(np.ones(3, bool) if step == 0 else begins)
        wanted = control.batch(obs, noise if sample else None)
        action, *after = made.run(None, given)
        memory = dict(zip(("memory",), after, strict=bool(held)))
        np.testing.assert_allclose(action / 2, wanted / 2, rtol=0, atol=PARITY)


def test_a_stack_forgets_nothing_within_an_episode() -> None:
    """What is in the memory matters: zeros at each step are another action."""
    policy = stack(("real_nvp", "real_nvp"), (3,))
    made = graph(policy, spec(4, 2))
    obs = np.random.default_rng(1).standard_normal((2, 5, 4)).astype(np.float32)
    _, memory = made.run(None, {"observation": obs[0], "memory": np.zeros((5, 3), np.float32)})
    assert (memory[:, 0] == 1).all()
    held, anew = (
        made.run(["action"], {"observation": obs[1], "memory": m})[0] for m in (memory, 0 * memory)
    )
    assert np.abs(held - anew).max() > 0.01


def test_actions_stay_within_bounds_that_float32_does_not_hit() -> None:
    actions = (Entry("a", "", -0.1, 0.1), Entry("b", "", -0.7, 0.3))  # float32(.1) > .1
    bounds = Spec(spec(3).observation, actions, 0.1)
    policy = POLICIES["gaussian"](3, 2, (8,))
    obs = 1e4 * torch.randn(200, 3)
    (action,) = graph(policy, bounds).run(["action"], {"observation": obs.numpy()})
    action = action.astype(np.float64)
    assert (bounds.low <= action).all() and (action <= bounds.high).all()
    assert np.isclose(action, bounds.low).any() and np.isclose(action, bounds.high).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", POLICIES)
def test_what_is_no_number_gives_none(kind: str, value: float) -> None:
    """Even an entry that the policy does not read: the sensor is broken."""
    made = graph(stirred(POLICIES[kind](4, 2, (8,), (3, 0))), spec(4, 2))
    obs = np.zeros((3, 4), np.float32)
    obs[1] = 0, value, 0, 0
    (action,) = made.run(["action"], {"observation": obs})
    assert np.isnan(action[1]).all() and np.isfinite(action[[0, 2]]).all()


# ------------------------------------------------------------------------------------ the command


@pytest.fixture(scope="module")
def small() -> Skill:
    return load("point_x", trained())


def about(model: Any) -> dict[str, Any]:
    found = model.get_modelmeta().custom_metadata_map
    return {key: json.loads(value) for key, value in found.items()}


def test_the_file_says_what_it_is(small: Skill) -> None:
    found = about(session(onnx.export(small)[0]))
    assert found["content_id"] == small.as_parent["content_id"] and found["skill"] == "point_x"
    assert found["version"] == 1 and found["parents"] == [] and found["task"] == "point_x"
    assert found["observation"] == small.spec.to_json()["observation"]
    assert found["action"][0] == {
        "name": "force_x", "unit": "N", "low": -1.0, "high": 1.0, "constant": False,
    }  # fmt: skip
    assert (found["control_period"], found["alpha"]) == (small.spec.dt, small.alpha)
    assert (found["deterministic"], found["rule"]) == (True, "the mode, at noise 0")
    sampled = about(session(onnx.export(small, sample=True)[0]))
    assert sampled["deterministic"] is False and "memory" not in sampled
    both = about(session(onnx.export(load("point_x+point_y", trained()))[0]))
    assert both["parents"] == load("point_x+point_y", trained()).manifest.parents
    stacked = about(session(onnx.export(load("point_roam/point_maze"))[0]))
    assert stacked["holds"] == [3] and stacked["memory"].startswith("zeros where an episode begins")


def test_the_command(small: Skill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = ["--registry", trained()]
    words = good("export", "point_x+point_y", *where).splitlines()
    assert re.fullmatch(
        r"observation \(B, 4\) -> action \(B, 2\), at most \de-\d\d of a bound from the policy",
        words[0],
    )
    assert re.fullmatch(r"point_x\+point_y.onnx: [\d.]+ kB", words[1])
    good("export", "point_x", *where, "--sample", "--format", "onnx", "-o", "a/b.onnx")
    assert Path("a/b.onnx").read_bytes() == onnx.export(small, sample=True)[0]
    assert "observation (B, 4), memory (B, 3) -> action (B, 2), next_memory (B, 3), " in good(
        "export", "point_roam/point_maze"
    )
    assert Path("point_roam--point_maze.onnx").exists()


ELSEWHERE = """
import sys
sys.modules["torch"] = sys.modules["skillkit"] = sys.modules["onnx"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("point_x.onnx")
action, = session.run(["action"], {"observation": np.load("obs.npy")})
assert abs(action - np.load("action.npy")).max() <= 1e-5
"""
FORBID_TORCH = "import sys\nsys.modules['torch'] = None\n"
EXPORT = f"""{FORBID_TORCH}
from skillkit.cli import main
main(["export", "point_x"])
"""


def alone(code: str, folder: Path) -> None:
    """Run code in a process of its own, which must succeed."""
    paths = {"PYTHONPATH": str(ROOT), "SKILLKIT_REGISTRY": str(trained())}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | paths,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "name", ["point_roam/point_maze", pytest.param("push_x+push_y", marks=pytest.mark.slow)]
)
def test_the_documented_controller(name: str, tmp_path: Path) -> None:
    """It plays what skillkit's own controller plays."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.S)
    (tmp_path / "push_x+push_y.onnx").write_bytes(onnx.export(load(name))[0])
    steps = 150 if name == "push_x+push_y" else 30
    code = code.replace("range(300)", f"range({steps})")
    alone(f"{FORBID_TORCH}{code}\nnp.save('obs.npy', obs)", tmp_path)
    env = gymnasium.make("skillkit.envs:skillkit/Task-v0", task=load(name).task)
    control, (obs, _) = load(name).controller(), env.reset(seed=0)
    for _ in range(steps):
        obs, *_ = env.step(control(obs))
    np.testing.assert_allclose(np.load(tmp_path / "obs.npy"), obs, atol=1e-3)


def test_neither_the_export_nor_its_file_needs_pytorch(small: Skill, tmp_path: Path) -> None:
    obs = torch.randn(20, 4)
    np.save(tmp_path / "obs.npy", obs.numpy())
    np.save(tmp_path / "action.npy", small.policy.mode(obs).numpy())  # bounds are -1 and 1 here
    alone(EXPORT, tmp_path)
    alone(ELSEWHERE, tmp_path)


def test_what_cannot_be_exported(small: Skill, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer("export", "point_x", "--format", "onix").sentence == (
        "no export format is called 'onix'; did you mean onnx?"
    )
    assert [*EXPORTERS] == ["onnx", "minari"]
    assert answer("export", "point_z", "--registry", trained()).sentence.startswith("no skill")
    unsaved = Skill(small.manifest, policy=small.policy)
    with pytest.raises(InvalidValue, match="is not saved yet"):
        onnx.export(unsaved)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert answer("export", "point_x", "--registry", trained()).sentence == (
        "onnxruntime, which an export needs, cannot be imported; "
        "pip install -c constraints.txt -e '.[export]' installs it"
    )


def test_instant_and_noiseless_skills_are_refused(small: Skill, tmp_path: Path) -> None:
    def like_small(described: dict[str, Any], **parts: Any) -> Skill:
        return Skill(replace(small.manifest, name="other", policy=described), **parts)

    with pytest.raises(InvalidValue, match="a resampled policy judges its candidates by the "):
        onnx.export(like_small({"kind": "resampled", "config": {}}))
    policy = POLICIES["deterministic"](4, 2, (8,))
    described = {"kind": policy.kind, "config": policy.config}
    like_small(described, policy=policy, q=small.q, replay=small.replay).save(registry=tmp_path)
    where = ["--registry", tmp_path, "-o", tmp_path / "x.onnx"]
    good("export", "other", *where)
    assert answer("export", "other", *where, "--sample").sentence == (
        "other draws no noise; leave out --sample"
    )


def test_a_graph_that_does_something_else_is_not_written(
    small: Skill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skillkit.exporters.graph.LOG_STD_LOW", -4.9)
    out = tmp_path / "x.onnx"
    wrong = answer("export", "point_x", "--registry", trained(), "--sample", "-o", out).sentence
    assert re.search(r"gives actions that are 0.0\d+ of a bound from those of point_x", wrong)
    assert not out.exists()
