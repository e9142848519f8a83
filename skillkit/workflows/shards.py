"""The replay of a run on disk, in shards that are written once.

A checkpoint has every shard of the one before as a hard link, and what was added since as one new
shard: it costs what is new, and is whole by itself, whatever becomes of the one before.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from skillkit.replay import ReplayBuffer

STATE, SHARDS = "replay.safetensors", "replay"


class Shards:
    """Writes and reads a replay, and remembers what the latest checkpoint holds of it."""

    def __init__(self, replay: ReplayBuffer) -> None:
        self.replay = replay
        self._ends: dict[str, int] = {}  # shard -> how many rows there were after its last one

    def save(self, folder: Path, before: Path | None) -> None:
        """Write into an empty folder.

        Args:
            before: the checkpoint that was saved or loaded last, if it is there.
        """
        oldest = self.replay.added - len(self.replay)
        kept = {name: end for name, end in self._ends.items() if end > oldest}
        (folder / SHARDS).mkdir()
        if before is None or not all((before / SHARDS / name).is_file() for name in kept):
            kept = {}
        else:
            for name in kept:
                _link(before / SHARDS / name, folder / SHARDS / name)
        known = max(kept.values(), default=0)
        if self.replay.added > known:
            name = f"{known:012d}.safetensors"  # in their order
            save_file(self.replay.since(known), folder / SHARDS / name)
            kept[name] = self.replay.added
        save_file(self.replay.state(), folder / STATE)
        self._ends = kept

    def load(self, folder: Path) -> None:
        """Inverse of `save`, one shard after the other.

        Raises:
            InvalidValue: the replay does not hold it.
            CorruptSkill, OSError, SafetensorError, KeyError: a file is missing or damaged.
        """
        self._ends = {}
        self.replay.load_state(load_file(folder / STATE), self._read(folder / SHARDS))

    def _read(self, folder: Path) -> Iterator[dict[str, Tensor]]:
        for path in sorted(folder.iterdir()):
            shard = load_file(path)
            self._ends[path.name] = int(shard["first"]) + len(shard["rows"])
            yield shard


def _link(there: Path, here: Path) -> None:
    """The same file under another name, or a copy where the filesystem has no hard links."""
    with suppress(OSError):
        os.link(there, here)
        return
    shutil.copyfile(there, here)
