"""A worker's side of benchmarks/peers.py: it measures when it is asked to, one line each."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any


def take_cores(count: int) -> None:
    """Stay on so many of the cores that this process may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-count:])


def answer(**found: Any) -> None:
    """What was measured, or first of all what this worker is."""
    print(json.dumps(found))
    sys.stdout.flush()


def asked() -> Iterator[dict[str, Any]]:
    """What is to be measured, until nobody asks any more."""
    for line in sys.stdin:
        yield json.loads(line)
