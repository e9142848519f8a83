"""A skill of no weight, to publish; and what a registry holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from skillkit.manifest import Manifest
from skillkit.registry import Entry
from skillkit.types import Entry as Number
from skillkit.types import Spec


def manifest(name: str = "push_x", **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "kind": "trained",
        "name": name,
        "task": {"expression": name, "domain": "pusher", "scene": None, "source_hash": "1" * 64},
        "spec": Spec(
            (Number("x", "m"), Number("h", "m", -1, 1, True)), (Number("u", "N m", -3, 3),), 0.05
        ),
        "alpha": 0.2,
        "gamma": 0.99,
        "algorithm": "sac",
        "config": {"sac": {"hidden": (128, 128), "lr": 3e-4, "device": None}},
        "policy": {"kind": "gaussian", "config": {"hidden": [128, 128]}},
        "q": {"kind": "ensemble", "config": {"critics": 2}},
        "seed": 0,
        "metrics": {"return": {"mean": -31.5}},
        "replay": {"episodes": 10, "transitions": 3000},
        "timing": {"seconds": 12.5},
    }
    return Manifest(**(fields | changes))


def write(name: str, mark: str = "", **changes: Any) -> Callable[[Path], None]:
    """A callback that fills a folder with a small skill; the mark goes into two of its files."""

    def fill(folder: Path) -> None:
        manifest(name, **changes).save(folder)
        (folder / "README.md").write_text(mark)
        (folder / "replay").mkdir()
        (folder / "replay" / "00000.safetensors").write_bytes(mark.encode())

    return fill


def mark(entry: Entry) -> str:
    return (entry.folder / "README.md").read_text()


def references(entries: Iterable[Entry]) -> list[str]:
    return [entry.reference for entry in entries]


def visible(folder: Path) -> list[str]:
    """Every file of a registry that is not the machinery's own."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(file for file in files if not file.startswith((".aside/", ".runs/")))


def stacked(name: str = "walk/maze", **changes: Any) -> Manifest:
    """Of two layers."""
    record = {
        "name": "walk", "version": 2, "content_id": "ab" * 32, "task": "walk", "algorithm": "sac",
        "seed": 1, "steps": 1000, "fingerprint": "cd" * 32,
    }  # fmt: skip
    layers = [record, {**record, "name": name, "version": None, "content_id": None, "task": "maze"}]
    fields = {
        "kind": "stacked",
        "parents": [{"name": "walk", "version": 2, "content_id": "ab" * 32}],
        "layers": layers,
        "policy": {"kind": "stacked", "config": {"layers": [{}, {}], "holds": [3]}},
    }
    return manifest(name, **(fields | changes))
