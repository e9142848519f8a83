"""Improve: soft policy iteration of a sum of rewards, with a critic for each summand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from skillkit.algorithms.improve import Improve, ImproveConfig
from skillkit.errors import InvalidValue
from skillkit.policies import DeterministicPolicy, GaussianPolicy, ImplicitPolicy
from skillkit.q_functions import Ensemble, WeightedSum
from skillkit.types import Batch

GAMMA, WEIGHTS, TEMPERATURES, CENTRES = 0.8, (0.25, 0.75), (0.3, 0.1), (0.6, -0.4)
ALPHA = 0.25 * 0.3 + 0.75 * 0.1  # sum_i w_i alpha_i


def reward(action: Tensor) -> Tensor:
    """Two skills that want different actions, in a world of one state. (B, 1) -> (B, 2)"""
    return -(action - torch.tensor(CENTRES)).square()


def batch(size: int, seed: int) -> Batch:
    action = 2 * torch.rand(size, 1, generator=torch.Generator().manual_seed(seed)) - 1
    state = torch.ones(size, 1)
    return Batch(state, action, reward(action), torch.full((size,), GAMMA), state)


def learner(alpha: float = ALPHA, seed: int = 0, **options: float) -> Improve:
    torch.manual_seed(seed)
    parts = [Ensemble(1, 1, (32, 32), 1, alpha_i, GAMMA) for alpha_i in TEMPERATURES]
    policy = GaussianPolicy(1, 1, (32,))
    config = ImproveConfig(**{"learning_rate": 3e-3, "target_rate": 0.05} | options)
    return Improve(policy, WeightedSum(parts, WEIGHTS, alpha), config, seed)


def learn(one: Improve, updates: int = 1_500) -> Improve:
    for i in range(updates):
        one.anneal(i / updates)
        one.update(batch(128, i))
    return one


GRID = torch.linspace(-0.9995, 0.9995, 2_000)[:, None]
ONE = torch.ones(len(GRID), 1)
STEP = float(GRID[1, 0] - GRID[0, 0])


@pytest.fixture(scope="module", params=[ALPHA, 0.4], ids=["its own", "asked for"])
def learned(request: pytest.FixtureRequest) -> Improve:
    return learn(learner(request.param))


def soft_value(q: Tensor, alpha: float) -> float:
    """alpha log int exp(Q/alpha) da, by quadrature."""
    return float(alpha * (torch.logsumexp(q / alpha, 0) + math.log(STEP)))


def test_the_sum_is_the_soft_optimum_of_the_summed_reward(learned: Improve) -> None:
    """Q* = r + gamma V*, and V* (1 - gamma) = alpha log int exp(r/alpha): one state."""
    alpha = learned.q.alpha
    r = reward(GRID) @ torch.tensor(WEIGHTS)
    optimum = r + GAMMA * soft_value(r, alpha) / (1 - GAMMA)
    found = learned.q(ONE, GRID).detach()
    scale = float(optimum.max() - optimum.min())
    assert (found - optimum).abs().mean() < 0.06 * scale
    promised = sum(  # what Q_S says when each skill goes its own way: far from it
        w * (r_i + GAMMA * soft_value(r_i, a) / (1 - GAMMA))
        for w, r_i, a in zip(WEIGHTS, reward(GRID).T, TEMPERATURES, strict=True)
    )
    assert (promised - optimum).abs().mean() > 0.25 * scale


def test_each_critic_is_worth_its_own_reward_under_the_common_policy(learned: Improve) -> None:
    """Q_i = r_i + gamma E_pi[r_i - alpha_i log pi]/(1 - gamma), sum_i w_i alpha_i = alpha."""
    log_prob = learned.policy.log_prob(ONE, GRID).detach()
    share = log_prob.exp() * STEP
    assert float(share.sum()) == pytest.approx(1.0, abs=1e-2)
    scale = learned.q.alpha / ALPHA
    for i, part in enumerate(learned.q.parts):
        r = reward(GRID)[:, i]
        value = float((share * (r - scale * TEMPERATURES[i] * log_prob)).sum()) / (1 - GAMMA)
        found = part(ONE, GRID).detach()
        assert (found - (r + GAMMA * value)).abs().mean() < 0.06 * float(r.max() - r.min())


def test_what_it_was_given_stays() -> None:
    one = learner()
    given, policy = copy.deepcopy(one.q), copy.deepcopy(one.policy)
    again = Improve(policy, given, one.config, 0)
    learn(again, 3)
    for before, left, learned in ((one.q, given, again.q), (one.policy, policy, again.policy)):
        pairs = list(zip(before.parameters(), left.parameters(), strict=True))
        assert all(torch.equal(a, b) for a, b in pairs)
        pairs = list(zip(left.parameters(), learned.parameters(), strict=True))
        assert any(not torch.equal(a, b) for a, b in pairs)


def test_the_seed_decides_everything() -> None:
    values = [learn(learner(seed=seed), 5).q(ONE, GRID) for seed in (0, 0, 1)]
    assert torch.equal(values[0], values[1]) and not torch.equal(values[0], values[2])


def test_the_rate_falls_to_zero() -> None:
    one = learner()
    rates = []
    for done in (0.0, 0.25, 1.0):
        one.anneal(done)
        rates.append({o.param_groups[0]["lr"] for o in one.optimizers.values()})
    assert rates == [{3e-3}, {0.75 * 3e-3}, {0.0}]


@pytest.mark.parametrize("kind", [DeterministicPolicy, ImplicitPolicy])
def test_a_policy_without_density_is_refused(kind: type) -> None:
    q = WeightedSum([Ensemble(1, 1, (4,), 1, 0.1, GAMMA)], (1.0,), 0.1)
    with pytest.raises(InvalidValue, match="no density to improve; set improve.updates=0"):
        Improve(kind(1, 1, (4,)), q, ImproveConfig(), 0)


@pytest.mark.parametrize(
    "options", [{"updates": -1}, {"learning_rate": 0.0}, {"batch_size": 0}, {"target_rate": 0.0}]
)
def test_bad_configs(options: dict[str, float]) -> None:
    with pytest.raises(InvalidValue, match="improve."):
        ImproveConfig(**options)  # type: ignore[arg-type]
