"""SAC learns the linear-Gaussian problem of ORACLES 4a, whose soft value is known in closed form.

Actions are unbounded there, so the policy has no tanh: a member of `POLICIES` of this test's own,
whose density is that of u itself. Nothing is approximated then, and a wrong factor of alpha, an
entropy left out or a discount forgotten misses the value by far more than the 5 % allowed:
1/(1 - gamma) = 20 multiplies whatever is wrong in one step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skillkit.algorithms import SAC, SACConfig
from skillkit.functional.losses import log_normal
from skillkit.policies import POLICIES, GaussianPolicy, RealNVPPolicy
from skillkit.replay import ReplayBuffer
from tests.oracles import scalar_lqr
from tests.toys import spec

ENVS, WORLD = 32, scalar_lqr()


class Unsquashed(GaussianPolicy):
    """a = mu(s) + sigma(s) eps."""

    kind = "unsquashed"

    def act(self, obs: Tensor, noise: Tensor) -> Tensor:
        return self.raw(obs, noise)

    def act_and_log_prob(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        u, log_det = self.raw_and_log_det(obs, noise)
        return u, log_normal(noise) - log_det


class UnsquashedFlow(RealNVPPolicy):
    """a = f(eps; s)."""

    kind = "unsquashed flow"
    act, act_and_log_prob = Unsquashed.act, Unsquashed.act_and_log_prob


class Episodes:
    """Episodes of 40 steps side by side, which begin at x ~ N(0, 1)."""

    def __init__(self, rng: torch.Generator) -> None:
        self.rng, self.x, self.t = rng, torch.randn(ENVS, 1, generator=rng), torch.arange(ENVS) % 40

    def step(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """-> x, r, x' of each; afterwards those whose time is over begin anew."""
        x, (noise, start) = self.x, torch.randn(2, ENVS, 1, generator=self.rng)
        after = 0.9 * x + 0.5 * action + 0.1 * noise
        self.t = (self.t + 1) % 40
        self.x = torch.where((self.t == 0)[:, None], start, after)
        return x, WORLD.reward(x, action).float(), after


SMALL: dict[str, Any] = {"updates": 1_800, "hidden": 32, "batch": 128, "target_rate": 0.1}


def learn(
    critics: int,
    updates: int = 2_500,
    test: int = 400,
    policy: str = "unsquashed",
    hidden: int = 64,
    batch: int = 256,
    target_rate: float = 0.05,
) -> tuple[SAC, Tensor, Tensor]:
    """The learner, and states and actions that its final policy visits.

    The first thousand updates see random actions only: with unbounded ones a policy that follows
    an untrained critic runs away before experience can call it back.
    """
    config = SACConfig(
        policy=policy, hidden=(hidden, hidden), learning_rate=2e-3, critics=critics,
        alpha=WORLD.alpha, gamma=WORLD.gamma, target_rate=target_rate,
    )  # fmt: skip
    sac, rng = SAC(spec(1, 1), config, seed=0), torch.Generator().manual_seed(0)
    replay, episodes = ReplayBuffer(20_000, 1, 1, WORLD.gamma), Episodes(rng)
    no = np.zeros(ENVS, bool)
    visited = []
    for i in range(-200, updates + test):
        noise = torch.randn(ENVS, 1, generator=rng)
        with torch.no_grad():
            action = 1.5 * noise if i < 1_000 else sac.policy.act(episodes.x, noise)
        x, reward, after = episodes.step(action)
        u = action.numpy()
        replay.add(x.numpy(), u, u, reward.numpy(), no, no, after.numpy(), np.arange(ENVS), i)
        if 0 <= i < updates:
            sac.update(replay.sample(batch, rng))
        if i >= updates:
            visited.append((x, action))
    states, actions = (torch.cat(column) for column in zip(*visited, strict=True))
    return sac, states, actions


def relative(found: Tensor, true: Tensor) -> float:
    return float((found - true).square().mean().sqrt() / true.square().mean().sqrt())


def soft_value(sac: SAC, x: Tensor) -> Tensor:
    """E_pi[Q - alpha log pi], over 64 actions in each state. (B, X) -> (B,)"""
    many = x.expand(64, *x.shape)
    action, log_prob = sac.policy.act_and_log_prob(many, torch.randn(64, len(x), 1))
    q = sac.q(many.flatten(0, 1), action.flatten(0, 1)).unflatten(0, (64, -1))
    return (q - sac.alpha * log_prob).mean(0).double()


@pytest.fixture(autouse=True)
def unsquashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "unsquashed", Unsquashed)
    monkeypatch.setitem(POLICIES, "unsquashed flow", UnsquashedFlow)


@torch.no_grad()
def test_the_critic_is_the_soft_value() -> None:
    """One critic, because the minimum of two is pessimistic by design."""
    with torch.enable_grad():
        sac, x, action = learn(critics=1, **SMALL)
    assert relative(sac.q(x, action).double(), WORLD.q(x.double(), action.double())) < 0.05
    assert relative(soft_value(sac, x[::8]), WORLD.value(x[::8].double())) < 0.05
    mean, log_std = sac.policy.moments(x)
    std = WORLD.covariance.sqrt().item()
    assert (mean + x @ WORLD.k.float().T).square().mean().sqrt() < 0.2 * std
    assert log_std.exp().mean().item() == pytest.approx(std, rel=0.15)


@pytest.mark.slow
@torch.no_grad()
def test_two_critics_err_on_the_low_side() -> None:
    """The minimum costs a little of the value, and next to nothing of the policy."""
    with torch.enable_grad():
        sac, x, action = learn(critics=2)
    true = WORLD.q(x.double(), action.double())
    error = (sac.q(x, action) - true).mean() / true.square().mean().sqrt()
    assert -0.15 < error < 0.0
    mean, _ = sac.policy.moments(x)
    assert (mean + x @ WORLD.k.float().T).square().mean().sqrt() < 0.2


@pytest.mark.slow
@torch.no_grad()
def test_a_flow_comes_to_the_same() -> None:
    """Its one entry is Gaussian in every state: the soft value, and the mean by its samples."""
    with torch.enable_grad():
        sac, x, action = learn(critics=1, policy="unsquashed flow")
    assert relative(sac.q(x, action).double(), WORLD.q(x.double(), action.double())) < 0.05
    assert relative(soft_value(sac, x[::8]), WORLD.value(x[::8].double())) < 0.05
    u = sac.policy.act(x, torch.randn(64, len(x), 1))
    std = WORLD.covariance.sqrt().item()
    assert (u.mean(0) + x @ WORLD.k.float().T).square().mean().sqrt() < 0.25 * std
    assert u.std(0).mean().item() == pytest.approx(std, rel=0.15)
