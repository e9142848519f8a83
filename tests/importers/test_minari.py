"""A replay goes to Minari's format and comes back bit for bit; what strangers made is only read."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.errors import IncompatibleSkills, InvalidValue
from skillkit.exporters import minari as exporter
from skillkit.importers import minari as importer
from skillkit.replay import ReplayBuffer
from skillkit.skill import Skill, load
from skillkit.types import Entry
from tests.point_skills import ROOT, copy_of_trained, good, trained
from tests.point_skills import skillkit as answer

h5py = pytest.importorskip("h5py", reason="h5py is not installed")
GOLDEN = ROOT / "tests/golden/format_1"


@pytest.fixture(scope="module")
def small() -> Skill:
    return load("point_x", trained())


def exported(skill: Skill, path: Path) -> Path:
    exporter.write(skill, path)
    return path


def same(one: ReplayBuffer, other: ReplayBuffer) -> None:
    ours, theirs = one.episodes(), other.episodes()
    assert ours.keys() == theirs.keys()
    for key in ours:
        np.testing.assert_array_equal(ours[key].numpy(), theirs[key].numpy(), err_msg=key)
    for mine, yours in zip(one.all(), other.all(), strict=True):
        assert torch.equal(mine, yours)


@pytest.mark.parametrize("name", ["point_x", "point_x+point_y", "point_x/point_y"])
def test_round_trip(name: str, tmp_path: Path) -> None:
    """The last holds its decisions, which have discounts of their own and no bounds."""
    skill = load(name, GOLDEN)
    same(importer.read(exported(skill, tmp_path / "dataset"), skill), skill.replay)


def test_round_trip_of_what_ends(small: Skill, tmp_path: Path) -> None:
    """Episodes that terminate, that are cut off, of a single step; actions at the bounds."""
    rng = np.random.default_rng(0)
    lengths = torch.tensor([1, 5, 3])
    u = torch.from_numpy(np.float32(20 * rng.standard_normal((9, 2))))
    tensors = {
        "observations": torch.from_numpy(np.float32(rng.standard_normal((12, 4)))),
        "actions": u.tanh(),
        "pre_tanh": u,
        "rewards": torch.from_numpy(np.float32(rng.standard_normal(9) * 1e30)),
        "lengths": lengths,
        "terminated": torch.tensor([True, False, True]),
        "truncated": torch.tensor([False, True, False]),
        "training_step": torch.tensor([0, 7, 123456]),
    }
    assert (u.tanh().abs() == 1).any()
    replay = ReplayBuffer.from_episodes(tensors, small.gamma)
    skill = Skill(small.manifest, policy=small.policy, q=small.q, replay=replay)
    same(importer.read(exported(skill, tmp_path / "dataset"), small), replay)


def test_minari_reads_it(small: Skill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari", reason="Minari is not installed")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    (tmp_path / "skillkit").mkdir()
    exported(small, tmp_path / "skillkit" / "point_x-v1")
    dataset = minari.load_dataset("skillkit/point_x-v1")
    wanted = small.replay.episodes()
    assert dataset.total_episodes == len(wanted["lengths"])
    assert dataset.total_steps == len(wanted["actions"])
    assert (dataset.action_space.low, dataset.action_space.high) == pytest.approx((-1, 1))
    each = [*dataset.iterate_episodes()]
    assert all(dataset.action_space.contains(action) for one in each for action in one.actions)
    assert all(one.truncations[-1] != one.terminations[-1] for one in each)
    for key in ("observations", "actions", "rewards"):
        found = np.concatenate([getattr(one, key) for one in each])
        np.testing.assert_array_equal(found, wanted[key].numpy())
    pre_tanh = np.concatenate([one.infos["pre_tanh"] for one in each])
    np.testing.assert_array_equal(pre_tanh, wanted["pre_tanh"].numpy())
    assert list(minari.list_local_datasets()) == ["skillkit/point_x-v1"]


def test_it_reads_what_minari_writes(
    small: Skill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a person who recorded native actions, as double precision, and no latents."""
    minari = pytest.importorskip("minari", reason="Minari is not installed")
    from gymnasium.spaces import Box

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    rng = np.random.default_rng(0)
    buffers = [
        minari.data_collector.EpisodeBuffer(
            observations=rng.standard_normal((length + 1, 4)),
            actions=rng.uniform(-1, 1, (length, 2)),
            rewards=rng.standard_normal(length).tolist(),
            terminations=[False] * (length - 1) + [length == 5],
            truncations=[False] * length,
        )
        for length in (5, 8)
    ]
    minari.create_dataset_from_buffers(
        "human/point-v0",
        buffers,
        observation_space=Box(-np.inf, np.inf, (4,)),
        action_space=Box(-1, 1, (2,)),
    )
    found = importer.read(tmp_path / "human" / "point-v0", small).episodes()
    for key in ("observations", "actions", "rewards"):
        wanted = np.concatenate([np.asarray(getattr(one, key)) for one in buffers])
        np.testing.assert_array_equal(found[key].numpy(), wanted.astype(np.float32))
    assert found["terminated"].tolist() == [True, False] == [not e for e in found["truncated"]]
    torch.testing.assert_close(found["pre_tanh"].tanh(), found["actions"])


