"""What a composition costs, estimated: against closed forms where every policy is tanh-Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skillkit.composition.estimates import Proposal, estimated_cost
from skillkit.functional.disagreement import gaussian_disagreement
from skillkit.policies import GaussianPolicy
from skillkit.policies.mixture import Mixture
from skillkit.q_functions import Ensemble, SoftQ, WeightedSum
from skillkit.types import Batch
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


def disagreement(
    q: WeightedSum,
    policies: Sequence[GaussianPolicy],
    obs: Tensor,
    candidates: int,
    seed: int = 0,
    updates: int = 0,
) -> dict[str, Any]:
    """The cost, in states that are the next ones of some transitions."""
    dim = policies[0].action_dim
    parents = [(policy, q) for policy in policies]
    still = torch.zeros(len(obs), dim)
    batch = Batch(obs, still, torch.zeros(len(obs)), torch.full((len(obs),), q.gamma), obs)
    propose = Proposal(Mixture(dim, parents, candidates))
    labels = [f"skill {i}" for i in range(len(policies))]
    return estimated_cost(q, labels, policies[0], batch, propose, updates, rng(seed))


def mixture(action: Tensor, skills: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Tensor:
    """Uniform and tanh-Gaussians in equal shares, in double precision. (..., A) -> (...,)"""
    a = action.double()
    densities = [torch.full(a.shape[:-1], 0.5 ** a.shape[-1], dtype=torch.float64)]
    for mean, std in skills:
        normal = torch.distributions.Normal(torch.tensor(mean).double(), torch.tensor(std).double())
        densities.append((normal.log_prob(a.atanh()) - (1 - a.square()).log()).sum(-1).exp())
    return torch.stack(densities).mean(0)


def test_the_proposal_draws_from_its_density() -> None:
    """Both are the mixture's; the density is that of actions, not of what is before the tanh."""
    skills = [((0.5, -1.0), (0.7, 0.4)), ((-0.3, 0.2), (0.1, 1.5))]
    q, policies = composed(*zip(*skills, strict=True), (0.5, 0.5), (0.2, 0.2))
    propose = Proposal(Mixture(2, [(policy, q) for policy in policies], 50))
    action, log_q = propose(torch.zeros(4, 1), rng())
    assert action.shape == (4, 150, 2) and log_q.shape == (4, 150)
    inside = action.abs().amax(-1) < 0.999  # beyond, float32 actions are too coarse for this check
    expected = mixture(action, skills).log().float()
    torch.testing.assert_close(log_q[inside], expected[inside], rtol=1e-3, atol=1e-3)
    assert inside.float().mean() > 0.9 and torch.isfinite(log_q).all()


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
    cost = disagreement(q, policies, obs, 2_000)
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
    cost = disagreement(q, policies, obs, 2_000)
    assert cost["disagreement_mean"] == pytest.approx(0.005, rel=0.05)
    assert cost["disagreement_q95"] == pytest.approx(0.05, rel=0.15)
    assert cost["disagreement_max"] == pytest.approx(0.05, rel=0.15)
    mostly = torch.full((100, 1), -1.0)
    mostly[:2] = 1.0
    cost = disagreement(q, policies, mostly, 2_000)
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
    cost = disagreement(q, policies, obs, candidates, seed)
    count = 4 * candidates
    assert cost["candidates"] == count
    assert 1 - 1e-4 <= cost["effective_sample_size"] <= count + 1e-3
    assert -1e-4 <= cost["disagreement_mean"] <= cost["disagreement_max"]
    assert cost["disagreement_q95"] <= cost["disagreement_max"]
    assert cost["gap_max"] == pytest.approx(0.97 / 0.03 * cost["disagreement_max"], rel=1e-5)
    again = disagreement(q, policies, obs, candidates, seed)
    assert again == cost  # the generator decides


def test_effective_sample_size() -> None:
    """(sum w)^2 / sum w^2 with w = exp(Q_S/alpha)/q: in the limit K / E_q[(p/q)^2]."""
    q, policies = composed(*zip(*PARTS, strict=True), (0.5, 0.5), (0.2, 0.2))
    cost = disagreement(q, policies, torch.zeros(20, 1), 2_000)
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
        cost = disagreement(q, wide, torch.zeros(50, 1), 200)
        sizes.append(cost["effective_sample_size"])
    assert sizes[0] > 3 * sizes[1] > 9 * sizes[2] >= 9
    assert math.isfinite(sizes[2])


def test_pairs_of_skills_are_compared_in_equal_parts() -> None:
    """Whatever the weights: the closed form of each two at weights 1/2."""
    means, stds = ((-0.5,), (0.2,), (1.0,)), ((0.4,), (0.3,), (0.6,))
    temperatures = (0.5, 0.2, 0.1)
    q, policies = composed(means, stds, (0.1, 0.2, 0.7), temperatures)
    found = disagreement(q, policies, torch.zeros(64, 1), 2_000)["pairwise_disagreement"]
    assert list(found) == ["skill 0, skill 1", "skill 0, skill 2", "skill 1, skill 2"]
    for (i, j), row in zip([(0, 1), (0, 2), (1, 2)], found.values(), strict=True):
        alpha = (temperatures[i] + temperatures[j]) / 2
        b = [temperatures[k] / 2 / alpha for k in (i, j)]
        mean = torch.tensor([means[i], means[j]])[:, None]
        log_std = torch.tensor([stds[i], stds[j]])[:, None].log()
        truth = gaussian_disagreement(mean, log_std, b, alpha).item()
        assert row["mean"] == pytest.approx(truth, rel=0.02)
        assert row["q95"] == pytest.approx(truth, rel=0.15) and row["q95"] >= row["mean"]


def test_a_composed_part_brings_its_own_disagreement() -> None:
    """((a + b)/2 + c)/2 costs what a/4 + b/4 + c/2 does."""
    means, stds = ((-0.5,), (0.2,), (1.0,)), ((0.4,), (0.3,), (0.6,))
    flat, policies = composed(means, stds, (0.25, 0.25, 0.5), (0.5, 0.2, 0.1))
    a, b, c = flat.parts
    inner = WeightedSum([a, b], (0.5, 0.5), 0.35)
    nested = WeightedSum([inner, c], (0.5, 0.5), flat.alpha)
    obs = torch.zeros(16, 1)
    truth = disagreement(flat, policies, obs, 500)
    found = disagreement(nested, policies, obs, 500)
    for key in ("disagreement_mean", "disagreement_max", "effective_sample_size"):
        assert found[key] == pytest.approx(truth[key], rel=1e-4), key


def test_no_updates_leave_out_what_they_would_estimate() -> None:
    q, policies = composed(*zip(*PARTS, strict=True), (0.5, 0.5), (0.2, 0.2))
    obs = torch.linspace(-1, 1, 64)[:, None]
    without = disagreement(q, policies, obs, 20)
    found = disagreement(q, policies, obs, 20, updates=5)
    assert without == {key: value for key, value in found.items() if key != "estimated"}
    assert set(found["estimated"]) == {
        "optimal_gap", "optimal_gap_upper", "optimal_gap_lower", "policy_gap", "thesis_regret",
        "distilled_gap", "regret_bound",
    }  # fmt: skip
