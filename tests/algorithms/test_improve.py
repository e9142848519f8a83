"""Improve: policy iteration of a sum of rewards, with a critic for each summand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from skillkit.algorithms import Improve, ImproveConfig
from skillkit.errors import InvalidValue
from skillkit.policies import DeterministicPolicy, GaussianPolicy, ImplicitPolicy
from skillkit.q_functions import Ensemble, WeightedSum
from skillkit.types import Batch

GAMMA, WEIGHTS, TEMPERATURES, CENTRES = 0.8, (0.25, 0.75), (0.3, 0.1), (0.6, -0.4)
ALPHA = 0.25 * 0.3 + 0.75 * 0.1  # sum_i w_i alpha_i
SIZE = 2_000  # stored transitions, each an episode: nothing lies ahead


def reward(action: Tensor) -> Tensor:
    """Two skills that want different actions, in a world of one state. (B, 1) -> (B, 2)"""
    return -(action - torch.tensor(CENTRES)).square()


def stored(seed: int = 0) -> Batch:
    action = 2 * torch.rand(SIZE, 1, generator=torch.Generator().manual_seed(seed)) - 1
    state = torch.ones(SIZE, 1)
    return Batch(state, action, reward(action), torch.full((SIZE,), GAMMA), state)


def learner(alpha: float = ALPHA, seed: int = 0, **options: Any) -> Improve:
    torch.manual_seed(seed)
    parts = [Ensemble(1, 1, (32, 32), 1, alpha_i, GAMMA) for alpha_i in TEMPERATURES]
    policy = GaussianPolicy(1, 1, (32,))
    # noise is no state of this world, and what is best on average is imitated by nobody
    given = {"learning_rate": 5e-3, "policy_rate": 5e-3, "evaluations": 0, "jitter": 0.0}
    given |= {"imitation": 0.0, "promise": 0.0, "doubt": 0.0}
    config = ImproveConfig(**given | options)
    return Improve(policy, WeightedSum(parts, WEIGHTS, alpha), config, seed)


def learn(one: Improve, updates: int = 600) -> Improve:
    data, rng = stored(), torch.Generator().manual_seed(1)
    for i in range(updates):
        if i % 10 == 0:
            targets, _ = one.look_ahead(data, torch.ones(SIZE, dtype=torch.int64))
        rows = torch.randint(SIZE, (128,), generator=rng)
        one.anneal(i / updates)
        one.update(Batch(*(x[rows] for x in data))._replace(reward=targets[rows]))
    return one


GRID = torch.linspace(-0.9995, 0.9995, 2_000)[:, None]
ONE = torch.ones(len(GRID), 1)
STEP = float(GRID[1, 0] - GRID[0, 0])


ASKED_FOR = pytest.param(0.4, id="asked for", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[pytest.param(ALPHA, id="its own"), ASKED_FOR])
def learned(request: pytest.FixtureRequest) -> Improve:
    return learn(learner(request.param))


def boltzmann(r: Tensor, alpha: float) -> Tensor:
    """exp(r/alpha)/Z at the points of the grid, by quadrature; their shares sum to 1."""
    return torch.softmax(r / alpha, 0)


def variation(one: Tensor, other: Tensor) -> float:
    """Total variation between two distributions on the grid."""
    return float(0.5 * (one - other).abs().sum())


def test_it_settles_at_the_policy_of_the_summed_reward(learned: Improve) -> None:
    """One state: pi = exp(Q/alpha)/Z = exp(r/alpha)/Z, and Q = r + gamma E_pi[r]/(1 - gamma)."""
    alpha = learned.q.alpha
    r = reward(GRID) @ torch.tensor(WEIGHTS)
    share = boltzmann(r, alpha)
    optimum = r + GAMMA * (share @ r) / (1 - GAMMA)
    found = learned.q(ONE, GRID).detach()
    assert (found - optimum).abs().mean() < 0.06 * (optimum.max() - optimum.min())
    own = learned.policy.log_prob(ONE, GRID).detach().exp() * STEP
    assert variation(own, share) < 0.08
    assert variation(boltzmann(r, alpha / 2), share) > 0.12  # which a wrong temperature misses
    apart = sum(  # of skills that each go their own way: far from it
        w * (r_i + GAMMA * (boltzmann(r_i, a) @ r_i) / (1 - GAMMA))
        for w, r_i, a in zip(WEIGHTS, reward(GRID).T, TEMPERATURES, strict=True)
    )
    assert (apart - optimum).abs().mean() > 0.25 * (optimum.max() - optimum.min())


def test_each_critic_is_worth_its_own_reward_under_the_common_policy(learned: Improve) -> None:
    """Q_i = r_i + gamma E_pi[r_i]/(1 - gamma)."""
    share = learned.policy.log_prob(ONE, GRID).detach().exp() * STEP
    assert float(share.sum()) == pytest.approx(1.0, abs=1e-2)
    for i, part in enumerate(learned.q.parts):
        r = reward(GRID)[:, i]
        found, value = part(ONE, GRID).detach(), (share @ r) / (1 - GAMMA)
        assert (found - (r + GAMMA * value)).abs().mean() < 0.06 * float(r.max() - r.min())


def test_what_nobody_tried_is_doubted() -> None:
    """Only actions below 0 were stored, each worth 0: doubt makes hopes above 0 worth less."""
    state, action = torch.ones(256, 1), -torch.rand(256, 1, generator=torch.Generator())
    data = Batch(state, action, torch.zeros(256, 2), torch.zeros(256), state)
    hopes = []
    for doubt in (0.0, 0.1, 0.5):
        one = learner(doubt=doubt, evaluations=1_000)
        torch.nn.init.constant_(one.policy.net.layers[-1].bias[:1], 1.5)  # type: ignore[index]
        for _ in range(300):
            one.update(data)
        with torch.no_grad():
            tried, hoped = one.q(state, action), one.q(state, one.policy.mode(state))
        hopes.append(float(hoped.mean() - tried.mean()))
    assert hopes[2] < hopes[1] - 0.1 < hopes[0] - 0.2


def test_a_stored_success_is_seen_from_the_beginning_of_its_episode() -> None:
    """A corridor of 30 steps: one look ahead carries the reward at its end to its first step."""
    length = 30
    state = torch.linspace(0, 1, length + 1)[:, None]
    r = torch.zeros(length, 2)
    r[-1] = 50.0
    go = torch.full((length, 1), 0.9)
    data = Batch(state[:-1], go, r, torch.full((length,), GAMMA), state[1:])
    found, _ = learner().look_ahead(data, torch.tensor([length]))
    first, last = found[:, 0][[0, -1]].tolist()
    assert last > 49 and first == pytest.approx(last * GAMMA ** (length - 1), abs=0.7)


@torch.no_grad()
def test_what_is_worth_more_than_the_policy_is_told_apart() -> None:
    """Episodes of three steps, the same states; the second one is paid for its middle step."""
    state = torch.tensor([[0.0], [1.0], [2.0], [3.0]]).repeat(2, 1, 1)
    before, after = state[:, :-1].reshape(6, 1), state[:, 1:].reshape(6, 1)
    r = torch.zeros(6, 2)
    r[4] = 50.0
    data = Batch(before, torch.zeros(6, 1), r, torch.full((6,), GAMMA), after)
    _, better = learner(margin=1.0).look_ahead(data, torch.tensor([3, 3]))
    assert better.tolist() == [False, False, False, True, True, False]


def test_it_imitates_what_was_worth_more_and_nothing_else() -> None:
    """Where the critics know nothing, stored actions that gain draw the policy."""
    state, action = torch.ones(64, 1), torch.cat([torch.full((32, 1), x) for x in (0.7, -0.7)])
    gain = torch.cat([torch.full((32, 2), 5.0), torch.full((32, 2), -5.0)])
    data = Batch(state, action, gain, torch.zeros(64), state)
    one = learner(imitation=1.0, policy_rate=1e-2)
    one.q.requires_grad_(False)
    one._improve(data, gain)
    before = one.policy.mode(ONE[:1]).item()
    for _ in range(50):
        one._improve(data, gain)
    after = one.policy.mode(ONE[:1]).item()
    assert after > before + 0.1 and after == pytest.approx(0.7, abs=0.15)


def test_a_gain_is_over_what_its_own_action_is_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    one, seen = learner(evaluations=0), []
    with torch.no_grad():
        for parameter in one.q.parameters():
            parameter.zero_()
        for worth, part in zip((2.0, -3.0), one.q.parts, strict=True):
            list(part.parameters())[-1].fill_(worth)  # whatever the action
    monkeypatch.setattr(one, "_improve", lambda batch, gain: seen.append(gain) or {})
    one.update(stored())
    torch.testing.assert_close(seen[0], stored().reward - torch.tensor([2.0, -3.0]))


def test_what_is_hardly_worth_more_is_not_imitated() -> None:
    state, action = torch.ones(64, 1), torch.full((64, 1), 0.7)
    grown = []
    for gain in torch.tensor([0.0, 0.4, 3.0]):  # of both rewards, and so of their sum
        this = learner(imitation=1.0, margin=0.5)
        for _ in range(5):  # the first step of Adam knows signs alone
            data = Batch(state, action, torch.zeros(64, 2), torch.zeros(64), state)
            this._improve(data, gain.expand(64, 2))
        grown.append(float(this.policy.log_prob(state, action).detach().mean()))
    assert grown[0] == grown[1] < grown[2]


def test_how_much_a_promise_counts() -> None:
    """All of it, and what was learned is of no matter to the policy."""
    found = {}
    for promise in (0.5, 1.0):
        for learned in (0.0, 1.0):
            one = learner(promise=promise)
            with torch.no_grad():
                for parameter in one.q.parameters():
                    parameter.mul_(1 + learned)
            one._improve(stored(), torch.zeros(SIZE, 2))
            found[promise, learned] = one.policy.mode(ONE[:1]).item()
    assert found[1.0, 0.0] == found[1.0, 1.0]
    assert found[0.5, 0.0] != found[0.5, 1.0]


def test_the_policy_waits_for_the_critics() -> None:
    one = learner(evaluations=5)
    before = copy.deepcopy(one.policy.state_dict())
    learn(one, 5)
    assert all(torch.equal(before[name], now) for name, now in one.policy.state_dict().items())
    learn(one, 1)
    assert any(not torch.equal(before[name], now) for name, now in one.policy.state_dict().items())


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
    values = [learn(learner(seed=seed, jitter=0.3), 5).q(ONE, GRID) for seed in (0, 0, 1)]
    assert torch.equal(values[0], values[1]) and not torch.equal(values[0], values[2])


def test_the_rate_falls_to_zero() -> None:
    one = learner(policy_rate=1e-2)
    for done, left in ((0.0, 1.0), (0.3, 1.0), (0.65, 0.5), (1.0, 0.0)):
        one.anneal(done)
        rates = {name: adam.param_groups[0]["lr"] for name, adam in one.optimizers.items()}
        assert rates == pytest.approx({"policy": left * 1e-2, "q": left * 5e-3})


@pytest.mark.parametrize("kind", [DeterministicPolicy, ImplicitPolicy])
def test_a_policy_without_density_is_refused(kind: type) -> None:
    q = WeightedSum([Ensemble(1, 1, (4,), 1, 0.1, GAMMA)], (1.0,), 0.1)
    with pytest.raises(InvalidValue, match=r"no density to improve; .*improve.updates=0"):
        Improve(kind(1, 1, (4,)), q, ImproveConfig(), 0)


@pytest.mark.parametrize(
    "options",
    [
        {"updates": -1},
        {"evaluations": -1},
        {"learning_rate": 0.0},
        {"batch_size": 0},
        {"sweep_every": 0},
        {"imitation": -0.1},
        {"policy_rate": 0.0},
        {"promise": 1.1},
        {"focus": -0.1},
    ],
)
def test_bad_configs(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=r"improve\."):
        ImproveConfig(**options)
