"""docs/: what it explains is there, and what there is it explains."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

import skillkit
from skillkit.errors import SkillkitError, UnknownName
from skillkit.exporters.graph import BUILDS
from skillkit.policies import POLICIES
from skillkit.registry import shipped_folder
from skillkit.runtimes import RUNTIMES
from skillkit.runtimes.resampled import PROPOSALS
from skillkit.workflows.adopt import adopt
from skillkit.workflows.settings import assignments
from tests.algorithms.test_laws import Make, every_learner
from tests.point_skills import good
from tests.toys import batch

ROOT = Path(__file__).resolve().parents[1]
METRICS, COMMANDS, SETTINGS, PYTHON = (
    (ROOT / "docs" / f"{page}.md").read_text()
    for page in ("metrics", "commands", "settings", "python")
)
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
    for target, title in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not title or title in titles(file), f"{target}#{title}"


def titles(file: Path) -> list[str]:
    """Those of its sections, as a link names them."""
    found = re.findall(r"^#+ (.+)$", file.read_text(), re.M)
    return [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in found]


def commands(page: str) -> list[list[str]]:
    """What a page tells a person to type to skillkit."""
    blocks = re.findall(r"^```console\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line[:2] == "$ "]
    words = [shlex.split(line, comments=True) for line in lines]
    return [arguments for program, *arguments in words if program == "skillkit"]


PAGES = ("commands.md", "export.md", "import.md", "metrics.md", "settings.md", "sharing.md")


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from skillkit.cli import main

    monkeypatch.setattr(click.Path, "convert", lambda self, value, *_: Path(value))  # not there
    above = click.Context(main, **main.context_settings)
    assert commands(page)
    for arguments in commands(page):
        command = main.commands[arguments[0]]
        context = command.make_context(arguments[0], arguments[1:], parent=above)
        if "--set" in arguments:
            assert all(f"`{key}`" in SETTINGS for key in assignments(context.params["pairs"]))


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("reference")


@pytest.mark.parametrize("page", ["commands.md", "settings.md"])
def test_what_is_made_of_the_code_is_up_to_date(page: str, reference: ModuleType) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert text == reference.filled(page, text), "run python docs/reference.py"


def test_every_command_has_a_section_and_an_example() -> None:
    from skillkit.cli import main

    sections = re.findall(r"^### (\w+)\n\n<!-- (\w+): .*?-->", COMMANDS, re.M)
    assert sorted(sections) == sorted((name, name) for name in main.commands)
    assert {arguments[0] for arguments in commands("commands.md")} == set(main.commands)


BOGUS: dict[str, Any] = {"no.such": 1}
UPPER = ("point_roam", "point_maze")
TAKES: dict[str, Any] = {  # the tables in settings.md, and who takes them
    "train explore replay plan sac": lambda: skillkit.train("point_x", settings=BOGUS),
    "train explore replay plan sql": lambda: skillkit.train("multigoal", settings=BOGUS),
    "train explore replay plan sac stack": lambda: skillkit.stack(*UPPER, settings=BOGUS),
    "train explore replay plan sac stack reuse": lambda: skillkit.stack(
        *UPPER, settings=BOGUS, reuse_replay=True
    ),
    "compose distill improve": lambda: skillkit.compose([], settings=BOGUS),
    "compose instant": lambda: skillkit.compose([], settings=BOGUS, instant=True),
    "import": lambda: adopt(Any, "point_x", source="", settings=BOGUS),
}


@pytest.mark.parametrize("tables", TAKES)
def test_every_setting_is_explained(tables: str) -> None:
    with pytest.raises(UnknownName) as refused:
        TAKES[tables]()
    tables_alone, _, _ = SETTINGS.partition("## Recipes")
    rows = re.findall(r"^\| `([\w.]+)` \| `.+?` \| .+? \| .+ \|$", tables_alone, re.M)
    assert len(set(rows)) == len(rows)
    assert refused.value.choices == sorted(k for k in rows if k.split(".")[0] in tables.split())


def test_every_domain_has_its_recipes() -> None:
    from skillkit.envs.catalog import catalog

    assert set(re.findall(r"<!-- recipes of (\w+):", SETTINGS)) == set(catalog().domains)


def test_kinds_of_policies_can_do_what_concepts_says() -> None:
    page = (ROOT / "docs" / "concepts.md").read_text()
    found = re.findall(r"^\| \w+ \| .+ \|$", page, re.M)
    (head, *rows) = ([cell.strip() for cell in row.split("|")[1:-1]] for row in found)
    table = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert set(table) == {*POLICIES, "resampled", "stacked", "symmetric"}
    for kind, made in POLICIES.items():
        assert (table[kind]["density"] == "yes") == made.has_density
        assert (table[kind]["base"] == "yes") == made.onto
    for kind, can in table.items():
        assert (can["controller"] == "yes") == (kind in RUNTIMES)
        assert (can["ONNX"] == "yes") == (kind in BUILDS)
        assert (can["composed"] == "yes") == (kind in {*PROPOSALS, "resampled", "symmetric"})


def test_every_error_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \| .+ \|$", PYTHON.partition("## Errors")[2], re.M)
    kinds = SkillkitError.__subclasses__()
    public = [kind.__name__ for kind in kinds if kind.__module__ == "skillkit.errors"]
    assert sorted(explained) == sorted(public)


def python_sections() -> dict[str, list[tuple[str, str]]]:
    """Title -> (file, code) of each of its blocks, "" for those that are to be run."""
    found = {}
    for section in re.split(r"^## ", PYTHON, flags=re.M)[1:]:
        blocks = re.findall(r"^```python ?(.*)\n((?:.*\n)*?)```$", section, re.M)
        found[section.partition("\n")[0]] = blocks
    return found


LEARNS = "Train, compose, stack"  # and takes longer than all others


@pytest.mark.parametrize(
    "title",
    [pytest.param(t, marks=[pytest.mark.slow] * (t == LEARNS)) for t in python_sections()],
)
def test_the_python_of_a_section_runs(
    title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_pictures: None
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert python_sections()[title]
    for file, code in python_sections()[title]:
        if file:
            Path(file).parent.mkdir(exist_ok=True)
            Path(file).write_text(code)
        else:
            exec(compile(code, f"docs/python.md, {title}", "exec"), names)


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
