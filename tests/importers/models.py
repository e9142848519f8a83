"""A model as Stable-Baselines3 saves it, written without it; and what it does, in plain PyTorch."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SAC = "stable_baselines3.sac.policies"
Weights = dict[str, Tensor]


def linear(name: str, inputs: int, outputs: int) -> Weights:
    made = torch.nn.Linear(inputs, outputs)
    return {f"{name}.weight": made.weight.detach(), f"{name}.bias": made.bias.detach()}


def sequential(name: str, *sizes: int) -> Weights:
    found: Weights = {}
    for index, pair in enumerate(itertools.pairwise(sizes)):
        found |= linear(f"{name}.{2 * index}", *pair)
    return found


def weights(
    observations: int = 4,
    actions: int = 2,
    pi: Sequence[int] = (16, 8),
    qf: Sequence[int] = (12,),
    critics: int = 2,
) -> Weights:
    """A policy with widths that reach beyond both ends of log sigma."""
    made = sequential("actor.latent_pi", observations, *pi)
    made |= linear("actor.mu", [observations, *pi][-1], actions)
    made |= linear("actor.log_std", [observations, *pi][-1], actions)
    made["actor.log_std.weight"] = 60 * made["actor.log_std.weight"]
    made["actor.log_std.bias"] = made["actor.log_std.bias"] - 5
    for index in range(critics):
        made |= sequential(f"critic.qf{index}", observations + actions, *qf, 1)
        made |= sequential(f"critic_target.qf{index}", observations + actions, *qf, 1)
    return made


def described(**changes: Any) -> dict[str, Any]:
    """What `data` says; of its serialised objects the texts beside them."""
    space = {":type:": "<class 'gymnasium.spaces.box.Box'>", ":serialized:": "gAWVEAM="}
    return {
        "policy_class": {":type:": "<class 'abc.ABCMeta'>", "__module__": SAC},
        "policy_kwargs": {"net_arch": [16, 8], "use_sde": False},
        "action_space": space | {"_shape": [2], "low": "[-1. -1.]", "high": "[1. 1.]"},
        "use_sde": False,
        "num_timesteps": 5000,
        "_n_updates": 4900,
        "gamma": 0.98,
    } | changes


def pth(tensors: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)  # noqa: TID251, the format that is read
    return buffer.getvalue()


def saved(
    path: Path,
    policy: Weights | bytes | None = None,
    variables: Mapping[str, Tensor] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """A zip with the parts that are read."""
    policy = weights() if policy is None else policy
    alpha = {"log_ent_coef": torch.tensor([-2.0])} if variables is None else variables
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(described() if about is None else about))
        archive.writestr("policy.pth", policy if isinstance(policy, bytes) else pth(policy))
        archive.writestr("pytorch_variables.pth", pth(alpha))
    return path


def forward(parameters: Weights, name: str, x: Tensor, ends: int) -> Tensor:
    """A Sequential of linear layers with a ReLU after each, but for so many at its end."""
    count = sum(key.startswith(f"{name}.") and key.endswith("weight") for key in parameters)
    for index in range(count):
        weight, bias = (parameters[f"{name}.{2 * index}.{of}"] for of in ("weight", "bias"))
        x = x @ weight.T + bias
        x = torch.relu(x) if index + ends < count else x
    return x


def act(parameters: Weights, obs: Tensor, noise: Tensor) -> Tensor:
    """tanh(mu + sigma eps), log sigma cut off at -20 and 2; its own words, not ours."""
    features = forward(parameters, "actor.latent_pi", obs, ends=0)
    mean, log_std = (
        features @ parameters[f"actor.{name}.weight"].T + parameters[f"actor.{name}.bias"]
        for name in ("mu", "log_std")
    )
    return torch.tanh(mean + log_std.clamp(-20, 2).exp() * noise)


def judge(parameters: Weights, index: int, obs: Tensor, action: Tensor) -> Tensor:
    return forward(parameters, f"critic.qf{index}", torch.cat([obs, action], 1), ends=1)[:, 0]
