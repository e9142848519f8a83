"""SAC's equations and the tanh density against hand numbers (ORACLES 5, 6, 9)."""

from __future__ import annotations

import math

import pytest
import torch

from skillkit.functional.losses import (
    actor_loss,
    critic_loss,
    log_normal,
    squash_log_det,
    td_target,
    temperature_loss,
)

F64 = torch.float64


def tensor(*values: float, dtype: torch.dtype = F64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


# Critic


@pytest.mark.parametrize(
    ("discount", "y"), [(0.99, 6.0886), (0.0, 1.0)], ids=["goes on or truncated", "terminated"]
)
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_td_target(discount, y, dtype):
    args = [tensor(v, dtype=dtype) for v in (1.0, discount, 5.0, -0.7)]
    torch.testing.assert_close(td_target(*args, 0.2), tensor(y, dtype=dtype))


def test_td_target_of_an_upper_layer_pays_the_prior():
    log_prior = log_normal(tensor(0.5, -1.0))
    assert log_prior.item() == pytest.approx(-2.46287707, abs=6e-9)
    y = td_target(tensor(1), tensor(0.99), tensor(5), tensor(-1.5), 0.2, log_prior)
    assert y.item() == pytest.approx(5.75935034, abs=6e-9)


def test_a_time_limit_bootstraps_and_an_end_does_not():
    """One state, reward 1, gamma .9, alpha 0 (ORACLES 5)."""
    goes_on = ends = torch.zeros(1, dtype=F64)
    for step in range(300):
        goes_on = td_target(tensor(1), tensor(0.9), goes_on, tensor(0), 0.0)
        if step < 20:
            ends = td_target(tensor(1), tensor(0.9 if step else 0.0), ends, tensor(0), 0.0)
    assert goes_on.item() == pytest.approx(10.0)
    assert ends.item() == pytest.approx(8.78423345, abs=6e-9)


def test_critic_loss_sums_critics_and_averages_the_batch():
    q = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=F64, requires_grad=True)
    loss = critic_loss(q, tensor(1, 4))
    assert loss.item() == pytest.approx(0.5 * (0 + 4) / 2 + 0.5 * (4 + 1) / 2)
    (gradient,) = torch.autograd.grad(loss, q)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, -1.0], [1.0, 0.5]], dtype=F64))


# Actor and temperature


def test_actor_loss():
    loss = actor_loss(tensor(-1.0, 0.5), tensor(2.0, -3.0), 0.2)
    assert loss.item() == pytest.approx(((-0.2 - 2.0) + (0.1 + 3.0)) / 2)
    upper = actor_loss(tensor(-1.5), tensor(5), 0.2, log_normal(tensor(0.5, -1.0)))
    assert upper.item() == pytest.approx(-4.80742459, abs=6e-9)


def test_temperature_loss_and_its_gradient():
    log_alpha = torch.tensor(math.log(0.2), dtype=F64, requires_grad=True)
    log_prob = torch.tensor([-1.0, 0.5, -2.0], dtype=F64, requires_grad=True)
    loss = temperature_loss(log_alpha, log_prob, target_entropy=-1.0)
    assert loss.item() == pytest.approx(-2.95063617, abs=6e-9)
    loss.backward()
    assert log_alpha.grad.item() == pytest.approx(1.83333333, abs=6e-9)  # descent: alpha falls
    assert log_prob.grad is None  # the policy does not learn from the temperature's loss


def test_the_temperature_finds_the_entropy_it_was_given():
    """E[log pi] = -Hbar is the only stationary point; below the target entropy alpha rises."""
    log_alpha = torch.zeros((), dtype=F64, requires_grad=True)
    at_target = temperature_loss(log_alpha, tensor(2.0, 4.0), target_entropy=-3.0)
    assert torch.autograd.grad(at_target, log_alpha)[0].item() == pytest.approx(0.0)
    too_peaked = temperature_loss(log_alpha, tensor(5.0, 6.0), target_entropy=-3.0)
    assert torch.autograd.grad(too_peaked, log_alpha)[0].item() < 0


# The tanh-Gaussian (ORACLES 6)


