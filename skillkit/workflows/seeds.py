"""What learns in one process: a run, or several in step that differ in their seeds alone. What one
seed shows may be its luck."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from skillkit.errors import InvalidValue, RunConflict
from skillkit.workflows.run import Run, Trainee
from skillkit.workflows.settings import check_seed
from skillkit.workflows.updates import population


class Seeds:
    """One run or more of the same tasks, each with environments, replay and randomness of its own.

    Each learns what it would by itself, to the last bit on a CPU; with train.stacked all learners
    learn in one update, which is the same up to rounding.

    Raises:
        InvalidValue: train.stacked is set, and they cannot.
    """

    def __init__(self, runs: Sequence[Run], loop: Any) -> None:
        self.runs, self.device = list(runs), runs[0].device
        self.population = population(self.runs, loop)
        if self.population:  # what was begun in this way goes on in it
            for run in self.runs:
                run.identity["train.stacked"] = True

    @property
    def trainees(self) -> list[Trainee]:
        """Of all runs, one run after the other."""
        return [trainee for run in self.runs for trainee in run.trainees]

    def save(self, folder: Path, before: Path | None = None) -> None:
        """As `Run.save`; several each in a folder of its own."""
        for run, name in zip(self.runs, self._folders, strict=True):
            (folder / name).mkdir(exist_ok=not name)
            run.save(folder / name, None if before is None else before / name)

    def load(self, folder: Path) -> None:
        """As `Run.load`.

        Raises:
            RunConflict: the checkpoint is of other seeds.
        """
        saved = sorted(path.name for path in folder.glob("seed *")) or [""]
        if saved != sorted(self._folders):
            found = ", ".join(saved) or "one seed"
            raise RunConflict(
                f"the interrupted run has {found}; resume it with the same seeds, or train without "
                "--resume"
            )
        for run, name in zip(self.runs, self._folders, strict=True):
            run.load(folder / name)

    @property
    def _folders(self) -> list[str]:
        """Of the runs, within that of a checkpoint: a single one has it for itself."""
        several = len(self.runs) > 1
        return [f"seed {run.seed}" if several else "" for run in self.runs]


def check_seeds(seeds: int | Sequence[int]) -> list[int]:
    """The seeds themselves, or the one.

    Raises:
        InvalidValue: none, one that comes twice, or one that is no seed.
    """
    found = [check_seed(seed) for seed in (seeds if isinstance(seeds, Sequence) else [seeds])]
    if not found or len(set(found)) < len(found):
        raise InvalidValue(f"training takes seeds that differ, not {found}; name each one once")
    return found
