"""The controller's NumPy policies are the torch ones: at most 1e-5 apart on every action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from skillkit.controller import Controller
from skillkit.policies import POLICIES, Policy, RealNVPPolicy
from skillkit.runtimes import RUNTIMES
from tests.toys import spec, stirred

SIZES: list[tuple[int, Sequence[int], int, Sequence[int] | None]] = [
    (1, (), 1, None),
    (3, (8,), 1, None),
    (4, (16, 16), 3, (2, 0)),
    (12, (128, 128), 3, None),
    (12, (256, 256), 3, (0, 1, 2, 3, 4, 5, 9, 10)),
    (27, (300, 20, 50), 8, None),
    (6, (64,), 6, (5,)),
]
SCALES = [1e-6, 1.0, 30.0]  # of observations; the last saturates most actions
LOW, HIGH = -3.0, 5.0

every_kind = pytest.mark.parametrize("kind", POLICIES)
every_size = pytest.mark.parametrize(("observations", "hidden", "actions", "inputs"), SIZES)


def both(
    kind: str, size: tuple[int, Sequence[int], int, Sequence[int] | None], **options: Any
) -> tuple[Policy, Controller]:
    torch.manual_seed(0)
    observations, hidden, actions, inputs = size
    policy = POLICIES[kind](observations, actions, hidden, inputs)
    with torch.no_grad():
        if isinstance(policy, RealNVPPolicy):
            stirred(policy.flow, 0.05)  # by twice as much, and float32 alone loses 1e-5 at scale 30
        else:
            policy.net.layers[-1].weight.mul_(4.0)  # actions over the whole range, deviations too
    tensors = {name: value.numpy() for name, value in policy.state_dict().items()}
    described = {"kind": policy.kind, "config": policy.config}
    return policy, Controller(spec(observations, actions, LOW, HIGH), described, tensors, **options)


def close(numpy: Any, tensor: Tensor) -> None:
    np.testing.assert_allclose(numpy, tensor.detach().numpy(), rtol=0, atol=1e-5)


def native(unit: Tensor) -> Tensor:
    return 1.0 + 4.0 * unit.double()


def test_every_policy_has_a_runtime() -> None:
    assert RUNTIMES.keys() == {*POLICIES, "resampled", "stacked", "symmetric"}  # those: elsewhere


@every_kind
@every_size
@pytest.mark.parametrize("scale", SCALES)
def test_unit_actions(
    kind: str,
    observations: int,
    hidden: Sequence[int],
    actions: int,
    inputs: Sequence[int] | None,
    scale: float,
) -> None:
    policy, controller = both(kind, (observations, hidden, actions, inputs))
    obs, noise = scale * torch.randn(50, observations), torch.randn(50, policy.noise_dim)
    assert controller.noise_dim == policy.noise_dim
    close(controller.unit(obs.numpy(), None), policy.mode(obs))
    close(controller.unit(obs.numpy(), noise.numpy()), policy.act(obs, noise))
    if policy.noise_dim and scale < 30:  # not all saturated
        assert (policy.mode(obs) - policy.act(obs, noise)).abs().max() > 1e-3


@every_kind
@every_size
def test_native_actions_one_by_one(
    kind: str,
    observations: int,
    hidden: Sequence[int],
    actions: int,
    inputs: Sequence[int] | None,
) -> None:
    policy, controller = both(kind, (observations, hidden, actions, inputs))
    obs = torch.randn(10, observations)
    expected = native(policy.mode(obs))
    close(np.stack([controller(row) for row in obs.numpy()]) / 4, expected / 4)
    close(controller.batch(obs.numpy()) / 4, expected / 4)


@every_kind
def test_samples_use_the_same_noise_map(kind: str) -> None:
    """A sampling controller, given its own noise back, does what torch does."""
    policy, controller = both(kind, SIZES[3], deterministic=False, seed=5)
    rng = np.random.default_rng(5)
    for row in torch.randn(10, 12):
        noise = torch.from_numpy(rng.standard_normal(policy.noise_dim, np.float32))
        close(controller(row.numpy()) / 4, native(policy.act(row, noise)) / 4)
