"""The disagreement G: closed form, samples and finite sets (ORACLES 1, 4c, 7)."""

from __future__ import annotations

import math

import pytest
import torch

from skillkit.composition import rules
from skillkit.errors import InvalidValue
from skillkit.functional.disagreement import (
    discrete_disagreement,
    gaussian_disagreement,
    gaussian_product,
    sampled_disagreement,
)
from skillkit.functional.losses import log_normal, squash_log_det
from tests import oracles

TEMPERATURES, WEIGHTS = (0.5, 0.2, 0.1), (0.2, 0.3, 0.5)
THREE = rules.exponents(WEIGHTS, TEMPERATURES, 0.21)

# means, stds, b, log integral, product mean, product variance (ORACLES 7)
PRODUCTS = [
    ((0, 1), (1, 1), (0.5, 0.5), -0.125, 0.5, 1.0),
    ((0, 1), (1, 0.5), (0.5, 0.5), -0.31157178, 0.8, 0.4),
    ((-0.5, 0.8), (0.4, 0.3), (0.75, 0.25), -1.49075728, -0.01627907, 0.13395349),
    ((-0.5, 0.2, 1.0), (0.4, 0.3, 0.6), (0.5, 0.3, 0.2), -0.779259, -0.04851485, 0.14257426),
    ((-0.5, 0.2, 1.0), (0.4, 0.3, 0.6), THREE, -0.82091263, -0.02815534, 0.14679612),
]


def column(values, dtype=torch.float64):
    """(N,) numbers -> (N, 1, 1)"""
    return torch.tensor(values, dtype=dtype)[:, None, None]


@pytest.mark.parametrize(("means", "stds", "b", "log_integral", "mean", "variance"), PRODUCTS)
def test_closed_form(means, stds, b, log_integral, mean, variance):
    product = gaussian_product(column(means), column(stds).log(), b)
    found = [product.log_integral.item(), product.mean.item(), product.variance.item()]
    assert found == pytest.approx([log_integral, mean, variance], abs=6e-9)


@pytest.mark.parametrize(("means", "stds", "b", "log_integral", "mean", "variance"), PRODUCTS)
def test_closed_form_equals_quadrature_under_the_tanh(means, stds, b, log_integral, mean, variance):
    """With Q_i = alpha_i log pi_i (so V_i = 0), sampled G is -alpha log int prod pi_i^b_i."""
    width, alpha = 12.0, 0.3
    u = torch.linspace(-width, width, 20_001, dtype=torch.float64)
    u = (u[1:] + u[:-1])[:, None] / 2  # (K, 1)
    log_proposal = -math.log(2 * width) - squash_log_det(u)  # of a = tanh u
    mean, std = column(means), column(stds)
    log_pi = log_normal((u - mean) / std) - std[..., 0].log() - squash_log_det(u)  # (N, K)
    n = len(b)
    temperatures = tuple(alpha * n * b_i for b_i in b)  # equal weights with these exponents
    q = column(temperatures)[:, 0] * log_pi
    g = sampled_disagreement(q[:, None], (1 / n,) * n, temperatures, alpha, log_proposal[None])
    assert g.item() == pytest.approx(-alpha * log_integral, abs=6e-9)


def test_disagreement_of_the_last_line():
    means, stds = column(PRODUCTS[-1][0]), column(PRODUCTS[-1][1])
    g = gaussian_disagreement(means, stds.log(), torch.tensor(THREE), 0.21)
    assert g.item() == pytest.approx(0.17239165, abs=6e-8)  # exponents passed in float32
    alpha = rules.default_temperature(WEIGHTS, TEMPERATURES)
    assert alpha == pytest.approx(0.21)


def test_closed_form_sums_over_dimensions_and_keeps_states_apart():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    log_stds = 0.3 * torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    joint = gaussian_product(means, log_stds, (0.3, 0.7))
    assert joint.log_integral.shape == (5,) and joint.mean.shape == (5, 3)
    parts = [
        gaussian_product(means[..., d : d + 1], log_stds[..., d : d + 1], (0.3, 0.7)).log_integral
        for d in range(3)
    ]
    torch.testing.assert_close(joint.log_integral, sum(parts))


def test_half_the_half_order_divergence_for_two_equal_temperatures():
    """N(0,1), N(1,1): Bhattacharyya .125 = D_half / 2, so G = (alpha/2) D_half (not eq. 6.4)."""
    g = gaussian_disagreement(column((0, 1)), column((1, 1)).log(), (0.5, 0.5), alpha=0.8)
    assert g.item() == pytest.approx(0.8 / 2 * 0.25)


def test_no_disagreement_between_equals():
    means, log_stds = column((0.3, 0.3, 0.3)), column((-1.0, -1.0, -1.0))
    g = gaussian_disagreement(means, log_stds, (0.2, 0.5, 0.3), 0.5)
    assert g.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("log_std", [-5.0, 2.0])