def test_native_actions_become_unit_actions(small: Skill, tmp_path: Path) -> None:
    """The bounds of the skill are told from -1 and 1 by what the action space says."""
    native = replace(small.spec, action=(Entry("a", "N", -3, 5), Entry("b", "N", 0, 0.5)))
    skill = Skill(replace(small.manifest, spec=native), replay=small.replay)
    path = exported(skill, tmp_path / "dataset")
    same(importer.read(path, skill), skill.replay)
    space = {"type": "Box", "shape": [2], "low": [-3, 0], "high": [5, 0.5]}
    change(path, action_space=json.dumps(space))

    def convert(file: Any) -> None:
        for group in file.values():
            group["actions"][...] = native.native(group["actions"][...])

    edit(path, convert)
    found, wanted = (replay.episodes() for replay in (importer.read(path, skill), small.replay))
    torch.testing.assert_close(found["actions"], wanted["actions"], rtol=0, atol=1e-6)
    torch.testing.assert_close(found["pre_tanh"].tanh(), found["actions"])


# ------------------------------------------------------------------------------------ the command


def test_a_skill_with_the_replay_of_another(
    registry_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_of_trained(registry_folder)
    monkeypatch.chdir(tmp_path)
    said = good("export", "point_y", "--format", "minari")
    assert said.startswith("the Minari dataset skillkit/point_y-v1: 32 episodes, 1600 transitions")
    assert "point_y.minari: " in said
    given = ["point_y.minari", "--format", "minari"]
    said = good("import", *given, "--skill", "point_x")
    assert said.startswith("saved point_x@2: return ")
    before, after, other = (load(name) for name in ("point_x@1", "point_x@2", "point_y"))
    same(after.replay, other.replay)
    obs = after.replay.all().obs
    assert torch.equal(after.policy.mode(obs), before.policy.mode(obs))
    assert after.card.startswith(before.card[:500]) and after.figure == before.figure
    assert "The replay was imported from point_y.minari for point_x@1." in after.card
    assert after.manifest.config["import"] == {"replay": "point_y.minari", "of": "point_x@1"}
    good("verify")
    assert answer("import", *given, "--skill", "point_x", "--set=import.steps=1").sentence == (
        "--format minari has no settings; leave out --set"
    )
    assert answer("import", *given, "--skill", "push_x").sentence.startswith(
        "point_y.minari cannot be the replay of push_x: its observation_space is a Box of [4], and"
    )


# -------------------------------------------------------------------------------------- strangers


def change(path: Path, **fields: Any) -> Path:
    file = path / "data" / "metadata.json"
    about = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({k: v for k, v in about.items() if v is not None}))
    return path


def edit(path: Path, how: Callable[[Any], None]) -> Path:
    with h5py.File(path / "data" / "main_data.hdf5", "r+") as file:
        how(file)
    return path


def put(name: str, value: Any) -> Callable[[Path], Path]:
    def how(file: Any) -> None:
        del file[f"episode_0/{name}"]
        file[f"episode_0/{name}"] = value

    return lambda path: edit(path, how)


def externally(file: Any) -> None:
    """A dataset whose numbers are those of another file."""
    del file["episode_0/rewards"]
    numbers = [("/dev/zero", 0, 8 * 50)]
    file["episode_0"].create_dataset("rewards", (50,), "f8", external=numbers)


