"""Instant composition without PyTorch: the torch policy's own answers, and a stranger's files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from skillkit.controller import Controller
from skillkit.errors import CorruptSkill, NonFinite
from skillkit.skill import arrays
from skillkit.types import Array
from tests.resampled import MAKES, controller, resampled
from tests.toys import spec

every_make = pytest.mark.parametrize("make", MAKES)
ROWS = 60


def differences(ours: Array, theirs: torch.Tensor) -> Array:
    """Per row the largest difference of an action."""
    found: Array = np.abs(ours - theirs.detach().numpy()).max(-1)
    return found


@every_make
@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0])
def test_it_answers_as_torch_does(make: str, scale: float) -> None:
    """At most one row in 60 on another side of a tie."""
    policy = resampled(**MAKES[make])
    numpy = controller(policy)
    rng = torch.Generator().manual_seed(1)
    obs = scale * torch.randn(ROWS, policy.observation_dim, generator=rng)
    noise = torch.randn(ROWS, policy.noise_dim, generator=rng)
    assert numpy.noise_dim == policy.noise_dim
    modes = differences(numpy.unit(obs.numpy(), None), policy.mode(obs))
    samples = differences(numpy.unit(obs.numpy(), noise.numpy()), policy.act(obs, noise))
    for found in (modes, samples):
        assert np.sort(found)[-2] < 1e-5
    assert differences(policy.act(obs, noise).detach().numpy(), policy.mode(obs)).max() > 1e-3


@every_make
def test_one_by_one_and_in_batches_to_the_last_bit(make: str) -> None:
    policy = resampled(**MAKES[make])
    numpy = controller(policy)
    rng = np.random.default_rng(1)
    obs = rng.standard_normal((20, policy.observation_dim))
    batch = numpy.batch(obs)
    assert (np.stack([numpy(row) for row in obs]) == batch).all()
    assert (numpy.batch(obs[5:8]) == batch[5:8]).all()
    noise = rng.standard_normal((20, numpy.noise_dim))
    assert (numpy.batch(obs[5:8], noise[5:8]) == numpy.batch(obs, noise)[5:8]).all()
    sampling = controller(policy, deterministic=False, seed=3)
    again = controller(policy, deterministic=False, seed=3)
    assert (np.stack([sampling(row) for row in obs]) == again.batch(obs)).all()


def test_a_choice_by_hand() -> None:
    """Q is a_0 for positive s_0 and -a_0 else: the mode is the candidate furthest out there."""
    policy = resampled(hidden=(1,), critics=1, kinds=["gaussian"], candidates=32)
    with torch.no_grad():
        for parameter in policy.q.parameters():
            parameter.zero_()
        first, last = policy.q.parts[0].net.layers
        first.weight[0, :, 0] = torch.tensor([100.0, 0, 0, 0, 1, 0])  # relu(100 s_0 + a_0)
        last.weight[:] = 1.0
    u = policy.mixture.raw(torch.zeros(4), policy.noise)
    outermost = torch.tanh(u[:, 0]).max()
    action = controller(policy)(np.array([1.0, 0, 0, 0]))
    own = torch.tanh(policy.mixture.raw(torch.tensor([1.0, 0, 0, 0]), policy.noise))[:, 0].max()
    assert action[0] == pytest.approx(own.item(), abs=1e-6)
    assert outermost > 0.5


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_observation_beyond_all_numbers_is_refused() -> None:
    """A candidate is always finite; what is not is the reason to choose it."""
    for numpy in (controller(resampled()), controller(resampled(), deterministic=False)):
        with pytest.raises(NonFinite, match="far too large"):
            numpy(np.full(4, 3e38))


# A stranger's files

Change = Callable[[dict[str, Any], dict[str, Array]], Any]
HOSTILE: dict[str, tuple[Change, str]] = {
    "no policies": (lambda c, t: c.pop("policies"), "KeyError: 'policies'"),
    "policies no list": (lambda c, t: c.update(policies=3), "config .* is wrong"),
    "no q": (lambda c, t: c.pop("q"), "KeyError: 'q'"),
    "q a number": (lambda c, t: c.update(q=1), "config .* is wrong"),
    "negative candidates": (lambda c, t: c.update(candidates=-16), "-16 candidates"),
    "real candidates": (lambda c, t: c.update(candidates=16.0), "16.0 candidates"),
    "candidates beyond memory": (lambda c, t: c.update(candidates=10**15), "noise is float32"),
    "a policy of a policy": (lambda c, t: c["policies"][0].update(kind="resampled"), "KeyError"),
    "an unknown policy": (lambda c, t: c["policies"][0].update(kind="flow"), "KeyError: 'flow'"),
    "an unknown q": (lambda c, t: c["q"]["config"]["parts"][0].update(kind="table"), "'table'"),
    "another size": (
        lambda c, t: c["policies"][0]["config"].update(observation_dim=5),
        "observation_dim 5 of a part, not 4",
    ),
    "a policy too many": (lambda c, t: c["policies"].append(c["policies"][0]), "json describes"),
    "a policy less": (lambda c, t: c["policies"].pop(), "belongs to no part"),
    "a weight less": (lambda c, t: c["q"]["config"]["weights"].pop(), "a weight and a temperature"),
    "weights are words": (
        lambda c, t: c["q"]["config"].update(weights=["a", "b"]),
        "could not convert",
    ),
    "no temperature": (lambda c, t: c["q"]["config"].update(alpha=0.0), "a temperature above 0"),
    "a cold part": (
        lambda c, t: c["q"]["config"]["parts"][0]["config"].update(alpha=-1.0),
        "a temperature above 0",
    ),
    "no noise": (lambda c, t: t.pop("noise"), "noise is absent"),
    "noise NaN": (lambda c, t: t["noise"].__setitem__(0, np.nan), "noise has NaN"),
    "a tensor less": (lambda c, t: t.pop("policies.0.net.layers.0.bias"), "is absent"),
    "a tensor too many": (lambda c, t: t.update(x=t["noise"]), "x belongs to no part"),
    "critics NaN": (
        lambda c, t: t["q.parts.1.net.layers.0.weight"].__setitem__(0, np.nan),
        "has NaN",
    ),
    "many critics": (
        lambda c, t: c["q"]["config"]["parts"][0]["config"].update(critics=10**9),
        "skill.json describes",
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_does_not_fit_is_refused(what: str) -> None:
    change, words = HOSTILE[what]
    policy = resampled()
    config, tensors = copy.deepcopy(policy.config), arrays(policy)
    tensors = {key: value.copy() for key, value in tensors.items()}
    change(config, tensors)
    with pytest.raises(CorruptSkill, match=words):
        Controller(spec(4, 2), {"kind": "resampled", "config": config}, tensors)
