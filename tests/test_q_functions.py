"""Soft Q-functions: the minimum of an ensemble, weighted sums, and how targets follow."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from skillkit.errors import UnknownName
from skillkit.networks import MLP
from skillkit.q_functions import Ensemble, SoftQ, WeightedSum, build_q, track

OBSERVATIONS, ACTIONS = 3, 2


def ensemble(critics: int = 2, alpha: float = 0.2, hidden: tuple[int, ...] = (8, 8)) -> Ensemble:
    return Ensemble(OBSERVATIONS, ACTIONS, hidden, critics, alpha, gamma=0.97)


def inputs(size: int = 16) -> tuple[Tensor, Tensor]:
    return torch.randn(size, OBSERVATIONS), 2 * torch.rand(size, ACTIONS) - 1


def constant(*values: float, alpha: float = 0.2) -> Ensemble:
    """Critics that answer these numbers everywhere."""
    q = ensemble(len(values), alpha, hidden=())
    with torch.no_grad():
        q.net.layers[0].weight.zero_()
        q.net.layers[0].bias.copy_(torch.tensor(values)[:, None, None])
    return q


MEMBERS: dict[str, Callable[[], SoftQ]] = {
    "one critic": lambda: ensemble(1),
    "two critics": ensemble,
    "linear": lambda: ensemble(3, hidden=()),
    "some inputs": lambda: Ensemble(OBSERVATIONS, ACTIONS, (8,), 2, 0.2, 0.97, inputs=(2, 0)),
    "scaled": lambda: Ensemble(OBSERVATIONS, ACTIONS, (8,), 2, 0.2, 0.97, scale=50.0),
    "sum": lambda: WeightedSum([ensemble(2, 0.5), ensemble(1, 0.1)], (0.5, 0.5), 0.3),
    "one part": lambda: WeightedSum([ensemble()], (2.0,), 0.4),
    "nested": lambda: WeightedSum(
        [WeightedSum([ensemble(2, 0.5), ensemble(2, 0.2)], (0.2, 0.3), 0.16), ensemble(1, 0.1)],
        (0.7, 0.3),
        0.21,
    ),
}
members = pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)


@members
def test_one_number_per_row(make: Callable[[], SoftQ], float64: None) -> None:
    """And a gradient for the policy that acts on it."""
    q, (obs, action) = make(), inputs()
    action.requires_grad_()
    values = q(obs, action)
    assert values.shape == (16,)
    torch.testing.assert_close(q(obs[5:6], action[5:6]), values[5:6])  # rows do not mix
    (gradient,) = torch.autograd.grad(values.sum(), action)
    assert gradient.any(dim=1).all()


@members
def test_rebuilt_from_plain_data(make: Callable[[], SoftQ], float64: None) -> None:
    q, (obs, action) = make(), inputs()
    again = build_q(json.loads(json.dumps({"kind": q.kind, "config": q.config})))
    assert (again.config, again.alpha, again.gamma) == (q.config, q.alpha, q.gamma)
    assert not torch.equal(again(obs, action), q(obs, action))
    again.load_state_dict(q.state_dict())
    assert torch.equal(again(obs, action), q(obs, action))


@pytest.mark.parametrize("critics", [1, 2, 4])
def test_critics_are_separate_networks(critics: int, float64: None) -> None:
    q, (obs, action) = ensemble(critics), inputs(64)
    for parameter in q.parameters():
        nn.init.normal_(parameter)
    singles = []
    for i in range(critics):
        net = MLP([OBSERVATIONS + ACTIONS, 8, 8, 1])
        with torch.no_grad():
            for ours, theirs in zip(net.layers, q.net.layers, strict=True):
                ours.weight.copy_(theirs.weight[i].T)
                ours.bias.copy_(theirs.bias[i, 0])
        singles.append(net(torch.cat([obs, action], -1))[:, 0])
    torch.testing.assert_close(q.all(obs, action), torch.stack(singles))
    smallest = torch.stack(singles).min(0)
    torch.testing.assert_close(q(obs, action), smallest.values)
    assert critics == 1 or len(smallest.indices.unique()) > 1  # none is the smallest everywhere


def test_the_minimum_is_taken_inside_each_skill() -> None:
    """(2, -1) and (0, 3), weights (.5, 2): .5 (-1) + 2 (0), whatever the sums' own minimum."""
    q = WeightedSum([constant(2.0, -1.0), constant(0.0, 3.0)], (0.5, 2.0), alpha=0.5)
    torch.testing.assert_close(q(*inputs(3)), torch.full((3,), -0.5))


