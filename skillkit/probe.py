"""The probe: what a skill's policy and Q-function answered when it was saved, and must again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skillkit.controller import PROBE_SIZE
from skillkit.reading import blaming, read_tensors
from skillkit.types import Array

if TYPE_CHECKING:
    from skillkit.policies import Policy
    from skillkit.q_functions import SoftQ
    from skillkit.replay import ReplayBuffer

RTOL = 1e-4  # relative; covers another processor's order of summation
NUDGE = 1e-4  # relative, of observations; a hundred times what rounding does


def record(policy: Policy, q: SoftQ, replay: ReplayBuffer) -> dict[str, Array]:
    """What policy and Q-function answer at a few stored observations.

    The policy of a stack answers for the moment at which every layer decides, and its Q-function
    judges the mode of the top layer, which is recorded too.

    Of twice as many it keeps those that a nudge moves least: where a policy that chooses among
    candidates finds two of them equally good, rounding decides, and another machine differs.
    """
    import torch

    from skillkit.policies import StackedPolicy

    obs = replay.all().obs
    obs = obs[torch.linspace(0, len(obs) - 1, 2 * PROBE_SIZE).long()].contiguous()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(len(obs), policy.noise_dim, generator=generator)

    def actions(obs: Any) -> Any:
        return torch.stack([policy.act(obs, noise), policy.mode(obs)])

    with torch.no_grad():
        answer = actions(obs)  # (2, 32, A)
        jumps = [(actions(obs * n) - answer).abs().amax((0, 2)) for n in (1 - NUDGE, 1 + NUDGE)]
        calm = torch.maximum(*jumps).argsort(stable=True)[:PROBE_SIZE].sort().values
        obs, noise, (sample, mode) = obs[calm], noise[calm], answer[:, calm]
        found, judged = {"observation": obs, "noise": noise, "sample": sample, "mode": mode}, mode
        if isinstance(policy, StackedPolicy):
            found["latent"] = judged = policy.top.mode(obs)
        found["q"] = q(obs, judged)
    return {key: np.ascontiguousarray(value.numpy()) for key, value in found.items()}


def check(path: Path, name: str, answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """What was loaded must still answer as it did when it was saved.

    Raises:
        CorruptSkill: it does not, or the probe is none.
    """
    import torch

    stored = read_tensors(path)
    with blaming(path), torch.no_grad():
        if any(len(value) != PROBE_SIZE for value in stored.values()):
            raise ValueError(f"it has not {PROBE_SIZE} rows")
        for row in range(0, PROBE_SIZE, 4):  # who judges candidates takes memory for each
            probe = {key: value[row : row + 4] for key, value in stored.items()}
            tensors = {key: torch.from_numpy(value) for key, value in probe.items()}
            for key, value in answer(tensors).items():
                was = probe[key]
                if value.shape != was.shape or not np.allclose(value, was, RTOL, RTOL):
                    raise ValueError(f"{name} no longer gives the {key} recorded in it")
