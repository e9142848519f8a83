"""Small real skills of the point domain, and the command line as a person uses it."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

from skillkit.cli import main

ROOT = Path(__file__).parents[1]
SHORT = {
    "train.steps": 1_600,
    "train.warmup": 400,
    "train.update_every": 12,
    "train.final_episodes": 4,
    "train.evaluation_episodes": 2,
    "train.evaluate_every": 800,
}  # a hardly trained skill, after 100 updates
STEPS = 800
FLOW = {
    **SHORT,
    "train.steps": STEPS,
    "train.final_episodes": 2,
    "train.update_every": 8,
    "sac.policy": "real_nvp",
    "sac.hidden": (16,),
}  # one that can be a base
BRIEF = {
    "distill.updates": 40,
    "compose.final_episodes": 3,
    "compose.estimate_states": 32,
    "compose.estimate_updates": 5,
}
_keep: list[tempfile.TemporaryDirectory[str]] = []


@dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one sentence that a failing command says."""
        assert self.code in (1, 2), f"exit code {self.code}: {self.out}{self.err}"
        lines = [line for line in self.err.splitlines() if line and not line[0].isdigit()]
        assert len(lines) == 1, self.err  # beside the lines of progress, which begin with a number
        prefix, text = lines[0][:7], lines[0][7:]
        assert prefix == "Error: " and "Traceback" not in text, lines[0]
        assert not re.search(r"\. [A-Z]|\.$", text), f"more than one sentence: {text}"
        return text


def skillkit(*arguments: object) -> Answer:
    """Run a command in this process. An exception that is no sentence comes through."""
    result = CliRunner(catch_exceptions=False).invoke(
        main, [str(argument) for argument in arguments], prog_name="skillkit"
    )
    return Answer(result.exit_code, result.stdout, result.stderr)


def good(*arguments: object) -> str:
    """The output of a command that must succeed."""
    answer = skillkit(*arguments)
    assert answer.code == 0, answer.err
    return click.unstyle(answer.out)


def process(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    command = [sys.executable, "-c", "from skillkit.cli import main; main()", *arguments]
    return subprocess.Popen(
        [str(word) for word in command],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def options(settings: dict[str, object]) -> list[str]:
    """Settings as they are typed."""
    return [f"--set={key}={value}" for key, value in settings.items()]


def of(algorithm: str, settings: dict[str, object]) -> dict[str, object]:
    """Settings of SAC as those of another algorithm."""
    return {key.replace("sac.", f"{algorithm}."): value for key, value in settings.items()}


@functools.cache
def trained() -> Path:
    """A registry, to read: point_x, point_y and the composition of both; once per session."""
    folder = tempfile.TemporaryDirectory()
    _keep.append(folder)  # deleted when the session ends
    where = ["--registry", folder.name]
    for task in ("point_x", "point_y"):
        good("train", task, *where, *options(SHORT | {"train.update_every": 4}))
    good("compose", "point_x", "point_y", *where, *options(BRIEF))
    return Path(folder.name)


def copy_of_trained(folder: Path) -> Path:
    """The same to write in."""
    shutil.copytree(trained(), folder, dirs_exist_ok=True)
    return folder


def snapshot(folder: Path) -> dict[str, str]:
    """Everything in a folder: path -> what it is; the places of the machinery left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not name.startswith((".runs", ".aside")):
            content = path.read_bytes() if path.is_file() else b"folder"
            found[name] = hashlib.sha256(content).hexdigest()
    return found
