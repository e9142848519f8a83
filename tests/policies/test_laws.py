"""Laws that every policy obeys, in double precision where a law is an equation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from skillkit.errors import InvalidValue
from skillkit.policies import POLICIES, Policy
from tests.toys import gaussian, stirred

DENSE = ["gaussian", "clipped_gaussian", "real_nvp"]  # with a density, and invertible
SAMPLERS = ["implicit"]  # with noise, but no density
POINTS = ["deterministic"]  # without noise

CONFIGS: list[dict[str, Any]] = [
    {"observation_dim": 1, "action_dim": 1, "hidden": (4,)},
    {"observation_dim": 4, "action_dim": 3, "hidden": (16, 16)},
    {"observation_dim": 4, "action_dim": 2, "hidden": ()},
    {"observation_dim": 5, "action_dim": 2, "hidden": (8,), "inputs": (3, 0)},
    {"observation_dim": 3, "action_dim": 2, "hidden": (8,), "squash": False},
]
every_policy = pytest.mark.parametrize("kind", POLICIES)
every_config = pytest.mark.parametrize("config", CONFIGS)
dense = pytest.mark.parametrize("kind", DENSE)


def made(kind: str, config: dict[str, Any], size: int = 6) -> tuple[Policy, Tensor, Tensor]:
    """A policy, observations and noise."""
    policy = stirred(POLICIES[kind](**config))
    obs = torch.randn(size, config["observation_dim"])
    return policy, obs, torch.randn(size, policy.noise_dim)


def test_every_policy_is_tested() -> None:
    assert sorted(DENSE + SAMPLERS + POINTS) == sorted(POLICIES)
    assert sorted(DENSE) == sorted(kind for kind in POLICIES if POLICIES[kind].has_density)


# Every policy


@every_policy
@every_config
def test_shapes_and_bounds(kind: str, config: dict[str, Any], float64: None) -> None:
    policy, obs, noise = made(kind, config)
    assert policy.kind == kind
    assert policy.noise_dim == (0 if kind in POINTS else config["action_dim"])
    for action in (policy.act(obs, noise), policy.mode(obs), policy.act(1e3 * obs, 1e3 * noise)):
        assert action.shape == (6, config["action_dim"])
        assert (action.abs() <= 1).all() or not policy.squash


@every_policy
@every_config
def test_leading_dimensions(kind: str, config: dict[str, Any], float64: None) -> None:
    """One state, a batch, or candidates of a batch: the same action."""
    policy, obs, noise = made(kind, config)
    flat = policy.act(obs, noise)
    torch.testing.assert_close(policy.act(obs[2], noise[2]), flat[2])
    folded = policy.act(obs.unflatten(0, (2, 3)), noise.unflatten(0, (2, 3)))
    torch.testing.assert_close(folded, flat.unflatten(0, (2, 3)))


@every_policy
@every_config
def test_noise_is_the_only_randomness(kind: str, config: dict[str, Any], float64: None) -> None:
    policy, obs, noise = made(kind, config)
    before = torch.get_rng_state()
    assert torch.equal(policy.act(obs, noise), policy.act(obs, noise))
    assert torch.equal(policy.mode(obs), policy.act(obs, torch.zeros_like(noise)))
    assert torch.equal(torch.get_rng_state(), before)


@every_policy
@every_config
def test_a_gradient_reaches_every_parameter(
    kind: str, config: dict[str, Any], float64: None
) -> None:
    policy, obs, noise = made(kind, config, size=64)
    dense = kind in DENSE
    outputs = policy.act_and_log_prob(obs, noise) if dense else (policy.act(obs, noise),)
    for output in outputs:
        gradients = torch.autograd.grad(output.sum(), policy.parameters(), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)


@every_policy
def test_inputs_select_and_order_entries(kind: str, float64: None) -> None:
    whole = stirred(POLICIES[kind](2, 2, (8,)))
    policy = POLICIES[kind](5, 2, (8,), inputs=(3, 0))
    policy.load_state_dict(whole.state_dict())
    obs, noise = torch.randn(6, 5), torch.randn(6, policy.noise_dim)
    torch.testing.assert_close(policy.act(obs, noise), whole.act(obs[:, [3, 0]], noise))
    unread = obs + torch.tensor([0.0, 9.0, 9.0, 0.0, 9.0])
    assert torch.equal(policy.act(unread, noise), policy.act(obs, noise))


@every_policy
@every_config
def test_save_and_load(kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy, obs, noise = made(kind, config)
    save_file(policy.state_dict(), tmp_path / "policy.safetensors")
    stored = json.loads(json.dumps({"kind": policy.kind, "config": policy.config}))
    again = POLICIES[stored["kind"]](**stored["config"])
    assert again.config == policy.config
    assert not torch.equal(again.act(obs, noise), policy.act(obs, noise))
    again.load_state_dict(load_file(tmp_path / "policy.safetensors"))
    assert torch.equal(again.act(obs, noise), policy.act(obs, noise))


@every_policy
def test_without_a_tanh_the_action_is_u(kind: str, float64: None) -> None:
    """Skills of before say nothing about it: only a policy without one does."""
    policy, obs, noise = made(kind, CONFIGS[-1])
    assert torch.equal(policy.act(obs, noise), policy.raw(obs, noise))
    assert policy.config["squash"] is False and "squash" not in made(kind, CONFIGS[0])[0].config
    assert policy.act(obs, 50 * noise).abs().max() > 1 or kind in POINTS


# Policies with a density


@dense
@every_config
def test_one_density(kind: str, config: dict[str, Any], float64: None) -> None:
    """Sample and density of one call are those of `act` and `log_prob`."""
    policy, obs, noise = made(kind, config)
    action, log_prob = policy.act_and_log_prob(obs, noise)
    assert log_prob.shape == (6,)
    assert torch.equal(action, policy.act(obs, noise))
    torch.testing.assert_close(policy.log_prob(obs, action), log_prob)
    u = policy.raw(obs, noise)
    torch.testing.assert_close(policy.log_prob(obs, action, pre_tanh=u), log_prob)


@dense
@every_config
def test_inverse_recovers_the_noise(kind: str, config: dict[str, Any], float64: None) -> None:
    policy, obs, noise = made(kind, config)
    action, u = policy.act(obs, noise), policy.raw(obs, noise)
    torch.testing.assert_close(policy.inverse(obs, action), noise)
    torch.testing.assert_close(policy.inverse(obs, action, pre_tanh=u), noise)


@dense
@every_config
def test_change_of_variables(kind: str, config: dict[str, Any], float64: None) -> None:
    """log pi(a|s) = log N(eps) - log|det da/deps|, the Jacobian by differentiation."""
    policy, obs, noise = made(kind, config, size=4)
    normal = torch.distributions.Normal(0.0, 1.0)
    for s, eps in zip(obs, noise, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda e, s=s: policy.act(s, e), eps)
        expected = normal.log_prob(eps).sum() - torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(policy.act_and_log_prob(s, eps)[1], expected)


@dense
def test_the_density_integrates_to_one(kind: str, float64: None) -> None:
    policy = POLICIES[kind](2, 1, (16,))
    u = torch.linspace(-12, 12, 8001)
    da = (u[1] - u[0]) / u.cosh().square()  # of a = tanh u
    for s in 3 * torch.randn(5, 2):
        density = policy.log_prob(s.expand(len(u), 2), u.tanh()[:, None], u[:, None]).exp()
        assert (density @ da).item() == pytest.approx(1.0, abs=1e-8)


@dense
def test_stored_pre_tanh_inverts_where_the_action_cannot(kind: str) -> None:
    """In float32 tanh(20) is 1; from the action alone something finite must come (THEORY 2)."""
    torch.manual_seed(0)
    policy = POLICIES[kind](2, 2, (8,))
    obs = torch.randn(3, 2)
    u = torch.tensor([[20.0, -20.0], [9.5, -3.0], [0.1, 12.0]])
    noise = policy.inverse(obs, u.tanh(), pre_tanh=u)
    torch.testing.assert_close(policy.raw(obs, noise), u)
    assert torch.isfinite(policy.inverse(obs, u.tanh())).all()
    assert torch.isfinite(policy.log_prob(obs, u.tanh())).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mean", [-20.0, -9.0, 0.0, 9.0, 20.0])
@pytest.mark.parametrize("std", [0.007, 1.0, 7.0])
def test_saturated_actions_have_finite_densities_and_gradients(
    mean: float, std: float, dtype: torch.dtype
) -> None:
    policy = gaussian([mean], [std]).to(dtype)
    obs, noise = torch.zeros(3, 1, dtype=dtype), torch.tensor([[-2.0], [0.0], [2.0]], dtype=dtype)
    action, log_prob = policy.act_and_log_prob(obs, noise)
    torch.testing.assert_close(
        policy.log_prob(obs, action, policy.raw(obs, noise)), log_prob, rtol=1e-4, atol=1e-2
    )
    for value in (action, log_prob):
        gradients = torch.autograd.grad(value.sum(), policy.parameters(), retain_graph=True)
        assert torch.isfinite(value).all()
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


# Policies without one


@pytest.mark.parametrize("kind", SAMPLERS + POINTS)
def test_no_density_is_said_in_a_sentence(kind: str) -> None:
    policy, obs, noise = made(kind, CONFIGS[1])
    action = policy.act(obs, noise)
    for refused in (
        lambda: policy.act_and_log_prob(obs, noise),
        lambda: policy.log_prob(obs, action),
        lambda: policy.inverse(obs, action),
    ):
        with pytest.raises(InvalidValue, match=f"a {kind} policy .*; use a gaussian policy"):
            refused()
