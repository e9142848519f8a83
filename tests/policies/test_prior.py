"""The prior of an action space: uniform on [-1, 1]^A, or N(0, I) for latents."""

from __future__ import annotations

import math

import pytest
import torch

from skillkit.policies.prior import Prior


def test_unit_actions_are_uniform(float64: None) -> None:
    prior = Prior(3)
    action = prior.action(prior.raw(torch.randn(200_000, 3)))
    assert action.abs().max() < 1 and action.mean(0).abs().max() < 0.01
    torch.testing.assert_close(action.var(0), torch.full((3,), 1 / 3), rtol=0.01, atol=0)
    assert prior.log_prob(action[:2]).tolist() == pytest.approx([-3 * math.log(2)] * 2)


def test_entropy_is_measured_against_the_volume() -> None:
    """The constant A log 2 is kept: with termination it changes behaviour (THEORY 1)."""
    assert Prior(3).log_measure(torch.zeros(2, 3)) == 0.0


def test_latents_are_the_noise_itself() -> None:
    prior = Prior(2, unbounded=True)
    h = torch.tensor([[0.5, -1.0], [30.0, 0.0]], dtype=torch.float64)
    assert torch.equal(prior.action(prior.raw(h)), h)
    assert prior.log_prob(h)[0].item() == pytest.approx(-2.46287707, abs=1e-8)  # ORACLES 9
    assert torch.equal(prior.log_measure(h), prior.log_prob(h))  # type: ignore[arg-type]