def test_closed_form_in_float32_at_the_limits_of_log_std(log_std):
    """No cancellation: far means, the narrowest and widest policies."""
    args = [column((-8.0, 8.0)), column((log_std, log_std + 0.01))]
    exact = gaussian_product(*args, (0.4, 0.6))
    single = gaussian_product(*(arg.float() for arg in args), (0.4, 0.6))
    for x, y in zip(single, exact, strict=True):
        torch.testing.assert_close(x.double(), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("b", [(0.5, 0.4), (1.0, 1.0), (1.5, -0.5), (float("nan"), 0.5)], ids=str)
def test_without_sum_one_there_is_no_closed_form(b):
    with pytest.raises(InvalidValue, match="sum to one.*samples"):
        gaussian_product(column((0, 1)), column((0, 0)), b)


def test_the_published_sum_can_be_worth_more_than_its_parts():
    """b = (1, 1), two equal peaked skills: log int N(u; 0, .1^2)^2 du > 0, so G < 0 (ORACLES 7)."""
    u = torch.linspace(-2, 2, 4001, dtype=torch.float64)[:-1, None]
    alpha, log_pi = 0.5, log_normal(u / 0.1) - math.log(0.1)
    q = (alpha * log_pi)[None, None].expand(2, 1, -1)
    g = sampled_disagreement(q, (1.0, 1.0), (alpha, alpha), alpha, -math.log(4.0))
    assert -g.item() / alpha == pytest.approx(1.03707297, abs=6e-9)


def test_flat_policies_at_too_high_a_temperature_are_not_covered_either():
    """sum b < 1 on [-1, 1]^A: G = -alpha (1 - sum b) A log 2 < 0."""
    q, dim = torch.zeros(2, 1, 7, dtype=torch.float64), 3
    g = sampled_disagreement(q, (0.5, 0.5), (0.2, 0.2), 1.0, -dim * math.log(2))
    assert g.item() == pytest.approx(-1.0 * (1 - 0.2) * dim * math.log(2))


# Linear-Gaussian: the same in every state (ORACLES 4c)

LQR = [
    ((0.3, 0.3), (0.5, 0.5), (-0.8, 0.8), 0.27665355),
    ((0.5, 0.1), (0.5, 0.5), (-0.8, 0.8), 0.31304144),
    ((0.5, 0.2, 0.1), (0.2, 0.3, 0.5), (-1.0, 0.0, 1.0), 0.28704830),
]


@pytest.mark.parametrize(("temperatures", "weights", "goals", "truth"), LQR)
def test_linear_gaussian_by_closed_form_and_by_samples(temperatures, weights, goals, truth):
    alpha = rules.default_temperature(weights, temperatures)
    b = rules.exponents(weights, temperatures, alpha)
    skills = [oracles.shifted_lqr(alpha_i) for alpha_i in temperatures]
    x = oracles.table([[-2.0], [0.3], [1.0]])  # (B, 1)
    means = torch.stack([-(x - g) @ s.k.T for s, g in zip(skills, goals, strict=True)])
    log_stds = torch.stack([0.5 * s.covariance.log().expand(3, 1) for s in skills])
    closed = gaussian_disagreement(means, log_stds, b, alpha)
    assert closed.tolist() == pytest.approx([truth] * 3, abs=6e-9)

    width = 12.0
    u = torch.linspace(-width, width, 8001, dtype=torch.float64)[:-1, None]  # (K, 1)
    q = torch.stack([s.q(x[:, None] - g, u) for s, g in zip(skills, goals, strict=True)])
    sampled = sampled_disagreement(q, weights, temperatures, alpha, -math.log(2 * width))
    assert sampled.tolist() == pytest.approx([truth] * 3, abs=6e-9)


# Laws


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_never_negative_with_exponents_that_sum_to_one(dtype):
    """Hoelder holds for the empirical measure too, so for any number of samples."""
    generator = torch.Generator().manual_seed(1)
    weights, temperatures = (0.5, 0.3, 0.4), (0.5, 0.05, 1.0)
    alpha = rules.default_temperature(weights, temperatures)
    q = 3 * torch.randn(3, 50, 6, generator=generator, dtype=dtype)
    log_proposal = torch.randn(50, 6, generator=generator, dtype=dtype)
    assert discrete_disagreement(q, weights, temperatures, alpha).min() > 0
    assert sampled_disagreement(q, weights, temperatures, alpha, log_proposal).min() > 0


def test_samples_with_the_counting_measure_are_the_finite_set():
    q = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    args = ((0.6, 0.4), (0.5, 0.2), 0.38)
    log_proposal = torch.full((9, 4), -math.log(4.0), dtype=torch.float64)
    torch.testing.assert_close(
        sampled_disagreement(q, *args, log_proposal), discrete_disagreement(q, *args)
    )


def test_one_skill_agrees_with_itself():
    q = torch.randn(1, 9, 4, dtype=torch.float64)
    g = discrete_disagreement(q, (1.0,), (0.3,), 0.3)
    torch.testing.assert_close(g, torch.zeros_like(g))
