"""The flow policy: its density as a whole, what it can learn, and what it costs as a layer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from skillkit.errors import InvalidValue
from skillkit.functional.losses import log_normal
from skillkit.policies import POLICIES, RealNVPPolicy
from tests.toys import stirred

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "three couplings": {"couplings": 3, "conditioner": (16,), "embedding": 8},
    "narrow": {"scale_bound": 5.0},
    "six couplings": {"couplings": 6},
    "linear conditioners": {"conditioner": ()},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def made(actions: int = 2, squash: bool = True, by: float = 0.15, **options: Any) -> RealNVPPolicy:
    policy: RealNVPPolicy = stirred(RealNVPPolicy(3, actions, (16,), squash=squash, **options), by)
    return policy


# The density


@every_option
@pytest.mark.parametrize("squash", [True, False])
def test_it_integrates_to_one_over_a_line(
    options: dict[str, Any], squash: bool, float64: None
) -> None:
    policy = made(1, squash, **options)
    u = torch.linspace(-30, 30, 20_001)[:, None]
    du = torch.full((20_001,), 60 / 20_000)
    action = u.tanh() if squash else u
    da = du / u[:, 0].cosh().square() if squash else du
    for obs in torch.randn(3, 3):
        density = policy.log_prob(obs, action, pre_tanh=u).exp()
        assert (density @ da).item() == pytest.approx(1.0, abs=1e-6)


@every_option
@pytest.mark.parametrize("squash", [True, False])
def test_it_integrates_to_one_over_a_plane(
    options: dict[str, Any], squash: bool, float64: None
) -> None:
    """Of two actions; conditioners are piecewise linear, so the grid leaves some error."""
    policy = made(2, squash, **options)
    line = torch.linspace(-12, 12, 201)
    u = torch.cartesian_prod(line, line)
    du = torch.full((len(u),), 0.12**2)
    action = u.tanh() if squash else u
    da = du / u.cosh().square().prod(-1) if squash else du
    density = policy.log_prob(torch.randn(3), action, pre_tanh=u).exp()
    assert (density @ da).item() == pytest.approx(1.0, abs=1e-3)


def test_it_begins_as_the_noise_in_every_state() -> None:
    policy = RealNVPPolicy(3, 2)
    obs, noise = 100 * torch.randn(6, 3), torch.randn(6, 2)
    assert torch.equal(policy.raw(obs, noise), noise)
    assert torch.equal(policy.act(obs, noise), noise.tanh())
    assert torch.equal(policy.mode(obs), torch.zeros(6, 2))


def test_single_precision_keeps_the_round_trip() -> None:
    torch.manual_seed(0)
    policy = made(8)
    obs, noise = torch.randn(100, 3), torch.randn(100, 8)
    u, log_det = policy.raw_and_log_det(obs, noise)
    again, same = policy.raw_inverse(obs, u)
    torch.testing.assert_close(again, noise, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(same, log_det, rtol=1e-4, atol=1e-4)


# As an upper layer: log pi - log N is what it pays (ORACLES 9)


@every_option
def test_what_a_layer_pays(options: dict[str, Any], float64: None) -> None:
    """log pi(h) - log N(h) = (|h|^2 - |eps|^2)/2 - log|det|."""
    policy = made(squash=False, **options)
    obs, noise = torch.randn(6, 3), torch.randn(6, 2)
    h, log_pi = policy.act_and_log_prob(obs, noise)
    expected = (h.square() - noise.square()).sum(-1) / 2 - policy.raw_and_log_det(obs, noise)[1]
    torch.testing.assert_close(log_pi - log_normal(h), expected)


@every_option
def test_it_pays_the_same_wherever_that_is_measured(options: dict[str, Any], float64: None) -> None:
    """log pi_h - log N of its latents = log pi_a - log pi_0 of the actions below (THEORY 7)."""
    upper, base = made(squash=False, **options), made(**options)
    obs, noise = torch.randn(6, 3), torch.randn(6, 2)
    h, log_pi_h = upper.act_and_log_prob(obs, noise)
    u = base.raw(obs, h)

    def composed(eps: Tensor, s: Tensor) -> Tensor:
        return base.act(s, upper.act(s, eps))

    jacobians = [
        torch.autograd.functional.jacobian(lambda e, s=s: composed(e, s), eps)
        for s, eps in zip(obs, noise, strict=True)
    ]
    log_pi_a = log_normal(noise) - torch.linalg.slogdet(torch.stack(jacobians)).logabsdet
    log_pi_0 = base.log_prob(obs, u.tanh(), pre_tanh=u)
    torch.testing.assert_close(log_pi_h - log_normal(h), log_pi_a - log_pi_0)


def affine(shift: float, scale: float, squash: bool) -> RealNVPPolicy:
    """u = shift + scale eps, the shift in one coupling and the scale in the other."""
    policy = RealNVPPolicy(1, 1, (), squash=squash)
    first, last = policy.flow.couplings
    p = 2 * math.atanh(math.log(scale) / 2)
    first.transform_net.layers[-1].bias.data.copy_(torch.tensor([0.0, p]))
    last.transform_net.layers[-1].bias.data.copy_(torch.tensor([shift, 0.0]))
    return policy


def test_the_divergence_of_the_oracle(float64: None) -> None:
    """Upper h = .7 + .5 eps over base a = tanh(.2 + .4 h): .56314718 nat, measured both ways."""
    upper, base = affine(0.7, 0.5, squash=False), affine(0.2, 0.4, squash=True)
    eps = torch.linspace(-9, 9, 4001)[:, None]
    weight, obs = log_normal(eps).exp() * (eps[1] - eps[0]), torch.zeros(4001, 1)
    h, log_pi = upper.act_and_log_prob(obs, eps)
    above = log_pi - log_normal(h)
    assert (weight @ above).item() == pytest.approx(0.56314718, abs=6e-9)
    both = affine(0.2 + 0.4 * 0.7, 0.4 * 0.5, squash=True)
    u = base.raw(obs, h)
    below = both.log_prob(obs, u.tanh(), u) - base.log_prob(obs, u.tanh(), u)
    torch.testing.assert_close(below, above)
    one = upper.act_and_log_prob(torch.zeros(1, 1), torch.ones(1, 1))
    assert (one[1] - log_normal(one[0])).item() == pytest.approx(0.91314718, abs=6e-9)


@pytest.mark.parametrize(
    ("mean", "std", "u", "log_pi"),
    [(0.3, 0.5, 0.8, -0.14428423), (1.0, 0.2, 4.0, -105.19512417), (0.0, 1.0, 10.0, -32.30523289)],
)
def test_log_density(mean: float, std: float, u: float, log_pi: float, float64: None) -> None:
    """ORACLES 6: with one action a flow is a tanh-Gaussian."""
    raw = torch.tensor([[u]])
    found = affine(mean, std, squash=True).log_prob(torch.zeros(1, 1), raw.tanh(), pre_tanh=raw)
    assert found.item() == pytest.approx(log_pi, abs=6e-9)


# What it can learn

MEAN = torch.tensor([0.3, -0.5])


def learned(std: float, forward: bool, updates: int, **options: Any) -> tuple[float, Tensor]:
    """KL to u ~ N(MEAN + .6 s, std^2) after training on it, and the standard deviations found."""
    torch.manual_seed(0)
    policy = RealNVPPolicy(1, 2, (32,), squash=False, **options)
    adam = torch.optim.Adam(policy.parameters(), fused=True)

    def loss(rows: int) -> Tensor:
        obs, eps = 2 * torch.rand(rows, 1) - 1, torch.randn(rows, 2)
        target = Normal(MEAN + 0.6 * obs, std)
        if forward:  # maximum likelihood
            u = target.mean + std * eps
            log_prob, sign = policy.log_prob(obs, u), -1.0
        else:  # what SAC does
            (u, log_prob), sign = policy.act_and_log_prob(obs, eps), 1.0
        return sign * (log_prob - target.log_prob(u).sum(-1)).mean()

    for update in range(updates):
        adam.param_groups[0]["lr"] = 5e-3 * (1 + math.cos(math.pi * update / updates))
        adam.zero_grad()
        loss(64).backward()
        adam.step()
    with torch.no_grad():
        u = policy.act(torch.zeros(1), torch.randn(4_000, 2))
        assert u.mean(0).tolist() == pytest.approx(MEAN.tolist(), abs=0.01 + 0.15 * std)
        return loss(4_000).item(), u.std(0)


@pytest.mark.parametrize(
    ("std", "forward", "updates", "options"),
    [
        pytest.param(0.01, False, 600, {"scale_bound": 5.0}, marks=pytest.mark.slow),
        (0.01, True, 400, {"scale_bound": 5.0}),
        pytest.param(0.01, True, 400, {"couplings": 6}, marks=pytest.mark.slow),
        (3.0, False, 300, {}),
        (3.0, True, 300, {}),
        (0.2, False, 300, {}),
    ],
)
def test_narrow_and_broad(std: float, forward: bool, updates: int, options: dict[str, Any]) -> None:
    divergence, found = learned(std, forward, updates, **options)
    assert -0.05 < divergence < 0.3  # nat, of two actions
    assert (found / std).log().abs().max() < 0.4


def test_the_default_stops_at_its_floor() -> None:
    """Asked for a standard deviation of .01, two couplings at bound 2 go down to e^-2."""
    divergence, found = learned(0.01, False, 300)
    assert found.tolist() == pytest.approx([math.exp(-2)] * 2, rel=0.05)
    assert divergence > 100


def test_a_curve() -> None:
    """u_2 = u_1^2 + .3 eps_2: the best Gaussian misses it by log(2.09/.09)/2 = 1.57 nat."""
    torch.manual_seed(0)
    policy = RealNVPPolicy(1, 2, (), squash=False)
    adam = torch.optim.Adam(policy.parameters(), 1e-2, fused=True)
    obs = torch.zeros(1)
    for _ in range(300):
        eps = torch.randn(128, 2)
        u = torch.stack([eps[:, 0], eps[:, 0].square() + 0.3 * eps[:, 1]], -1)
        adam.zero_grad()
        (-policy.log_prob(obs, u).mean()).backward()
        adam.step()
    entropy = math.log(2 * math.pi * math.e) + math.log(0.3)
    assert -policy.log_prob(obs, u).mean().item() - entropy < 1.2


# Options


@every_option
def test_the_config_rebuilds_it(options: dict[str, Any]) -> None:
    policy = made(**options)
    again = POLICIES["real_nvp"](**policy.config)
    again.load_state_dict(policy.state_dict())
    assert again.config == policy.config
    obs, noise = torch.randn(6, 3), torch.randn(6, 2)
    assert torch.equal(again.act(obs, noise), policy.act(obs, noise))


def test_a_bad_option_is_refused() -> None:
    with pytest.raises(InvalidValue, match="flow.couplings must be at least 2"):
        RealNVPPolicy(3, 2, couplings=1)
