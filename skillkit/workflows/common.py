"""What the workflows share: events, live controllers, evaluations, threads and devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from skillkit.controller import Controller
from skillkit.envs import Task
from skillkit.errors import InvalidValue, NonFinite
from skillkit.evaluation import Evaluation, evaluate
from skillkit.networks import quick_products
from skillkit.policies import Policy
from skillkit.q_functions import SoftQ
from skillkit.skill import arrays

Event = Mapping[str, Any]
OnEvent = Callable[[Event], None]


def check_finite(metrics: Mapping[str, Tensor], step: int, whose: str = "") -> None:
    """Stop a training whose losses are no numbers any more.

    Raises:
        NonFinite: names the metric and the step, and whose it is where several learn.
    """
    for name, value in metrics.items():
        if not torch.isfinite(value):
            raise NonFinite(
                f"{whose}{name} became {float(value)} before step {step}; "
                "resume from the last checkpoint with a lower learning rate, or train anew with "
                "a higher alpha"
            )


def controller(task: Task, policy: Policy) -> Controller:
    """A live policy's mode as the NumPy controller that a saved skill would give."""
    return Controller(task.spec, part(policy), arrays(policy))


def part(module: Policy | SoftQ) -> dict[str, Any]:
    """A policy or a Q-function as a manifest describes it."""
    return {"kind": module.kind, "config": module.config}


def score(policy: Policy, task: Task, episodes: int, paths: bool = False) -> Evaluation:
    """Play a live policy's mode on the standard episodes, which no training sees."""
    act = controller(task, policy)
    return evaluate(act.batch, task, episodes, paths=paths, begin=act.reset)


@contextmanager
def arithmetic(threads: int) -> Iterator[None]:
    """Torch's thread count, and the quickest float32 products, within a block; then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with quick_products():
            yield
    finally:
        torch.set_num_threads(before)


def pick_device(name: str) -> str:
    """ "auto" takes the CPU: networks of this size run no faster on a GPU one at a time.

    Raises:
        InvalidValue: a device that is not there.
    """
    if name == "auto":
        return "cpu"
    if name not in ("cpu", "cuda"):
        raise InvalidValue(f"--device takes auto, cpu or cuda, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InvalidValue("no CUDA device was found; use --device cpu")
    return name
