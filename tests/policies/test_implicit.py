"""The implicit sampler: how much noise it takes is its own, and one state may have two modes."""

from __future__ import annotations

import pytest
import torch

from skillkit.errors import InvalidValue
from skillkit.policies import POLICIES, ImplicitPolicy


@pytest.mark.parametrize(("given", "noise_dim"), [(None, 2), (1, 1), (5, 5)])
def test_noise_dim(given: int | None, noise_dim: int) -> None:
    policy = ImplicitPolicy(3, 2, (8,), noise_dim=given)
    assert policy.noise_dim == policy.config["noise_dim"] == noise_dim
    again = POLICIES["implicit"](**policy.config)
    again.load_state_dict(policy.state_dict())
    obs, noise = torch.randn(4, 3), torch.randn(4, noise_dim)
    assert torch.equal(again.act(obs, noise), policy.act(obs, noise))


def test_it_needs_noise() -> None:
    with pytest.raises(InvalidValue, match="an implicit policy needs noise, got noise_dim 0"):
        ImplicitPolicy(3, 2, noise_dim=0)


def test_observation_and_noise_by_hand() -> None:
    """u = relu(s - eps) - relu(eps - s) = s - eps, in that order of entries."""
    policy = ImplicitPolicy(1, 1, (2,))
    first, last = policy.net.layers
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
        last.weight.copy_(torch.tensor([[1.0, -1.0]]))
        first.bias.zero_()
        last.bias.zero_()
    action = policy.act(torch.tensor([[0.3], [0.3]]), torch.tensor([[1.0], [-1.0]]))
    torch.testing.assert_close(action, torch.tensor([[-0.7], [1.3]]).tanh())
    torch.testing.assert_close(policy.mode(torch.tensor([[0.3]])), torch.tensor([[0.3]]).tanh())
