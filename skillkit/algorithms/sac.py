"""Soft actor-critic (thesis ch. 4 and 5; THEORY 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skillkit.algorithms.actor_critic import ActorCritic, check
from skillkit.algorithms.learner import step
from skillkit.errors import InvalidValue
from skillkit.flows import FlowConfig
from skillkit.functional.losses import actor_loss, critic_loss, td_target, temperature_loss
from skillkit.policies import POLICIES
from skillkit.types import Batch, Spec


@dataclass(frozen=True)
class SACConfig:
    """Hyperparameters; the defaults are the thesis' own (table C.1) where it has one."""

    policy: str = "gaussian"  # its kind; or real_nvp, clipped_gaussian, deterministic at alpha = 0
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers of policy and critics
    flow: FlowConfig = FlowConfig()  # of a real_nvp policy
    learning_rate: float = 3e-4  # of Adam, for everything that learns
    final_rate: float = 1.0  # share of the learning rate that is left at the end; it falls linearly
    batch_size: int = 256  # transitions per update
    gamma: float = 0.99  # discount per environment step
    alpha: float = 0.2  # temperature [r/nat]; that of the end, or the first if automatic
    alpha_start: float | None = None  # where alpha begins [r/nat]; None: it stays the same
    anneal_share: float = 0.7  # of the training, in which log alpha falls linearly from alpha_start
    automatic_alpha: bool = False  # tune alpha towards target_entropy (thesis ch. 5)
    target_entropy: float | None = None  # [nat]; None: -A for A actions, or -A (1 + log 2) for an
    # upper layer, whose decisions may then spend a KL of 1.69 nat an entry
    critics: int = 2  # how many; their minimum is the soft Q-function
    normalised: bool = False  # layer normalisation in the critics: steadier, bounded off the data
    value_scale: float = 1.0  # unit of what the critics' networks say [r]; about the largest value
    target: str = "average"  # the target follows by target_rate; hard: copied every target_interval
    target_rate: float = 0.005  # tau of the target's moving average (thesis eq. 4.6)
    target_interval: int = 1000  # updates between hard copies of the target

    def __post_init__(self) -> None:
        check(self, "sac")
        if self.policy == "deterministic":
            if self.alpha != 0 or self.automatic_alpha:
                raise InvalidValue("a deterministic policy has no entropy: set sac.alpha=0")
        elif not POLICIES[self.policy].has_density:
            raise InvalidValue(
                f"sac takes the entropy of its policy, and {self.policy} policies have no density; "
                "use sac.policy=gaussian, or --algorithm sql"
            )
        if self.alpha < 0 or (self.automatic_alpha and self.alpha == 0):
            raise InvalidValue(f"sac.alpha must be positive, got {self.alpha}")
        if self.automatic_alpha and self.alpha_start is not None:
            raise InvalidValue("sac.automatic_alpha tunes alpha itself; leave sac.alpha_start out")


class SAC(ActorCritic):
    """Policy, critic ensemble, its target, and a temperature."""

    config: SACConfig
    compilable = ("evaluation", "improvement")

    def __init__(
        self,
        spec: Spec,
        config: SACConfig,
        seed: int,
        device: str = "cpu",
        inputs: Sequence[int] | None = None,
    ) -> None:
        if spec.unbounded and config.alpha == 0:
            raise InvalidValue(
                "an upper layer is held by its prior, which at temperature 0 weighs nothing; "
                "set sac.alpha above 0"
            )
        learned = ["policy", "q"] + ["temperature"] * config.automatic_alpha
        super().__init__(spec, config, seed, device, learned, inputs)
        nats = 1.0 + math.log(2.0) * spec.unbounded  # log 2: of an entry of the uniform density
        self.target_entropy = (
            -nats * spec.action_dim if config.target_entropy is None else config.target_entropy
        )

    def act(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Action and its log-density; a policy without noise has none to pay for."""
        if self.policy.noise_dim == 0:
            return self.policy.act(obs, noise), obs.new_zeros(len(obs))
        return self.policy.act_and_log_prob(obs, noise)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        loss_q, q = self.evaluation(batch, self.noise(len(batch.obs)))
        step(self.optimizers["q"], loss_q)
        loss_policy, log_ratio = self.improvement(batch.obs, self.noise(len(batch.obs)))
        step(self.optimizers["policy"], loss_policy)
        alpha = self.temperature().detach()
        if self.config.automatic_alpha:
            step(self.optimizers["temperature"], self.adjustment(log_ratio))
        self.track()
        return {
            "critic_loss": loss_q.detach(),
            "actor_loss": loss_policy.detach(),
            "q": q,
            **self.entropy(log_ratio),
            "alpha": alpha,
        }

    def evaluation(self, batch: Batch, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The critics' loss, and their mean value. noise (B, noise_dim) -> (), () [r]"""
        alpha = self.temperature().detach()
        with torch.no_grad():
            action, log_prob = self.act(batch.next_obs, noise)
            log_prior = self.prior.log_measure(action)
            next_q = self.target(batch.next_obs, action)
            y = td_target(batch.reward, batch.discount, next_q, log_prob, alpha, log_prior)
        q = self.q.all(batch.obs, batch.action)
        return critic_loss(q, y), q.detach().mean()

    def improvement(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The policy's loss, and log pi - log measure. (B, O), (B, noise_dim) -> (), (B,)"""
        action, log_prob = self.act(obs, noise)
        log_prior = self.prior.log_measure(action)  # the gradient goes through h here, too
        alpha = self.temperature().detach()
        loss = actor_loss(log_prob, self.q(obs, action), alpha, log_prior)
        return loss, (log_prob - log_prior).detach()

    def adjustment(self, log_ratio: Tensor) -> Tensor:
        """The temperature's loss. (B,) -> ()"""
        return temperature_loss(self.temperature.log_alpha, log_ratio, self.target_entropy)
