"""Learners whose actions are latents: the prior N(0, I) in every equation (THEORY 7)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from skillkit.algorithms import ALGORITHMS, SAC, SQL, SACConfig, SQLConfig
from skillkit.errors import InvalidValue
from skillkit.functional.losses import actor_loss, log_normal, td_target
from skillkit.functional.soft_value import discrete_soft_value, sampled_soft_value
from skillkit.functional.stein import latent_score
from skillkit.types import Batch, Entry, Spec
from tests.oracles import GAMMA, R1, R2, Tabular, table, three
from tests.toys import gaussian, stirred

SPEC = Spec((Entry("x"), Entry("y")), (Entry("h"),), 0.1)
STATES = torch.zeros(1, 2)


def layer(mean: float, std: float) -> Any:
    policy = gaussian([mean], [std], observations=2)
    policy.squash = False
    return policy


def sac(**options: Any) -> SAC:
    return SAC(SPEC, SACConfig(**{"hidden": (16,), "learning_rate": 1e-3} | options), seed=0)


def sql(**options: Any) -> SQL:
    return SQL(SPEC, SQLConfig(**{"hidden": (16,), "learning_rate": 1e-3} | options), seed=0)


def batch(size: int = 64) -> Batch:
    rng = torch.Generator().manual_seed(0)
    obs, next_obs = torch.randn(2, size, 2, generator=rng)
    h = torch.randn(size, 1, generator=rng)
    discount = torch.full((size,), 0.9**3)
    return Batch(obs, h, torch.randn(size, generator=rng), discount, next_obs)


# The equations, by hand


def test_target_and_actor_by_hand() -> None:
    h = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    log_prior = log_normal(h)
    assert log_prior.item() == pytest.approx(-2.46287707, abs=1e-8)
    log_prob, q = torch.tensor([-1.5]).double(), torch.tensor([5.0]).double()
    discount = torch.tensor([0.99], dtype=torch.float64)
    y = td_target(torch.ones(1), discount, q, log_prob, 0.2, log_prior)
    assert y.item() == pytest.approx(5.75935034, abs=1e-8)
    assert actor_loss(log_prob, q, 0.2, log_prior).item() == pytest.approx(-4.80742459, abs=1e-8)


def near(found: Tensor, expected: list[Any]) -> None:
    """To the digits that ORACLES has."""
    torch.testing.assert_close(found, table(expected), atol=6e-9, rtol=0)


def soft_with_prior(
    world: Tabular, reward: Tensor, alpha: float, prior: Tensor
) -> tuple[Tensor, Tensor]:
    """Q = r + gamma E V, V = alpha log sum_a prior exp(Q/alpha). (S, A), (S,)"""
    q = torch.zeros_like(reward)
    for _ in range(250):  # .9^250 = 4e-12
        value = discrete_soft_value(q + alpha * prior.log(), alpha)
        q = reward + GAMMA * world.backup(value)
    return q, value


def with_prior(
    world: Tabular, reward: Tensor, alpha: float, policy: Tensor, prior: Tensor
) -> Tensor:
    """Q of a policy that pays alpha (log pi - log prior), by the target of the critics. (S, A)"""
    q, log_prob, log_prior = torch.zeros_like(reward), policy.log(), prior.log()
    for _ in range(250):
        paid = td_target(torch.zeros(()), torch.ones(()), q, log_prob, alpha, log_prior)
        q = reward + GAMMA * world.backup((policy * paid).sum(-1))
    return q


def test_what_a_stack_optimises() -> None:
    """ORACLES 2: r_2 - alpha_1 KL to the base: soft optimum of r_2 + (alpha_1/alpha_0) r_1."""
    world = three()
    base_q = world.soft_q(R1, 0.5)
    base = torch.softmax(base_q / 0.5, -1)
    q, value = soft_with_prior(world, R2, 0.2, base)
    near(q, [[1.16586708, 1.72525979], [1.37554908, 0.10907282], [2.03609895, 0.62868913]])
    near(value, [1.54018969, 0.76225242, 0.64824597])
    policy = torch.softmax(q / 0.2 + base.log(), -1)
    near(policy[:, 0], [0.09891349, 0.96355035, 0.09323734])
    torch.testing.assert_close(with_prior(world, R2, 0.2, policy, base), q, atol=1e-9, rtol=0)
    both = world.soft_q(R2 + 0.4 * R1, 0.2)
    torch.testing.assert_close(q, both - 0.4 * base_q, atol=1e-9, rtol=0)
    torch.testing.assert_close(policy, torch.softmax(both / 0.2, -1), atol=1e-9, rtol=0)


def test_the_same_reward_twice() -> None:
    """ORACLES 2: two layers at alpha are one at alpha/2. The base's critic is no critic of the new
    layer's start: it counts reward and entropy of the base, which the prior stands for already."""
    world = three()
    base_q = world.soft_q(R1, 0.5)
    base = torch.softmax(base_q / 0.5, -1)
    near(base_q, [[15.51951488, 15.22571092], [14.94025696, 16.46910123],
                  [13.50463717, 18.16052794]])  # fmt: skip
    identity = with_prior(world, R1, 0.5, base, base)
    near(identity, [[14.86887360, 14.85291110], [14.47216801, 16.17604982],
                    [12.93323311, 17.85769969]])  # fmt: skip
    entropy = torch.zeros(3, dtype=torch.float64)  # V^H, alpha times the discounted entropy
    for _ in range(250):
        step = GAMMA * world.backup(entropy)
        entropy = (base * (step - 0.5 * base.log())).sum(-1)
    near(entropy, [0.87729112, 0.39249568, 0.30331833])
    torch.testing.assert_close(identity, base_q - GAMMA * world.backup(entropy))
    q, _ = soft_with_prior(world, R1, 0.5, base)
    near(q, [[14.93826019, 14.93073014], [14.54910449, 16.23117097], [13.01507184, 17.90247681]])
    policy = torch.softmax(q / 0.5 + base.log(), -1)
    near(policy[:, 0], [0.64626647, 0.00162305, 0.00000001])
    torch.testing.assert_close(policy, torch.softmax(world.soft_q(R1, 0.25) / 0.25, -1))
    greedy = torch.softmax(base_q / 0.5 + base.log(), -1)  # from Q_h := Q_0
    near(greedy[:, 0], [0.76408651, 0.00220378, 0.00000001])


