"""Coverage: how much of what a policy visits is like what is stored."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from skillkit.composition.coverage import coverage

LENGTHS = torch.full((200,), 20)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def episodes(seed: int, count: int = 200) -> Tensor:
    """Short walks about a point that differs from episode to episode. (20 count, 3)"""
    start = torch.randn(count, 1, 3, generator=rng(seed))
    steps = 0.01 * torch.randn(count, 20, 3, generator=rng(seed + 1))
    return (start + steps.cumsum(1)).flatten(0, 1)


def test_new_episodes_of_the_same_kind_come_to_the_usual_share() -> None:
    """Not to 1: the nearest state of an episode is not the neighbour within it."""
    found = [coverage(episodes(0), LENGTHS, episodes(seed), rng()) for seed in (10, 20, 30)]
    assert sum(found) / 3 == pytest.approx(0.95, abs=0.03)


def test_what_lies_elsewhere_is_not_covered() -> None:
    stored, same = episodes(0), episodes(10)
    far = same + torch.tensor([0.0, 20.0, 0.0])
    assert coverage(stored, LENGTHS, far, rng()) == 0.0
    half = coverage(stored, LENGTHS, torch.cat([same, far]), rng())
    assert half == pytest.approx(0.95 / 2, abs=0.03)
    assert coverage(stored, LENGTHS, torch.zeros(1, 3), rng()) == 1.0


def test_units_do_not_count_and_what_never_changes_neither() -> None:
    stored, visited = episodes(0), 1.5 * episodes(10)
    found = coverage(stored, LENGTHS, visited, rng())
    assert 0.6 < found < 0.9
    unit = torch.tensor([1000.0, 0.001, 1.0])
    assert coverage(unit * stored, LENGTHS, unit * visited, rng()) == pytest.approx(found, abs=0.01)
    still = [torch.cat([x, torch.full_like(x[:, :1], 7.0)], 1) for x in (stored, visited)]
    assert coverage(still[0], LENGTHS, still[1], rng()) == pytest.approx(found, abs=0.01)


def test_episodes_may_differ_in_length_and_be_few() -> None:
    stored = torch.cat([torch.zeros(3, 1), torch.ones(50, 1)])
    found = coverage(stored, torch.tensor([3, 50]), torch.tensor([[0.5], [5.0]]), rng())
    assert found == 0.5  # usual is a distance of 1, between the two episodes
