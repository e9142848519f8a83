"""Checkpoints of a run on disk: written aside, then swapped in; the old one stays until then."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from skillkit import storage
from skillkit.errors import RegistryUnavailable, SkillkitError

if TYPE_CHECKING:
    from skillkit.workflows.loop import Save

SIGNALS = (signal.SIGINT, signal.SIGTERM)
LATEST, ASIDE, OLD = "checkpoint", "checkpoint.new", "checkpoint.old"


class Stopped(SkillkitError):
    """The person at the keyboard stopped a training; says what is left of it."""


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
        for name in (LATEST, OLD):
            if (self.folder / name).is_dir():
                return self.folder / name
        return None

    def __call__(self, save: Save) -> None:
        if self.stopping or time.monotonic() - self._saved >= self.period:
            self._write(save)
            self._saved = time.monotonic()
        if self.stopping:
            raise Stopped("stopped; the run was saved, continue it with --resume")

    def _write(self, save: Save) -> None:
        new, old = self.folder / ASIDE, self.folder / OLD
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            save(new, self.latest)
            storage.flush(new)
            if (self.folder / LATEST).exists():
                shutil.rmtree(old, ignore_errors=True)
                (self.folder / LATEST).rename(old)
            new.rename(self.folder / LATEST)
            storage.flush_up(self.folder, self.folder)
            shutil.rmtree(old, ignore_errors=True)
        except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own
            shutil.rmtree(new, ignore_errors=True)
            way_out = "continue with --resume" if self.latest else "train again"
            raise RegistryUnavailable(
                f"the checkpoint in {self.folder} could not be written ({error}); "
                f"free some space and {way_out}"
            ) from error

    def clear(self) -> None:
        """Remove the run: it has become a skill."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block Ctrl-C stops the training cleanly, as does the signal with which a
        cluster takes its machine back; a run without checkpoint goes away.

        Raises:
            Stopped: at the second signal; the first one waits for the next checkpoint.
        """

        def ask(number: int, frame: FrameType | None) -> None:
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = True

        before = {number: signal.signal(number, ask) for number in SIGNALS}
        try:
            yield
        except KeyboardInterrupt as error:
            lost = "there was no checkpoint yet, so nothing was kept"
            kept = "continue from the last checkpoint with --resume"
            raise Stopped(f"stopped at once; {kept if self.latest else lost}") from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self.latest is None:
                self.clear()
