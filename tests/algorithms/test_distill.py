"""Distillation: the policy of a fixed soft Q-function, where exp(Q/alpha) is a tanh-Gaussian."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from skillkit.algorithms import Distill, DistillConfig
from skillkit.errors import InvalidValue, SkillkitError, UnknownName
from skillkit.q_functions import Ensemble, SoftQ, WeightedSum
from skillkit.types import Batch
from tests.toys import GaussianQ, batch, spec

SMALL: dict[str, Any] = {"hidden": (32,), "batch_size": 64}


def distilled(q: SoftQ, updates: int, actions: int = 2, **options: Any) -> tuple[Distill, float]:
    """The learner after all its updates, and its mean loss over the last tenth of them."""
    learner = Distill(spec(1, actions), q, DistillConfig(updates=updates, **SMALL | options), 0)
    rng, losses = torch.Generator().manual_seed(1), []  # not the seed of the learner's noise
    for update in range(updates):
        learner.anneal(update / updates)
        half = torch.rand(32, 1, generator=rng)
        obs = torch.cat([half, -half])
        nothing = torch.full((64,), torch.nan)
        data = Batch(obs, torch.full((64, actions), torch.nan), nothing, nothing, obs * torch.nan)
        losses.append(learner.update(data)["distillation_loss"].item())
    return learner, sum(losses[-updates // 10 :]) / (updates // 10)


# The closed form


@pytest.mark.parametrize("alpha", [0.1, 2.0])
def test_the_projection_of_a_gaussian_is_itself(alpha: float) -> None:
    """Mean, std and loss, whatever the states are worth, from observations alone."""
    q = GaussianQ((0.4, -0.8), (0.5, 0.2), alpha, slope=0.6, height=5.0)
    learner, loss = distilled(q, 600, learning_rate=2e-2)
    obs = torch.linspace(-1, 1, 21)[:, None]
    mean, log_std = learner.policy.moments(obs)
    torch.testing.assert_close(mean, 0.6 * obs + torch.tensor([0.4, -0.8]), rtol=0, atol=0.06)
    torch.testing.assert_close(
        log_std.exp(), torch.tensor([[0.5, 0.2]]).expand(21, 2), rtol=0.1, atol=0
    )
    # E[alpha log pi - Q] = alpha KL - V (THEORY 5), and V averages to zero over these states.
    assert loss == pytest.approx(0.0, abs=0.02 * alpha)


def test_a_sum_distils_into_the_product_of_policies() -> None:
    """exp(Q_S/alpha) = prod pi_i^{b_i}: ORACLES 7, unequal temperatures."""
    parts = [GaussianQ((-0.5,), (0.4,), 0.3), GaussianQ((0.8,), (0.3,), 0.1)]
    q = WeightedSum(parts, (0.5, 0.5), 0.2)  # b = (.75, .25)
    learner, loss = distilled(q, 400, actions=1, learning_rate=2e-2)
    mean, log_std = learner.policy.moments(torch.zeros(1, 1))
    assert mean.item() == pytest.approx(-0.01627907, abs=0.05)
    assert log_std.exp().item() == pytest.approx(math.sqrt(0.13395349), rel=0.07)
    assert loss == pytest.approx(0.2 * 1.49075728, abs=0.02)  # -V_S = G here, every V_i being 0


# What it may use, and touch


def learner_of(q: SoftQ, **options: Any) -> Distill:
    return Distill(spec(), q, DistillConfig(updates=10, **SMALL | options), seed=0)


def ensembles() -> WeightedSum:
    torch.manual_seed(0)
    return WeightedSum([Ensemble(3, 2, (8,)), Ensemble(3, 2, (8,))], (0.5, 0.5), 1.0)


def test_the_q_function_is_not_touched() -> None:
    q = ensembles()
    before = {name: value.clone() for name, value in q.state_dict().items()}
    learner = learner_of(q)
    policy = [parameter.detach().clone() for parameter in learner.policy.parameters()]
    for i in range(10):
        learner.update(batch(32, seed=i))
    assert all(torch.equal(value, before[name]) for name, value in q.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in q.parameters())
    assert not any(map(torch.equal, policy, learner.policy.parameters()))


def test_only_observations_are_read() -> None:
    one, other = learner_of(ensembles()), learner_of(ensembles())
    for i in range(3):
        one.update(batch(32, seed=i))
        other.update(batch(32, seed=100 + i)._replace(obs=batch(32, seed=i).obs))
    for a, b in zip(one.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_metrics() -> None:
    """Of the policy before the step: its loss, and its entropy in [-1, 1]^A."""
    learner, twin, data = learner_of(ensembles()), learner_of(ensembles()), batch(32)
    action, log_pi = twin.policy.act_and_log_prob(data.obs, twin.noise(32))
    metrics = learner.update(data)
    expected = (1.0 * log_pi - twin.q(data.obs, action)).mean()
    torch.testing.assert_close(metrics["distillation_loss"], expected.detach())
    torch.testing.assert_close(metrics["entropy"], -log_pi.mean().detach())


# Options


def test_the_learning_rate_falls_along_half_a_cosine_to_zero() -> None:
    learner, rates, moves = learner_of(ensembles(), learning_rate=0.02), [], []
    for done in (0.0, 1 / 3, 0.5, 2 / 3, 0.99, 1.0):
        before = [parameter.detach().clone() for parameter in learner.policy.parameters()]
        learner.anneal(done)
        learner.update(batch(32))
        rates.append(learner.optimizers["policy"].param_groups[0]["lr"])
        after = learner.policy.parameters()
        moves.append(max((a - b).abs().max().item() for a, b in zip(after, before, strict=True)))
    assert rates == pytest.approx([0.02, 0.015, 0.01, 0.005, 5e-6, 0.0], rel=0.02, abs=1e-15)
    assert moves[0] > 0.01 > moves[4] > moves[5] == 0.0  # and the policy with it


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"policy": "gausian"}, UnknownName, "did you mean gaussian"),
        ({"learning_rate": 0.0}, InvalidValue, "distill.learning_rate"),
        ({"batch_size": 0}, InvalidValue, "distill size"),
        ({"updates": 0}, InvalidValue, "distill size"),
        ({"hidden": (0,)}, InvalidValue, "distill size"),
        ({"policy": "deterministic"}, InvalidValue, "a deterministic policy has no density"),
    ],
)
def test_bad_configs(options: dict[str, Any], error: type[SkillkitError], words: str) -> None:
    with pytest.raises(error, match=words):
        DistillConfig(**options)
