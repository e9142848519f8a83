"""Soft Q-learning: the whole update against its equations written out, where the sampler settles,
and soft Q-iteration by the update alone."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from skillkit.algorithms import SQL, SACConfig, SQLConfig
from skillkit.errors import InvalidValue, SkillkitError, UnknownName
from skillkit.types import Batch
from tests.toys import batch, spec

SMALL: dict[str, Any] = {
    "hidden": (16, 8), "learning_rate": 1e-2, "particles": 10, "value_samples": 7, "alpha": 0.3,
}  # fmt: skip


def made(**options: Any) -> SQL:
    return SQL(spec(), SQLConfig(**(SMALL | options)), seed=0)


# The update


class Plain:
    """THEORY 4 line by line, one state and one particle after the other; draws as `sql` does."""

    def __init__(self, sql: SQL) -> None:
        self.config = sql.config
        self.policy, self.q, self.target = (
            copy.deepcopy(part) for part in (sql.policy, sql.q, sql.target)
        )
        rate = self.config.learning_rate
        self.adams = [torch.optim.Adam(p.parameters(), rate) for p in (self.policy, self.q)]
        self.rng = torch.Generator()
        self.rng.set_state(sql.generator.get_state())
        self.updates = 0

    def normal(self, states: int, count: int) -> Tensor:
        return torch.randn(states * count, 2, generator=self.rng).view(states, count, 2)

    def values(self, q: nn.Module, s: Tensor, actions: Tensor) -> Tensor:
        """One action after the other. (O,), (K, A) -> (K,)"""
        return torch.stack([q.all(s[None], a[None])[:, 0].min() for a in actions])

    def soft_value(self, s: Tensor, uniform: Tensor, noise: Tensor | None) -> Tensor:
        alpha = self.config.alpha
        if noise is None:
            log_q = torch.full((len(uniform),), math.log(1 / 4))  # the volume of [-1, 1]^2
            actions = uniform
        else:
            own = self.policy.act(s.expand(len(noise), -1), noise)
            actions = torch.cat([uniform, own])
            pi = self.policy.log_prob(s.expand(len(actions), -1), actions).exp()
            log_q = torch.log((len(uniform) / 4 + len(own) * pi) / len(actions))
        weights = torch.exp(self.values(self.target, s, actions) / alpha) / log_q.exp()
        return alpha * torch.log(weights.mean())

    def direction(self, s: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Delta of every y, from pre-tanh particles x. (O,), (K_x, A), (K_y, A) -> (K_y, A)"""
        if self.config.legacy:
            x, y = x.tanh(), y.tanh()
        x = x.detach().requires_grad_()
        a = x if self.config.legacy else x.tanh()
        log_density = self.values(self.q, s, a) / self.config.alpha + (1 - a**2).log().sum(-1)
        (score,) = torch.autograd.grad(log_density.sum(), x)
        squared = torch.stack([((xi - yj) ** 2).sum() for xi in x.detach() for yj in y])
        h = squared.sort().values[(len(squared) - 1) // 2] / math.log(len(x))
        found = []
        for yj in y:
            total = torch.zeros(2)
            for xi, si in zip(x.detach(), score, strict=True):
                k = torch.exp(-((xi - yj) ** 2).sum() / max(h, 1e-3))
                total += k * si - 2 * (xi - yj) / max(h, 1e-3) * k
            found.append(total / len(x))
        return torch.stack(found)

    def update(self, data: Batch) -> None:
        config, size = self.config, len(data.obs)
        mixed = config.proposal == "mixed"
        count = config.value_samples // 2 if mixed else config.value_samples
        noise = torch.randn(size, (1 + mixed) * count * 2, generator=self.rng)
        noise = noise.view(size, -1, count, 2)  # first the uniform ones'
        uniform = 2 * torch.distributions.Normal(0.0, 1.0).cdf(noise[:, 0]) - 1
        extra = noise[:, 1] if mixed else [None] * size
        with torch.no_grad():
            v = torch.stack(
                [self.soft_value(*row) for row in zip(data.next_obs, uniform, extra, strict=True)]
            )
            y = data.reward + data.discount * v
        loss = 0.5 * sum(((q - y) ** 2).mean() for q in self.q.all(data.obs, data.action))
        self.descend(self.adams[1], loss)

        k = int(config.particles * config.moving_share)
        mine, theirs = self.normal(size, k), self.normal(size, config.particles - k)
        total = torch.zeros(())
        for s, eps, fixed in zip(data.obs, mine, theirs, strict=True):
            moving = self.policy.raw(s.expand(k, -1), eps)
            x = self.policy.raw(s.expand(len(fixed), -1), fixed).detach()
            delta = self.direction(s, x, moving.detach())
            total = total + ((moving.tanh() if config.legacy else moving) * delta).sum()
        self.descend(self.adams[0], -total / (size * k))
        self.updates += 1
        if config.target == "average" or self.updates % config.target_interval == 0:
            tau = config.target_rate if config.target == "average" else 1.0
            pairs = zip(self.target.parameters(), self.q.parameters(), strict=True)
            for old, new in pairs:
                old.data = (1 - tau) * old.data + tau * new.data

    def descend(self, adam: torch.optim.Adam, loss: Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()


OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "two critics": {"critics": 2},
    "cold": {"alpha": 0.02},
    "published": {"legacy": True},
    "few move": {"moving_share": 0.2},
    "average target": {"target": "average", "target_rate": 0.3},
    "hard target": {"target": "hard", "target_interval": 2},
    "gaussian": {"policy": "gaussian"},
    "mixed": {"policy": "gaussian", "proposal": "mixed"},
    "linear": {"hidden": ()},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_update_is_its_equations(options: dict[str, Any], float64: None) -> None:
    """Four updates: every parameter of policy, critics and target."""
    sql = made(**options)
    plain = Plain(sql)
    for i in range(4):
        plain.rng.set_state(sql.generator.get_state())
        sql.update(batch(5, seed=i))
        plain.update(batch(5, seed=i))
    for ours, theirs in ((sql.policy, plain.policy), (sql.q, plain.q), (sql.target, plain.target)):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)


def test_the_sampler_moves_no_critic() -> None:
    sql, data = made(), batch(32)
    before = copy.deepcopy(sql.q)
    moving = sql.particles(data.obs, 4).detach()
    sql.direction(data.obs, moving, torch.tensor(0.3))
    assert all(p.grad is None for p in sql.q.parameters())
    assert all(p.grad is None and not p.requires_grad for p in sql.target.parameters())
    same = zip(before.parameters(), sql.q.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_metrics() -> None:
    """The entropy only of a policy whose density is known; the others have a name in the curve."""
    found = made().update(batch(32))
    assert found.keys() == {"critic_loss", "stein", "effective_sample_size", "q", "alpha"}
    assert 1 <= found["effective_sample_size"] <= 7
    dense = made(policy="gaussian")
    entropy = dense.update(batch(4096))["entropy"]
    with torch.no_grad():
        log_prob = dense.policy.act_and_log_prob(batch(4096).obs, torch.randn(4096, 2))[1]
    assert entropy.item() == pytest.approx(-log_prob.mean().item(), abs=0.1)


# Candidates of the soft value


def test_uniform_candidates() -> None:
    """Over the whole box, fresh in every state and at every call."""
    sql = made(value_samples=200)
    action, log_q = sql.candidates(torch.zeros(50, 3))
    assert action.shape == (50, 200, 2) and log_q.shape == (50, 200)
    assert log_q.unique().item() == pytest.approx(math.log(1 / 4))
    assert action.abs().max() <= 1 and action.var().item() == pytest.approx(1 / 3, abs=0.01)
    assert len(action.flatten().unique()) > 19_000
    assert not torch.equal(sql.candidates(torch.zeros(50, 3))[0], action)


def test_mixed_candidates_have_the_density_they_say() -> None:
    """E_q[g/q] is the integral of g, for g = 1 and g = a_0^2 over the square: 4 and 4/3."""
    sql = made(policy="gaussian", proposal="mixed", value_samples=400)
    with torch.no_grad():
        action, log_q = sql.candidates(torch.randn(500, 3))
    own = action[:, 200:].var(1).mean()
    assert own < 0.1 < action[:, :200].var(1).mean()  # half are the narrow policy's
    weight = torch.exp(-log_q)
    assert weight.mean().item() == pytest.approx(4.0, rel=0.01)
    assert (weight * action[..., 0].square()).mean().item() == pytest.approx(4 / 3, rel=0.01)


# Where the sampler settles


def sampler(slope: float = 0.0, alpha: float = 1.0, legacy: bool = False) -> Tensor:
    """Actions after 400 updates whose critic is, and stays, Q = slope |a|. (S, K, 1)"""
    config = SQLConfig(
        hidden=(32, 32), learning_rate=3e-3, final_rate=0.1, batch_size=32, value_samples=2,
        alpha=alpha, particles=32, legacy=legacy,
    )  # fmt: skip
    sql = SQL(spec(1, 1), config, seed=0)
    with torch.no_grad():
        for parameter in sql.q.parameters():
            parameter.zero_()
        first, second, last = sql.q.net.layers
        first.weight[0, 1, :2] = torch.tensor([1.0, -1.0])  # relu(x) + relu(-x) = |x|
        second.weight[0, 0, 0] = second.weight[0, 1, 1] = 1.0
        last.weight[0, :2, 0] = slope
    for i in range(400):
        sql.anneal(i / 400)
        data = batch(32, 1, 1, seed=i)
        sql.update(data._replace(reward=slope * data.action[:, 0].abs(), discount=torch.zeros(32)))
    states = torch.linspace(-1.5, 1.5, 5)[:, None, None].expand(-1, 2000, -1)
    with torch.no_grad():
        return sql.policy.act(states, torch.randn(5, 2000, sql.policy.noise_dim))


@pytest.mark.parametrize(("legacy", "variance"), [(False, 1 / 3), (True, 0.2)])
def test_at_flat_q_the_sampler_is_uniform(legacy: bool, variance: float) -> None:
    found = sampler(legacy=legacy)
    assert found.mean().item() == pytest.approx(0.0, abs=0.05)
    assert found.var(1).mean().item() == pytest.approx(variance, abs=0.05)


def test_the_sampler_finds_both_modes() -> None:
    """exp(1.5 |a|/.5), half of it on either side."""
    action = sampler(slope=1.5, alpha=0.5)
    shares = (action > 0).float().mean((1, 2))
    assert (shares > 0.35).all() and (shares < 0.65).all()
    grid = torch.linspace(-1, 1, 2001)
    density = torch.exp(3.0 * grid.abs())
    expected = (density * grid.abs()).sum() / density.sum()
    assert action.abs().mean().item() == pytest.approx(expected.item(), abs=0.03)


# Soft Q-iteration by the update alone


class Ring:
    """Three states in a ring, two actions, and what quadrature says of its soft-optimal Q.

    a_0 > 0 moves on, a_0 < 0 stays, at random; in the last state a_1 > 0 tends to end it.
    """

    gamma, alpha = 0.8, 0.5
    lean = torch.tensor([[1.0, 0.0], [-0.5, 1.0], [0.0, -1.5]])
    line = -1 + (torch.arange(101) + 0.5) * 2 / 101
    grid = torch.cartesian_prod(line, line)  # (G, 2)

    def reward(self, s: Tensor, a: Tensor) -> Tensor:
        return (self.lean[s] * a).sum(-1) - 0.5 * a.square().sum(-1)

    def moves(self, a: Tensor) -> Tensor:
        return 0.5 + 0.4 * a[..., 0]

    def discount(self, s: Tensor, a: Tensor) -> Tensor:
        return self.gamma * (1 - 0.4 * (s == 2) * (1 + a[..., 1]))

    def solve(self) -> Tensor:
        """Q on the grid. (3, G)"""
        s, a = torch.arange(3)[:, None], self.grid[None]
        v = torch.zeros(3)
        for _ in range(200):
            next_v = self.moves(a) * v.roll(-1)[:, None] + (1 - self.moves(a)) * v[:, None]
            q = self.reward(s, a) + self.discount(s, a) * next_v
            cell = (2 / 101) ** 2
            v = self.alpha * torch.log(torch.exp(q / self.alpha).sum(-1) * cell)
        return q

    def sample(self, size: int, rng: torch.Generator) -> Batch:
        s = torch.randint(3, (size,), generator=rng)
        a = 2 * torch.rand(size, 2, generator=rng) - 1
        after = (s + (torch.rand(size, generator=rng) < self.moves(a))) % 3
        return Batch(ONE[s], a, self.reward(s, a), self.discount(s, a), ONE[after])


ONE = torch.eye(3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="implicit"),
        pytest.param({"policy": "gaussian", "proposal": "mixed"}, id="gaussian"),
    ],
)
def test_the_critic_is_the_soft_optimal_q(options: dict[str, Any]) -> None:
    """Within .08 r: the logarithm of 64 samples is biased low by .04. The largest of them instead
    is .11 off, half of alpha .5, twice alpha 1.4, no alpha A log 2 2.2, a gamma of .88 1.3."""
    ring, rng = Ring(), torch.Generator().manual_seed(0)
    config = SQLConfig(
        hidden=(32, 32), learning_rate=3e-3, final_rate=0.05, batch_size=128, alpha=ring.alpha,
        gamma=ring.gamma, particles=16, value_samples=64, target="average", target_rate=0.03,
        **options,
    )  # fmt: skip
    sql = SQL(spec(3, 2), config, seed=0)
    for i in range(800):
        sql.anneal(i / 800)
        sql.update(ring.sample(128, rng))
    truth = ring.solve()
    states = ONE[:, None].expand(-1, len(ring.grid), -1)
    with torch.no_grad():
        found = sql.q(states.flatten(0, 1), ring.grid.repeat(3, 1)).view(3, -1)
        action = sql.policy.act(states[:, :4000], torch.randn(3, 4000, sql.policy.noise_dim))
    assert (found - truth).square().mean().sqrt() < 0.08
    density = torch.softmax(truth / ring.alpha, -1)
    torch.testing.assert_close(action.mean(1), density @ ring.grid, rtol=0, atol=0.06)


