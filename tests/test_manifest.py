"""Names and skill.json: what is legal, what round-trips, and what a stranger may send."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.integrity import fingerprint
from skillkit.manifest import Manifest, host, library_versions, now
from skillkit.names import (
    Reference,
    check_name,
    check_word,
    folder_name,
    name_of_folder,
    parse_reference,
)
from skillkit.types import Entry, Spec
from tests.small_skills import manifest as example
from tests.small_skills import stacked

FOLDERS = {
    "push_x": "push_x",
    "push_x+push_y.direct": "push_x+push_y.direct",
    "0.7push_x+0.3push_y": "0.7push_x+0.3push_y",
    "HalfCheetah-v5": "HalfCheetah-v5",
    "locomotion/ant_maze": "locomotion--ant_maze",
    "a/b/c": "a--b--c",
    "a-/b": "a---b",  # the last two dashes are the '/'
    "_": "_",
    "n" * 100: "n" * 100,
}
ILLEGAL = [
    *("", "/", "a/", "/a", "a//b", ".", "..", "../a", "a/../b", "a/.b", ".a", "-a", "a/-b", "a--b"),
    *(
        "/etc/passwd",
        "a\\b",
        "a b",
        "a\nb",
        "a\n",
        "a\0",
        "a@3",
        "a:b",
        "~",
        "*",
        "é",
        "٣",
        "n" * 101,
    ),
]
PARENT = {"name": "push_x", "version": 3, "content_id": "0" * 64}


# ------------------------------------------------------------------------------------- names


@pytest.mark.parametrize("name", FOLDERS)
def test_a_legal_name_has_a_folder_and_comes_back(name: str) -> None:
    assert check_name(name) == name
    assert folder_name(name) == FOLDERS[name]
    assert name_of_folder(folder_name(name)) == name


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_name_is_refused_in_one_line(name: str) -> None:
    for check in (check_name, folder_name):
        with pytest.raises(InvalidValue, match="is not a skill name; use") as caught:
            check(name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(InvalidValue):
        parse_reference(f"{name}@1")


@pytest.mark.parametrize(
    "folder", [".runs", ".aside", "a/b", "..", "", "a b", "--a", "a--", ".git"]
)
def test_a_foreign_folder_has_no_name(folder: str) -> None:
    assert name_of_folder(folder) is None


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("push_x", Reference("push_x")),
        ("push_x@3", Reference("push_x", version=3)),
        ("a/b@120", Reference("a/b", version=120)),
        ("push_x@best", Reference("push_x", alias="best")),
        ("push_x@paper-2.1", Reference("push_x", alias="paper-2.1")),
        ("push_x@latest", Reference("push_x")),
    ],
)
def test_references(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "rest",
    ["", "0", "03", "-1", "1.5", "v3", "V3", "3x", "_a", "a/b", "a b", "a@b", "../x", "9" * 19],
)
def test_what_is_neither_version_nor_alias(rest: str) -> None:
    with pytest.raises(InvalidValue, match="neither a version nor an alias; write name@3"):
        parse_reference(f"push_x@{rest}")


@pytest.mark.parametrize("word", ["latest", "v3", "3", "", "a/b", "w" * 101, "best\n"])
def test_illegal_alias_words(word: str) -> None:
    with pytest.raises(InvalidValue):
        check_word(word)


# ------------------------------------------------------------------------------- round trips


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kind": "composed", "parents": [PARENT, PARENT | {"name": "b"}], "weights": [0.7, 0.3]},
        {
            "kind": "composed",
            "parents": [{"name": "a", "version": None, "content_id": None}],
            "weights": [1],
        },
        {name: getattr(stacked(), name) for name in ("kind", "parents", "layers", "policy")},
        {
            "task": {**example().task, "scene": "maze", "termination": "upright"},
            "alpha": 0,
            "gamma": 1,
        },
        {"name": "a/b", "metrics": {}, "config": {"ünïcode": [None, True, 1, 1.5, "x"]}},
    ],
)
def test_what_is_saved_loads_as_it_was(tmp_path: Path, changes: dict[str, Any]) -> None:
    manifest = example(**changes)
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
    assert Manifest.from_json(json.loads((tmp_path / "skill.json").read_text())) == manifest


def test_the_fields_of_the_file_are_those_of_the_format(tmp_path: Path) -> None:
    example().save(tmp_path)
    fields = "format kind name task spec alpha gamma algorithm config policy q parents weights"
    fields += " siblings seed versions metrics replay created timing host"
    assert " ".join(json.loads((tmp_path / "skill.json").read_text())) == fields


def test_only_a_stack_has_layers_in_its_file() -> None:
    """So skills of before are read as they are, and nothing is added to them."""
    assert "layers" not in example().to_json()
    found = stacked().to_json()
    assert [layer["task"] for layer in found["layers"]] == ["walk", "maze"]
    for wrong in ({**found, "layers": []}, {**example().to_json(), "layers": []}):
        with pytest.raises(InvalidValue, match="layers"):
            Manifest.from_json(wrong)


LAYER = {**stacked().layers[0]}


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": []},
        {"layers": [LAYER]},
        {"layers": [LAYER] * 3},
        {"layers": [LAYER, {**LAYER, "steps": -1}]},
        {"layers": [LAYER, {**LAYER, "fingerprint": None}]},
        {"layers": [LAYER, {k: v for k, v in LAYER.items() if k != "task"}]},
        {"policy": {"kind": "gaussian", "config": {}}},
        {"policy": {"kind": "stacked", "config": {"layers": 2}}},
        {"policy": {"kind": "gaussian", "config": {}}, "layers": []},
    ],
)
def test_layers_that_are_not_those_of_the_policy(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="layers|stacked"):
        stacked(**changes)


def test_the_actions_of_a_skill_have_bounds() -> None:
    latents = Spec((Entry("x"),), (Entry("h"),), 0.1)
    with pytest.raises(InvalidValue, match="have bounds"):
        example(spec=latents)


def embedded(changes: dict[str, float]) -> dict[str, Any]:
    names = ("layers.0.a", "layers.0.b", "layers.1.a")
    return {name: np.array([changes.get(name, 0.5)], np.float32) for name in names}


def test_embedded_layers_are_those_recorded() -> None:
    tensors = embedded({})
    prints = [
        fingerprint({"a": tensors["layers.0.a"], "b": tensors["layers.0.b"]}),
        fingerprint({"a": tensors["layers.1.a"]}),
    ]
    layers = [{**LAYER, "name": n, "fingerprint": f} for n, f in zip("xy", prints, strict=True)]
    found = stacked(layers=layers)
    found.check_layers(tensors)
    for name, culprit in (("layers.0.b", "layer 0 of .*, x,"), ("layers.1.a", "layer 1 of .*, y,")):
        with pytest.raises(CorruptSkill, match=culprit):
            found.check_layers(embedded({name: 0.5000001}))
    with pytest.raises(CorruptSkill, match="layer 0"):
        found.check_layers({k: v for k, v in tensors.items() if k != "layers.0.a"})


def test_a_manifest_shares_nothing_with_its_maker() -> None:
    config = {"sac": {"hidden": [1]}}
    manifest = example(config=config)
    config["sac"]["hidden"].append(2)
    assert manifest.config == {"sac": {"hidden": [1]}}


def test_a_copy_under_another_name_is_checked_too() -> None:
    assert dataclasses.replace(example(), name="b").name == "b"
    with pytest.raises(InvalidValue, match="'name' of a skill must be skill name"):
        dataclasses.replace(example(), name="../b")


def test_where_and_with_what_it_was_made() -> None:
    manifest = example()
    assert manifest.versions == library_versions() and manifest.host == host()
    assert manifest.versions["numpy"] == np.__version__
    assert {"skillkit", "python", "mujoco", "gymnasium"} <= manifest.versions.keys()
    assert host()["cores"] >= 1 and host()["os"] and host()["processor"]
    assert manifest.created <= now() and now().endswith("+00:00")


def test_import_is_light() -> None:
    code = "import sys, skillkit.registry; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "mujoco", "gymnasium", "safetensors", "importlib.metadata"} & {*modules}


# ----------------------------------------------------------------------------------- refusals

WRONG: dict[str, list[Any]] = {
    "kind": ["learned", None, ["trained"]],
    "name": ["", "../x", "a b", 3, None, ["a"], "n" * 101],
    "task": [None, [], {}, {"expression": "push_x"}, {**example().task, "domain": 3}],
    "alpha": [-0.1, "0.2", None, True, [0.2], 1e301],
    "gamma": [-0.1, 1.01, "1", None, False],
    "algorithm": [None, 3, "a" * 1001, "sac\x1b[2J"],
    "config": [None, [], "sac", {"a\x1b[2J": 1}, {"a": "b" * 1001}, {"b" * 1001: 1}],
    "policy": [
        None,
        {},
        {"kind": "gaussian"},
        {"kind": 3, "config": {}},
        {"kind": "g", "config": []},
    ],
    "q": [None, {"kind": "ensemble", "config": None}],
    "parents": [
        None,
        {},
        ["push_x"],
        [PARENT | {"name": "../x"}],
        [PARENT | {"version": "3"}],
        [PARENT] * 101,
    ],
    "weights": [None, {}, [None], ["1"], [True]],
    "seed": [-1, 1.5, "0", None, True, 2**63],
    "versions": [None, ["torch"]],
    "metrics": [None, [1.0], {"a": [0] * 10_001}, {str(i): 0 for i in range(5_001)}],
    "replay": [None, {}, {"episodes": 1}, {"episodes": -1, "transitions": 1}],
    "created": [None, "", "yesterday", "2026-01-01T00:00:00", "2026-01-01T00:00:00+02:00", 5],
    "timing": [None, 3.0],
    "host": [None, "laptop"],
    "spec": [None, [], {}],
    "format": [None, 0, -2, "1", [1]],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, vs in WRONG.items() for v in vs])
def test_a_wrong_field_is_one_sentence_that_names_it(
    tmp_path: Path, field: str, value: Any
) -> None:
    (tmp_path / "skill.json").write_text(json.dumps(example().to_json() | {field: value}))
    with pytest.raises(
        CorruptSkill, match=rf"skill\.json is not a skill's manifest: .*{field}"
    ) as caught:
        Manifest.load(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("action",), []),
        (("dt",), 0),
        (("dt",), "0.05"),
        (("dt",), 10**400),
        (("action", 0, "low"), None),
        (("action", 0, "low"), 4),
        (("action", 0, "name"), 5),
        (("observation", 0, "low"), "nan"),
        (("observation", 0, "constant"), "no"),
        (("observation", 0, "colour"), "red"),
        (("observation", 1, "name"), "x"),
        (("observation", 0), "x"),
        (("observation", 0, "name"), "x\x1b[2J"),
        (("observation", 0, "unit"), "m\n"),
        (("action", 0, "name"), "a" * 1001),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path: Path, path: tuple[Any, ...], value: Any) -> None:
    data = example().to_json()
    place = data["spec"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "skill.json").write_text(json.dumps(data))
    with pytest.raises(CorruptSkill):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("field", example().to_json())
def test_a_missing_and_an_unknown_field_are_refused(field: str) -> None:
    data = example().to_json()
    value = data.pop(field)
    with pytest.raises(InvalidValue, match=field):
        Manifest.from_json(data)
    with pytest.raises(InvalidValue, match=f"'{field}x' is missing or unknown"):
        Manifest.from_json(example().to_json() | {f"{field}x": value})


def test_each_parent_of_a_composition_has_one_weight() -> None:
    for kind, weights in (("composed", [0.5, 0.5]), ("composed", []), ("trained", [1.0])):
        with pytest.raises(InvalidValue, match="one weight for each parent"):
            example(kind=kind, parents=[PARENT], weights=weights)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, np.float32(1), {1, 2}, b"x", Path("x"), print]
)
def test_what_json_cannot_hold_is_refused_when_built(value: Any) -> None:
    with pytest.raises(InvalidValue, match="'metrics' of a skill is not plain data"):
        example(metrics={"return": value})


def test_the_newer_format_is_named() -> None:
    with pytest.raises(InvalidValue, match="its format is 2, and this skillkit reads format 1"):
        Manifest.from_json(example().to_json() | {"format": 2, "novelty": True})


def test_the_way_out_of_a_newer_format_is_not_to_remove_it(tmp_path: Path) -> None:
    data = example().to_json() | {"format": 99}
    (tmp_path / "skill.json").write_text(json.dumps(data))
    with pytest.raises(CorruptSkill, match="its format is 99, .*so upgrade yours") as caught:
        Manifest.load(tmp_path)
    assert "remove" not in str(caught.value)
