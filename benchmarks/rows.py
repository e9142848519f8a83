"""What the benchmarks share: rows that are measured once, kept as JSON, and not measured again.

A row can be a skill that one command of skillkit makes. It is kept in the registry, and an
interrupted one goes on where it was. Beside its numbers its file has the command, and the machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from skillkit import Registry, Skill, load
from skillkit.algorithms import ALGORITHMS
from skillkit.cli import main as skillkit
from skillkit.envs import Task
from skillkit.errors import SkillkitError, UnknownName
from skillkit.evaluation import evaluate
from skillkit.manifest import host, library_versions
from skillkit.registry import search_path
from skillkit.workflows.checkpoints import Checkpoints

RESULTS = Path(__file__).parent / "results"
SEED = 7  # of the evaluations; no training sees their episodes
METRICS = ("return", "length", "final_distance", "success")

Command = TypeVar("Command", bound=Callable[..., Any])
Result = dict[str, Any]


def listed(ctx: click.Context, parameter: click.Parameter, text: str | None) -> list[str]:
    """ "0,1,2" -> ["0", "1", "2"], as a callback of an option."""
    return text.split(",") if text else []


def whole_numbers(ctx: click.Context, parameter: click.Parameter, text: str | None) -> list[str]:
    """As `listed`, of seeds."""
    found = listed(ctx, parameter, text)
    if not all(word.isdecimal() for word in found):
        raise click.BadParameter(f"{text!r} is no list of whole numbers, such as 0,1,2")
    return found


def options(command: Command) -> Command:
    """What a benchmark whose rows are commands takes."""
    folder = click.Path(file_okay=False, path_type=Path)
    for option in reversed(
        (
            click.option("--seeds", callback=whole_numbers, default="0,1", show_default=True),
            click.option("--rows", callback=listed, help="All by default."),
            click.option("--show", is_flag=True, help="Measure nothing: assemble what there is."),
            click.option(
                "--set",
                "settings",
                multiple=True,
                help="KEY=VALUE, of every command that has it.",
            ),
            click.option("--episodes", default=100, show_default=True, help="Of an evaluation."),
            click.option("--registry", help="Where the skills are, as of skillkit."),
            click.option("--results", type=folder, default=RESULTS, help="Where the rows go."),
        )
    ):
        command = option(command)
    return command


def check(rows: Iterable[str], known: Iterable[str], kind: str = "row") -> None:
    """Refuse the name of a row, or of another kind of thing, that does not exist."""
    known = list(known)
    for row in rows:
        if row not in known:
            raise click.ClickException(str(UnknownName(kind, row, known)))


def write(path: Path, result: Mapping[str, Any]) -> None:
    """Keep a row, and what it was measured with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    described = {**result, "versions": library_versions(), "host": host()}
    path.write_text(json.dumps(described, indent=1) + "\n")


@dataclass(frozen=True)
class Bench:
    """A benchmark whose rows are commands.

    Attributes:
        name: its skills are called name/LABEL.
        settings: KEY=VALUE of every command, but for those of other algorithms.
        episodes: of an evaluation.
        registry: folder of skills, as of skillkit.
        results: the folder of the tables; the rows are in a folder of this name in it.
    """

    name: str
    settings: tuple[str, ...]
    episodes: int
    registry: str | None
    results: Path

    def load(self, reference: str) -> Skill:
        try:
            return load(reference, Registry(search_path(self.registry)))
        except SkillkitError as error:
            raise click.ClickException(str(error)) from error

    def skill_name(self, label: str) -> str:
        return f"{self.name}/{label}"

    def measure(self, label: str, words: Sequence[str], goal: Task, **what: Any) -> None:
        """Make the skill of a row and play the task, unless that was done.

        Args:
            words: the command, but for what all rows have.
            what: said of the row in its file.
        """
        path = self.results / self.name / f"{label}.json"
        algorithm = words[words.index("--algorithm") + 1] if "--algorithm" in words else "sac"
        others = ALGORITHMS.keys() - {algorithm}
        pairs = [pair for pair in self.settings if pair.partition(".")[0] not in others]
        words = [*words, *(word for pair in pairs for word in ("--set", pair))]
        command = " ".join(["skillkit", *(f"'{w}'" if "*" in w else w for w in words)])
        if path.exists():
            was = json.loads(path.read_text())
            if (was["command"], was["episodes"]) != (command, self.episodes):
                raise click.ClickException(
                    f"{path} was measured with {was['command']!r} and {was['episodes']} episodes, "
                    f"not with {command!r} and {self.episodes}; remove it, or give other --results"
                )
            return
        click.echo(label, err=True)
        skill = self._made(label, words)
        result = {
            **what,
            "command": command,
            "steps": skill.metrics["steps"],
            "episodes": self.episodes,
            "deterministic": self._played(skill, goal, deterministic=True),
            "sampled": self._played(skill, goal, deterministic=False),
            "curve": [{k: point[k] for k in ("step", *METRICS) if k in point}
                      for point in skill.curve],
            "timing": skill.manifest.timing,
        }  # fmt: skip
        write(path, result)

    def _made(self, label: str, words: Sequence[str]) -> Skill:
        """The skill that a command makes; one that is there already, or was begun, is not lost."""
        name, where = self.skill_name(label), Registry(search_path(self.registry))
        place = [] if self.registry is None else ["--registry", self.registry]
        try:
            where.find(name)
            return self.load(name)
        except UnknownName:
            begun = Checkpoints(where.run_folder(name)).latest is not None
        words = [*words, "--name", name, *place, *["--resume"] * begun]
        skillkit.main(words, standalone_mode=False)
        return self.load(name)

    def _played(self, skill: Skill, goal: Task, deterministic: bool) -> Result:
        """Metric -> mean and median over the episodes."""
        act = skill.controller(deterministic)
        noise = 0 if deterministic else act.noise_dim
        found = evaluate(act.batch, goal, self.episodes, SEED, noise_dim=noise, begin=act.reset)
        return {
            name: {"mean": float(np.mean(values)), "median": float(np.median(values))}
            for name, values in found.metrics.items()
        }

    def found(self, **what: Any) -> list[Result]:
        """The rows that were measured, of which this is said."""
        paths = sorted((self.results / self.name).glob("*.json"))
        rows = [json.loads(path.read_text()) for path in paths]
        found = [row for row in rows if all(row[key] == value for key, value in what.items())]
        if not found:
            raise click.ClickException(f"nothing was measured yet in {self.results / self.name}")
        return found

    def publish(self, label: str, table: str, picture: bytes) -> None:
        """Write table and figure, and print the table."""
        self.results.mkdir(parents=True, exist_ok=True)
        (self.results / f"{self.name}.{label}.md").write_text(table)
        (self.results / f"{self.name}.{label}.png").write_bytes(picture)
        click.echo(table)


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table."""
    rows = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def numbers(rows: Iterable[Result], how: str, metric: str, of: str, form: str) -> str:
    """One number for each row, as a cell of a table."""
    return " ".join(format(row[how][metric][of], form) for row in rows)