HELD = {  # discounted within a decision as between two, or one step for each
    2: ([[3.79188628, 5.02490320], [3.81109838, 4.66288286], [4.48140711, 3.63062249]],
        [4.88669363, 4.52706113, 4.34559935]),
    1: ([[8.07378590, 9.32367834], [8.15605895, 8.98100053], [8.71683852, 7.85700145]],
        [9.18543483, 8.84557888, 8.58090673]),
}  # fmt: skip


@pytest.mark.parametrize("power", HELD)
def test_a_held_latent(power: int) -> None:
    """ORACLES 3: with R = r + gamma r' and gamma^2 the objective is that of a flat policy; counting
    each decision as one step is another problem."""
    world = three()
    action = torch.tensor([[0, 1], [1, 0], [0, 1]])  # f(h; s)
    rows = torch.arange(3)[:, None]
    step = world.transition[rows, action]  # (S, H, S'), one step of h in s
    reward = R2[rows, action]
    inner = GAMMA if power == 2 else 1.0
    total = reward + inner * torch.einsum("sht,th->sh", step, reward)
    twice = torch.einsum("sht,thu->shu", step, step)
    q = torch.zeros_like(total)
    for _ in range(250):
        value = discrete_soft_value(q - 0.2 * math.log(2.0), 0.2)
        q = total + GAMMA**power * torch.einsum("shu,u->sh", twice, value)
    near(q, HELD[power][0])
    near(value, HELD[power][1])


# The learners use them


