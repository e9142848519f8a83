"""The benchmarks whose rows are commands: every row is one that works, and is made once."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from skillkit.envs import task
from skillkit.skill import load
from skillkit.workflows.recipes import configure, without
from skillkit.workflows.settings import assignments
from skillkit.workflows.stack import StackConfig
from tests.point_skills import ROOT, options

QUICK = options(
    {
        "train.warmup": 100,
        "train.evaluate_every": 150,
        "train.evaluation_episodes": 2,
        "train.final_episodes": 2,
        "sac.batch_size": 32,
        "sql.batch_size": 32,
        "sql.particles": 8,
        "sql.value_samples": 8,
    }
)


@pytest.fixture
def benchmark(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module(request.param)


def commands(benchmark: ModuleType) -> Iterator[list[str]]:
    base = load("point_roam")
    for row in benchmark.ROWS:
        if benchmark.__name__ == "figure_7_5":
            yield from (benchmark.command(row, world, base, 3, 900) for world in benchmark.BASES)
        else:
            yield benchmark.command(row, "ant_run", "half", 3, 900)


@pytest.mark.parametrize("benchmark", ["figure_7_4", "figure_7_5"], indirect=True)
def test_every_row_is_a_command_that_can_be(benchmark: ModuleType) -> None:
    for words in commands(benchmark):
        pairs = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        algorithm = words[words.index("--algorithm") + 1] if "--algorithm" in words else "sac"
        name = words[words.index("--task") + 1] if words[0] == "stack" else words[1]
        _, recipe = task(name).recipe
        more = {"stack": StackConfig} if words[0] == "stack" else {}
        recipe = recipe if more else without(recipe, "stack.", "plan.")
        configs = configure(algorithm, assignments(tuple(pairs)), recipe, "sac", **more)
        own = "implicit" if algorithm == "sql" else recipe["sac.policy"]
        wanted = own if words[0] == "stack" else "real_nvp"  # one layer acts as the base does
        assert configs[algorithm].policy == wanted
        assert words[words.index("--seed") + 1] == "3"


def run(benchmark: ModuleType, folder: Path, *arguments: str) -> Any:
    place = ["--registry", str(folder / "skills"), "--results", str(folder / "results")]
    words = [*arguments, *QUICK, *place, "--episodes", "2"]
    return CliRunner(catch_exceptions=False).invoke(benchmark.main, words)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["figure_7_5"], indirect=True)
def test_the_maze_in_small(benchmark: ModuleType, tmp_path: Path) -> None:
    small = ["--world", "point", "--steps", "300", "--set=train.steps=300"]
    made = run(benchmark, tmp_path, *small)
    assert made.exit_code == 0
    lines = (tmp_path / "results" / "figure_7_5.point.md").read_text().splitlines()
    assert len(lines) == 2 + len(benchmark.ROWS)
    assert lines[2].startswith("| a layer on the base | 336 | 15,000 |")
    assert (tmp_path / "results" / "figure_7_5.point.png").read_bytes().startswith(b"\x89PNG")
    files = sorted((tmp_path / "results" / "figure_7_5").glob("*.json"))
    assert len(files) == len(benchmark.ROWS) + len(benchmark.GOALS)  # two seeds of the stacks
    row = json.loads(files[-1].read_text())
    assert row["command"].startswith("skillkit train '1*point_maze+1*point_maze_roam' --from")
    assert row["base"]["steps"] == 15_000 and row["sampled"].keys() >= {"success", "return"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    assert run(benchmark, tmp_path, *small, "--rows", "scratch", "--seeds", "0").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before
    files[0].unlink()  # measured again, on the skill that is there
    assert run(benchmark, tmp_path, *small).exit_code == 0 and files[0].exists()
    assert not list(tmp_path.rglob("v2"))
    refused = run(benchmark, tmp_path, *small, "--rows", "scrach")
    assert refused.exit_code == 1 and "no row is called 'scrach'" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["figure_7_4"], indirect=True)
def test_layers_on_one_reward_in_small(benchmark: ModuleType, tmp_path: Path) -> None:
    small = ["--task", "point_roam", "--steps", "300", "--seeds", "0"]
    made = run(benchmark, tmp_path, *small, "--rows", "second_layer")
    assert made.exit_code == 0 and "| a second layer, added half-way | 152 |" in made.stdout
    name = "figure_7_4/point_roam.second_layer.0"
    found = load(name, tmp_path / "skills").manifest
    assert found.config["stack"] == {"hold": 1}
    assert [layer["task"] for layer in found.layers] == 2 * ["point_roam"]
    couplings = run(benchmark, tmp_path, *small, "--rows", "four_couplings,half_temperature")
    assert couplings.exit_code == 0
    rows = ("four_couplings", "half_temperature")
    four, half = (load(f"figure_7_4/point_roam.{row}.0", tmp_path / "skills") for row in rows)
    assert four.policy.config["couplings"] == 4 and half.alpha == pytest.approx(0.1)


@pytest.mark.parametrize(
    "benchmark", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")), indirect=True
)
def test_every_benchmark_finds_what_it_measures(benchmark: ModuleType) -> None:
    """By its imports: what they are of moves now and then."""
    assert benchmark.__doc__
