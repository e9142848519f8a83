"""Clips: a short film of each skill for the page, made once and kept beside the skills."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

from skillkit.controller import Controller
from skillkit.envs import task
from skillkit.errors import SkillkitError
from skillkit.report.film import Shot, record
from skillkit.shelf import Entry

SIZE, RATE, SPEED = (160, 160), 6.0, 3.0  # pixels, pictures per second, times real time


@dataclass
class Clips:
    """The clip of a version, under its content id: what has the same files moves the same way.

    Attributes:
        folder: where they are kept.
        seconds: left for filming; a clip that is there takes none.
        refused: the skills that could not be filmed, and why.
        left: how many there was no time for.
    """

    folder: Path
    seconds: float = math.inf
    refused: dict[str, str] = field(default_factory=dict)
    left: int = 0

    def __call__(self, entry: Entry) -> bytes:
        """One episode as a GIF; nothing where there is no time, or no way to play or draw it."""
        path = self.folder / f"{entry.content_id}.gif"
        try:
            if not path.exists():
                if self.seconds <= 0:
                    self.left += 1
                    return b""
                self._film(entry, path)
            return path.read_bytes()
        except (SkillkitError, OSError) as error:
            self.refused[entry.reference] = " ".join(str(error).split())
            return b""

    def _film(self, entry: Entry, path: Path) -> None:
        began = time.monotonic()
        try:
            wanted = task(str(entry.manifest.task["expression"]))
            act = Controller.load(entry.folder)
            record(Shot(act, wanted, size=SIZE, rate=RATE, speed=SPEED), path)
        finally:
            self.seconds -= time.monotonic() - began
