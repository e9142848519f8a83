"""A skill in memory and on disk: complete, lazy, checked, and nobody's code."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from skillkit.envs import task
from skillkit.errors import (
    CorruptSkill,
    InvalidValue,
    NonFinite,
    RegistryUnavailable,
    SkillkitError,
    UnknownName,
)
from skillkit.evaluation import evaluate
from skillkit.integrity import write_checksums
from skillkit.policies import GaussianPolicy
from skillkit.probe import record
from skillkit.registry import Registry
from skillkit.skill import Skill, arrays, load
from skillkit.workflows.compose import compose
from skillkit.workflows.train import train
from tests.point_skills import ROOT, SHORT, copy_of_trained, trained

NAMES = ("point_x", "point_x+point_y")


@pytest.fixture
def mine(registry_folder: Path) -> Path:
    """A registry of the test's own with the small skills."""
    return copy_of_trained(registry_folder)


def contents(skill: Skill) -> dict[str, np.ndarray[Any, Any]]:
    replay = {key: value.numpy() for key, value in skill.replay.episodes().items()}
    q = {f"q.{key}": value for key, value in arrays(skill.q).items()}
    return arrays(skill.policy) | q | replay


# ------------------------------------------------------------------------------ there and back


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_skill_is_the_one_that_was_saved(name: str, tmp_path: Path) -> None:
    first = load(name, trained())
    again = load(f"{name}@1", tmp_path) if first.save(registry=tmp_path) else first
    assert again.manifest == first.manifest
    assert (again.curve, again.card, again.figure) == (first.curve, first.card, first.figure)
    assert again.card.startswith(f"# {name}\n") and again.figure.startswith(b"\x89PNG")
    before, after = contents(first), contents(again)
    assert before.keys() == after.keys()
    for key in before:
        np.testing.assert_array_equal(after[key], before[key])
    files = {p.relative_to(first.folder): p.read_bytes() for p in first.folder.rglob("*.*")}
    assert files == {p.relative_to(again.folder): p.read_bytes() for p in again.folder.rglob("*.*")}


class OnTheFence(GaussianPolicy):
    """Its mode jumps at thresholds of the first entry, as an argmax over candidates does."""

    fences: torch.Tensor

    def mode(self, obs: torch.Tensor) -> torch.Tensor:
        passed = (obs[:, :1] > self.fences).sum(1, keepdim=True)
        return (-1.0) ** passed.expand(-1, self.action_dim)


def test_a_probe_does_not_sit_on_a_tie(tmp_path: Path) -> None:
    """There rounding decides, so the check would fail on another machine."""
    first = load("point_x", trained())
    policy = OnTheFence(4, 2, (64, 64))
    rows = first.replay.all().obs
    rows = rows[torch.linspace(0, len(rows) - 1, 32).long(), 0]  # the 32 that it chooses among
    policy.fences = rows[::2]  # half of them
    probe = record(policy, first.q, first.replay)
    assert all(len(value) == 16 for value in probe.values())
    np.testing.assert_array_equal(probe["observation"][:, 0], rows[1::2].numpy())


def test_an_unsaved_skill_is_whole_in_memory(tmp_path: Path) -> None:
    skill = train("point_x", settings=SHORT | {"sac.hidden": (8,)})
    assert repr(skill) == "Skill('point_x', unsaved, task='point_x', alpha=0.1)"
    assert skill.reference == "point_x"
    assert skill.as_parent == {"name": "point_x", "version": None, "content_id": None}
    with pytest.raises(InvalidValue, match="the skill 'point_x' is not saved yet; call save"):
        _ = skill.folder
    before = skill.controller()(np.ones(4))
    saved = skill.save(registry=tmp_path)
    assert skill.entry is None and saved.reference == "point_x@1"
    assert repr(saved) == "Skill('point_x', version 1, task='point_x', alpha=0.1)"
    np.testing.assert_array_equal(saved.controller()(np.ones(4)), before)
    np.testing.assert_array_equal(load("point_x", tmp_path).controller()(np.ones(4)), before)


@pytest.mark.parametrize("where", [str, Path, lambda folder: Registry([folder])])
def test_a_registry_has_three_forms(where: Callable[[Path], Any], tmp_path: Path) -> None:
    saved = load("point_x", trained()).save("mine/x", registry=where(tmp_path))
    assert saved.folder == tmp_path / "mine--x" / "v1"
    assert load("mine/x", where(tmp_path)).name == saved.name == "mine/x"


