"""Stored: whole episodes, relabelled, and what an update draws from them."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from skillkit.algorithms import Improve, ImproveConfig
from skillkit.envs import task
from skillkit.skill import load
from skillkit.types import Batch
from skillkit.workflows.improve import Stored
from tests.point_skills import trained

TASKS = [task("point_x"), task("point_y")]


class Looking:
    """Stands in for a learner; every `nth` transition is better, and targets count the looks."""

    def __init__(self, nth: int = 10, **options: Any) -> None:
        self.config, self.updates = ImproveConfig(batch_size=2_000, **options), 0
        self.nth, self.looks = nth, 0

    def look_ahead(self, stored: Batch, lengths: Tensor) -> tuple[Tensor, Tensor]:
        self.looks += 1
        count = len(stored.obs)
        assert int(lengths.sum()) == count
        better = torch.arange(count) % self.nth == 0 if self.nth else torch.zeros(count).bool()
        return torch.stack([better * 1.0, torch.full((count,), float(self.looks))], -1), better

    def draw(self, stored: Stored) -> Batch:
        found = stored.batch(cast(Improve, self))
        self.updates += 1
        return found


@pytest.fixture
def stored() -> Stored:
    return Stored(TASKS, load("point_x", trained()).replay, 0)


def test_every_transition_has_the_rewards_of_all_tasks(stored: Stored) -> None:
    before, action, reward, _, after = (column.numpy() for column in stored.transitions)
    for i, one in enumerate(TASKS):
        native = one.spec.native(action)
        torch.testing.assert_close(
            torch.from_numpy(one.reward(before, native, after)).float(),
            torch.from_numpy(reward[:, i]),
        )


@pytest.mark.parametrize(
    ("focus", "nth", "share"), [(0.0, 10, 0.1), (0.5, 10, 0.55), (1.0, 10, 1.0), (1.0, 0, 0.0)]
)
def test_what_was_better_is_drawn_as_often_as_was_set(
    stored: Stored, focus: float, nth: int, share: float
) -> None:
    """It also comes up by chance; and if nothing was better, by chance alone."""
    drawn = Looking(nth, focus=focus).draw(stored).reward[:, 0]
    assert drawn.mean().item() == pytest.approx(share, abs=0.03)


def test_it_looks_ahead_now_and_then(stored: Stored) -> None:
    learner = Looking(sweep_every=3)
    looks = [int(learner.draw(stored).reward[0, 1]) for _ in range(7)]
    assert looks == [1, 1, 1, 2, 2, 2, 3]


def test_the_seed_decides_what_is_drawn() -> None:
    replay = load("point_x", trained()).replay
    found = [Looking().draw(Stored(TASKS, replay, seed)).obs for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
