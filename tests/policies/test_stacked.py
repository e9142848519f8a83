"""A stack is a policy: a map from noise to action, invertible where its layers are (THEORY 7)."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from skillkit.errors import InvalidValue
from skillkit.functional.losses import log_normal
from skillkit.policies import POLICIES, GaussianPolicy, Policy, StackedPolicy, build_policy
from skillkit.q_functions import build_q
from tests.toys import gaussian, stirred

INVERTIBLE = sorted(kind for kind, made in POLICIES.items() if made.has_density)


def layer(kind: str, bottom: bool = False, **options: Any) -> Policy:
    made: Policy = stirred(POLICIES[kind](4, 2, (8,), squash=bottom, **options), 0.1)
    return made


def stacked(*kinds: str, holds: tuple[int, ...] = (3, 1)) -> StackedPolicy:
    layers = [layer(kind, bottom=not index) for index, kind in enumerate(kinds)]
    return StackedPolicy(layers, holds[: len(kinds) - 1])


STACKS = [(a, b, c) for a in INVERTIBLE for b in INVERTIBLE for c in INVERTIBLE]
every_stack = pytest.mark.parametrize("kinds", STACKS, ids="-".join)


@every_stack
def test_the_noise_of_a_layer_is_the_action_of_the_one_above(
    kinds: tuple[str, ...], float64: None
) -> None:
    stack, obs, noise = stacked(*kinds), torch.randn(6, 4), torch.randn(6, 2)
    bottom, middle, top = stack.each
    by_hand = bottom.act(obs, middle.act(obs, top.act(obs, noise)))
    assert torch.equal(stack.act(obs, noise), by_hand)
    assert torch.equal(stack.mode(obs), bottom.act(obs, middle.act(obs, top.mode(obs))))
    assert by_hand.abs().max() <= 1 and stack.top is top and stack.noise_dim == 2


@every_stack
def test_one_density(kinds: tuple[str, ...], float64: None) -> None:
    """log pi(a|s) = log N(eps) - log|det da/deps|, and eps comes back."""
    stack, obs, noise = stacked(*kinds), torch.randn(4, 4), torch.randn(4, 2)
    assert stack.has_density
    action, log_prob = stack.act_and_log_prob(obs, noise)
    u = stack.raw(obs, noise)
    torch.testing.assert_close(stack.log_prob(obs, action, pre_tanh=u), log_prob)
    torch.testing.assert_close(stack.inverse(obs, action, pre_tanh=u), noise)
    for s, eps, found in zip(obs, noise, log_prob, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda e, s=s: stack.act(s, e), eps)
        expected = log_normal(eps) - torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(found, expected)


@every_stack
def test_its_price_is_that_of_its_actions(kinds: tuple[str, ...], float64: None) -> None:
    """log pi(h) - log N(h) = log pi(a) - log pi_0(a): an upper layer pays what it changes about the
    base, whatever the base is (THEORY 7)."""
    stack, obs, noise = stacked(*kinds), torch.randn(50, 4), torch.randn(50, 2)
    *lower, top = stack.each
    base: Policy = StackedPolicy(lower, stack.holds[:1])
    h, log_prob_h = top.act_and_log_prob(obs, noise)
    u, log_prob_a = stack.raw_and_log_prob(obs, noise)
    price = log_prob_a - base.log_prob(obs, u.tanh(), pre_tanh=u)
    torch.testing.assert_close(log_prob_h - log_normal(h), price)


def unsquashed(mean: float, std: float) -> GaussianPolicy:
    policy = gaussian([mean], [std])
    policy.squash = False
    return policy


def test_the_price_by_hand(float64: None) -> None:
    """ORACLES 9: base a = tanh(.2 + .4 h), upper h = .7 + .5 eps."""
    stack = StackedPolicy([gaussian([0.2], [0.4]), unsquashed(0.7, 0.5)], [3])
    obs, eps = torch.zeros(1, 1), torch.ones(1, 1)
    h, log_prob_h = stack.top.act_and_log_prob(obs, eps)
    assert (log_prob_h - log_normal(h)).item() == pytest.approx(0.91314718, abs=1e-8)
    # the mean over eps, by quadrature
    eps = torch.linspace(-9, 9, 20_001)[:, None]
    weight = torch.softmax(log_normal(eps), 0)
    states = obs.expand(len(eps), 1)
    h, log_prob_h = stack.top.act_and_log_prob(states, eps)
    assert (weight * (log_prob_h - log_normal(h))).sum().item() == pytest.approx(0.56314718)
    u, log_prob_a = stack.raw_and_log_prob(states, eps)
    against = gaussian([0.2], [0.4]).log_prob(states, u.tanh(), pre_tanh=u)
    assert (weight * (log_prob_a - against)).sum().item() == pytest.approx(0.56314718)


def test_a_gradient_reaches_every_layer(float64: None) -> None:
    stack, obs = stacked("gaussian", "real_nvp", "gaussian"), torch.randn(64, 4)
    noise = torch.randn(64, 2)
    gradients: tuple[Tensor, ...] = torch.autograd.grad(
        stack.act(obs, noise).sum(), list(stack.parameters())
    )
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_it_is_rebuilt_from_plain_data() -> None:
    stack, obs = stacked("real_nvp", "gaussian", "gaussian"), torch.randn(3, 4)
    noise = torch.randn(3, 2)
    again = build_policy(
        json.loads(json.dumps({"kind": stack.kind, "config": stack.config})), build_q
    )
    again.load_state_dict(stack.state_dict())
    assert again.config == stack.config
    assert isinstance(again, StackedPolicy) and again.holds == (3, 1)
    assert torch.equal(again.act(obs, noise), stack.act(obs, noise))


def test_steps_per_decision_multiply() -> None:
    assert stacked("gaussian", "gaussian", "gaussian", holds=(3, 2)).steps_per_decision == 6


def test_a_top_without_density_makes_a_stack_without() -> None:
    for kind in ("implicit", "deterministic"):
        stack = StackedPolicy([layer("gaussian", True), layer(kind)], [3])
        assert not stack.has_density
        with pytest.raises(InvalidValue, match=f"a {kind} policy"):
            stack.act_and_log_prob(torch.randn(2, 4), torch.randn(2, stack.noise_dim))


@pytest.mark.parametrize(
    ("layers", "holds", "culprit"),
    [
        (lambda: [layer("gaussian", True)], [], "1 layers"),
        (lambda: [layer("gaussian", True), layer("gaussian")], [], "0 holds"),
        (lambda: [layer("gaussian", True), layer("gaussian")], [0], "at least 1"),
        (lambda: [layer("gaussian", True), layer("gaussian")], [1.5], "at least 1"),
        (lambda: [layer("gaussian", True), layer("gaussian", True)], [3], "does not fit"),
        (lambda: [layer("deterministic", True), layer("gaussian")], [3], "does not fit"),
        (lambda: [layer("gaussian", True), gaussian([0.0], [1.0])], [3], "does not fit"),
    ],
)
def test_layers_that_do_not_fit(layers: Any, holds: list[Any], culprit: str) -> None:
    with pytest.raises(InvalidValue, match=culprit):
        StackedPolicy(layers(), holds)
