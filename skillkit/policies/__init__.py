"""Policies: maps from noise to action. A new one is a file here and a line in the table."""

from skillkit.policies.deterministic import DeterministicPolicy
from skillkit.policies.gaussian import GaussianPolicy
from skillkit.policies.policy import Policy

POLICIES: dict[str, type[Policy]] = {
    "gaussian": GaussianPolicy,
    "deterministic": DeterministicPolicy,
}

__all__ = ["POLICIES", "DeterministicPolicy", "GaussianPolicy", "Policy"]
