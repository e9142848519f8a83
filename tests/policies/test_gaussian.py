"""The tanh-Gaussian policy: ORACLES 6 through its own parameters, and the range of its width."""

from __future__ import annotations

import math

import pytest
import torch

from skillkit.policies import GaussianPolicy
from skillkit.policies.policy import unsquash
from tests.toys import gaussian

OBS = torch.zeros(1, 1)


@pytest.mark.parametrize(
    ("mean", "std", "u", "log_pi"),
    [
        (0.0, 1.0, 0.0, -0.91893853),
        (0.3, 0.5, 0.8, -0.14428423),
        (0.3, 0.5, -1.2, -3.53841341),
        (1.0, 0.2, 4.0, -105.19512417),
        (0.0, 1.0, 10.0, -32.30523289),
        (0.0, 2.0, -20.0, -12.99838007),
    ],
)
def test_log_density(mean: float, std: float, u: float, log_pi: float, float64: None) -> None:
    policy = gaussian([mean], [std])
    raw = torch.tensor([[u]])
    found = policy.log_prob(OBS.double(), raw.tanh(), pre_tanh=raw)
    assert found.item() == pytest.approx(log_pi, abs=6e-9)
    _, same = policy.act_and_log_prob(OBS.double(), torch.tensor([[(u - mean) / std]]))
    assert same.item() == pytest.approx(log_pi, abs=6e-9)


def test_log_density_sums_over_actions(float64: None) -> None:
    policy = gaussian([0.2, -1.0], [0.7, 0.4])
    found = policy.log_prob(OBS.double(), torch.tensor([[0.5, -0.9]]))
    assert found.item() == pytest.approx(0.56214936, abs=6e-9)


def test_entropy_and_mean_action(float64: None) -> None:
    eps = torch.linspace(-9, 9, 4001)[:, None]
    weight = torch.distributions.Normal(0.0, 1.0).log_prob(eps[:, 0]).exp() * (eps[1] - eps[0])
    obs = torch.zeros(len(eps), 1)
    _, log_pi = gaussian([0.3], [0.5]).act_and_log_prob(obs, eps)
    assert -(weight @ log_pi).item() == pytest.approx(0.42624944, abs=6e-9)
    action = gaussian([0.8], [0.3]).act(obs, eps)
    assert (weight @ action[:, 0]).item() == pytest.approx(0.63266857, abs=6e-9)


def test_mode_and_one_standard_deviation() -> None:
    policy = gaussian([0.3, -2.0], [0.5, 0.1])
    torch.testing.assert_close(policy.mode(OBS), torch.tensor([[0.3, -2.0]]).tanh())
    noise = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(policy.act(OBS, noise), torch.tensor([[0.8, -2.2]]).tanh())


def test_width_has_a_floor_and_a_ceiling() -> None:
    """log sigma in [-5, 2], half-way at 0; the mean is not touched."""
    policy = GaussianPolicy(1, 1, hidden=())
    log_std = []
    for x in (-50.0, 0.0, 50.0):
        with torch.no_grad():
            policy.net.layers[-1].bias.copy_(torch.tensor([0.7, x]))
            mean, value = policy.moments(OBS)
        assert mean.item() == pytest.approx(0.7)
        log_std.append(value.item())
    assert log_std == pytest.approx([-5.0, -1.5, 2.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unsquash(dtype: torch.dtype) -> None:
    u = torch.linspace(-4, 4, 33, dtype=dtype)
    tolerance = 2e-4 if dtype is torch.float32 else 1e-12  # what tanh leaves of u = 4
    torch.testing.assert_close(unsquash(u.tanh()), u, rtol=0, atol=tolerance)
    ends = unsquash(torch.tensor([-1.0, 1.0], dtype=dtype))
    bound = 0.5 * math.log(2 / torch.finfo(dtype).eps)  # atanh(1 - eps)
    torch.testing.assert_close(ends, torch.tensor([-bound, bound], dtype=dtype), rtol=1e-2, atol=0)
