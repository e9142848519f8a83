"""diff and lineage."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from skillkit.registry import Registry
from tests.point_skills import good
from tests.point_skills import skillkit as answer
from tests.small_skills import write


@pytest.fixture
def mine(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr("skillkit.registry.shipped_folder", lambda: registry_folder / "nothing")
    return Registry([registry_folder])


def parent(registry: Registry, reference: str) -> dict[str, Any]:
    entry = registry.verify(reference)
    return {"name": entry.name, "version": entry.version, "content_id": entry.content_id}


def compose(registry: Registry, name: str, *parents: dict[str, Any]) -> None:
    weights = [0.25, 0.75] if len(parents) == 2 else [1.0]
    kind = {"kind": "composed", "algorithm": "distill", "parents": [*parents], "weights": weights}
    registry.publish(name, write(name, name, **kind))


def test_diff_shows_only_what_differs(mine: Registry) -> None:
    score = {"mean": -31.5, "std": 1.0, "low": -32, "high": -31}
    for seed, lr, mean, torch in ((0, 3e-4, -31.5, "2.6"), (1, 1e-3, -30.25, "2.7")):
        mine.publish("push_x", write("push_x", str(seed), seed=seed, alpha=0.2,
            config={"sac": {"lr": lr, "hidden": [64, 64]}}, versions={"torch": torch, "numpy": "2"},
            metrics={"evaluation": {"return": score | {"mean": mean}}, "steps": 10},
            created="2026-01-01T00:00:00+00:00"))  # fmt: skip
    lines = good("diff", "push_x@1", "push_x@2").splitlines()
    rows = [re.split(r"\s{2,}", line.strip()) for line in lines if line.strip()]
    assert rows[0] == ["push_x@1", "push_x@2"]
    assert [row[0] for row in rows[2:]] == [
        "sac.lr", "seed", "versions.torch", "metrics.evaluation.return", "replay/00000.safetensors",
    ]  # fmt: skip
    assert rows[2:6] == [
        ["sac.lr", "0.0003", "0.001"],
        ["seed", "0", "1"],
        ["versions.torch", "2.6", "2.7"],
        ["metrics.evaluation.return", "-31.5 ± 1", "-30.25 ± 1"],
    ]


def test_diff_of_different_kinds_and_of_the_same(mine: Registry) -> None:
    mine.publish("push_x", write("push_x", alpha=0.1))
    mine.publish("push_y", write("push_y", alpha=0.1 + 1e-12))
    compose(mine, "both", parent(mine, "push_x"), parent(mine, "push_y"))
    text = good("diff", "push_x", "both")
    assert re.search(r"kind +trained +composed", text)
    assert re.search(r"parents.1.name +- +push_y", text)
    assert re.search(r"weights +none +0.25, 0.75", text)
    assert re.search(r"alpha +0.1 +0.100000000001", good("diff", "push_x", "push_y"))
    mine.copy("push_x", "twin")
    assert good("diff", "push_x", "twin@1") == "push_x@1 and twin@1 are the same files\n"
    assert "no skill is called 'push_z'" in answer("diff", "push_x", "push_z").sentence
    (mine.find("twin").folder / "README.md").write_text("x")
    assert "twin/v1/README.md was changed" in answer("diff", "push_x", "twin").sentence


def test_lineage_is_a_tree_by_content(mine: Registry) -> None:
    for name in ("push_x", "push_y"):
        mine.publish(name, write(name, name))
    compose(mine, "both", parent(mine, "push_x"), parent(mine, "push_y"))
    compose(mine, "again", parent(mine, "both"), parent(mine, "push_x"))
    unsaved = {"name": "walk", "version": None, "content_id": None}
    compose(mine, "last", parent(mine, "again"), unsaved)
    assert good("lineage", "last") == (
        "last@1: composed, distill, last\n"
        "├── 0.25 x again@1: composed, distill, again\n"
        "│   ├── 0.25 x both@1: composed, distill, both\n"
        "│   │   ├── 0.25 x push_x@1: trained, sac, push_x\n"
        "│   │   └── 0.75 x push_y@1: trained, sac, push_y\n"
        "│   └── 0.75 x push_x@1: see above\n"
        "└── 0.75 x walk@?: never saved\n"
    )
    good("rename", "push_x", "reach")
    good("rm", "push_y")
    assert good("lineage", "both") == (
        "both@1: composed, distill, both\n"
        "├── 0.25 x reach@1 (then push_x@1): trained, sac, push_x\n"
        "└── 0.75 x push_y@1: not here any more\n"
        "what is made of it\n"
        "└── again@1: composed, distill, again\n"
        "    └── last@1: composed, distill, last\n"
    )
    assert good("lineage", "reach").splitlines() == [
        "reach@1: trained, sac, push_x",
        "what is made of it",
        "├── again@1: composed, distill, again",
        "│   └── last@1: composed, distill, last",
        "└── both@1: composed, distill, both",
        "    └── again@1: see above",
    ]
    shown = good("show", "both")
    assert "0.25 x reach@1 (then push_x@1) + 0.75 x push_y@1" in shown
    assert re.search(r"saved as +push_x *\n", good("show", "reach"))
    (mine.find("again").folder / "skill.json").write_text("{")
    assert "again@1: damaged, as skillkit verify tells" in good("lineage", "last")
    assert "no skill is called 'push_x'" in answer("lineage", "push_x").sentence


def test_twins_doubled_many_times_are_told_once(mine: Registry) -> None:
    mine.publish("s0", write("s0"))
    for number in range(1, 12):  # 2^11 paths
        compose(mine, f"s{number}", *[parent(mine, f"s{number - 1}")] * 2)
    assert len(good("lineage", "s11").splitlines()) == 1 + 2 * 11
    assert len(good("lineage", "s0").splitlines()) == 1 + 1 + 11


def test_a_name_in_a_tree_is_not_markup(mine: Registry) -> None:
    task = {"expression": "[red]x[/red]", "domain": "d", "scene": None, "source_hash": ""}
    mine.publish("odd", write("odd", task=task))
    assert good("lineage", "odd") == "odd@1: trained, sac, [red]x[/red]\n"
