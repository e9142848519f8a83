"""What leaves the house: wheel and sdist are whole and work elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import skillkit

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it (not from the checkout)."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    return folder


def run(*command: str, **options: object) -> str:
    result = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return str(result.stdout)


def tracked(folder: str) -> set[str]:
    """Files of a content folder as version control has them: no caches, locks or runs."""
    paths = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {p.as_posix() for p in paths if not re.search(r"(^|/)(\.|__pycache__/)", p.as_posix())}


@pytest.mark.slow
def test_wheel_carries_content_and_types(dist: Path) -> None:
    names = set(zipfile.ZipFile(next(dist.glob("*.whl"))).namelist())
    content = tracked("tasks") | tracked("skills")
    assert {f"skillkit/{name}" for name in content} <= names
    assert {"skillkit/py.typed", "skillkit/tasks/pusher.py", "skillkit/cli.py"} <= names
    assert {"skillkit/report/page/page.css", "skillkit/report/page/page.js"} <= names
    for kind, ending in (("tasks/assets", ".xml"), ("skills/push_x", "skill.json")):
        assert any(n.startswith(f"skillkit/{kind}/") and n.endswith(ending) for n in names), kind
    strays = [n for n in names if not re.match(r"skillkit(-[^/]*\.dist-info)?/", n)]
    assert not strays, "a wheel installs nothing beside its package"


@pytest.mark.slow
def test_sdist_builds_and_tests_itself(dist: Path) -> None:
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "constraints.txt", "cli.py", ".ci/run", "README.md", "LICENSE"}
    assert needed | tracked("tests") | tracked("tasks") | tracked("skills") <= inside
    strays = {"__pycache__", ".venv", ".skillkit", ".git"}
    assert not any(strays & {*name.split("/")} for name in inside)


def test_versions_agree() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {skillkit.__version__}\n" in citation
    assert f"## {skillkit.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_is_pinned_in_its_range() -> None:
    """constraints.txt holds an exact version of everything that pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = project["dependencies"] + project["optional-dependencies"]["dev"]
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9_.-]+==[0-9][0-9.]*", pin) for pin in pins), pins
    packages = {re.split(r"[\[<>=]", requirement)[0] for requirement in named}
    assert packages <= {pin.partition("==")[0] for pin in pins}


@pytest.mark.slow
def test_wheel_works_in_a_clean_environment(dist: Path, tmp_path: Path) -> None:
    """Installed with its dependencies, away from the checkout: lists, loads and controls."""
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    wheel = next(dist.glob("*.whl"))
    constraints = str(ROOT / "constraints.txt")
    run(str(binaries / "pip"), "install", "-q", "-c", constraints, str(wheel), cwd=tmp_path)

    assert "push_x" in run(str(binaries / "skillkit"), "list", cwd=tmp_path)
    assert "push_x" in run(str(binaries / "skillkit"), "tasks", cwd=tmp_path)
    code = """
import gymnasium, skillkit
control = skillkit.load("push_x").controller()
env = gymnasium.make("skillkit.envs:skillkit/push_x-v0")
obs, _ = env.reset(seed=0)
for _ in range(10):
    obs, *_ = env.step(control(obs))
print(skillkit.__file__, skillkit.load("push_x").q is not None)
"""
    where, loaded = run(str(binaries / "python"), "-c", code, cwd=tmp_path).split()
    assert Path(where).is_relative_to(tmp_path)
    assert loaded == "True"