# Options


def test_the_temperature_falls_to_its_final_value() -> None:
    """Linearly in the logarithm, over the first half of the training."""
    sql = made(alpha=0.1, alpha_start=10.0)
    assert sql.alpha == pytest.approx(10.0)
    for done, alpha in ((0.25, 1.0), (0.5, 0.1), (0.75, 0.1), (1.0, 0.1), (0.0, 10.0)):
        sql.anneal(done)
        assert sql.alpha == pytest.approx(alpha)
    assert sql.update(batch(8))["alpha"].item() == pytest.approx(10.0)


@pytest.mark.parametrize("alpha", [0.05, 3.0])
def test_a_fixed_temperature_stays(alpha: float) -> None:
    sql = made(alpha=alpha)
    sql.anneal(0.7)
    assert sql.update(batch(8))["alpha"].item() == pytest.approx(alpha)
    assert sql.alpha == pytest.approx(alpha) and sql.q.alpha == alpha
    assert sql.optimizers.keys() == {"policy", "q"}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"policy": "implict"}, UnknownName, "'implict'; did you mean implicit"),
        ({"policy": "deterministic"}, InvalidValue, "samples nothing; use sql.policy=implicit"),
        ({"proposal": "policy"}, UnknownName, "no proposal is called 'policy'; .* mixed, uniform"),
        ({"proposal": "mixed"}, InvalidValue, "implicit policies do not have; use .*=uniform"),
        ({"target": "soft"}, UnknownName, "no target is called 'soft'"),
        ({"alpha": 0.0}, InvalidValue, "sql.alpha must be positive"),
        ({"alpha_start": 0.0}, InvalidValue, "sql.alpha and sql.alpha_start must be positive"),
        ({"anneal_share": 0.0}, InvalidValue, "sql.anneal_share must lie in"),
        ({"anneal_share": 1.1}, InvalidValue, "sql.anneal_share must lie in"),
        ({"particles": 2}, InvalidValue, "leaves 1 moving and 1 fixed; there must be .* 1 and 2"),
        ({"moving_share": 0.0}, InvalidValue, "leaves 0 moving and 10 fixed"),
        ({"moving_share": 0.9}, InvalidValue, "leaves 9 moving and 1 fixed"),
        ({"value_samples": 1}, InvalidValue, "sql.value_samples must be at least 2, got 1"),
        ({"gamma": 1.0}, InvalidValue, "sql.gamma must lie strictly between 0 and 1"),
        ({"batch_size": 0}, InvalidValue, "every sql size must be positive"),
        ({"final_rate": 2.0}, InvalidValue, "sql.final_rate must lie in"),
        ({"target_interval": 0}, InvalidValue, "sql.target_interval be at least 1"),
    ],
)
def test_bad_configs(options: dict[str, Any], error: type[SkillkitError], words: str) -> None:
    with pytest.raises(error, match=words):
        SQLConfig(**(SMALL | options))


def test_sac_refuses_a_policy_without_density() -> None:
    with pytest.raises(InvalidValue, match="implicit policies have no density; .*--algorithm sql"):
        SACConfig(policy="implicit")
