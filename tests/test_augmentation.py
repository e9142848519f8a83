"""Augmentation: batches in all images, as often each, and learners that come to know them all."""

from __future__ import annotations

import torch

from skillkit.augmentation import Augmentation
from skillkit.envs.symmetry import Symmetry, images
from tests import toys

FLIP = Symmetry({"s1": "-s1"}, {"a0": "a1", "a1": "a0"})


def test_a_transition_stays_whole() -> None:
    """State, action and next state are seen from the same side, and nothing else changes."""
    batch = toys.batch(2_000)
    augment = Augmentation(images(toys.spec(), [FLIP]))
    found = augment(batch, torch.Generator().manual_seed(0))
    flipped = found.obs[:, 1] != batch.obs[:, 1]
    assert 0.45 < float(flipped.float().mean()) < 0.55
    sign = torch.where(flipped, -1.0, 1.0)
    for before, after in ((batch.obs, found.obs), (batch.next_obs, found.next_obs)):
        assert torch.equal(after[:, 1], sign * before[:, 1])
        assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
    assert torch.equal(found.action[flipped], batch.action[flipped].flip(-1))
    assert torch.equal(found.action[~flipped], batch.action[~flipped])
    assert torch.equal(found.reward, batch.reward) and torch.equal(found.discount, batch.discount)


def test_without_symmetries_nothing_changes() -> None:
    batch = toys.batch(8)
    found = Augmentation(images(toys.spec(), []))(batch, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(found, batch, strict=True))
