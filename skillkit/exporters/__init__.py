"""Skills in other programs' formats. A new one is a file here and a line in the table."""

from __future__ import annotations

from collections.abc import Callable

from skillkit.errors import UnknownName
from skillkit.exporters import onnx
from skillkit.skill import Skill

# A stored skill, and whether it is to sample -> the contents of a file, and what it is in words.
Exporter = Callable[[Skill, bool], tuple[bytes, str]]
EXPORTERS: dict[str, Exporter] = {"onnx": onnx.export}


def exporter(name: str) -> Exporter:
    """The exporter of a format.

    Raises:
        UnknownName: there is no such format.
    """
    if name not in EXPORTERS:
        raise UnknownName("export format", name, EXPORTERS)
    return EXPORTERS[name]
