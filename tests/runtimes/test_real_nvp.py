"""The flow policy without PyTorch: hand numbers, torch's own answers, and a stranger's files."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.controller import Controller
from skillkit.errors import CorruptSkill
from skillkit.policies import RealNVPPolicy
from skillkit.runtimes import RUNTIMES
from skillkit.runtimes.real_nvp import RealNVP
from skillkit.skill import arrays
from skillkit.types import Array
from tests.toys import spec, stirred

MAKES: dict[str, dict[str, Any]] = {
    "default": {},
    "one action": {"actions": 1},
    "one action, three couplings": {"actions": 1, "couplings": 3},
    "three actions, three couplings": {"actions": 3, "couplings": 3, "scale_bound": 1.0},
    "six couplings": {"couplings": 6, "scale_bound": 0.5},
    "ant": {"actions": 8, "hidden": (256, 256), "conditioner": (32, 32), "embedding": 16},
    "inputs": {"inputs": (3, 0)},
    "linear": {"hidden": (), "conditioner": ()},
    "latents": {"squash": False},
}
every_make = pytest.mark.parametrize("make", MAKES)
ROWS = 40


def made(
    make: str = "default",
) -> tuple[RealNVPPolicy, RealNVP, Array, Array]:
    """A policy, its runtime, observations and noise."""
    torch.manual_seed(0)
    options = {"actions": 2, "hidden": (16,), **MAKES[make]}
    policy = RealNVPPolicy(4, options.pop("actions"), options.pop("hidden"), **options)
    stirred(policy.flow, 0.1)
    obs, noise = torch.randn(ROWS, 4), torch.randn(ROWS, policy.noise_dim)
    return policy, RealNVP(policy.config, arrays(policy)), obs.numpy(), noise.numpy()


@every_make
@torch.no_grad()
def test_it_answers_as_torch_does(make: str) -> None:
    policy, runtime, obs, noise = made(make)
    for given in (noise, None):
        at = torch.zeros(noise.shape) if given is None else torch.from_numpy(given)
        found, expected = runtime(obs, given), policy.act(torch.from_numpy(obs), at).numpy()
        assert np.abs(found - expected).max() < 1e-6 * max(1.0, np.abs(expected).max())
        assert found.dtype == np.float32
        assert np.abs(expected - at.numpy()).max() > 0.1


@every_make
def test_one_by_one_and_in_batches_to_the_last_bit(make: str) -> None:
    _, runtime, obs, noise = made(make)
    one_by_one = [runtime(o, n) for o, n in zip(obs, noise, strict=True)]
    assert (np.stack(one_by_one) == runtime(obs, noise)).all()
    assert (np.stack([runtime(o, None) for o in obs]) == runtime(obs, None)).all()
    assert (runtime(obs[5:8], noise[5:8]) == runtime(obs, noise)[5:8]).all()


@every_make
@torch.no_grad()
def test_candidates_and_their_density(make: str) -> None:
    """What instant composition asks: u of K noises in each state, and log pi of K actions."""
    policy, runtime, obs, _ = made(make)
    states, noise = torch.from_numpy(obs)[:, None], torch.randn(ROWS, 7, policy.noise_dim)
    u = runtime.candidates(obs, noise.numpy())
    expected = policy.raw(states, noise)
    np.testing.assert_allclose(u, expected.numpy(), rtol=1e-5, atol=1e-5)
    assert (
        runtime.candidates(obs, noise[0].numpy())[3] == runtime.candidates(obs[3], noise[0])
    ).all()
    if policy.squash:
        density = policy.log_prob(states, expected.tanh(), pre_tanh=expected)
        found = runtime.log_prob(obs, expected.numpy())
        np.testing.assert_allclose(found, density.numpy(), rtol=1e-4, atol=1e-4)


def test_noise_and_observation_stay_as_they_were() -> None:
    _, runtime, obs, noise = made()
    before = obs.copy(), noise.copy()
    first = runtime(obs[0], noise[0])
    kept = first.copy()
    runtime(obs[1], noise[1])
    assert (first == kept).all() and (obs == before[0]).all() and (noise == before[1]).all()


def test_by_hand() -> None:
    """The embedding is s; t = relu(s + eps_1), l = 2 tanh(1/2) for eps_2, then eps_1 += u_2."""
    config = {
        "observation_dim": 1, "action_dim": 2, "hidden": [], "inputs": None,
        "couplings": 2, "conditioner": [1], "embedding": 1, "scale_bound": 2.0,
    }  # fmt: skip
    rows: dict[str, list[Any]] = {
        "net.layers.0.weight": [[1]],
        "net.layers.0.bias": [0],
        "flow.couplings.0.transform_net.layers.0.weight": [[1, 1]],  # of the embedding, of eps_1
        "flow.couplings.0.transform_net.layers.0.bias": [0],
        "flow.couplings.0.transform_net.layers.1.weight": [[1], [0]],
        "flow.couplings.0.transform_net.layers.1.bias": [0, 1],
        "flow.couplings.1.transform_net.layers.0.weight": [[0, 1]],
        "flow.couplings.1.transform_net.layers.0.bias": [0],
        "flow.couplings.1.transform_net.layers.1.weight": [[1], [0]],
        "flow.couplings.1.transform_net.layers.1.bias": [0, 0],
    }
    tensors = {name: np.array(row, np.float32) for name, row in rows.items()}
    runtime = RealNVP(config, tensors)
    u_2 = 0.5 * math.exp(0.92423431) + (0.3 + 0.2)  # ORACLES 9
    expected = np.tanh([0.2 + u_2, u_2])
    noise = np.array([0.2, 0.5], np.float32)
    assert runtime(np.array([0.3], np.float32), noise) == pytest.approx(expected, abs=1e-6)
    mode = runtime(np.array([0.3], np.float32), None)
    assert mode == pytest.approx(np.tanh([0.3, 0.3]), abs=1e-6)


# A stranger's files

Change = Callable[[dict[str, Any], dict[str, Array]], Any]
FIRST = "flow.couplings.0.transform_net.layers.0.weight"
HOSTILE: dict[str, tuple[Change, str]] = {
    "no couplings": (lambda c, t: c.pop("couplings"), "couplings is None, not an integer"),
    "real couplings": (lambda c, t: c.update(couplings=2.0), "couplings is 2.0"),
    "many couplings": (lambda c, t: c.update(couplings=10**9), "couplings is 1000000000"),
    "a coupling too many": (lambda c, t: c.update(couplings=3), "couplings.2.* is absent"),
    "a coupling less": (lambda c, t: c.update(couplings=1), "couplings.1.*no such tensor"),
    "no embedding": (lambda c, t: c.update(embedding=0), "embedding is 0"),
    "another embedding": (lambda c, t: c.update(embedding=8), "skill.json describes"),
    "a conditioner of words": (lambda c, t: c.update(conditioner=["a"]), "conditioner is"),
    "another conditioner": (lambda c, t: c.update(conditioner=[64, 64]), "skill.json describes"),
    "no bound": (lambda c, t: c.pop("scale_bound"), "scale_bound is None"),
    "an endless bound": (lambda c, t: c.update(scale_bound=math.inf), "scale_bound is inf"),
    "a negative bound": (lambda c, t: c.update(scale_bound=-1), "scale_bound is -1"),
    "a tensor less": (lambda c, t: t.pop(FIRST), f"{FIRST} is absent"),
    "a tensor too many": (lambda c, t: t.update(x=t["net.layers.0.bias"]), "no such tensor"),
    "NaN": (lambda c, t: t[FIRST].__setitem__((0, 0), np.nan), "has NaN"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_does_not_fit_is_refused(what: str) -> None:
    change, words = HOSTILE[what]
    policy = made()[0]
    config = copy.deepcopy(policy.config)
    tensors = {name: value.copy() for name, value in arrays(policy).items()}
    change(config, tensors)
    with pytest.raises(CorruptSkill, match=words):
        Controller(spec(4, 2), {"kind": "real_nvp", "config": config}, tensors)


def test_it_is_in_the_table() -> None:
    assert RUNTIMES["real_nvp"] is RealNVP
