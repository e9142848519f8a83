"""Skills in other programs' formats. A new one is a file here and a line in the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from skillkit.errors import UnknownName
from skillkit.exporters import minari, onnx
from skillkit.skill import Skill

# A stored skill, where to write it and whether it is to sample -> what was written, in words.
Exporter = Callable[[Skill, Path, bool], str]
EXPORTERS: dict[str, Exporter] = {"onnx": onnx.write, "minari": minari.write}


def exporter(name: str) -> Exporter:
    """The exporter of a format.

    Raises:
        UnknownName: there is no such format.
    """
    if name not in EXPORTERS:
        raise UnknownName("export format", name, EXPORTERS)
    return EXPORTERS[name]
