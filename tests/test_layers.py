"""The house keeps its shape: layers, torch-free modules, lazy public names."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skillkit

ROOT = Path(__file__).parents[1]
PUBLIC = (
    "Controller",
    "Registry",
    "Skill",
    "Task",
    "compose",
    "load",
    "stack",
    "train",
    "train_together",
)
TORCH_FREE = (
    "cli",
    "controller",
    "envs",
    "errors",
    "evaluation",
    "manifest",
    "registry",
    "runtimes",
    "types",
)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},  # long lines stay whole
        capture_output=True,
        text=True,
    )


def without_torch(code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a process where importing torch fails."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['torch'] = None\n{code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_layers_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("types.py", "import skillkit.registry", "skillkit.types is not allowed to import"),
        ("registry.py", "import skillkit.controller", "skillkit.registry is not allowed to import"),
        ("manifest.py", "import torch", "skillkit.manifest -> torch"),
        ("gadgets.py", "", "skillkit.gadgets"),  # a module that no layer names
    ],
)
def test_a_breach_is_found(tmp_path: Path, module: str, line: str, complaint: str) -> None:
    shutil.copytree(ROOT / "skillkit", tmp_path / "skillkit")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "skillkit" / module).open("a") as file:
        file.write(f"\n{line}\n")
    result = lint(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert complaint in result.stdout


def test_every_package_is_a_package() -> None:
    """A folder without __init__.py would be invisible to the contracts above."""
    folders = {path.parent for path in (ROOT / "skillkit").rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


@pytest.mark.parametrize("module", TORCH_FREE)
def test_imports_without_torch(module: str) -> None:
    result = without_torch(f"import skillkit.{module}")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["tasks"]])
def test_command_answers_without_torch(arguments: list[str]) -> None:
    result = without_torch(f"from skillkit.cli import main; main({arguments!r})")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_composed_skill_controls_without_torch() -> None:
    code = """
import numpy as np, skillkit
control = skillkit.load("push_x+push_y").controller()
print(control(np.zeros(12)).shape, "torch" in sys.modules and sys.modules["torch"] is not None)
"""
    result = without_torch(code)
    assert result.stdout.strip() == "(3,) False", result.stderr


def test_list_answers_at_once() -> None:
    """Under half a second of processor time, which other processes do not stretch; best of 3."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert without_torch("from skillkit.cli import main; main(['list'])").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_what_it_says(name: str) -> None:
    assert getattr(skillkit, name).__name__ == name


def test_public_names_are_lazy_and_complete() -> None:
    code = "import skillkit; print(len([m for m in sys.modules if m.startswith('skillkit.')]))"
    assert without_torch(code).stdout.strip() == "0"
    assert set(dir(skillkit)) == {*PUBLIC, "__version__"}


def test_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="conjure"):
        skillkit.conjure  # noqa: B018
