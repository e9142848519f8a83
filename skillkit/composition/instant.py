"""Instant composition: the policy of Q_S by resampling, without training (THEORY 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skillkit.policies import Policy, ResampledPolicy, SymmetricPolicy
from skillkit.q_functions import SoftQ, WeightedSum


def unfold(
    q: WeightedSum, policies: Sequence[Policy]
) -> tuple[WeightedSum, list[tuple[Policy, SoftQ]]]:
    """The same sum, each instant skill in it replaced by the skills that it resamples.

    An instant skill has no density and proposes nothing of its own; what it is made of does. Of a
    policy in every frame the one inside proposes: the Q-function beside it is of its frame.

    Args:
        q: Q_S = sum_i w_i Q_i.
        policies: of the same skills.

    Returns:
        The sum, and for each of its parts the policy beside the Q-function.
    """
    found: list[tuple[float, Any, Any]] = []
    for weight, part, policy in zip(q.weights, q.parts, policies, strict=True):
        if isinstance(policy, ResampledPolicy):
            own = zip(policy.q.weights, policy.q.parts, policy.policies, strict=True)
            found += [(weight * w, q_i, pi_i) for w, q_i, pi_i in own]
        else:
            proposes = policy.inside if isinstance(policy, SymmetricPolicy) else policy
            found.append((weight, part, proposes))
    weights, parts, _ = zip(*found, strict=True)
    return WeightedSum(parts, weights, q.alpha), [(pi_i, q_i) for _, q_i, pi_i in found]


def instant_policy(
    q: WeightedSum, policies: Sequence[Policy], candidates: int, seed: int
) -> ResampledPolicy:
    """What acts by Q_S from now on.

    Args:
        q: Q_S, shared and not copied.
        policies: of the skills in the sum; they propose.
        candidates: from each of them, and uniformly.
        seed: of the fixed candidates of the mode.
    """
    q, parents = unfold(q, policies)
    policy = ResampledPolicy([pi_i for pi_i, _ in parents], q, candidates)
    policy.draw_noise(seed)
    return policy.requires_grad_(False)