def test_a_sum_of_sums() -> None:
    inner = WeightedSum([constant(1.0), constant(2.0)], (0.5, 0.25), 0.1)  # 1
    q = WeightedSum([inner, constant(4.0, 5.0), constant(9.0)], (3.0, 0.5, 0.0), 0.2)
    torch.testing.assert_close(q(*inputs(3)), torch.full((3,), 5.0))


def test_a_sum_knows_its_temperatures_and_discount() -> None:
    q = WeightedSum([constant(0.0, alpha=0.5), constant(0.0, alpha=0.1)], (0.2, 0.8), alpha=0.18)
    assert (q.alpha, q.temperatures, q.weights) == (0.18, (0.5, 0.1), (0.2, 0.8))
    assert q.gamma == 0.97


@pytest.mark.parametrize(
    "description",
    [
        {"kind": "ensembel", "config": {}},
        {"kind": "weighted_sum", "config": {"parts": [{"kind": "ensembel", "config": {}}]}},
    ],
)
def test_unknown_kind(description: dict[str, object]) -> None:
    with pytest.raises(UnknownName, match="'ensembel'; did you mean ensemble?"):
        build_q(description)


# Targets


def test_track_by_hand() -> None:
    target, source = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        for module, value in ((target, 1.0), (source, 5.0)):
            module.weight.fill_(value)
            module.bias.fill_(-value)
    track(target, source, 0.25)  # eq. 4.6: 3/4 of the old, 1/4 of the new
    assert (target.weight.item(), target.bias.item()) == (2.0, -2.0)
    assert (source.weight.item(), source.bias.item()) == (5.0, -5.0)
    track(target, source, 1.0)
    assert (target.weight.item(), target.bias.item()) == (5.0, -5.0)


def test_track_follows_every_parameter(float64: None) -> None:
    """The distance shrinks by 1 - rate at each step; nothing is shared, nothing differentiated."""
    source = ensemble()
    target = copy.deepcopy(source)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(torch.randn_like(parameter))
    start = copy.deepcopy(target)
    for _ in range(10):
        track(target, source, 0.3)
    for a, b, end in zip(start.parameters(), target.parameters(), source.parameters(), strict=True):
        torch.testing.assert_close(b - end, 0.7**10 * (a - end))
        assert b.grad_fn is None and b.data_ptr() != end.data_ptr()


def test_inputs_select_and_order_entries(float64: None) -> None:
    """What it does not read changes nothing; a Q-function without inputs says nothing of them."""
    narrow = Ensemble(OBSERVATIONS, ACTIONS, (8, 8), inputs=(2, 0))
    whole = Ensemble(2, ACTIONS, (8, 8))
    whole.load_state_dict(narrow.state_dict())
    obs, action = inputs()
    torch.testing.assert_close(narrow(obs, action), whole(obs[:, [2, 0]], action), rtol=0, atol=0)
    other = obs + torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(narrow(other, action), narrow(obs, action), rtol=0, atol=0)
    assert narrow.config["inputs"] == [2, 0] and "inputs" not in ensemble().config


def test_a_scale_is_the_unit_of_what_the_network_says() -> None:
    """Stored with it; a skill of before has none."""
    plain = ensemble()
    scaled = Ensemble(OBSERVATIONS, ACTIONS, (8, 8), 2, 0.2, 0.97, scale=50.0)
    scaled.load_state_dict(plain.state_dict())
    obs, action = inputs()
    torch.testing.assert_close(scaled(obs, action), 50 * plain(obs, action))
    assert scaled.config["scale"] == 50.0 and "scale" not in plain.config