def virtually(file: Any) -> None:
    layout = h5py.VirtualLayout((50,), "f8")
    layout[:] = h5py.VirtualSource("/etc/other.hdf5", "x", (50,))
    del file["episode_0/rewards"]
    file["episode_0"].create_virtual_dataset("rewards", layout)


def box(low: float, high: float, size: int = 2) -> str:
    return json.dumps({"type": "Box", "shape": [size], "low": [low] * size, "high": [high] * size})


REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no spaces": (
        lambda path: change(path, action_space=None, env_spec='{"entry_point": "os:system"}'),
        "it states no action_space, and its environment is not made to find out",
    ),
    "arrow": (lambda path: change(path, data_format="arrow"), "only hdf5 is read"),
    "pictures": (lambda path: change(path, action_space='{"type": "Dict"}'), "is a Dict of None"),
    "another robot": (lambda path: change(path, action_space=box(-1, 1, 3)), "Box of .3., and the"),
    "other bounds": (
        lambda path: change(path, action_space=box(-2, 2)),
        "reach from .-2.* or -1 t",
    ),
    "more episodes": (lambda path: change(path, total_episodes=33), "or damaged"),
    "no episodes": (lambda path: change(path, total_episodes=0), "it has no episodes"),
    "beyond the bounds": (put("actions", np.full((50, 2), 1.5)), "an action lies beyond the bo"),
    "a NaN": (put("rewards", np.full(50, np.nan)), "holds a NaN"),
    "another length": (put("actions", np.zeros((49, 2))), r"is float64 \(49, 2\) and not numb"),
    "objects": (put("rewards", ["a"] * 50), r"is object \(50,\) and not numbers"),
    "an early end": (put("terminations", np.ones(50, bool)), "goes on after its end"),
    "a link": (put("rewards", h5py.ExternalLink("/dev/zero", "/x")), "rewards is a link"),
    "external": (lambda path: edit(path, externally), "lies in another file"),
    "virtual": (lambda path: edit(path, virtually), "lies in another file"),
    "no HDF5": (lambda path: (path / "data/main_data.hdf5").write_bytes(b"\x89HDF"), "or damaged"),
    "no JSON": (lambda path: (path / "data/metadata.json").write_text("{"), "or damaged"),
    "nothing": (lambda path: path.rename(path.parent / "elsewhere"), "there is no data/metadata"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_in_a_sentence(what: str, small: Skill, tmp_path: Path) -> None:
    make, sentence = REFUSED[what]
    path = exported(small, tmp_path / "dataset")
    make(path)
    with pytest.raises((InvalidValue, IncompatibleSkills), match=sentence) as found:
        importer.read(path, small)
    assert str(path) in str(found.value) and "\n" not in str(found.value)


def test_a_pipe_behind_a_link_is_not_opened(small: Skill, tmp_path: Path) -> None:
    """It would block for ever."""
    path = exported(small, tmp_path / "dataset")
    os.mkfifo(tmp_path / "pipe")

    def how(file: Any) -> None:
        for name in ("episode_0/infos", "episode_1"):
            del file[name]
            file[name] = h5py.ExternalLink(str(tmp_path / "pipe"), "/x")

    with pytest.raises(InvalidValue, match="infos is a link"):
        importer.read(edit(path, how), small)


def test_more_than_fits_is_refused(
    small: Skill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "LARGEST", 10_000)
    with pytest.raises(InvalidValue, match="more than 10000 numbers"):
        importer.read(exported(small, tmp_path / "dataset"), small)


def test_what_cannot_be_written(
    small: Skill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(small, tmp_path / "dataset")
    with pytest.raises(InvalidValue, match="dataset exists already"):
        exported(small, tmp_path / "dataset")
    with pytest.raises(InvalidValue, match="--sample is for policies"):
        exporter.write(small, tmp_path / "other", sample=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "registry"]
    monkeypatch.setitem(sys.modules, "h5py", None)
    for attempt in (
        lambda: exporter.write(small, tmp_path / "other"),
        lambda: importer.read(tmp_path / "dataset", small),
    ):
        with pytest.raises(InvalidValue, match=r"h5py, which .* '.\[minari\]' installs it"):
            attempt()
