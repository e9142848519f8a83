"""Policies: maps from noise to action. A new one is a file here and a line in the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from skillkit.errors import UnknownName
from skillkit.policies.clipped import ClippedGaussianPolicy
from skillkit.policies.deterministic import DeterministicPolicy
from skillkit.policies.gaussian import GaussianPolicy
from skillkit.policies.implicit import ImplicitPolicy
from skillkit.policies.policy import Policy
from skillkit.policies.real_nvp import RealNVPPolicy
from skillkit.policies.resampled import ResampledPolicy
from skillkit.policies.stacked import StackedPolicy
from skillkit.policies.symmetric import SymmetricPolicy
from skillkit.types import Spec

# Those that a learner makes, from sizes.
POLICIES: dict[str, type[Policy]] = {
    "gaussian": GaussianPolicy,
    "clipped_gaussian": ClippedGaussianPolicy,
    "deterministic": DeterministicPolicy,
    "implicit": ImplicitPolicy,
    "real_nvp": RealNVPPolicy,
}


def make_policy(spec: Spec, config: Any, inputs: Sequence[int] | None = None) -> Policy:
    """An untrained policy for the observations and actions of a spec.

    Args:
        config: a learner's; its `policy` is the kind, and `hidden` and `flow` are sizes.
        inputs: positions of the observation entries that it reads; None: all.
    """
    options = asdict(config.flow) if config.policy == RealNVPPolicy.kind else {}
    sizes = (spec.observation_dim, spec.action_dim, config.hidden)
    return POLICIES[config.policy](*sizes, inputs, squash=not spec.unbounded, **options)


def build_policy(description: Mapping[str, Any], build_q: Callable[[Any], Any]) -> Policy:
    """A policy of the described shape, from {"kind", "config"} as stored in skill.json.

    Args:
        build_q: makes the soft Q-function of a policy that acts by one; policies know of none.

    Raises:
        UnknownName: a kind that does not exist.
    """
    kind, config = description["kind"], description["config"]
    if kind == ResampledPolicy.kind:
        parts = [build_policy(part, build_q) for part in config["policies"]]
        return ResampledPolicy(parts, build_q(config["q"]), config["candidates"])
    if kind == StackedPolicy.kind:
        layers = [build_policy(layer, build_q) for layer in config["layers"]]
        return StackedPolicy(layers, config["holds"])
    if kind == SymmetricPolicy.kind:
        inside = build_policy(config["inside"], build_q)
        return SymmetricPolicy(
            inside, config["frames"], config["directions"], config.get("rotation", ())
        )
    if kind not in POLICIES:
        known = [*POLICIES, ResampledPolicy.kind, StackedPolicy.kind, SymmetricPolicy.kind]
        raise UnknownName("policy kind", str(kind), known)
    return POLICIES[kind](**config)


__all__ = [
    "POLICIES",
    "ClippedGaussianPolicy",
    "DeterministicPolicy",
    "GaussianPolicy",
    "ImplicitPolicy",
    "Policy",
    "RealNVPPolicy",
    "ResampledPolicy",
    "StackedPolicy",
    "SymmetricPolicy",
    "build_policy",
    "make_policy",
]
