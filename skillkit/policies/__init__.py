"""Policies: maps from noise to action. A new one is a file here and a line in the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from skillkit.errors import UnknownName
from skillkit.policies.deterministic import DeterministicPolicy
from skillkit.policies.gaussian import GaussianPolicy
from skillkit.policies.implicit import ImplicitPolicy
from skillkit.policies.policy import Policy
from skillkit.policies.resampled import ResampledPolicy

# Those that a learner makes, from sizes.
POLICIES: dict[str, type[Policy]] = {
    "gaussian": GaussianPolicy,
    "deterministic": DeterministicPolicy,
    "implicit": ImplicitPolicy,
}


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
    if kind not in POLICIES:
        raise UnknownName("policy kind", str(kind), [*POLICIES, ResampledPolicy.kind])
    return POLICIES[kind](**config)


__all__ = [
    "POLICIES",
    "DeterministicPolicy",
    "GaussianPolicy",
    "ImplicitPolicy",
    "Policy",
    "ResampledPolicy",
    "build_policy",
]
