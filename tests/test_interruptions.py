"""Real trainings, interrupted at any moment and resumed: the skill is that of an uninterrupted one.

    SKILLKIT_FAULTS=20 pytest -m slow tests/test_interruptions.py

interrupts as many, one after the other of each kind; the default is one of each.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import skillkit.workflows.train  # noqa: F401  # so that each process finds PyTorch imported
from skillkit.cli import main
from skillkit.registry import Registry
from skillkit.workflows.checkpoints import Checkpoints
from tests.point_skills import ROOT, options

FORK = multiprocessing.get_context("fork")
GOLDEN = ROOT / "tests/golden/format_1"
LONG = {
    "train.steps": 7_000,
    "train.warmup": 1_200,
    "train.update_every": 12,
    "train.evaluate_every": 2_500,
    "train.evaluation_episodes": 5,
    "train.final_episodes": 5,
}
TRAININGS: dict[str, list[str]] = {
    "sac": ["train", "push_x"],
    "sql": ["train", "point_x", "--algorithm", "sql"],
    "flow": ["train", "point_roam"],
    "stack": ["stack", "point_x", "--task", "point_y", "--set", "stack.hold=3"],
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
ROUNDS = int(os.environ.get("SKILLKIT_FAULTS", str(len(TRAININGS))))
NOT_COMPARED = ("created", "timing", "host")  # of skill.json: when, how fast and where

pytestmark = pytest.mark.slow


def command(words: list[str], errors: Path) -> None:
    """What a process of its own does with a command line."""
    sys.stdout = sys.stderr = errors.open("w", buffering=1)
    main(words)


class Training:
    """A command in a registry of its own."""

    def __init__(self, kind: str, home: Path) -> None:
        shutil.copytree(GOLDEN / "point_x", home / "point_x")
        self.words = [*TRAININGS[kind], "--name", "learned", *options(LONG)]
        self.words += ["--registry", str(home)]
        self.registry, self.run = Registry([home]), home / ".runs" / "learned"
        self.errors = home / "errors"

    def begin(self, *more: str) -> Any:
        """Start it, and wait until it can be interrupted."""
        running = FORK.Process(target=command, args=([*self.words, *more], self.errors))
        running.start()
        while not self.run.exists() and running.is_alive():
            time.sleep(0.005)
        return running

    def end(self, running: Any) -> int:
        """Its exit code; whatever happens, nobody sees a traceback."""
        running.join()
        assert "Traceback" not in self.errors.read_text()
        return int(running.exitcode)

    def whole(self, *more: str) -> float:
        """To its end without an interruption; how long that takes once it has begun [s]."""
        running, began = self.begin(*more), time.monotonic()
        assert self.end(running) == 0, self.errors.read_text()
        return time.monotonic() - began

    def interrupted(self, number: int, after: float, period: float) -> bool:
        """Whether the signal came before the end."""
        running = self.begin("--checkpoint-every", str(period))
        time.sleep(after)
        os.kill(running.pid, number)
        code = self.end(running)
        if code == 1:
            assert "Error: stopped; " in self.errors.read_text()
        return code != 0

    def resumed(self) -> bool:
        """Whether there was anything to resume."""
        kept = Checkpoints(self.run).latest is not None
        self.whole(*["--resume"] * kept)
        return kept

    def skill(self) -> dict[str, Any]:
        """Every file of what was learned, but for what differs between any two."""
        folder = self.registry.verify("learned").folder
        paths = [path for path in folder.rglob("*") if path.is_file()]
        files: dict[str, Any] = {p.relative_to(folder).as_posix(): p.read_bytes() for p in paths}
        del files["SHA256SUMS"]
        described = json.loads(files["skill.json"])
        files["skill.json"] = {k: v for k, v in described.items() if k not in NOT_COMPARED}
        card = files["README.md"].decode().splitlines()
        files["README.md"] = [line for line in card if not line.startswith("Algorithm ")]
        return files


def test_interrupted_at_any_moment_it_ends_the_same(tmp_path: Path) -> None:
    rng, wanted, seconds = random.Random(0), {}, {}
    kinds = [kind for number, kind in enumerate(TRAININGS) if number < ROUNDS]
    for kind in kinds:
        whole = Training(kind, tmp_path / kind)
        seconds[kind] = whole.whole()
        wanted[kind] = whole.skill()
    found, landed = Counter[str](), 0
    while landed < ROUNDS:
        kind = kinds[landed % len(kinds)]
        one = Training(kind, tmp_path / "one")
        number, period = rng.choice(SIGNALS), rng.choice((0.0, 0.5, 60.0))
        if one.interrupted(number, rng.uniform(0, seconds[kind]), period):
            kept = one.resumed()
            landed += kept  # one that came before the first checkpoint must end the same, too
            found[number.name if kept else "none was kept"] += 1
            skill = one.skill()
            differing = [name for name in wanted[kind] if skill.get(name) != wanted[kind][name]]
            assert not differing and skill.keys() == wanted[kind].keys(), (kind, number, differing)
        shutil.rmtree(tmp_path / "one")
    print(f"\n{landed} runs of {', '.join(kinds)} resumed, {landed} skills the same: {dict(found)}")
