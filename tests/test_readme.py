"""README says what is true: its commands exist and work, its Python runs, its files are there.

The word after a block's language says what is tested:

    console check   commands and options exist        python check    it type-checks
    console slow    all succeed, trainings shortened  python run      it runs
    console fails   every command fails, in the       python PATH.py  a file that the commands use
                    one sentence shown below it
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from tests.point_skills import skillkit as in_process

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONSOLE = ("check", "slow", "fails")
SHORT = (
    "train.steps=3000",
    "train.warmup=2000",
    "train.final_episodes=4",
    "train.evaluation_episodes=2",
)


class Block(NamedTuple):
    language: str
    mode: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """Words of each line after the prompt, comments left out."""
        lines = [line[2:] for line in self.text.splitlines() if line.startswith("$ ")]
        return [shlex.split(line, comments=True) for line in lines]


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", README, re.M)]


def blocks(language: str, *modes: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and block.mode in modes]


def parameters(language: str, *modes: str) -> list[object]:
    """One case a block; a slow block is a slow test."""
    return [
        pytest.param(
            block, id=f"{language}-{number}", marks=[pytest.mark.slow] * (block.mode == "slow")
        )
        for number, block in enumerate(blocks(language, *modes))
    ]


@pytest.fixture
def newcomer(tmp_path: Path) -> Path:
    """An empty folder with the files that README tells a person to write."""
    for block in BLOCKS:
        if block.language == "python" and block.mode.endswith(".py"):
            (tmp_path / block.mode).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / block.mode).write_text(block.text)
    return tmp_path


def skillkit(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "from skillkit.cli import main; main()", *arguments)


def python(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_every_block_says_how_it_is_tested() -> None:
    assert len(BLOCKS) == README.count("```") / 2
    for block in BLOCKS:
        if block.language == "console":
            assert block.mode in CONSOLE, block.text
        elif block.language == "python":
            assert block.mode in ("check", "run") or block.mode.endswith(".py"), block.text
        else:
            assert block.language == "text", f"a {block.language} block is not tested"


def words(program: str) -> list[list[str]]:
    found = [command for block in blocks("console", *CONSOLE) for command in block.commands]
    return [command[1:] for command in found if command[0] == program]


@pytest.mark.parametrize("arguments", words("skillkit"), ids=" ".join)
def test_command_and_options_exist(arguments: list[str]) -> None:
    from skillkit.cli import main

    context = click.Context(main)
    command = main.get_command(context, arguments[0])
    assert command is not None, f"there is no command {arguments[0]}"
    command.make_context(arguments[0], arguments[1:], parent=context)  # UsageError if unknown


def test_set_up_is_what_make_does() -> None:
    recipe = (ROOT / "Makefile").read_text()
    assert words("make")
    for target, *_ in words("make"):
        assert f"\n{target}: $(READY)" in recipe
    for install in words("pip"):
        assert f"/bin/pip {shlex.join(install)}\n" in recipe


@pytest.mark.parametrize("block", parameters("console", "slow"))
def test_commands_succeed(block: Block, newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program, *arguments in block.commands:
        if program == "export":
            monkeypatch.setenv(*arguments[0].split("=", 1))
            continue
        assert program == "skillkit"
        learns = arguments[0] in ("train", "stack")
        shortened = [f"--set={pair}" for pair in SHORT * learns]
        result = skillkit(newcomer, *arguments, *shortened)
        assert result.returncode == 0, f"{arguments}\n{result.stdout}\n{result.stderr}"
        assert result.stdout.strip(), arguments


@pytest.mark.parametrize("block", parameters("console", "fails"))
def test_wrong_input_is_answered_in_a_sentence(
    block: Block, newcomer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(newcomer)
    answers = [line for line in block.text.splitlines() if not line.startswith("$ ")]
    for (_, *arguments), answer in zip(block.commands, answers, strict=True):
        result = in_process(*arguments)
        assert result.code != 0, arguments
        assert result.err.strip() == answer


@pytest.mark.parametrize("block", parameters("python", "run"))
def test_python_runs(block: Block, newcomer: Path) -> None:
    result = python(newcomer, block.text)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("block", parameters("python", "check"))
def test_python_type_checks(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "block.py"
    file.write_text(block.text)
    command = [sys.executable, "-m", "mypy", str(file)]  # as `make check`, to share its cache
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_files_of_the_tree_exist() -> None:
    """The annotated tree: indented lines are below skillkit/."""
    tree = next(block.text for block in BLOCKS if "\nskillkit/\n" in block.text)
    folder, found = ROOT, []
    for line in tree.splitlines():
        folder = ROOT / "skillkit" if line.startswith("  ") else ROOT
        names = re.match(r" *((?:[\w.]+/?(?:  )?)+)", line)
        assert names, line
        found += [folder / name for name in names[1].split() if name.endswith(("/", ".py"))]
    assert len(found) > 20
    assert not [path for path in found if not path.exists()]


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets and all((ROOT / target).exists() for target in targets)
