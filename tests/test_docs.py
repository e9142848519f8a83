"""docs/: what it explains is there, and what there is it explains."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest

from skillkit.registry import shipped_folder
from tests.algorithms.test_laws import Make, every_learner
from tests.point_skills import good
from tests.toys import batch

ROOT = Path(__file__).resolve().parents[1]
METRICS = (ROOT / "docs" / "metrics.md").read_text()
EXPLAINED = set(re.findall(r"`([a-z0-9_]+)`", METRICS))
OUTER = {"mean", "std", "low", "high", "q95", "estimated", "parents", "evaluation"}  # in words
COUNTED = {"episodes", "seed", "steps"}  # and not measured


def keys(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Every name of a number in skill.json, but for the names of skills."""
    for key, value in metrics.items():
        if key == "parents":
            yield from (name for of in value.values() for name in keys(of))
        elif key == "pairwise_disagreement":
            yield key
        else:
            yield key
            yield from keys(value) if isinstance(value, dict) else ()


@every_learner
def test_every_metric_of_an_update_is_explained(make: Make) -> None:
    assert set(make(0).update(batch(32, seed=0))) <= EXPLAINED


@pytest.mark.parametrize("folder", sorted(shipped_folder().glob("*/v*/skill.json")), ids=str)
def test_every_number_of_a_shipped_skill_is_explained(folder: Path) -> None:
    described = json.loads(folder.read_text())
    found = {*keys(described["metrics"]), *described["timing"]}
    assert found - OUTER - COUNTED <= EXPLAINED


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_page_points_at_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def commands(page: str) -> list[list[str]]:
    """What a page tells a person to type to skillkit."""
    blocks = re.findall(r"^```console\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line[:2] == "$ "]
    words = [shlex.split(line, comments=True) for line in lines]
    return [arguments for program, *arguments in words if program == "skillkit"]


@pytest.mark.parametrize("page", ["export.md", "import.md", "metrics.md", "sharing.md"])
def test_commands_and_options_exist(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from skillkit.cli import main

    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: Path(value))  # not there
    assert commands(page)
    for arguments in commands(page):
        command = main.commands[arguments[0]]
        command.make_context(arguments[0], arguments[1:], parent=click.Context(main))


def test_the_documented_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a smaller skill."""
    pytest.importorskip("minari", reason="Minari is not installed")
    monkeypatch.chdir(tmp_path)
    for arguments in [line for line in commands("import.md") if "minari" in line]:
        good(*[re.sub("^push_x", "point_roam", word) for word in arguments])
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "import.md").read_text(), re.S)
    code = code.replace("push_x", "point_roam")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout.count("(") == 2, found.stderr
