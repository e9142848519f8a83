"""Soft Q-learning with amortised Stein variational gradient descent (thesis ch. 3; THEORY 4).

The critic learns the soft-optimal Q from a soft value that is an integral over actions, whatever
acts; the policy is a network that learns to sample exp(Q/alpha). There is no target policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skillkit.algorithms.actor_critic import ActorCritic, check
from skillkit.algorithms.learner import step
from skillkit.errors import InvalidValue, UnknownName
from skillkit.flows import FlowConfig
from skillkit.functional.losses import critic_loss
from skillkit.functional.soft_value import (
    boltzmann_log_weights,
    effective_sample_size,
    sampled_soft_value,
)
from skillkit.functional.stein import (
    latent_score,
    legacy_score,
    squashed_score,
    stein_direction,
)
from skillkit.policies import POLICIES
from skillkit.policies.mixture import Mixture, candidate_values
from skillkit.types import Batch, Spec


@dataclass(frozen=True)
class SQLConfig:
    """Hyperparameters; the defaults are the thesis' own (app. C.1) where it has one, but for the
    target: copies every 1,000 updates carry a reward over 100 steps too slowly for short trainings.
    """

    policy: str = "implicit"  # its kind; or gaussian, real_nvp: any that takes noise
    hidden: tuple[int, ...] = (200, 200)  # widths of the hidden layers of policy and critics
    flow: FlowConfig = FlowConfig()  # of a real_nvp policy
    learning_rate: float = 3e-4  # of Adam, for everything that learns
    final_rate: float = 1.0  # share of the learning rate that is left at the end; it falls linearly
    batch_size: int = 64  # transitions per update
    gamma: float = 0.99  # discount per environment step
    alpha: float = 0.1  # temperature [r/nat]
    alpha_start: float | None = None  # where alpha begins [r/nat]; None: it stays the same
    anneal_share: float = 0.5  # of the training, in which log alpha falls linearly from alpha_start
    particles: int = 32  # actions per state that the Stein direction is made of
    moving_share: float = 0.5  # share of particles that move; the others say where the density is
    legacy: bool = False  # the published code's direction; settles at exp(Q/alpha) prod(1 - a^2)
    value_samples: int = 50  # actions per state in the integral that is the soft value
    proposal: str = "uniform"  # of value_samples; or mixed: half the policy's, if it has a density
    critics: int = 1  # how many; their minimum is the soft Q-function
    normalised: bool = False  # layer normalisation in the critics: steadier, bounded off the data
    value_scale: float = 1.0  # unit of what the critics' networks say [r]; about the largest value
    target: str = "average"  # the target follows by target_rate; hard: copied every target_interval
    target_rate: float = 0.005  # tau of the target's moving average
    target_interval: int = 1000  # updates between hard copies of the target

    def __post_init__(self) -> None:
        check(self, "sql")
        if self.policy == "deterministic":
            raise InvalidValue("a deterministic policy samples nothing; use sql.policy=implicit")
        if self.alpha <= 0:
            raise InvalidValue(f"sql.alpha must be positive, got {self.alpha}")
        if self.moving < 1 or self.fixed < 2:
            raise InvalidValue(
                f"sql.particles={self.particles} at sql.moving_share={self.moving_share:g} leaves "
                f"{self.moving} moving and {self.fixed} fixed; there must be at least 1 and 2"
            )
        if self.proposal not in ("uniform", "mixed"):
            raise UnknownName("proposal", self.proposal, ["uniform", "mixed"])
        if self.proposal == "mixed" and not POLICIES[self.policy].has_density:
            raise InvalidValue(
                "sql.proposal=mixed weighs the policy's actions by their density, which "
                f"{self.policy} policies do not have; use sql.proposal=uniform"
            )
        if self.value_samples < 2:
            raise InvalidValue(f"sql.value_samples must be at least 2, got {self.value_samples}")

    @property
    def moving(self) -> int:
        """Particles that move. K_y"""
        return int(self.particles * self.moving_share)

    @property
    def fixed(self) -> int:
        """Particles that stay. K_x"""
        return self.particles - self.moving


class SQL(ActorCritic):
    """A sampler, critics for the soft-optimal Q, their target, and a temperature."""

    config: SQLConfig

    def __init__(
        self,
        spec: Spec,
        config: SQLConfig,
        seed: int,
        device: str = "cpu",
        inputs: Sequence[int] | None = None,
    ) -> None:
        if spec.unbounded and config.legacy:
            raise InvalidValue(
                "sql.legacy is about the tanh, which an upper layer has not; leave it"
            )
        super().__init__(spec, config, seed, device, inputs=inputs)
        own = [(self.policy, self.q)] * (config.proposal == "mixed")
        count = config.value_samples // (1 + len(own))
        self.proposal = Mixture(spec.action_dim, own, count, spec.unbounded)
        self.score = latent_score if spec.unbounded else squashed_score

    def update(self, batch: Batch) -> dict[str, Tensor]:
        alpha = self.temperature().detach()
        with torch.no_grad():
            action, log_proposal = self.candidates(batch.next_obs)
            next_q = candidate_values(self.target, batch.next_obs, action)  # (B, M)
            next_value = sampled_soft_value(next_q, alpha, log_proposal)
            y = batch.reward + batch.discount * next_value
            log_weights = boltzmann_log_weights(next_q, alpha, log_proposal)
        q = self.q.all(batch.obs, batch.action)
        loss_q = critic_loss(q, y)
        step(self.optimizers["q"], loss_q)

        moving = self.particles(batch.obs, self.config.moving)
        direction = self.direction(batch.obs, moving.detach(), alpha)
        step(self.optimizers["policy"], -(moving * direction).sum(-1).mean())  # ascent along it

        self.track()
        metrics = {
            "critic_loss": loss_q.detach(),
            "stein": direction.square().mean().sqrt(),  # 0 where the particles have settled
            "effective_sample_size": effective_sample_size(log_weights).mean(),
            "q": q.detach().mean(),
            "alpha": alpha,
        }
        if self.policy.has_density:
            with torch.no_grad():
                action, log_prob = self.policy.act_and_log_prob(
                    batch.obs, self.noise(len(batch.obs))
                )
                metrics |= self.entropy(log_prob - self.prior.log_measure(action))
        return metrics

    def candidates(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Actions to integrate over and their log q(a|s), less the log-measure of the integral.

        (B, O) -> (B, M, A), (B, M)

        Fresh ones in every state: the published code shares one set over the batch, but then its
        error is common to all targets, where independent ones average out in the loss.
        """
        u = self.proposal.raw(obs, self._normal(len(obs), self.proposal.noise_dim))
        action = self.prior.action(u)
        return action, self.proposal.log_prob(obs, u) - self.prior.log_measure(action)

    def particles(self, obs: Tensor, count: int) -> Tensor:
        """Samples of the policy, where they flow: before the tanh. (B, O) -> (B, count, A)"""
        noise = self._normal(len(obs), count, self.policy.noise_dim)
        u = self.policy.raw(obs[:, None].expand(-1, count, -1), noise)
        return torch.tanh(u) if self.config.legacy else u

    def direction(self, obs: Tensor, moving: Tensor, alpha: Tensor) -> Tensor:
        """Delta of the moving particles towards exp(Q/alpha). (B, O), (B, K_y, A) -> (B, K_y, A)"""
        with torch.no_grad():
            fixed = self.particles(obs, self.config.fixed)
        action = (fixed if self.config.legacy else self.prior.action(fixed)).requires_grad_()
        (gradient,) = torch.autograd.grad(candidate_values(self.q, obs, action).sum(), action)
        score = legacy_score if self.config.legacy else self.score
        return stein_direction(fixed, moving, score(action.detach(), gradient, alpha))

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device)
