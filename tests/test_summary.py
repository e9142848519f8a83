"""Summaries: what the manifest says, and its sentence for what is no manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from skillkit.errors import CorruptSkill
from skillkit.manifest import Manifest
from skillkit.registry import Registry, shipped_folder
from skillkit.summary import Summary


@pytest.mark.parametrize("path", sorted(shipped_folder().glob("*/v*/skill.json")), ids=str)
def test_it_is_what_the_manifest_says(path: Path) -> None:
    found, manifest = Summary.load(path.parent), Manifest.load(path.parent)
    assert found == (
        manifest.kind,
        manifest.algorithm,
        manifest.task["expression"],
        manifest.task["domain"],
        manifest.alpha,
        manifest.created,
        manifest.metrics["evaluation"],
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 0),
        ("kind", "learned"),
        ("algorithm", "sac\u001b[31m"),
        ("algorithm", 3),
        ("algorithm", "s" * 1001),
        ("task", {"expression": "push_x"}),
        ("task", None),
        ("alpha", -1),
        ("alpha", True),
        ("alpha", "0.1"),
        ("created", "yesterday"),
        ("metrics", []),
    ],
)
def test_what_is_shown_is_as_a_manifest_wants_it(tmp_path: Path, key: str, value: Any) -> None:
    data = json.loads((shipped() / "skill.json").read_text())
    (tmp_path / "skill.json").write_text(json.dumps({**data, key: value}))
    with pytest.raises(CorruptSkill, match="is not a skill's manifest"):
        Summary.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"alpha": NaN}', "[" * 100_000, "\udcff"])
def test_no_json_of_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "skill.json").write_text(text, errors="surrogateescape")
    with pytest.raises(CorruptSkill, match="skill.json"):
        Summary.load(tmp_path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CorruptSkill, match="cannot be read"):
        Summary.load(tmp_path)


def shipped() -> Path:
    return Registry([shipped_folder()]).find("push_x").folder