def test_each_save_is_the_next_version(mine: Path) -> None:
    assert load("point_x").save().reference == "point_x@2"
    assert load("point_x").reference == "point_x@2"
    assert load("point_x@1").reference == "point_x@1"
    Registry().alias("point_x@1", "best")
    assert load("point_x@best").reference == "point_x@1"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a--b", ".hidden", "", "a b", "x" * 101])
def test_a_name_is_no_path(mine: Path, name: str) -> None:
    with pytest.raises(InvalidValue, match="is not a skill name; use up to 100 letters"):
        load("point_x").save(name)


def test_a_registry_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryUnavailable, match="cannot write to .*file.*--registry DIR"):
        load("point_x", trained()).save(registry=tmp_path / "file")


def test_what_is_nan_is_not_saved(tmp_path: Path) -> None:
    skill = train("point_x", settings=SHORT | {"sac.hidden": (8,)})
    with torch.no_grad():
        next(skill.q.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(NonFinite, match="the Q-function of 'point_x' holds a NaN, so it was not"):
        skill.save(registry=tmp_path / "new")
    assert not list((tmp_path / "new").glob("point*"))


# ------------------------------------------------------------------------------------- at work


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("deterministic", [True, False])
def test_controller_and_torch_policy_agree(name: str, deterministic: bool) -> None:
    skill = load(name, trained())
    obs = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    with torch.no_grad():
        given = torch.from_numpy(obs), torch.from_numpy(noise)
        unit = skill.policy.mode(given[0]) if deterministic else skill.policy.act(*given)
    for control in (load(name, trained()).controller(), skill.controller()):  # from disk, live
        found = control.batch(obs, None if deterministic else noise)
        np.testing.assert_allclose(found, skill.spec.native(unit.numpy()), atol=1e-5)


WATCHED = """
import sys, numpy as np, skillkit
from contextlib import suppress

class Watch:
    asked = 0
    def find_spec(self, name, *rest):
        if name == "torch":
            Watch.asked += 1
            raise ImportError(name)

sys.meta_path.insert(0, Watch())
skill = skillkit.load("point_x+point_y", sys.argv[1])
skill.controller()(np.zeros(4)); skill.card; skill.figure; skill.curve; skill.metrics
assert not Watch.asked, "torch was asked for"
with suppress(ImportError):
    skill.policy
assert Watch.asked
"""


def test_opening_a_skill_and_controlling_with_it_loads_no_torch() -> None:
    result = subprocess.run(
        [sys.executable, "-c", WATCHED, str(trained())], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


MINE = """
from skillkit.envs import Task, domain
point = domain("point")
middle = Task("middle", point, "be in the middle", (point.distance(x=0, y=0),), horizon=50)
"""


def test_a_skill_lives_without_its_task(
    tmp_path: Path, registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "middle.py").write_text(MINE)
    monkeypatch.setenv("SKILLKIT_TASKS", str(folder))
    train("middle", settings=SHORT | {"sac.hidden": (8,)}).save()
    shutil.rmtree(folder)
    monkeypatch.delenv("SKILLKIT_TASKS")
    skill = load("middle")
    assert skill.task == "middle" and skill.spec == task("point_x").spec
    assert skill.controller()(np.zeros(4)).shape == (2,)
    assert len(skill.replay) == 1_600 and skill.policy is skill.policy
    found = evaluate(
        skill.controller().batch, task("point_x"), episodes=2
    )  # in a task that is here
    assert found.episodes == 2
    with pytest.raises(UnknownName, match="no task is called 'middle'"):
        task(skill.task)
    with pytest.raises(UnknownName, match="no task is called 'middle'"):
        compose([skill, load("point_x", trained())])


@pytest.mark.parametrize(
    ("reference", "error", "sentence"),
    [
        ("point_z", UnknownName, "no skill is called 'point_z'; did you mean"),
        ("point_x@2", UnknownName, "no version of point_x is called '2'; choose from 1"),
        ("point_x@best", UnknownName, "no alias of point_x is called 'best'"),
        ("point_x@", InvalidValue, "neither a version nor an alias"),
        ("../point_x", InvalidValue, "is not a skill name"),
        ("", InvalidValue, "is not a skill name"),
    ],
)
def test_what_cannot_be_found(
    mine: Path, reference: str, error: type[SkillkitError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        load(reference)


# --------------------------------------------------------- a stranger's skill, consistent in itself


USES: tuple[Callable[[Skill], object], ...] = (
    lambda skill: skill.policy,
    lambda skill: skill.q,
    lambda skill: skill.replay,
    lambda skill: skill.curve,
    lambda skill: skill.card,
    lambda skill: skill.controller()(np.zeros(4)),
)


def everything(skill: Skill) -> None:
    """Whatever a person can do with a skill that was opened."""
    for use in USES:
        use(skill)


def manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / "skill.json").read_text())
        change(data)
        (folder / "skill.json").write_text(json.dumps(data))

    return apply


def tensors(
    name: str, change: Callable[[dict[str, np.ndarray[Any, Any]]], object]
) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / f"{name}.safetensors"
        data = {key: value.copy() for key, value in load_file(path).items()}
        change(data)
        save_file({k: np.ascontiguousarray(v) for k, v in data.items()}, path)

    return apply


def replay(change: Callable[[dict[str, np.ndarray[Any, Any]]], object]) -> Callable[[Path], None]:
    return tensors("replay/00000", change)


def header(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A safetensors file whose header says something else about the same bytes."""

    def apply(folder: Path) -> None:
        path = folder / f"{name}.safetensors"
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        head = json.loads(data[8 : 8 + size])
        change(head)
        text = json.dumps(head).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])

    return apply


def content(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


W = QW = "net.layers.0.weight"  # the first one, of a policy (H, O) and of a Q-function (N, O+A, H)
NAN, INF = float("nan"), float("inf")

FOREIGN: dict[str, Callable[[Path], object]] = {
    "policy kind": manifest(lambda m: m["policy"].update(kind="flow")),
    "policy config empty": manifest(lambda m: m["policy"].update(config={})),
    "policy config extra": manifest(lambda m: m["policy"]["config"].update(colour="red")),
    "policy wider": manifest(lambda m: m["policy"]["config"].update(hidden=[65, 64])),
    "policy deeper": manifest(lambda m: m["policy"]["config"].update(hidden=[64] * 3)),
    "policy huge": manifest(lambda m: m["policy"]["config"].update(hidden=[60_000, 60_000])),
    "policy negative": manifest(lambda m: m["policy"]["config"].update(hidden=[-1])),
    "policy text": manifest(lambda m: m["policy"]["config"].update(hidden="64")),
    "policy reads": manifest(lambda m: m["policy"]["config"].update(inputs=[0, 9])),
    "policy other observation": manifest(lambda m: m["policy"]["config"].update(observation_dim=5)),
    "q kind": manifest(lambda m: m["q"].update(kind="table")),
    "q kind a list": manifest(lambda m: m["q"].update(kind="ensemble", config={"parts": 3})),
    "q huge": manifest(lambda m: m["q"]["config"].update(critics=10**9)),
    "q wider": manifest(lambda m: m["q"]["config"].update(hidden=[65, 64])),
    "q other alpha": manifest(lambda m: m["q"]["config"].update(alpha=3.0)),
    "q other gamma": manifest(lambda m: m["q"]["config"].update(gamma=0.5)),
    "q alpha text": manifest(lambda m: m["q"]["config"].update(alpha="0.1")),
    "alpha": manifest(lambda m: m.update(alpha=3.0)),
    "spec longer": manifest(
        lambda m: m["spec"]["observation"].append({**m["spec"]["observation"][0], "name": "z"})
    ),
    "format": manifest(lambda m: m.update(format=2)),
    "field missing": manifest(lambda m: m.pop("spec")),
    "field extra": manifest(lambda m: m.update(extra=1)),
    "alpha infinite": content("skill.json", b'{"alpha": 1e999}'),
    "manifest garbage": content("skill.json", b"\x00\xff garbage"),
    "policy garbage": content("policy.safetensors", b"\x00\xff garbage" * 99),
    "policy empty": content("policy.safetensors", b""),
    "q garbage": content("q.safetensors", b"garbage" * 99),
    "probe garbage": content("probe.safetensors", b"garbage" * 99),
    "replay garbage": content("replay/00000.safetensors", b"garbage" * 99),
    "policy NaN": tensors("policy", lambda t: t[W].__setitem__((0, 0), NAN)),
    "policy infinite": tensors("policy", lambda t: t[W].__setitem__((0, 0), INF)),
    "q NaN": tensors("q", lambda t: t[QW].__setitem__((0, 0, 0), NAN)),
    "policy double": tensors("policy", lambda t: t.update({W: t[W].astype(np.float64)})),
    "q double": tensors("q", lambda t: t.update({QW: t[QW].astype(np.float64)})),
    "policy transposed": tensors("policy", lambda t: t.update({W: t[W].T})),
    "policy tensor missing": tensors("policy", lambda t: t.pop(W)),
    "policy tensor extra": tensors("policy", lambda t: t.update(more=np.zeros(3, np.float32))),
    "q tensor missing": tensors("q", lambda t: t.pop(QW)),
    "policy other weights": tensors("policy", lambda t: t.update({W: t[W] * 1.5})),
    "q other weights": tensors("q", lambda t: t.update({QW: t[QW] * 1.5})),
    "policy bfloat16": header("policy", lambda h: h[W].update(dtype="BF16", shape=[128, 4])),
    "q bfloat16": header("q", lambda h: h[QW].update(dtype="BF16", shape=[2, 6, 128])),
    "policy huge shape": header("policy", lambda h: h[W].update(shape=[2**40, 2**20])),
    "policy unknown type": header("policy", lambda h: h[W].update(dtype="F1024")),
    "probe NaN": tensors("probe", lambda t: t["q"].__setitem__(0, NAN)),
    "probe key missing": tensors("probe", lambda t: t.pop("mode")),
    "probe q missing": tensors("probe", lambda t: t.pop("q")),
    "probe shape": tensors("probe", lambda t: t.update(observation=t["observation"][:, :3])),
    "probe broadcast": tensors(
        "probe",
        lambda t: t.update(
            {k: v[:1] if k == "sample" else np.repeat(v[:1], 16, 0) for k, v in t.items()}
        ),
    ),
    "probe whole numbers": tensors("probe", lambda t: t.update(noise=t["noise"].astype(np.int64))),
    "replay NaN": replay(lambda t: t["rewards"].__setitem__(0, NAN)),
    "replay key missing": replay(lambda t: t.pop("pre_tanh")),
    "replay lengths": replay(lambda t: t["lengths"].__setitem__(0, 7)),
    "replay negative lengths": replay(lambda t: t["lengths"].__setitem__(slice(2), [-50, 150])),
    "replay fractions": replay(lambda t: t.update(lengths=t["lengths"].astype(np.float32))),
    "replay flat": replay(lambda t: t.update(observations=t["observations"].ravel())),
    "replay narrow": replay(lambda t: t.update(observations=t["observations"][:, :3])),
    "replay wide actions": replay(
        lambda t: t.update({key: np.repeat(t[key], 2, 1) for key in ("actions", "pre_tanh")})
    ),
    "curve garbage": content("metrics.jsonl", b"\xff\xfe"),
    "curve no objects": content("metrics.jsonl", b"3\n"),
    "curve text": content("metrics.jsonl", b'{"step": "ten"}\n'),
    "card garbage": content("README.md", b"\xff\xfe"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_skill_is_refused_in_one_sentence(mine: Path, case: str) -> None:
    folder = mine / "point_x" / "v1"
    FOREIGN[case](folder)
    write_checksums(folder)
    with pytest.raises(CorruptSkill) as caught:
        everything(load("point_x"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1_000
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "case",
    [
        manifest(lambda m: m["q"]["config"].update(parts=[])),
        manifest(lambda m: m["q"]["config"].update(weights=[0.5])),
        manifest(lambda m: m["q"]["config"].update(weights=["a", "b"])),
        manifest(lambda m: m["q"]["config"]["parts"].append(m["q"]["config"]["parts"][0])),
        manifest(lambda m: m["q"]["config"]["parts"][0].pop("kind")),
    ],
)
def test_so_is_a_foreign_composition(mine: Path, case: Callable[[Path], None]) -> None:
    folder = mine / "point_x+point_y" / "v1"
    case(folder)
    write_checksums(folder)
    with pytest.raises(CorruptSkill) as caught:
        everything(load("point_x+point_y"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["policy", "q"])
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.update({W: t[W].astype(np.float64)}), r"is float64 .*describes float32 \("),
        (lambda t: t.update({W: t[W][1:]}), r"is float32 .*; skill.json describes float32 \("),
        (lambda t: t.pop(W), "is absent; skill.json describes float32"),
        (lambda t: t.update(extra=t[W]), "extra is float32 .*describes no such tensor"),
        (lambda t: t[W].fill(NAN), "has NaN or infinite weights"),
    ],
)
def test_torch_gets_only_what_skill_json_describes(
    mine: Path, part: str, change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    folder = mine / "point_x" / "v1"
    tensors(part, change)(folder)
    write_checksums(folder)
    skill = load("point_x")
    with pytest.raises(
        CorruptSkill, match=f"{part}.safetensors does not fit its skill: .*{complaint}"
    ):
        _ = skill.policy if part == "policy" else skill.q


def test_nothing_in_a_skill_is_executed(mine: Path) -> None:
    """A Gymnasium id with a module prefix would import that module."""
    folder = mine / "point_x" / "v1"
    manifest(lambda m: m["task"].update(expression="gym:antigravity:Env-v0"))(folder)
    write_checksums(folder)
    skill = load("point_x")
    everything(skill)
    with pytest.raises(InvalidValue, match="an id with a module would import that module"):
        task(skill.task)
    assert "antigravity" not in sys.modules
