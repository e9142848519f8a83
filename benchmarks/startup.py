"""How long commands take to begin: help, lists of skills, loading one, importing.

    python benchmarks/startup.py
    python benchmarks/startup.py --show

Each is a process of its own, from its start to its end. The floor is Python, which starts and ends.
The listed skills have a skill.json each, copies of a shipped one's; no list reads more of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import click
from rows import Result, markdown
from speed import Figures, Speed, cell, in_turn, options, ratio

from skillkit.registry import Registry, shipped_folder

ROOT = Path(__file__).parents[1]
SKILL = "push_x"
PYTHON = "python -c pass"
LISTS = (1, 100, 10_000)
MAIN = "from skillkit.cli import main; main()"
COMMANDS, CODE, TORCH = ROWS = ("commands", "imports", "torch")
CODES = {
    CODE: {
        "import skillkit": "import skillkit",
        "import skillkit.envs": "import skillkit.envs",
        f"load {SKILL}, its controller": f"import skillkit; skillkit.load('{SKILL}').controller()",
    },
    TORCH: {
        "import torch": "import torch",
        f"load {SKILL}, its torch policy": f"import skillkit; skillkit.load('{SKILL}').policy",
    },
}


def library(count: int, folder: Path) -> Path:
    """A registry of so many skills."""
    entry = Registry([shipped_folder()]).find(SKILL)
    described = json.loads((entry.folder / "skill.json").read_text())
    for index in range(count):
        home = folder / f"skill_{index}" / "v1"
        home.mkdir(parents=True)
        text = json.dumps({**described, "name": f"skill_{index}"}, indent=2)
        (home / "skill.json").write_text(text)
    return folder


def timed(*words: str) -> Callable[[], Figures]:
    """A process of Python with these arguments."""

    def measure() -> Figures:
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        return {"seconds": time.perf_counter() - began}

    return measure


def processes(row: str, stack: ExitStack, most: int) -> dict[str, Callable[[], Figures]]:
    """Those of a row, by what they do, and Python alone."""
    found = {PYTHON: timed("-c", "pass")}
    if row != COMMANDS:
        return found | {name: timed("-c", code) for name, code in CODES[row].items()}
    found["skillkit --help"] = timed("-c", MAIN, "--help")
    for count in (count for count in LISTS if count <= most):
        folder = library(count, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        words = ("-c", MAIN, "list", "--registry", str(folder))
        found[f"skillkit list, {count:,} skill{'s' * (count > 1)}"] = timed(*words)
    return found


def assemble(found: Sequence[Result]) -> Iterator[str]:
    """The table, Markdown."""
    lines: dict[str, list[str]] = {}
    for row in found:
        floor = row["figures"][PYTHON]["seconds"]
        for name, figures in row["figures"].items():
            seconds = figures["seconds"]
            share = f"{ratio(floor, seconds):.0%}"
            lines.setdefault(name, [name, cell(seconds, ".3f"), share])
    yield markdown(["process", "[s]", "share of the floor"], lines.values())


@click.command()
@options(ROWS)
@click.option("--most", type=click.IntRange(1), default=LISTS[-1], help="Skills to list.")
def main(rows: list[str], repeats: int, show: bool, results: Path, most: int) -> None:
    """Time every command --repeats times, after one time that does not count."""
    bench = Speed("startup", results)
    with ExitStack() as stack:
        for row in [] if show else rows:
            each = processes(row, stack, most)
            in_turn(each, 1)
            bench.keep(row, figures=in_turn(each, repeats))
    found = bench.found(ROWS)
    bench.publish(found, *assemble(found))


if __name__ == "__main__":
    main()
