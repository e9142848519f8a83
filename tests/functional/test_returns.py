"""Returns that look ahead as far as they pay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from skillkit.functional.returns import best_returns

GAMMA = 0.9


def episodes(seed: int, tasks: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rewards, discounts (every other episode ends), values and lengths."""
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 12, (7,), generator=rng)
    size = int(lengths.sum())
    discount = torch.full((size,), GAMMA)
    discount[lengths.cumsum(0)[::2] - 1] = 0.0
    reward, value = torch.randn(2, size, tasks, generator=rng)
    return reward, discount, 3 * value, lengths


def slowly(
    reward: Tensor, discount: Tensor, value: Tensor, lengths: Tensor, weights: Tensor
) -> Tensor:
    """The best of all n-step returns, one by one; what is best is decided by the weighted sum."""
    found = []
    begin = 0
    for length in lengths.tolist():
        for t in range(begin, begin + length):
            options = []
            total, share = torch.zeros(reward.shape[1]), torch.tensor(1.0)
            for k in range(t, begin + length):
                total, share = total + share * reward[k], share * discount[k]
                options.append(total + share * value[k])
            found.append(max(options, key=lambda option: float(option @ weights)))
        begin += length
    return torch.stack(found)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("weights", [(1.0,), (0.5, 0.5), (0.2, 1.0, 0.0)])
def test_it_is_the_best_of_all_n_step_returns(seed: int, weights: tuple[float, ...]) -> None:
    w = torch.tensor(weights)
    given = episodes(seed, len(weights))
    torch.testing.assert_close(best_returns(*given, w), slowly(*given, w))


def test_it_never_exceeds_what_is_possible_where_nothing_is_left_to_chance() -> None:
    """A random deterministic world: returns from values of any policy are at most the optimum."""
    rng = torch.Generator().manual_seed(0)
    states, actions = 6, 3
    then = torch.randint(states, (states, actions), generator=rng)
    r = torch.randn(states, actions, generator=rng)
    optimum, blind = torch.zeros(states), torch.zeros(states)
    for _ in range(300):
        optimum = (r + GAMMA * optimum[then]).amax(1)
        blind = (r + GAMMA * blind[then]).mean(1)
    s, rows = 0, []
    for _ in range(200):
        a = int(torch.randint(actions, (), generator=rng))
        rows.append((s, a, int(then[s, a])))
        s = rows[-1][-1]
    at, act, after = torch.tensor(rows).T
    reward, discount, lengths = r[at, act][:, None], torch.full((200,), GAMMA), torch.tensor([200])
    found = best_returns(reward, discount, blind[after][:, None], lengths, torch.ones(1))[:, 0]
    assert (found <= r[at, act] + GAMMA * optimum[after] + 1e-4).all()
    one_step = r[at, act] + GAMMA * blind[after]
    assert (found >= one_step - 1e-5).all() and (found > one_step + 0.1).float().mean() > 0.3
