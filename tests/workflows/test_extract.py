"""The loop around the distillation: when it stops, what it reports."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from skillkit.algorithms import Distill, DistillConfig
from skillkit.errors import NonFinite
from skillkit.q_functions import SoftQ
from skillkit.replay import ReplayBuffer
from skillkit.workflows.extract import distil
from tests.replays import filled
from tests.toys import FlatQ, GaussianQ, gaussian, spec

SMALL: dict[str, Any] = {"hidden": (8,), "batch_size": 16, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def replay() -> ReplayBuffer:
    return filled([20, 20], ends="LL")


def run(replay: ReplayBuffer, q: SoftQ | None = None, **options: Any) -> tuple[Distill, list[int]]:
    """The learner, and the updates that were reported."""
    seen: list[int] = []

    def report(update: int, **metrics: float) -> None:
        assert {"distillation_loss", "entropy"} <= metrics.keys()
        seen.append(update)

    q, config = q or GaussianQ((0.3,), (0.3,), 0.2), DistillConfig(**SMALL | options)
    return distil(spec(2, 1), q, [], replay, config, 0, report), seen


def test_without_patience_every_update_is_made(replay: ReplayBuffer) -> None:
    learner, seen = run(replay, updates=500)
    assert learner.updates == 500 and seen == [200, 400, 500]


def test_it_stops_when_nothing_comes_any_more(replay: ReplayBuffer) -> None:
    """Long before the end, and as good as the whole."""
    patient, seen = run(replay, updates=4_000, patience=400)
    assert patient.updates < 2_000 and patient.updates % 200 == 0 and seen[-1] == patient.updates
    mean, log_std = patient.policy.moments(replay.all().obs)
    assert mean.sub(0.3).abs().mean() < 0.1 and log_std.exp().sub(0.3).abs().mean() < 0.05


def test_more_patience_makes_more_updates(replay: ReplayBuffer) -> None:
    few, many = (run(replay, updates=4_000, patience=p)[0].updates for p in (200, 1_000))
    assert few < many


def test_it_begins_as_a_parent(replay: ReplayBuffer) -> None:
    """One small step away from it."""
    parent, q = gaussian([0.8], [0.2], observations=2), GaussianQ((0.3,), (0.3,), 0.2)
    config = DistillConfig(updates=1, learning_rate=1e-4)
    learner = distil(spec(2, 1), q, [(parent, q)], replay, config, 0, lambda update, **found: None)
    for key, value in learner.policy.state_dict().items():
        torch.testing.assert_close(value, parent.state_dict()[key], rtol=0, atol=2e-4)


def test_the_seed_decides(replay: ReplayBuffer) -> None:
    one, same = run(replay, updates=20)[0], run(replay, updates=20)[0]
    for a, b in zip(one.policy.parameters(), same.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_loss_that_is_no_number_is_an_error(replay: ReplayBuffer) -> None:
    with pytest.raises(NonFinite, match="distillation_loss became nan"):
        run(replay, FlatQ(float("nan")), updates=20)
