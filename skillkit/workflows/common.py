"""What the workflows share: events, live controllers, evaluations as a manifest keeps them."""

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
from skillkit.policies import Policy
from skillkit.skill import arrays

Event = Mapping[str, Any]
OnEvent = Callable[[Event], None]

EVALUATION_SEED = 1_000_000  # far from every training seed: start states that no training saw


def check_finite(metrics: Mapping[str, Tensor], step: int) -> None:
    """Stop a training whose losses are no numbers any more.

    Raises:
        NonFinite: names the metric and the step.
    """
    for name, value in metrics.items():
        if not torch.isfinite(value):
            raise NonFinite(
                f"{name} became {float(value)} before step {step}; "
                "lower the learning rate or raise alpha, and resume from the last checkpoint"
            )


def controller(task: Task, policy: Policy, deterministic: bool = True, seed: int = 0) -> Controller:
    """A live policy as the NumPy controller that a saved skill would give."""
    described = {"kind": policy.kind, "config": policy.config}
    return Controller(task.spec, described, arrays(policy), deterministic, seed)


def score(act: Controller, task: Task, episodes: int, seed: int) -> Evaluation:
    """Deterministic evaluation on start states that training never saw."""
    return evaluate(act.batch, task, episodes=episodes, seed=EVALUATION_SEED + seed)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch's thread count within a block; restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
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


def describe(task: Task) -> dict[str, Any]:
    """The task as a manifest records it."""
    return {
        "expression": task.name,
        "domain": task.domain,
        "scene": task.scene,
        "source_hash": task.source_hash,
    }


def summary(found: Evaluation) -> dict[str, Any]:
    """An evaluation as a manifest records it: how it was made, and each metric."""
    return {"episodes": found.episodes, "seed": found.seed, **found.summary()}


def means(found: Evaluation) -> dict[str, float]:
    """The mean of each metric."""
    return {name: row["mean"] for name, row in found.summary().items()}