def test_the_prior_is_in_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """y - r = discount (min Q - alpha (log pi - log N)), with the draws of the update itself."""
    learner = sac(alpha=0.5)
    learner.policy = layer(0.7, 0.5)
    seen = {}

    def spy(*values: Any) -> Tensor:
        seen["y"] = td_target(*values)
        return seen["y"]

    monkeypatch.setattr("skillkit.algorithms.sac.td_target", spy)
    data = batch()
    generator = torch.Generator().manual_seed(0)
    generator.set_state(learner.generator.get_state())
    eps = torch.randn(64, 1, generator=generator)
    learner.optimizers["policy"] = torch.optim.Adam(learner.policy.parameters())
    h = 0.7 + 0.5 * eps
    with torch.no_grad():
        q = learner.target(data.next_obs, h)
    price = 0.5 * (h.square() - eps.square()).sum(-1) - math.log(0.5)
    expected = data.reward + 0.9**3 * (q - 0.5 * price)
    learner.update(data)
    torch.testing.assert_close(seen["y"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gaussian", "real_nvp"])
def test_without_a_reward_the_prior_is_optimal(kind: str) -> None:
    """Q = 0: h ~ N(0, I), KL 0. Without the gradient through log N the mean would stay."""
    torch.manual_seed(0)
    learner = sac(policy=kind, alpha=1.0, learning_rate=1e-2)
    if kind == "gaussian":
        learner.policy = layer(0.7, 0.5)
        learner.optimizers["policy"] = torch.optim.Adam(learner.policy.parameters(), lr=1e-2)
    else:
        stirred(learner.policy, 0.2)
    with torch.no_grad():
        for module in (learner.q, learner.target):
            for parameter in module.parameters():
                parameter.zero_()
    data = batch(256)._replace(reward=torch.zeros(256), discount=torch.zeros(256))
    first = learner.update(data)["kl"].item()
    for _ in range(300):
        metrics = learner.update(data)
    assert first > 0.2 and abs(metrics["kl"].item()) < 0.02
    h = learner.policy.act(data.obs.expand(100, -1, -1), torch.randn(100, 256, 1)).detach()
    assert abs(h.mean().item()) < 0.1 and h.std().item() == pytest.approx(1.0, abs=0.1)


def test_the_default_budget_corresponds_to_that_of_a_robot() -> None:
    """-A(1 + log 2) against -A: 1.69314718 nat an entry."""
    assert sac(automatic_alpha=True).target_entropy == pytest.approx(-1.69314718, abs=1e-8)
    assert sac(automatic_alpha=True, target_entropy=-3.0).target_entropy == -3.0
    robot = Spec(SPEC.observation, (Entry("a", "", -1, 1),), 0.1)
    assert SAC(robot, SACConfig(hidden=(8,)), 0).target_entropy == -1.0
    assert sac().optimizers.keys() == {"policy", "q"}  # fixed by default


@pytest.mark.parametrize(("budget", "sign"), [(0.1, 1), (5.0, -1)])
def test_the_temperature_holds_the_kl_to_its_budget(budget: float, sign: int) -> None:
    """KL .563 (ORACLES 9): above its budget the price rises, below it falls."""
    learner = sac(automatic_alpha=True, target_entropy=-budget, alpha=0.2)
    learner.policy = layer(0.7, 0.5)
    learner.optimizers["policy"] = torch.optim.Adam(learner.policy.parameters(), lr=1e-6)
    metrics = learner.update(batch(512))
    assert metrics["kl"].item() == pytest.approx(0.563, abs=0.15)
    assert sign * (learner.alpha - 0.2) > 0


@pytest.mark.parametrize("proposal", ["uniform", "mixed"])
def test_the_soft_value_of_soft_q_learning(proposal: str) -> None:
    """V = alpha log E_{h~N} exp(Q/alpha): for Q = c h it is c^2/(2 alpha)."""
    learner = sql(policy="gaussian", proposal=proposal, value_samples=100_000, alpha=0.5)
    learner.policy = layer(1.0, 1.2)
    learner.proposal.parents = tuple((learner.policy, q) for _, q in learner.proposal.parents)
    h, log_proposal = learner.candidates(STATES)
    assert h.abs().max() > 2  # there is no tanh
    value = sampled_soft_value(0.6 * h[..., 0], 0.5, log_proposal)
    assert value.item() == pytest.approx(0.36, abs=0.02)


def test_the_score_by_hand() -> None:
    """grad_h [Q/alpha - |h|^2/2]: Q = a h^2 at alpha."""
    h = torch.tensor([[0.5, -2.0]], requires_grad=True)
    alpha = 0.3
    (expected,) = torch.autograd.grad((0.7 * h.square().sum() / alpha) + log_normal(h).sum(), h)
    score = latent_score(h.detach(), 1.4 * h.detach(), alpha)
    torch.testing.assert_close(score, expected)


@pytest.mark.parametrize(("kind", "slope"), [("gaussian", 0.6), ("implicit", 0.0)])
def test_soft_q_learning_samples_the_posterior(kind: str, slope: float) -> None:
    """Q = c h: exp(Q/alpha) N(h; 0, 1) is N(c/alpha, 1), and at flat Q the prior itself."""
    settled = {"learning_rate": 1e-2, "final_rate": 0.0, "particles": 64}
    learner = sql(policy=kind, alpha=0.5, hidden=(64, 64), **settled)

    class Linear(torch.nn.Module):
        def forward(self, obs: Tensor, action: Tensor) -> Tensor:
            return slope * action[:, 0]

    learner.q = Linear()  # type: ignore[assignment]
    adam, obs = learner.optimizers["policy"], torch.zeros(32, 2)
    for update in range(400):
        learner.anneal(update / 400)
        moving = learner.particles(obs, learner.config.moving)
        direction = learner.direction(obs, moving.detach(), torch.tensor(0.5))
        loss = -(moving * direction).sum(-1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        h = learner.particles(STATES, 10_000)
    assert h.mean().item() == pytest.approx(slope / 0.5, abs=0.05)
    assert h.std().item() == pytest.approx(1.0, abs=0.05)


# Laws


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_learns_latents(name: str) -> None:
    make, config = ALGORITHMS[name]
    learner = make(SPEC, config(hidden=(16,)), 0)
    assert not learner.policy.squash
    for _ in range(3):
        metrics = learner.update(batch())
    assert all(value.isfinite() and value.shape == () for value in metrics.values())
    assert ("kl" in metrics) == learner.policy.has_density and "entropy" not in metrics


def test_the_prior_must_have_a_weight() -> None:
    with pytest.raises(InvalidValue, match="set sac.alpha above 0"):
        sac(policy="deterministic", alpha=0.0)
    with pytest.raises(InvalidValue, match="sql.legacy"):
        sql(legacy=True)