def tanh_normal(u: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return log_normal((u - mean) / std) - std.log().sum(-1) - squash_log_det(u)


@pytest.mark.parametrize(
    ("mean", "std", "u", "log_det", "log_pi"),
    [
        (0.0, 1.0, 0.0, 0.0, -0.91893853),
        (0.3, 0.5, 0.8, -0.58150712, -0.14428423),
        (0.3, 0.5, -1.2, -1.18737794, -3.53841341),
        (1.0, 0.2, 4.0, -6.61437645, -105.19512417),
        (0.0, 1.0, 10.0, -18.61370564, -32.30523289),
        (0.0, 2.0, -20.0, -38.61370564, -12.99838007),
    ],
)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 2e-6), (F64, 0.0)])
def test_tanh_gaussian_log_density(mean, std, u, log_det, log_pi, dtype, rtol):
    mean, std, u = (tensor(v, dtype=dtype) for v in (mean, std, u))
    assert squash_log_det(u).item() == pytest.approx(log_det, abs=6e-9, rel=rtol)
    assert tanh_normal(u, mean, std).item() == pytest.approx(log_pi, abs=6e-9, rel=rtol)


def test_tanh_gaussian_sums_over_dimensions():
    u = torch.atanh(tensor(0.5, -0.9))
    log_pi = tanh_normal(u, tensor(0.2, -1.0), tensor(0.7, 0.4))
    assert log_pi.item() == pytest.approx(0.56214936, abs=6e-9)


def test_tanh_gaussian_entropy_and_mean_by_quadrature():
    eps = torch.linspace(-9, 9, 4001, dtype=F64)
    weight = log_normal(eps[:, None]).exp() * (eps[1] - eps[0])
    u = 0.3 + 0.5 * eps[:, None]
    log_pi = tanh_normal(u, tensor(0.3), tensor(0.5))
    assert -(weight @ log_pi).item() == pytest.approx(0.42624944, abs=6e-9)
    assert (weight @ torch.tanh(0.8 + 0.3 * eps)).item() == pytest.approx(0.63266857, abs=6e-9)


def test_squash_log_det_is_the_derivative_of_tanh():
    u = torch.linspace(-4, 4, 17, dtype=F64)[:, None].requires_grad_()
    (slope,) = torch.autograd.grad(torch.tanh(u).sum(), u)
    torch.testing.assert_close(squash_log_det(u), slope.log().sum(-1))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_squash_log_det_has_finite_gradients_in_both_tails(dtype):
    u = tensor(-300.0, -12.0, 12.0, 300.0, dtype=dtype)[:, None].requires_grad_()
    (slope,) = torch.autograd.grad(squash_log_det(u).sum(), u)
    torch.testing.assert_close(slope, -2.0 * torch.tanh(u.detach()))  # d/du log(1 - tanh^2)


# Layers: the KL to the prior does not depend on where it is measured (ORACLES 9)


def test_kl_to_the_prior_is_invariant_under_the_layer_below():
    eps = torch.linspace(-9, 9, 4001, dtype=F64)[:, None]
    weight = log_normal(eps).exp() * (eps[1] - eps[0])
    h = 0.7 + 0.5 * eps
    u = 0.2 + 0.4 * h  # the base's action before its tanh
    log_pi_h, prior_h = log_normal(eps) - math.log(0.5), log_normal(h)
    log_pi_a = tanh_normal(u, tensor(0.2 + 0.4 * 0.7), tensor(0.4 * 0.5))
    prior_a = tanh_normal(u, tensor(0.2), tensor(0.4))
    zero, one = tensor(0), tensor(1)
    upper = td_target(zero, one, zero, log_pi_h, 1.0, prior_h)  # -(log pi - log N)
    flat = td_target(zero, one, zero, log_pi_a, 1.0, prior_a)
    torch.testing.assert_close(upper, flat)
    assert -(weight @ upper).item() == pytest.approx(0.56314718, abs=6e-9)


def test_kl_of_one_sample():
    eps = tensor(1.0)
    h = 0.7 + 0.5 * eps
    ratio = actor_loss(log_normal(eps[None]) - math.log(0.5), tensor(0), 1.0, log_normal(h[None]))
    assert ratio.item() == pytest.approx(0.91314718, abs=6e-9)
