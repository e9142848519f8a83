"""An instant skill in a sum counts by the skills that it resamples."""

from __future__ import annotations

import torch

from skillkit.composition.instant import instant_policy, unfold
from skillkit.policies import GaussianPolicy, ImplicitPolicy, SymmetricPolicy
from skillkit.q_functions import Ensemble, WeightedSum

OBS, ACTION = torch.randn(2, 20, 3), 2 * torch.rand(20, 2) - 1


def critic(alpha: float) -> Ensemble:
    return Ensemble(3, 2, (8,), 2, alpha, 0.9)


def test_what_is_not_instant_stays() -> None:
    policies = [GaussianPolicy(3, 2, (8,)), ImplicitPolicy(3, 2, (8,))]
    q = WeightedSum([critic(0.5), critic(0.1)], (0.7, 0.3), 0.4)
    same, parents = unfold(q, policies)
    assert [policy for policy, _ in parents] == policies
    assert [part for _, part in parents] == list(q.parts)
    assert (same.weights, same.alpha, same.temperatures) == (q.weights, q.alpha, q.temperatures)


def test_an_instant_skill_is_replaced_by_what_it_is_made_of() -> None:
    x, y, z = (GaussianPolicy(3, 2, (8,)) for _ in range(3))
    inner = WeightedSum([critic(0.5), critic(0.1)], (0.7, 0.3), 0.4)
    instant = instant_policy(inner, [x, y], 4, 0)
    q = WeightedSum([inner, critic(0.2)], (0.5, 2.0), 0.6)
    flat, parents = unfold(q, [instant, z])
    assert [policy for policy, _ in parents] == [x, y, z]
    assert [part for _, part in parents] == [*inner.parts, q.parts[1]]
    assert flat.weights == (0.35, 0.15, 2.0) and flat.alpha == 0.6
    torch.testing.assert_close(flat(OBS[0], ACTION), q(OBS[0], ACTION))


def test_an_instant_policy_of_instant_skills_resamples_them_all() -> None:
    inner = WeightedSum([critic(0.5), critic(0.1)], (0.7, 0.3), 0.4)
    instant = instant_policy(inner, [GaussianPolicy(3, 2, (8,)) for _ in range(2)], 4, 0)
    q = WeightedSum([inner, inner], (0.5, 0.5), 0.4)
    policy = instant_policy(q, [instant, instant], 8, 0)
    assert len(policy.policies) == 4 and len(policy.noise) == 8 * 5 * 2
    torch.testing.assert_close(policy.q(OBS[0], ACTION), q(OBS[0], ACTION))
    assert not any(parameter.requires_grad for parameter in policy.parameters())


def test_of_a_policy_in_every_frame_the_one_proposes_that_was_learned() -> None:
    learned = GaussianPolicy(3, 2, (8,))
    turned = SymmetricPolicy(
        learned, ([[1, 2, 3], [-1, -2, 3]], [[1, 2], [-1, -2]]), [[1, 0], [-1, 0]]
    )
    _, parents = unfold(WeightedSum([critic(0.5)], (1.0,), 0.5), [turned])
    assert [policy for policy, _ in parents] == [learned]
