"""Runs that differ in their seeds alone, in step: what one seed shows may be its luck."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skillkit.errors import InvalidValue, RunConflict
from skillkit.workflows.run import Run, Trainee
from skillkit.workflows.settings import check_seed
from skillkit.workflows.updates import population


class Seeds:
    """Runs of the same tasks, each with environments, replay and randomness of its own.

    Each learns what it would by itself, to the last bit on a CPU; with train.stacked all learners
    learn in one update, which is the same up to rounding.
    """

    def __init__(self, runs: Sequence[Run], loop: Any) -> None:
        """`runs`: made with alone=False."""
        self.runs, self.device = list(runs), runs[0].device
        self.population = population(self.runs, loop)

    @property
    def trainees(self) -> list[Trainee]:
        """Of all runs, one run after the other."""
        return [trainee for run in self.runs for trainee in run.trainees]

    def save(self, folder: Path, before: Path | None = None) -> None:
        """As `Run.save`, each in a folder of its own."""
        for run in self.runs:
            (folder / _name(run)).mkdir()
            run.save(folder / _name(run), None if before is None else before / _name(run))

    def load(self, folder: Path) -> None:
        """As `Run.load`.

        Raises:
            RunConflict: the checkpoint is of other seeds.
        """
        saved = {path.name for path in folder.glob("seed *")}
        if saved != {_name(run) for run in self.runs}:
            found = ", ".join(sorted(saved)) or "one seed"
            raise RunConflict(
                f"the interrupted run has {found}; resume it with the same seeds, or train without "
                "--resume"
            )
        for run in self.runs:
            run.load(folder / _name(run))


def _name(run: Run) -> str:
    return f"seed {run.seed}"


def check_seeds(seeds: int | Sequence[int]) -> list[int]:
    """The seeds themselves, or the one.

    Raises:
        InvalidValue: none, one that comes twice, or one that is no seed.
    """
    found = [check_seed(seed) for seed in (seeds if isinstance(seeds, Sequence) else [seeds])]
    if not found or len(set(found)) < len(found):
        raise InvalidValue(f"training takes seeds that differ, not {found}; name each one once")
    return found
