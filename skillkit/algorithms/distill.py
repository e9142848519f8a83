"""Distillation: a policy for a fixed soft Q-function, from stored observations alone (THEORY 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from skillkit.algorithms.learner import Learner, initialisation, step
from skillkit.errors import InvalidValue, UnknownName
from skillkit.functional.losses import actor_loss
from skillkit.policies import POLICIES
from skillkit.q_functions import SoftQ
from skillkit.types import Batch, Spec


@dataclass(frozen=True)
class DistillConfig:
    """Hyperparameters of the reverse-KL projection."""

    policy: str = "gaussian"
    hidden: tuple[int, ...] = (128, 128)  # widths of the policy
    learning_rate: float = 1e-3  # Adam; decays to zero along a half cosine
    batch_size: int = 256  # observations per update
    updates: int = 4_000  # gradient steps

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UnknownName("policy", self.policy, POLICIES)
        if self.policy == "deterministic":
            raise InvalidValue("a deterministic policy has no density; use a gaussian policy")
        if self.learning_rate <= 0 or min(self.batch_size, self.updates, *self.hidden) < 1:
            raise InvalidValue("distill.learning_rate and every distill size must be positive")


class Distill(Learner):
    """min_pi E_s [KL(pi(.|s) || exp(Q_S/alpha)/Z)]: SAC's actor step against a frozen Q_S."""

    def __init__(
        self, spec: Spec, q: SoftQ, config: DistillConfig, seed: int, device: str = "cpu"
    ) -> None:
        self.config = config
        self.generator = torch.Generator(device).manual_seed(seed)
        self.q = q.to(device).requires_grad_(False)
        sizes = (spec.observation_dim, spec.action_dim, config.hidden)
        with initialisation(seed):
            self.policy = POLICIES[config.policy](*sizes).to(device)
        self.modules = {"policy": self.policy}
        adam = torch.optim.Adam(self.policy.parameters(), lr=config.learning_rate, fused=True)
        self.optimizers = {"policy": adam}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        action, log_prob = self.policy.act_and_log_prob(batch.obs, self.noise(len(batch.obs)))
        loss = actor_loss(log_prob, self.q(batch.obs, action), self.q.alpha)
        step(self.optimizers["policy"], loss)
        self.updates += 1
        return {"distillation_loss": loss.detach(), "entropy": -log_prob.detach().mean()}

    def anneal(self, done: float) -> None:
        """The learning rate falls along half a cosine, from the full rate to zero."""
        rate = self.config.learning_rate * (1 + math.cos(math.pi * done)) / 2
        self.optimizers["policy"].param_groups[0]["lr"] = rate
