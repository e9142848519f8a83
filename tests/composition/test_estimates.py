"""What a composition costs, estimated: against closed forms where every policy is tanh-Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from skillkit.composition.estimates import Proposal, estimated_cost
from skillkit.errors import InvalidValue
from skillkit.policies import DeterministicPolicy, GaussianPolicy
from skillkit.q_functions import Ensemble, SoftQ, WeightedSum
from tests.toys import GaussianQ, gaussian

PARTS = ((-0.5,), (0.4,)), ((0.8,), (0.3,))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def composed(
    means: Sequence[Sequence[float]],
    stds: Sequence[Sequence[float]],
    weights: Sequence[float],
    temperatures: Sequence[float],
    height: float = 0.0,
) -> tuple[WeightedSum, list[GaussianPolicy]]:
    """Soft-optimal Q-functions of tanh-Gaussians, added at the default temperature."""
    alpha = sum(w * a for w, a in zip(weights, temperatures, strict=True))
    parts = [
        GaussianQ(mean, std, alpha_i, height=height * (-1) ** i)
        for i, (mean, std, alpha_i) in enumerate(zip(means, stds, temperatures, strict=True))
    ]
    policies = [gaussian(mean, std) for mean, std in zip(means, stds, strict=True)]
    return WeightedSum(parts, weights, alpha), policies


# The proposal


def mixture(action: Tensor, skills: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Tensor:
    """Uniform and tanh-Gaussians in equal shares, in double precision. (..., A) -> (...,)"""
    a = action.double()
    densities = [torch.full(a.shape[:-1], 0.5 ** a.shape[-1], dtype=torch.float64)]
    for mean, std in skills:
        normal = torch.distributions.Normal(torch.tensor(mean).double(), torch.tensor(std).double())
        densities.append((normal.log_prob(a.atanh()) - (1 - a.square()).log()).sum(-1).exp())
    return torch.stack(densities).mean(0)


def test_the_proposals_density_is_the_mixtures() -> None:
    skills = [((0.5, -1.0), (0.7, 0.4)), ((-0.3, 0.2), (0.1, 1.5))]
    proposal = Proposal([gaussian(*skill) for skill in skills])
    action, log_q = proposal(torch.zeros(4, 1), 50, rng())
    assert action.shape == (4, 150, 2) and log_q.shape == (4, 150)
    inside = action.abs().amax(-1) < 0.999  # beyond, float32 actions are too coarse for this check
    expected = mixture(action, skills).log().float()
    torch.testing.assert_close(log_q[inside], expected[inside], rtol=1e-3, atol=1e-3)
    assert inside.float().mean() > 0.9 and torch.isfinite(log_q).all()


def test_the_proposal_draws_from_its_density() -> None:
    """E_q[f/q] = int f da over [-1, 1]^2, so the density integrates to one on its samples too."""
    proposal = Proposal([gaussian((0.5, -1.0), (0.7, 0.4)), gaussian((-0.3, 0.2), (0.3, 1.5))])
    action, log_q = proposal(torch.zeros(1, 1), 40_000, rng())
    a, weight = action[0].double(), torch.exp(-log_q[0].double())
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


def test_the_proposal_follows_the_state() -> None:
    """Each row of candidates belongs to its own observation."""
    policy = GaussianPolicy(1, 1, hidden=())
    with torch.no_grad():
        policy.net.layers[0].weight.copy_(torch.tensor([[2.0], [0.0]]))
        policy.net.layers[0].bias.copy_(torch.tensor([0.0, -1.0]))
    action, _ = Proposal([policy])(torch.tensor([[-1.0], [0.0], [1.0]]), 200, rng())
    own = action[:, 200:, 0].mean(1)  # u ~ N(2 s, small)
    torch.testing.assert_close(own, torch.tensor([-2.0, 0.0, 2.0]).tanh(), rtol=0, atol=0.02)
    assert action[:, :200, 0].mean(1).abs().max() < 0.2  # the uniform ones


def test_a_policy_without_density_cannot_propose() -> None:
    proposal = Proposal([gaussian((0.0,), (1.0,)), DeterministicPolicy(1, 1, ())])
    with pytest.raises(InvalidValue, match="use a gaussian policy"):
        proposal(torch.zeros(1, 1), 4, rng())


# The disagreement (ORACLES 7: log int prod pi_i^b_i)

CASES = [
    ("equal", ((0,), (1,)), ((1,), (1,)), (0.5, 0.5), (0.4, 0.4), 0.12500000),
    ("one peaked", ((0,), (1,)), ((1,), (0.5,)), (0.5, 0.5), (0.4, 0.4), 0.31157178),
    ("unequal", ((-0.5,), (0.8,)), ((0.4,), (0.3,)), (0.5, 0.5), (0.3, 0.1), 1.49075728),
    (
        "three",
        ((-0.5,), (0.2,), (1.0,)),
        ((0.4,), (0.3,), (0.6,)),
        (0.2, 0.3, 0.5),
        (0.5, 0.2, 0.1),
        0.82091263,
    ),
    ("two actions", ((0, 0), (1, 1)), ((1, 1), (1, 0.5)), (0.5, 0.5), (0.4, 0.4), 0.43657178),
    ("the same twice", ((0.3,), (0.3,)), ((0.5,), (0.5,)), (0.5, 0.5), (0.2, 0.6), 0.0),
]


@pytest.mark.parametrize(
    ("means", "stds", "weights", "temperatures", "minus_log"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
@pytest.mark.parametrize("height", [0.0, 30.0])
def test_the_disagreement_is_the_closed_form(
    means: Sequence[Sequence[float]],
    stds: Sequence[Sequence[float]],
    weights: Sequence[float],
    temperatures: Sequence[float],
    minus_log: float,
    height: float,
) -> None:
    """G = -alpha log int prod pi_i^{b_i}, whatever the states are worth; the gap follows."""
    q, policies = composed(means, stds, weights, temperatures, height)
    obs = torch.linspace(-1, 1, 64)[:, None]
    cost = estimated_cost(q, policies, obs, rng(), candidates=2_000)
    g = q.alpha * minus_log
    assert cost["disagreement_mean"] == pytest.approx(g, rel=0.02, abs=2e-3 * q.alpha)
    assert cost["disagreement_max"] == pytest.approx(g, rel=0.15, abs=2e-3 * q.alpha)
    horizon = 0.9 / (1 - 0.9)
    assert cost["gap_max"] == pytest.approx(horizon * cost["disagreement_max"], rel=1e-5)
    assert cost["gap_q95"] == pytest.approx(horizon * cost["disagreement_q95"], rel=1e-5)
    assert cost["candidates"] == 2_000 * (1 + len(means))


class Twice(SoftQ):
    """Disagrees with `GaussianQ` of mean 0 in the states s_0 > 0 only."""

    kind, gamma, alpha = "toy", 0.9, 0.4

    def __init__(self) -> None:
        super().__init__()
        self.same, self.other = GaussianQ((0,), (1,), 0.4), GaussianQ((1,), (1,), 0.4)

    @property
    def config(self) -> dict[str, object]:
        return {}

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        return torch.where(obs[:, 0] > 0, self.other(obs, action), self.same(obs, action))


def test_mean_quantile_and_maximum_are_over_states() -> None:
    """G is .05 in a tenth of the states, 0 elsewhere; the 95 % quantile lies among the tenth."""
    q = WeightedSum([GaussianQ((0,), (1,), 0.4), Twice()], (0.5, 0.5), 0.4)
    obs = torch.full((100, 1), -1.0)
    obs[:10] = 1.0
    policies = [gaussian((0,), (1,)), gaussian((1,), (1,))]
    cost = estimated_cost(q, policies, obs, rng(), candidates=2_000)
    assert cost["disagreement_mean"] == pytest.approx(0.005, rel=0.05)
    assert cost["disagreement_q95"] == pytest.approx(0.05, rel=0.15)
    assert cost["disagreement_max"] == pytest.approx(0.05, rel=0.15)
    mostly = torch.full((100, 1), -1.0)
    mostly[:2] = 1.0
    cost = estimated_cost(q, policies, mostly, rng(), candidates=2_000)
    assert cost["disagreement_q95"] < 0.002 < 0.03 < cost["disagreement_max"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("candidates", [1, 4, 64])
def test_laws_for_any_critics(seed: int, candidates: int) -> None:
    """With sum b = 1: G >= 0 however few the samples (Hoelder), ESS in [1, K]."""
    torch.manual_seed(seed)
    parts = [Ensemble(3, 2, (16,), 2, alpha, 0.97) for alpha in (0.02, 0.1, 0.3)]
    for parameter in (p for part in parts for p in part.parameters()):
        torch.nn.init.normal_(parameter)
    weights = (0.2, 0.5, 0.3)
    alpha = sum(w * part.alpha for w, part in zip(weights, parts, strict=True))
    q = WeightedSum(parts, weights, alpha)
    policies = [GaussianPolicy(3, 2, (16,)) for _ in parts]
    obs = torch.randn(32, 3)
    cost = estimated_cost(q, policies, obs, rng(seed), candidates)
    count = 4 * candidates
    assert cost["candidates"] == count
    assert 1 - 1e-4 <= cost["effective_sample_size"] <= count + 1e-3
    assert -1e-4 <= cost["disagreement_mean"] <= cost["disagreement_max"]
    assert cost["disagreement_q95"] <= cost["disagreement_max"]
    assert cost["gap_max"] == pytest.approx(0.97 / 0.03 * cost["disagreement_max"], rel=1e-5)
    again = estimated_cost(q, policies, obs, rng(seed), candidates)
    assert again == cost  # the generator decides


def test_effective_sample_size() -> None:
    """(sum w)^2 / sum w^2 with w = exp(Q_S/alpha)/q: in the limit K / E_q[(p/q)^2]."""
    q, policies = composed(*zip(*PARTS, strict=True), (0.5, 0.5), (0.2, 0.2))
    cost = estimated_cost(q, policies, torch.zeros(20, 1), rng(), candidates=2_000)
    u = np.linspace(-8, 8, 20_001)
    product = sum(-0.25 * ((u - m[0]) / s[0]) ** 2 for m, s in PARTS)  # b = 1/2 each
    p = np.exp(product) * np.cosh(u) ** 2
    da = (u[1] - u[0]) / np.cosh(u) ** 2
    p /= (p * da).sum()
    density = mixture(torch.from_numpy(np.tanh(u))[:, None], PARTS).numpy()
    inner = np.abs(u) < 6
    ratio = (p**2 / density * da)[inner].sum()  # E_q[(p/q)^2]
    assert cost["effective_sample_size"] == pytest.approx(6_000 / ratio, rel=0.03)


def test_a_peaked_sum_is_sampled_worse() -> None:
    sizes = []
    for std in (1.0, 0.1, 0.01):
        q, _ = composed([(0.3,), (0.3,)], [(std,), (std,)], (0.5, 0.5), (0.2, 0.2))
        wide = [gaussian((0.3,), (1.0,))] * 2
        cost = estimated_cost(q, wide, torch.zeros(50, 1), rng(), candidates=200)
        sizes.append(cost["effective_sample_size"])
    assert sizes[0] > 3 * sizes[1] > 9 * sizes[2] >= 9
    assert math.isfinite(sizes[2])
