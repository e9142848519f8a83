"""Soft values against closed forms (ORACLES 4, 5, 10)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from skillkit.functional.losses import td_target
from skillkit.functional.soft_value import (
    boltzmann_log_weights,
    discrete_soft_value,
    effective_sample_size,
    log_mean_exp,
    sampled_soft_value,
    uniform_soft_value,
)
from tests import oracles

TIGHT = {"rtol": 0.0, "atol": 6e-9}  # 8 printed decimals


def midpoints(low: float, high: float, count: int) -> Tensor:
    """Midpoint rule: uniform "samples" without noise. (K,)"""
    return low + (torch.arange(count, dtype=torch.float64) + 0.5) * (high - low) / count


# Soft values of known functions on [-1, 1]^A (ORACLES 5)

ACTIONS = midpoints(-1, 1, 200_000)
KNOWN = [
    (lambda a: 1.5 * a, 0.2, 1.09701933),
    (lambda a: 1.5 * a, 2.0, 1.57039923),
    (lambda a: -0.4 * a, 1.0, 0.71967305),
    (lambda a: -4.0 * (a - 0.3).square(), 0.5, -0.23495716),
    (lambda a: -25.0 * (a - 0.9).square(), 0.1, -0.22011202),
]


@pytest.mark.parametrize(("q", "alpha", "truth"), KNOWN)
def test_uniform_quadrature_gives_the_integral(q, alpha, truth):
    assert uniform_soft_value(q(ACTIONS), alpha, 1).item() == pytest.approx(truth, abs=6e-9)


@pytest.mark.parametrize(("q", "alpha", "truth"), KNOWN)
def test_any_proposal_gives_the_same_integral(q, alpha, truth):
    a = 3 - torch.sqrt(16 - 12 * midpoints(0, 1, 200_000))  # inverse CDF of (3 - a)/6
    value = sampled_soft_value(q(a), alpha, log_proposal=torch.log((3 - a) / 6))
    assert value.item() == pytest.approx(truth, abs=6e-9)


@pytest.mark.parametrize(
    ("slope", "alpha", "mean"),
    [(1.5, 0.2, 0.86666728), (1.5, 2.0, 0.24110050), (-0.4, 1.0, -0.13193244)],
)
def test_the_gradient_of_v_is_the_mean_under_the_policy(slope, alpha, mean):
    """d/dc alpha log int exp(c a/alpha) da = E_pi a = coth k - 1/k."""
    c = torch.tensor(slope, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(uniform_soft_value(c * ACTIONS, alpha, 1), c)
    assert gradient.item() == pytest.approx(mean, abs=6e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flat_q_keeps_the_volume_of_the_action_space(dtype):
    value = uniform_soft_value(torch.full((3, 16), 1.25, dtype=dtype), 0.3, 4)
    torch.testing.assert_close(value, torch.full((3,), 2.08177662, dtype=dtype))


def test_four_fixed_actions_by_hand():
    a = torch.tensor([-0.9, -0.1, 0.4, 0.8], dtype=torch.float64)
    log_proposal = torch.tensor([-1.0, -0.2, 0.3, -0.7], dtype=torch.float64)
    assert uniform_soft_value(1.5 * a, 0.2, 1).item() == pytest.approx(1.07131153, abs=6e-9)
    proposed = sampled_soft_value(1.5 * a, 0.2, log_proposal)
    assert proposed.item() == pytest.approx(1.06651131, abs=6e-9)


def test_zero_reward_is_worth_its_entropy():
    q, gamma = torch.zeros(1, 8, dtype=torch.float64), 0.99
    for _ in range(4000):
        q = (gamma * uniform_soft_value(q, 1.0, 3))[:, None].expand(1, 8)
    assert q[0, 0].item() == pytest.approx(205.86471263, abs=6e-9)
    assert uniform_soft_value(q, 1.0, 3).item() == pytest.approx(207.94415417, abs=6e-9)


@pytest.mark.parametrize(
    ("constant", "value", "p_end"), [(0.0, 1.63771947, 0.27930834), (1.0, 0.92217147, 0.58421271)]
)
def test_termination_makes_the_constant_alpha_a_log_2_matter(constant, value, p_end):
    """Ours keeps it; without it (KL to uniform) the policy ends the episode twice as often."""
    alpha, reward = 0.5, torch.tensor([0.0, 1.0], dtype=torch.float64)  # a <= 0 stays, a > 0 ends
    discount = torch.tensor([0.9, 0.0], dtype=torch.float64)
    v = torch.zeros((), dtype=torch.float64)
    for _ in range(500):
        q = td_target(reward, discount, v, 0.0, alpha)
        v = uniform_soft_value(q, alpha, 1) - constant * alpha * math.log(2)
    assert v.item() == pytest.approx(value, abs=6e-9)
    weights = boltzmann_log_weights(q, alpha, 0.0).softmax(-1)
    assert weights[1].item() == pytest.approx(p_end, abs=6e-9)


# Linear-Gaussian control: unbounded actions, a wide uniform proposal (ORACLES 4a, 4b)


def soft_value_on_a_line(q: Tensor, alpha: float, half_width: float) -> Tensor:
    return sampled_soft_value(q, alpha, -math.log(2 * half_width))


def test_scalar_lqr_numbers():
    lqr = oracles.scalar_lqr()
    x, u = oracles.table([1.0]), oracles.table([-0.5])
    numbers = [lqr.p, lqr.curvature, lqr.k, lqr.covariance, lqr.c, lqr.value(x), lqr.q(x, u)]
    truth = [1.24196791, 0.39496738, 1.34426616, 0.50637093, 2.19679556, 1.57581161, 1.31930900]
    assert [float(number) for number in numbers] == pytest.approx(truth, abs=6e-9)


def test_without_the_half_the_variance_is_half():
    half = oracles.scalar_lqr()
    none = oracles.LQR(half.a, half.b, 2 * half.m, 2 * half.r, half.gamma, half.alpha, half.noise)
    assert none.covariance.item() == pytest.approx(0.25318547, abs=6e-9)


def test_double_integrator_numbers():
    lqr = oracles.double_integrator()
    p = oracles.table([[7.60247783, 2.35199927], [2.35199927, 1.79673426]])
    torch.testing.assert_close(lqr.p, p, **TIGHT)
    torch.testing.assert_close(lqr.k, oracles.table([[3.38350298, 2.92306867]]), **TIGHT)
    assert lqr.covariance.item() == pytest.approx(1.48305633, abs=6e-9)
    assert lqr.c == pytest.approx(3.69092298, abs=6e-9)
    assert lqr.value(oracles.table([1, 0])).item() == pytest.approx(-0.11031594, abs=6e-9)


@pytest.mark.parametrize(
    ("lqr", "x", "truth"),
    [
        (oracles.scalar_lqr(), [1.0], 1.57581161),
        (oracles.double_integrator(), [1.0, 0.0], -0.11031594),
    ],
)
def test_soft_value_of_the_lqr_q_is_its_value(lqr, x, truth):
    u = midpoints(-25, 25, 4000)[:, None]
    q = lqr.q(oracles.table(x), u)
    value = soft_value_on_a_line(q, lqr.alpha, 25.0)
    assert value.item() == pytest.approx(truth, abs=6e-9)
    log_pi = boltzmann_log_weights(q, lqr.alpha, value / lqr.alpha)  # (Q - V)/alpha
    normal = torch.distributions.Normal(-(lqr.k @ oracles.table(x)), lqr.covariance.sqrt())
    torch.testing.assert_close(log_pi, normal.log_prob(u)[:, 0])


def test_policy_density_of_the_scalar_lqr():
    lqr, x, u = oracles.scalar_lqr(), oracles.table([1.0]), oracles.table([-0.5])
    log_pi = boltzmann_log_weights(lqr.q(x, u), lqr.alpha, lqr.value(x) / lqr.alpha)
    assert log_pi.item() == pytest.approx(-1.28251303, abs=6e-9)


def test_td_target_is_consistent_with_the_lqr():
    """Q(x,a) = E_x' [r + gamma (Q(x',a') - alpha log pi(a'|x'))] for every single a'."""
    lqr, x, u = oracles.scalar_lqr(), oracles.table([1.0]), oracles.table([-0.5])
    noise, weight = [0.1 * math.sqrt(3), 0.0, -0.1 * math.sqrt(3)], oracles.table([1, 4, 1]) / 6
    next_x = x @ lqr.a.T + u @ lqr.b.T + oracles.table(noise)[:, None]  # Gauss-Hermite (3, 1)
    next_u = oracles.table([[0.3], [-1.1], [2.0]])
    log_pi = torch.distributions.Normal(-next_x @ lqr.k.T, lqr.covariance.sqrt()).log_prob(next_u)
    reward, discount = lqr.reward(x, u).expand(3), torch.full((3,), lqr.gamma)
    y = td_target(reward, discount, lqr.q(next_x, next_u), log_pi[:, 0], lqr.alpha)
    assert (weight @ y).item() == pytest.approx(1.31930900, abs=3e-8)


# Discrete, stability, weights


def test_discrete_soft_value_is_the_sampled_one_with_the_counting_measure():
    q = oracles.table([[1.0, 0.5, -2.0], [0.0, 0.0, 0.0]])
    value = discrete_soft_value(q, 0.5)
    torch.testing.assert_close(value, sampled_soft_value(q, 0.5, -math.log(3)))
    assert value[1].item() == pytest.approx(0.5 * math.log(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_q_over_alpha_does_not_overflow(dtype):
    q = torch.tensor([[1e4, -1e4], [-1e4, -1e4]], dtype=dtype)
    value = uniform_soft_value(q, 0.01, 1)
    torch.testing.assert_close(value, torch.tensor([1e4, -1e4], dtype=dtype), rtol=1e-5, atol=0.02)


def test_log_mean_exp_by_hand():
    assert log_mean_exp(torch.tensor([0.0, math.log(3.0)])).item() == pytest.approx(math.log(2))


def test_resampling_needs_the_proposal_correction():
    """ORACLES 10: flat Q, half the candidates uniform, half tanh(N(.8, .3^2))."""
    uniform = ACTIONS[::20]
    quantile = torch.special.ndtri(midpoints(0, 1, len(uniform)))
    policy = torch.tanh(0.8 + 0.3 * quantile)
    a = torch.cat([uniform, policy])
    u = torch.atanh(a)
    density = torch.distributions.Normal(0.8, 0.3).log_prob(u).exp() / (1 - a.square())
    log_mixture = torch.log(0.25 + 0.5 * density)
    right = boltzmann_log_weights(torch.zeros_like(a), 0.3, log_mixture).softmax(-1)
    assert (right @ a).item() == pytest.approx(0.0, abs=1e-4)
    assert (right @ a.square()).item() == pytest.approx(1 / 3, abs=1e-4)
    trap = boltzmann_log_weights(torch.zeros_like(a), 0.3, 0.0).softmax(-1)
    assert (trap @ a).item() == pytest.approx(0.31633428, abs=1e-4)
    assert (trap @ a.square()).item() == pytest.approx(0.38223215, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_effective_sample_size(dtype):
    log_w = torch.tensor([[0.0] * 4, [0, -200, -200, -200], [0, 0, -200, -200]], dtype=dtype)
    truth = torch.tensor([4.0, 1.0, 2.0], dtype=dtype)
    torch.testing.assert_close(effective_sample_size(log_w), truth)
    torch.testing.assert_close(effective_sample_size(log_w + 80.0), truth)  # any scale of w
    uneven = torch.tensor([3.0, 1.0], dtype=dtype).log()
    assert effective_sample_size(uneven).item() == pytest.approx(16 / 10)
