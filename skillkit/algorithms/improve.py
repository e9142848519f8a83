"""From the sum of skills' Q-functions to the optimum of the summed reward, offline.

Q_S promises what no policy keeps: each Q_i is the value of going on with skill i alone. Soft values
are linear in the reward, so for any one policy pi

    Q^pi = sum_i w_i Q_i^pi,   Q_i^pi = r_i + gamma (1-d) E[Q_i^pi - alpha_i log pi],

with sum_i w_i alpha_i = alpha. Every critic learns, on stored transitions relabelled for its own
task, what its reward is worth under the one policy that all share, and that policy improves on the
sum: soft policy iteration of the composed task (thesis ch. 4), begun at pi_S and Q_S. What the
critics lose on the way is F of THEORY 5, the price of composition; no network is added for it.

Few updates on stored data carry no guarantee: docs/LOG.md has pairs that it hurt.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from skillkit.algorithms.learner import Learner, step
from skillkit.errors import InvalidValue
from skillkit.functional.losses import actor_loss, critic_loss, td_target
from skillkit.policies import Policy
from skillkit.q_functions import SoftQ, WeightedSum, track
from skillkit.types import Batch


@dataclass(frozen=True)
class ImproveConfig:
    """Hyperparameters of the policy iteration."""

    updates: int = 2_000  # gradient steps; 0 leaves Q_S and its policy as they are (the thesis)
    learning_rate: float = 1e-3  # Adam, for critics and policy; falls linearly to zero
    batch_size: int = 256  # stored transitions per update
    target_rate: float = 0.05  # tau of the moving average; few updates have to carry far

    def __post_init__(self) -> None:
        if self.updates < 0:
            raise InvalidValue(f"improve.updates must not be negative, got {self.updates}")
        if self.learning_rate <= 0 or self.batch_size < 1 or not 0 < self.target_rate <= 1:
            raise InvalidValue(
                "improve.learning_rate and improve.batch_size must be positive, and "
                "improve.target_rate lie in (0, 1]"
            )


class Improve(Learner):
    """Soft policy iteration with a critic for each summand of the reward.

    Args:
        policy: pi_S.
        q: Q_S. Both stay as they are, and copies of them go on learning.
        config: see there.
        seed: of the noise.

    Raises:
        InvalidValue: a policy without density has no entropy to trade.
    """

    q: WeightedSum
    config: ImproveConfig

    def __init__(self, policy: Policy, q: WeightedSum, config: ImproveConfig, seed: int) -> None:
        if not policy.has_density:
            raise InvalidValue(
                f"a {policy.kind} policy has no density to improve; set improve.updates=0"
            )
        self.config = config
        self.generator = torch.Generator().manual_seed(seed)
        self.policy = copy.deepcopy(policy)
        self.q = copy.deepcopy(q).requires_grad_()
        self.target = copy.deepcopy(q).requires_grad_(False)
        # sum_i w_i alpha_i must be alpha, whatever temperature was asked for
        scale = q.alpha / sum(w * a for w, a in zip(q.weights, q.temperatures, strict=True))
        self.temperatures = [scale * alpha_i for alpha_i in q.temperatures]
        self.modules = {"policy": self.policy, "q": self.q, "target": self.target}
        self.optimizers = {
            name: torch.optim.Adam(
                self.modules[name].parameters(), lr=config.learning_rate, fused=True
            )
            for name in ("policy", "q")
        }

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """`batch.reward` has a column for each part of the sum. (B, N)"""
        loss_q = self._critic_loss(batch)
        step(self.optimizers["q"], loss_q)

        action, log_prob = self.policy.act_and_log_prob(batch.obs, self.noise(len(batch.obs)))
        loss_policy = actor_loss(log_prob, self.q(batch.obs, action), self.q.alpha)
        step(self.optimizers["policy"], loss_policy)

        self.updates += 1
        track(self.target, self.q, self.config.target_rate)
        return {
            "critic_loss": loss_q.detach(),
            "actor_loss": loss_policy.detach(),
            "entropy": -log_prob.detach().mean(),
        }

    def _critic_loss(self, batch: Batch) -> Tensor:
        """Of all parts: each evaluates the same policy on its own reward."""
        with torch.no_grad():
            noise = self.noise(len(batch.obs))
            action, log_prob = self.policy.act_and_log_prob(batch.next_obs, noise)
        losses = []
        for part, target, reward, alpha_i in zip(
            self.q.parts, self.target.parts, batch.reward.unbind(-1), self.temperatures, strict=True
        ):
            with torch.no_grad():
                next_q = target(batch.next_obs, action)
                y = td_target(reward, batch.discount, next_q, log_prob, alpha_i)
            q = cast(SoftQ, part).all(batch.obs, batch.action)
            losses.append(critic_loss(q, y))
        return torch.stack(losses).sum()

    def anneal(self, done: float) -> None:
        """The learning rate falls linearly to zero."""
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = self.config.learning_rate * (1 - done)
