"""Looking at skills, playing and controlling with them takes no PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.point_skills import ROOT, SHORT, copy_of_trained, good, options, trained

COMMAND = "from skillkit.cli import main; main()"
CONTROL = """
import numpy as np, skillkit
skill = skillkit.load("point_x+point_y")
control = skill.controller()
control.reset()
action = control(np.zeros(4))
assert action.shape == (2,) and abs(action).max() <= 1
assert skill.controller(deterministic=False, seed=1)(np.zeros(4)).shape == (2,)
import gymnasium
env = gymnasium.make("skillkit.envs:skillkit/Task-v0", task=skill.task)
obs, _ = env.reset(seed=0)
env.step(control(obs))
"""


@pytest.fixture(scope="module")
def no_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose torch cannot be imported."""
    folder = tmp_path_factory.mktemp("no_torch")
    (folder / "torch.py").write_text("raise ImportError('there is no torch here')\n")
    return folder


def run(
    no_torch: Path, code: str, *arguments: str, registry: Path | None = None
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(no_torch), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": path, "SKILLKIT_REGISTRY": str(registry or trained())},
        cwd=no_torch,
        capture_output=True,
        text=True,
    )


def test_there_is_no_torch(no_torch: Path) -> None:
    assert "there is no torch here" in run(no_torch, "import torch").stderr


def test_commands_answer(no_torch: Path) -> None:
    """In one process: what loads torch once would have failed here."""
    commands = (
        "--help", "list", "tasks", "show point_x+point_y", "verify point_x", "train --help",
        "evaluate point_x+point_y --episodes 2 --json", "plot point_x --episodes 2",
        "report --no-clips",
    )  # fmt: skip
    each = f"for command in {commands}: main(command.split(), standalone_mode=False); print('---')"
    result = run(no_torch, f"from skillkit.cli import main\n{each}")
    assert (result.returncode, result.stderr) == (0, "")
    answers = result.stdout.split("---\n")[:-1]
    assert len(answers) == len(commands) and all(answer.strip() for answer in answers)


def test_upkeep_takes_none(no_torch: Path, tmp_path: Path) -> None:
    """In one process: what loads torch once would have failed here."""
    registry = copy_of_trained(tmp_path / "registry")
    commands = (
        "alias point_x best", "tag point_x robot=arm1", "copy point_x kept", "rename kept moved",
        "list --sort created --tag robot", "diff point_x point_y", "lineage point_x+point_y",
        "verify", "rm moved", "gc",
    )  # fmt: skip
    each = f"for command in {commands}: main(command.split(), standalone_mode=False)"
    result = run(no_torch, f"from skillkit.cli import main\n{each}", registry=registry)
    assert (result.returncode, result.stderr) == (0, "")
    assert "kept is moved now, 1 version" in result.stdout


def test_a_skill_controls(no_torch: Path) -> None:
    result = run(no_torch, CONTROL)
    assert (result.returncode, result.stderr) == (0, "")


def test_an_instant_skill_controls(no_torch: Path, tmp_path: Path) -> None:
    """Its critics, too, are NumPy here."""
    registry = copy_of_trained(tmp_path / "registry")
    brief = ["--set=compose.final_episodes=2", "--set=compose.estimate_updates=0"]
    good("compose", "point_x", "point_y", "--instant", "--registry", registry, *brief)
    name = "point_x+point_y.instant"
    code = CONTROL.replace("point_x+point_y", name, 1)
    for result in (
        run(no_torch, code, registry=registry),
        run(no_torch, COMMAND, "evaluate", name, "--episodes", "2", registry=registry),
    ):
        assert (result.returncode, result.stderr) == (0, "")


STACKED = """
import numpy as np, skillkit
control = skillkit.load("point_x/point_y").controller()
control.reset()
held = [control(np.full(4, t / 10)) for t in range(7)]
control.reset()
assert (control(np.zeros(4)) == held[0]).all() and len({*map(tuple, held)}) == 7
"""


def test_a_stack_controls(no_torch: Path, tmp_path: Path) -> None:
    registry = copy_of_trained(tmp_path / "registry")
    good("stack", "point_x", "--task", "point_y", "--registry", registry, *options(SHORT))
    for result in (
        run(no_torch, STACKED, registry=registry),
        run(no_torch, COMMAND, "show", "point_x/point_y", registry=registry),
        run(no_torch, COMMAND, "evaluate", "point_x/point_y", "--episodes", "2", registry=registry),
    ):
        assert (result.returncode, result.stderr) == (0, "")


def test_a_command_that_needs_it_says_so(no_torch: Path) -> None:
    result = run(no_torch, COMMAND, "train", "point_x", "--registry", str(no_torch))
    assert result.returncode == 1
    assert result.stderr == (
        "Error: a library that this needs cannot be imported (there is no torch here); "
        "install the requirements\n"
    )
