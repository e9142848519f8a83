"""Resampled policies to test: random ones of every make, as torch modules and as controllers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from skillkit.composition.instant import instant_policy
from skillkit.controller import Controller
from skillkit.policies import POLICIES, RealNVPPolicy, ResampledPolicy
from skillkit.q_functions import Ensemble, SoftQ, WeightedSum
from skillkit.skill import arrays
from tests.toys import spec, stirred

MAKES: dict[str, dict[str, Any]] = {
    "two": {},
    "one": {"kinds": ["gaussian"]},
    "four": {"kinds": ["gaussian"] * 4, "candidates": 8},
    "implicit": {"kinds": ["implicit", "implicit"]},
    "mixed": {"kinds": ["gaussian", "implicit"]},
    "flows": {"kinds": ["real_nvp", "gaussian", "real_nvp"]},
    "normalised": {"normalised": True},
    "one critic": {"critics": 1},
    "in another unit": {"scale": 2.0},
    "linear": {"hidden": ()},
    "some inputs": {"inputs": (2, 0)},
    "deep, one action": {"hidden": (8, 8, 8), "actions": 1},
    "sum of sums": {"nested": True},
    "one candidate": {"candidates": 1},
}


def resampled(
    kinds: Sequence[str] = ("gaussian", "gaussian"),
    observations: int = 4,
    actions: int = 2,
    hidden: Sequence[int] = (16, 16),
    critics: int = 2,
    normalised: bool = False,
    nested: bool = False,
    candidates: int = 16,
    scale: float = 1.0,
    inputs: Sequence[int] | None = None,
    seed: int = 0,
) -> ResampledPolicy:
    """Random networks; the critics are steep enough to prefer some candidates."""
    torch.manual_seed(seed)
    sizes = (observations, actions, hidden)
    policies = [POLICIES[kind](*sizes, inputs) for kind in kinds]
    for policy in policies:
        if isinstance(policy, RealNVPPolicy):
            stirred(policy.flow, 0.1)

    def critic(alpha: float) -> Ensemble:
        made = Ensemble(*sizes, critics, alpha, 0.9, normalised, inputs, scale)
        with torch.no_grad():
            made.net.layers[-1].weight.mul_(3.0)
        return made

    parts: list[SoftQ] = [critic(0.2 + 0.1 * i) for i in range(len(kinds))]
    if nested:
        parts = [WeightedSum([part, critic(0.1)], (0.3, 0.6), 0.15) for part in parts]
    weights = [1.0 / (i + 1) for i in range(len(kinds))]
    return instant_policy(WeightedSum(parts, weights, 0.25), policies, candidates, seed=1)


def controller(policy: ResampledPolicy, **options: Any) -> Controller:
    """The NumPy controller of a policy as it would be stored."""
    described = json.loads(json.dumps({"kind": policy.kind, "config": policy.config}))
    sizes = spec(policy.observation_dim, policy.action_dim)
    return Controller(sizes, described, arrays(policy), **options)
