"""When, with what and on what machine a skill is made. Standard library only."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries a skill depends on, without importing them."""
    from importlib import metadata  # here and below: only making a skill pays for the import
    from platform import python_version

    import skillkit

    found = {"skillkit": skillkit.__version__, "python": python_version()}
    for library in ("numpy", "mujoco", "gymnasium", "torch"):
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found


def host() -> dict[str, Any]:
    """The machine a skill is made on: operating system, processor name, usable cores."""
    import platform

    processor = platform.processor() or platform.machine()
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        processor = re.findall(r"^model name\s*: (.+)$", info, re.MULTILINE)[0].strip()
    except (OSError, IndexError):
        pass  # not Linux, or a processor that does not name itself
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"os": platform.system(), "processor": processor, "cores": cores}
