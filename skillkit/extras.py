"""Libraries that only an extra brings: imported where they are used, and missed in one sentence."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from skillkit.errors import InvalidValue

EXTRAS = {
    "aiohttp": "share",
    "fsspec": "share",
    "h5py": "minari",
    "imageio_ffmpeg": "video",
    "onnx": "export",
    "onnxruntime": "export",
}


def library(name: str, what: str) -> ModuleType:
    """A library that may not be installed.

    Args:
        name: one of `EXTRAS`.
        what: needs it, as the sentence says.

    Raises:
        InvalidValue: it cannot be imported; says which extra brings it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InvalidValue(
            f"{name}, which {what} needs, cannot be imported; "
            f"pip install -c constraints.txt -e '.[{EXTRAS[name]}]' installs it"
        ) from error
