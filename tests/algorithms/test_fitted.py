"""Fitted fixed points: against a linear system, and where the recursion itself would run away."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from skillkit.algorithms.fitted import FittedConfig, FittedFixedPoint, Size
from skillkit.types import Batch
from tests.oracles import Tabular, random_tabular

UPDATES = 600


def transitions(mdp: Tabular, size: int) -> tuple[Batch, Tensor]:
    """Transitions of a finite MDP and their next states: s and a drawn evenly, as one-hot rows."""
    rng = torch.Generator().manual_seed(0)
    states, actions = mdp.discount.shape
    s, a = (torch.randint(n, (size,), generator=rng) for n in (states, actions))
    after = torch.multinomial(mdp.transition[s, a], 1, generator=rng).squeeze(1)
    one, two = torch.eye(states), torch.eye(actions)
    discount = mdp.discount[s, a].float()
    return Batch(one[s], two[a], torch.zeros(size), discount, one[after]), after


def size_of(reward: Tensor, discount: float = 0.9) -> Size:
    """For one recursion with this reward in each next state."""
    horizon = discount / (1 - discount)
    sizes = [reward.mean(), reward.abs().mean(), reward.min().clamp(max=0), reward.max()]
    return Size(*(horizon * value[None] for value in sizes))


def solved(fit: FittedFixedPoint, updates: int = UPDATES) -> FittedFixedPoint:
    for update in range(updates):
        fit.anneal(update / updates)
        fit.update()
    return fit


def everywhere(batch: Batch) -> Tensor:
    """All actions in each next state, as one-hot rows. (B, A, A)"""
    count = batch.action.shape[1]
    return torch.eye(count).expand(len(batch.obs), count, count)


@pytest.mark.parametrize("seed", [1, 2])
def test_policy_evaluation_is_a_linear_system(seed: int) -> None:
    """X = discount E[r(s') + E_pi X(s', .)] with a termination in a fifth of the (s, a)."""
    mdp = random_tabular(seed)
    batch, after = transitions(mdp, 20_000)
    rng = torch.Generator().manual_seed(seed)
    reward = torch.rand(5, generator=rng)
    policy = torch.rand(5, 3, generator=rng).softmax(-1)

    def next_value(x: Tensor, rows: Tensor) -> Tensor:
        return reward[after[rows], None] + torch.einsum("bkh,bk->bh", x, policy[after[rows]])

    fit = FittedFixedPoint(batch, everywhere(batch), next_value, size_of(reward), FittedConfig(), 0)
    found = solved(fit)(torch.eye(5)[:, None].expand(5, 3, 5), torch.eye(3).expand(5, 3, 3))
    step = torch.einsum("sa,sa,sat->st", policy.double(), mdp.discount, mdp.transition)
    arrived = (policy * mdp.discount * mdp.backup(reward.double())).sum(-1)  # (S,)
    value = torch.linalg.solve(torch.eye(5, dtype=torch.float64) - step, arrived)
    truth = mdp.discount * mdp.backup(reward.double() + value)
    error = (found[..., 0] - truth).abs().max() / truth.max()
    assert error < 0.03  # of which the sampled transitions make up most
    assert truth.min() == 0.0 < truth.max()  # an end is worth nothing


def constant(reward: float, size: int = 200, discount: float = 0.99, entries: int = 2) -> Batch:
    rng = torch.Generator().manual_seed(0)
    obs = torch.randn(size, entries, generator=rng)
    obs[:, -1] = 3.0  # never changes
    action = torch.randn(size, 1, generator=rng)
    return Batch(obs, action, torch.full((size,), reward), torch.full((size,), discount), obs)


def test_the_level_is_right_from_the_start() -> None:
    """A reward of 1 everywhere, discounted by .99, comes to 99 without waiting for 99 sweeps."""
    batch = constant(1.0)

    def next_value(x: Tensor, rows: Tensor) -> Tensor:
        return batch.reward[rows, None] + x.mean(1)

    fit = FittedFixedPoint(
        batch, batch.action[:, None], next_value, size_of(batch.reward, 0.99), FittedConfig(), 0
    )
    found = solved(fit, 200)(batch.obs, batch.action)
    torch.testing.assert_close(found, torch.full((200, 1), 99.0), rtol=0.02, atol=0)


def test_a_recursion_that_expands_stays_within_its_bounds() -> None:
    batch = constant(1.0)
    fit = FittedFixedPoint(
        batch,
        batch.action[:, None],
        lambda x, rows: 1.0 + 2.0 * x.amax(1),
        size_of(batch.reward, 0.99),
        FittedConfig(),
        0,
    )
    found = solved(fit, 300)(batch.obs, batch.action)
    assert found.min() >= 0 and found.max() <= 99.001
    assert fit.update() < 0.01  # it settled: the targets are within them as well


def test_the_seed_decides_and_torchs_own_stream_goes_on() -> None:
    batch = constant(1.0)

    def found(seed: int) -> Tensor:
        torch.manual_seed(seed)  # must not matter
        before = torch.get_rng_state()
        fit = FittedFixedPoint(
            batch,
            batch.action[:, None],
            lambda x, rows: batch.obs[rows, :1] + x.mean(1),
            Size(*(torch.tensor([v]) for v in (0.0, 1.0, -500.0, 500.0))),
            FittedConfig(),
            seed // 10,
        )
        solved(fit, 20)
        assert torch.equal(torch.get_rng_state(), before)
        return fit(batch.obs, batch.action)

    assert torch.equal(found(1), found(2))
    assert not torch.equal(found(1), found(11))
