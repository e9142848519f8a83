"""Checkpoints of a run on disk: written aside, then swapped in; the old one stays until then."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from skillkit.errors import RegistryUnavailable, SkillkitError

LATEST, ASIDE = "checkpoint", "checkpoint.new"


class Stopped(SkillkitError):
    """The person at the keyboard stopped a training; its checkpoint is complete."""


class Checkpoints:
    """The `checkpoint` callback of a training: saves every `period` seconds, and when stopping.

    Ctrl-C asks it to stop at the next opportunity, between two updates; a second one stops at once.
    """

    def __init__(self, folder: Path, period: float = 60.0) -> None:
        self.folder, self.period = folder, period
        self.stopping = False
        self._saved = time.monotonic()

    @property
    def latest(self) -> Path | None:
        """The newest complete checkpoint, if there is one."""
        for name in (LATEST, ASIDE + ".old"):
            if (self.folder / name).is_dir():
                return self.folder / name
        return None

    def __call__(self, save: Callable[[Path], None]) -> None:
        if self.stopping or time.monotonic() - self._saved >= self.period:
            self._write(save)
            self._saved = time.monotonic()
        if self.stopping:
            raise Stopped("stopped; the run was saved, continue it with --resume")

    def _write(self, save: Callable[[Path], None]) -> None:
        new, old = self.folder / ASIDE, self.folder / (ASIDE + ".old")
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            save(new)
            if (self.folder / LATEST).exists():
                shutil.rmtree(old, ignore_errors=True)
                (self.folder / LATEST).rename(old)
            new.rename(self.folder / LATEST)
            shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            shutil.rmtree(new, ignore_errors=True)
            raise RegistryUnavailable(
                f"the checkpoint in {self.folder} could not be written ({error.strerror}); "
                "free some space and continue with --resume"
            ) from error

    def clear(self) -> None:
        """Remove the run: it has become a skill, or begins anew."""
        for name in (LATEST, ASIDE, ASIDE + ".old"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block Ctrl-C stops the training cleanly."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = True

        before = signal.signal(signal.SIGINT, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
