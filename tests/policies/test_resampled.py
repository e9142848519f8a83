"""The policy that resamples candidates: its laws, and that it samples exp(Q/alpha) (ORACLES 10)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from skillkit.errors import InvalidValue, UnknownName
from skillkit.policies import GaussianPolicy, ResampledPolicy, build_policy
from skillkit.policies.mixture import candidate_values
from skillkit.q_functions import SoftQ, WeightedSum, build_q
from tests.resampled import MAKES, resampled
from tests.toys import FlatQ, GaussianQ, TwoPeaks, gaussian

every_make = pytest.mark.parametrize("make", MAKES)


# Laws


@every_make
def test_shapes_and_bounds(make: str) -> None:
    policy = resampled(**MAKES[make])
    obs, noise = torch.randn(6, 4), torch.randn(6, policy.noise_dim)
    for action in (policy.act(obs, noise), policy.mode(obs), policy.act(1e3 * obs, 1e3 * noise)):
        assert action.shape == (6, policy.action_dim) and (action.abs() <= 1).all()


@every_make
def test_leading_dimensions(make: str, float64: None) -> None:
    policy = resampled(**MAKES[make])
    obs, noise = torch.randn(6, 4), torch.randn(6, policy.noise_dim)
    flat, modes = policy.act(obs, noise), policy.mode(obs)
    torch.testing.assert_close(policy.act(obs[2], noise[2]), flat[2])
    torch.testing.assert_close(policy.mode(obs[2]), modes[2])
    folded = obs.unflatten(0, (2, 3))
    again = policy.act(folded, noise.unflatten(0, (2, 3)))
    torch.testing.assert_close(again, flat.unflatten(0, (2, 3)))
    torch.testing.assert_close(policy.mode(folded), modes.unflatten(0, (2, 3)))


@every_make
def test_noise_is_the_only_randomness(make: str) -> None:
    policy = resampled(**MAKES[make])
    obs, noise = torch.randn(6, 4), torch.randn(6, policy.noise_dim)
    before = torch.get_rng_state()
    assert torch.equal(policy.act(obs, noise), policy.act(obs, noise))
    assert torch.equal(policy.mode(obs), policy.mode(obs))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(policy.act(obs, noise), policy.act(obs, noise.flip(0)))


@every_make
def test_save_and_load(make: str, tmp_path: Path) -> None:
    policy = resampled(**MAKES[make])
    obs, noise = torch.randn(6, 4), torch.randn(6, policy.noise_dim)
    save_file(policy.state_dict(), tmp_path / "policy.safetensors")
    stored = json.loads(json.dumps({"kind": policy.kind, "config": policy.config}))
    again = build_policy(stored, build_q)
    assert again.config == policy.config
    again.load_state_dict(load_file(tmp_path / "policy.safetensors"))
    torch.testing.assert_close(again.act(obs, noise), policy.act(obs, noise))
    torch.testing.assert_close(again.mode(obs), policy.mode(obs))


def test_no_density_is_said_in_a_sentence() -> None:
    policy = resampled()
    obs, noise = torch.randn(6, 4), torch.randn(6, policy.noise_dim)
    with pytest.raises(InvalidValue, match="a resampled policy has no density"):
        policy.act_and_log_prob(obs, noise)
    with pytest.raises(InvalidValue, match="a resampled policy cannot be inverted"):
        policy.log_prob(obs, policy.act(obs, noise))


def test_an_unknown_kind_is_answered_with_known_ones() -> None:
    with pytest.raises(UnknownName, match="no policy kind is called 'resample'.*resampled"):
        build_policy({"kind": "resample", "config": {}}, build_q)


# The distribution: of one state, many times


def policy_of(q: SoftQ, policies: list[GaussianPolicy], candidates: int) -> ResampledPolicy:
    """The policy of Q alone, whatever proposes."""
    weights = [1.0] + [0.0] * (len(policies) - 1)
    parts = [q] + [FlatQ()] * (len(policies) - 1)
    return ResampledPolicy(policies, WeightedSum(parts, weights, q.alpha), candidates)


def sampled(policy: ResampledPolicy, count: int, obs: float = 0.0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    states = torch.full((count, policy.observation_dim), obs)
    with torch.no_grad():
        return policy.act(states, torch.randn(count, policy.noise_dim, generator=rng))


def test_a_flat_q_function_gives_uniform_actions() -> None:
    """ORACLES 10; uncorrected weights would give E a = .316 and E a^2 = .382."""
    action = sampled(policy_of(FlatQ(), [gaussian([0.8], [0.3])], 64), 4_000)
    assert action.mean().item() == pytest.approx(0.0, abs=0.04)
    assert action.square().mean().item() == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
def test_it_samples_the_boltzmann_policy(alpha: float) -> None:
    """Mean and deviation of u under exp(Q/alpha), from proposals elsewhere."""
    q = GaussianQ([0.3, -0.5], [0.4, 0.2], alpha, slope=0.5, height=3.0)
    policy = policy_of(
        q, [gaussian([0.9, 0.1], [0.5, 0.6]), gaussian([-0.2, -0.9], [0.6, 0.5])], 64
    )
    u = torch.atanh(sampled(policy, 4_000, obs=0.4))
    assert u.mean(0).tolist() == pytest.approx([0.5, -0.3], abs=0.03)
    assert u.std(0).tolist() == pytest.approx([0.4, 0.2], rel=0.06)


def test_both_peaks_are_sampled() -> None:
    action = sampled(policy_of(TwoPeaks(0.1), [gaussian([0.7], [0.2])], 64), 4_000)[:, 0]
    assert (action > 0).float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert action.abs().mean().item() == pytest.approx(0.6, abs=0.01)
    assert action.abs().std().item() == pytest.approx(0.1, abs=0.01)


# The mode


@every_make
def test_the_mode_is_the_best_fixed_candidate(make: str) -> None:
    """No worse than what the skills themselves would do, and than not to move."""
    policy = resampled(**MAKES[make])
    obs = torch.randn(20, 4)
    u = policy.mixture.raw(obs, policy.noise.expand(20, -1))
    q = candidate_values(policy.q, obs, torch.tanh(u))
    chosen = torch.gather(torch.tanh(u), 1, q.argmax(1)[:, None, None].expand(-1, -1, u.shape[2]))
    torch.testing.assert_close(policy.mode(obs), chosen[:, 0])
    for other in (*(own.mode(obs) for own in policy.policies), torch.zeros(20, policy.action_dim)):
        assert (policy.q(obs, policy.mode(obs)) >= policy.q(obs, other) - 1e-5).all()


def test_the_mode_needs_no_correction() -> None:
    """It is where Q is highest, not where the proposal is thin."""
    q = GaussianQ([0.5], [0.05], alpha=0.2)
    policy = policy_of(q, [gaussian([0.5], [0.05])], 256)
    policy.draw_noise(0)
    peak = torch.linspace(-0.99, 0.99, 2001)[:, None]
    best = peak[q(torch.zeros(2001, 1), peak).argmax()]
    assert policy.mode(torch.zeros(1, 1)).item() == pytest.approx(best.item(), abs=0.01)


def test_the_fixed_candidates_are_of_the_seed() -> None:
    one, same, other = (resampled() for _ in range(3))
    for policy, seed in ((one, 5), (same, 5), (other, 6)):
        policy.draw_noise(seed)
    assert torch.equal(one.noise, same.noise) and not torch.equal(one.noise, other.noise)
    assert torch.equal(resampled().noise, resampled().noise)
