"""list with filters and in order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from skillkit.registry import Registry
from tests.point_skills import good
from tests.point_skills import skillkit as answer
from tests.small_skills import stacked, write


def scores(value: float, distance: float | None = None) -> dict[str, Any]:
    found = {"return": {"mean": value, "std": 1.0}}
    return {"evaluation": found | ({"final_distance": {"mean": distance}} if distance else {})}


@pytest.fixture
def mine(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr("skillkit.registry.shipped_folder", lambda: registry_folder / "nothing")
    registry = Registry([registry_folder])
    record = {"name": "push_x", "version": 1, "content_id": None}
    walk = {"expression": "walk", "domain": "ant", "scene": None, "source_hash": ""}
    registry.publish("push_x", write("push_x", "long" * 1000, metrics=scores(-3, 0.2),
                                     created="2026-03-01T00:00:00+00:00"))  # fmt: skip
    registry.publish("push_x", write("push_x", metrics=scores(-2, 0.3),
                                     created="2026-02-01T00:00:00+00:00"))  # fmt: skip
    registry.publish("walk", write("walk", task=walk, metrics=scores(9),
                                   created="2026-01-01T00:00:00+00:00"))  # fmt: skip
    registry.publish("both", write("both", "b" * 3000, kind="composed", parents=[record],
                                   weights=[1.0], metrics={"evaluation": "odd"},
                                   created="2026-04-01T00:00:00+00:00"))  # fmt: skip
    registry.publish("walk/maze", lambda folder: stacked().save(folder))
    registry.label("push_x@1", {"robot": "arm1", "good": "yes"})
    registry.label("walk", {"robot": "ant"})
    registry.alias("push_x@1", "best")
    return registry


def names(*arguments: object) -> list[str]:
    """name@version of each row."""
    lines = good("list", *arguments).splitlines()[3:]
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines if line.strip()]
    return ["@".join(row[:2]) for row in cells]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("", "both@1 push_x@2 walk@1 walk/maze@1"),
        ("--all", "both@1 push_x@1 push_x@2 walk@1 walk/maze@1"),
        ("--domain ant", "walk@1"),
        ("--domain pusher --kind trained", "push_x@2"),
        ("--kind stacked", "walk/maze@1"),
        ("--kind composed --all", "both@1"),
        ("--tag robot --all", "push_x@1 walk@1"),
        ("--tag robot=arm1 --all", "push_x@1"),
        ("--tag robot --tag good=yes --all", "push_x@1"),
        ("--all --sort return", "walk@1 push_x@2 push_x@1 both@1 walk/maze@1"),
        ("--all --sort distance", "push_x@1 push_x@2 both@1 walk@1 walk/maze@1"),
        ("--all --sort created --domain pusher", "walk/maze@1 both@1 push_x@1 push_x@2"),
        ("--all --sort size --kind trained", "push_x@1 push_x@2 walk@1"),
    ],
)
def test_filters_and_orders(mine: Registry, arguments: str, found: str) -> None:
    assert names(*arguments.split()) == found.split()


def test_columns_come_as_they_are_needed(mine: Registry) -> None:
    plain = good("list", "--kind", "stacked")
    assert "aliases, tags" not in plain and "created" not in plain
    text = good("list", "--all", "--sort", "created")
    assert "best, good=yes, robot=arm1" in text and "2026-03-01T00:00:00+00:00" in text
    assert " kB" in good("list", "--sort", "size")


def test_nothing_like_that(mine: Registry) -> None:
    assert good("list", "--tag", "robot=arm9") == (
        "no skill is like that; skillkit list shows what there is\n"
    )
    for arguments, sentence in {
        "--domain pushr": "no domain of a skill here is called 'pushr'; did you mean pusher?",
        "--kind train": "no kind of skill is called 'train'; did you mean trained?",
        "--sort age": "'age' is not one of 'name', 'created', 'return', 'distance', 'size'",
        "--tag =x": "--tag takes KEY or KEY=VALUE",
    }.items():
        assert sentence in answer("list", *arguments.split()).sentence


def test_damage_is_shown_or_said_to_be_left_out(mine: Registry) -> None:
    (mine.find("walk").folder / "skill.json").write_text("{")
    (mine.folders[0] / "push_x/aliases/odd").write_text("")
    (mine.folders[0] / "push_x/labels/v2.json").write_text("")
    assert names("--sort", "return")[:4] == ["push_x@2", "both@1", "walk/maze@1", "walk@1"]
    assert "damaged: " in good("list")
    found = answer("list", "--kind", "trained")
    assert found.code == 0 and found.err == "left out, because damaged: walk@1\n"
    assert "push_x" in found.out and "walk" not in found.out
