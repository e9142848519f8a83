"""Candidates and their density, also of policies that have none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from skillkit.errors import InvalidValue
from skillkit.functional.soft_value import boltzmann_log_weights, sampled_soft_value
from skillkit.policies import GaussianPolicy, ImplicitPolicy
from skillkit.policies.mixture import Mixture, candidate_values
from skillkit.q_functions import Ensemble
from tests.toys import GaussianQ, gaussian


def drawn(mixture: Mixture, obs: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Candidates and the logarithm of their density."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        u = mixture.raw(obs, torch.randn(*obs.shape[:-1], mixture.noise_dim, generator=rng))
        return u, mixture.log_prob(obs, u)


def test_the_density_by_hand() -> None:
    """ORACLES 6: the Gaussian's log pi is -.14428423 at u = .8 and -3.53841341 at u = -1.2."""
    mixture = Mixture(1, [(gaussian([0.3], [0.5]), None)], 1)
    u = torch.tensor([[[0.8], [-1.2]]])
    expected = [math.log((0.5 + math.exp(own)) / 2) for own in (-0.14428423, -3.53841341)]
    assert mixture.log_prob(torch.zeros(1, 1), u)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_without_parents_it_is_uniform() -> None:
    u, log_q = drawn(Mixture(2, [], 5_000), torch.zeros(1, 3))
    action = torch.tanh(u[0])
    assert torch.allclose(log_q, torch.tensor(-2 * math.log(2)))
    assert action.mean(0).tolist() == pytest.approx([0, 0], abs=0.03)
    assert action.square().mean(0).tolist() == pytest.approx([1 / 3, 1 / 3], abs=0.02)


def test_every_component_has_its_share() -> None:
    parents = [(gaussian([2.0], [0.1]), None), (gaussian([-2.0], [0.1]), None)]
    mixture = Mixture(1, parents, 7)
    u, _ = drawn(mixture, torch.zeros(3, 1))
    assert u.shape == (3, 21, 1) and mixture.noise_dim == 21
    assert (u[:, 7:14] > 1).all() and (u[:, 14:] < -1).all()
    assert len(u[:, :7].unique()) == 21  # fresh ones in every state


def test_it_draws_from_its_density() -> None:
    """E_q[f/q] = int f da over [-1, 1]^2, so the density integrates to one on its samples too."""
    parents = [(gaussian([0.5, -1.0], [0.7, 0.4]), None), (gaussian([-0.3, 0.2], [0.3, 1.5]), None)]
    u, log_q = drawn(Mixture(2, parents, 40_000), torch.zeros(1, 1))
    a, weight = torch.tanh(u[0]).double(), torch.exp(-log_q[0].double())
    integrals = {
        "volume": (torch.ones(len(a)), 4.0),
        "mean": (a[:, 0], 0.0),
        "second moment": (a[:, 1].square(), 4 / 3),
        "corner": ((a > 0.5).all(-1).double(), 0.25),
    }
    for name, (f, integral) in integrals.items():
        spread = (weight * f).std().item() / len(a) ** 0.5
        assert (weight * f).mean().item() == pytest.approx(integral, abs=5 * spread), name
        assert 5 * spread < 0.1, name


def test_candidates_follow_the_state() -> None:
    policy = GaussianPolicy(1, 1, hidden=())
    with torch.no_grad():
        policy.net.layers[0].weight.copy_(torch.tensor([[2.0], [0.0]]))
        policy.net.layers[0].bias.copy_(torch.tensor([0.0, -1.0]))
    u, _ = drawn(Mixture(1, [(policy, None)], 200), torch.tensor([[-1.0], [0.0], [1.0]]))
    own = u[:, 200:, 0].mean(1)  # u ~ N(2 s, small)
    torch.testing.assert_close(own, torch.tensor([-2.0, 0.0, 2.0]), rtol=0, atol=0.05)


@pytest.mark.parametrize("kinds", [(GaussianPolicy,), (GaussianPolicy, ImplicitPolicy)])
def test_states_do_not_mix(kinds: tuple[type, ...], float64: None) -> None:
    """One state, a batch, or a block of them: the same candidates with the same density."""
    parents = [(kind(4, 2, (8,)), Ensemble(4, 2, (8,))) for kind in kinds]
    mixture = Mixture(2, parents, 6)
    obs, noise = torch.randn(6, 4), torch.randn(6, mixture.noise_dim)
    u = mixture.raw(obs, noise)
    log_q = mixture.log_prob(obs, u)
    torch.testing.assert_close(mixture.raw(obs[2], noise[2]), u[2])
    torch.testing.assert_close(mixture.log_prob(obs[2], u[2]), log_q[2])
    folded = obs.unflatten(0, (2, 3)), u.unflatten(0, (2, 3))
    torch.testing.assert_close(mixture.raw(folded[0], noise.unflatten(0, (2, 3))), folded[1])
    torch.testing.assert_close(mixture.log_prob(*folded), log_q.unflatten(0, (2, 3)))


# The proposal correction (ORACLES 10)


def moments(correction: float) -> tuple[float, float]:
    """E a and E a^2 of candidates resampled for a flat Q."""
    mixture = Mixture(1, [(gaussian([0.8], [0.3]), None)], 100_000)
    u, log_q = drawn(mixture, torch.zeros(1, 1))
    weights = torch.softmax(boltzmann_log_weights(0 * log_q, 1.0, correction * log_q), -1)
    action = torch.tanh(u[..., 0])
    return float((weights * action).sum()), float((weights * action.square()).sum())


def test_weights_turn_the_proposal_into_the_target() -> None:
    assert moments(1.0) == pytest.approx((0.0, 1 / 3), abs=0.005)
    assert moments(0.0) == pytest.approx((0.31633428, 0.38223215), abs=0.005)  # the trap


# A policy without density


class Sampler(GaussianPolicy):
    """A Gaussian that will not tell its density."""

    has_density = False


def test_a_policy_without_density_counts_as_its_q_function_says() -> None:
    """exp((Q - V)/alpha) with V from the uniform candidates is the density, up to V's error."""
    told = gaussian([0.4, -0.3], [0.5, 0.6])
    sampler = Sampler(1, 2, ())
    sampler.load_state_dict(told.state_dict())
    q = GaussianQ([0.4, -0.3], [0.5, 0.6], alpha=0.3, height=7.0)
    obs = torch.linspace(-1, 1, 50)[:, None]
    mixture = Mixture(2, [(sampler, q)], 256)
    u, log_q = drawn(mixture, obs)
    expected = Mixture(2, [(told, None)], 256).log_prob(obs, u)
    value = sampled_soft_value(
        candidate_values(q, obs, torch.tanh(u))[:, :256], 0.3, -2 * math.log(2.0)
    )
    torch.testing.assert_close(value, 7.0 * obs[:, 0], rtol=0, atol=0.3 * 0.5)
    assert (log_q - expected).abs().mean() < 0.1
    assert (log_q - expected).mean().abs() < 0.03


def test_want_of_both_is_said_in_a_sentence() -> None:
    mixture = Mixture(1, [(ImplicitPolicy(1, 1, ()), None)], 2)
    with pytest.raises(InvalidValue, match="a implicit policy cannot be inverted; use a gaussian"):
        drawn(mixture, torch.zeros(1, 1))
