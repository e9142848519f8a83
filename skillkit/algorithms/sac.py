"""Soft actor-critic (thesis ch. 4 and 5; THEORY 3)."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skillkit.algorithms.learner import Learner, initialisation, step
from skillkit.errors import InvalidValue, UnknownName
from skillkit.functional.losses import actor_loss, critic_loss, td_target, temperature_loss
from skillkit.policies import POLICIES, Policy
from skillkit.q_functions import Ensemble, SoftQ, track
from skillkit.types import Batch, Spec


@dataclass(frozen=True)
class SACConfig:
    """Hyperparameters; the defaults are the thesis' own (table C.1) where it has one."""

    policy: str = "gaussian"  # gaussian | deterministic (which needs alpha = 0)
    hidden: tuple[int, ...] = (256, 256)  # widths of policy and critics
    learning_rate: float = 3e-4  # Adam, for everything that learns
    final_rate: float = 1.0  # share of it that is left at the end; falls linearly
    batch_size: int = 256  # transitions per update
    gamma: float = 0.99  # discount per environment step
    alpha: float = 0.2  # temperature [r/nat]; the first one if automatic
    automatic_alpha: bool = False  # tune alpha towards target_entropy (thesis ch. 5)
    target_entropy: float | None = None  # [nat]; None: -A
    critics: int = 2  # 1 or 2; their minimum is the soft Q-function
    normalised: bool = False  # layer normalisation in the critics: steadier, bounded off the data
    target: str = "average"  # average: moves by target_rate; hard: copied every target_interval
    target_rate: float = 0.005  # tau of the moving average (thesis eq. 4.6)
    target_interval: int = 1000  # updates between hard copies

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UnknownName("policy", self.policy, POLICIES)
        if self.target not in ("average", "hard"):
            raise UnknownName("target", self.target, ["average", "hard"])
        if self.policy == "deterministic" and (self.alpha != 0 or self.automatic_alpha):
            raise InvalidValue("a deterministic policy has no entropy: set sac.alpha=0")
        if self.alpha < 0 or (self.automatic_alpha and self.alpha == 0):
            raise InvalidValue(f"sac.alpha must be positive, got {self.alpha}")
        if not 0 < self.gamma < 1:
            raise InvalidValue(f"sac.gamma must lie strictly between 0 and 1, got {self.gamma}")
        if self.learning_rate <= 0 or min(self.batch_size, self.critics, *self.hidden) < 1:
            raise InvalidValue("sac.learning_rate and every sac size must be positive")
        if not 0 <= self.final_rate <= 1:
            raise InvalidValue(f"sac.final_rate must lie in [0, 1], got {self.final_rate}")
        if not 0 < self.target_rate <= 1 or self.target_interval < 1:
            raise InvalidValue(
                "sac.target_rate must lie in (0, 1], and sac.target_interval be at least 1"
            )


class SAC(Learner):
    """Policy, critic ensemble, its target, and a temperature."""

    q: Ensemble

    def __init__(self, spec: Spec, config: SACConfig, seed: int, device: str = "cpu") -> None:
        self.config = config
        self.generator = torch.Generator(device).manual_seed(seed)
        sizes = (spec.observation_dim, spec.action_dim, config.hidden)
        with initialisation(seed):
            self.policy = POLICIES[config.policy](*sizes).to(device)
            self.q = Ensemble(
                *sizes, config.critics, config.alpha, config.gamma, config.normalised
            ).to(device)
        self.target = copy.deepcopy(self.q).requires_grad_(False)
        self.temperature: Temperature = Temperature(config.alpha).to(device)
        self.target_entropy = (
            -float(spec.action_dim) if config.target_entropy is None else config.target_entropy
        )
        self.modules = {
            "policy": self.policy,
            "q": self.q,
            "target": self.target,
            "temperature": self.temperature,
        }
        learned = ["policy", "q"] + ["temperature"] * config.automatic_alpha
        self.optimizers = {
            name: torch.optim.Adam(
                self.modules[name].parameters(), lr=config.learning_rate, fused=True
            )
            for name in learned
        }

    @property
    def alpha(self) -> float:
        """The temperature now [r/nat]."""
        return float(self.temperature().detach())

    def adopt(self, policy: Policy, q: SoftQ) -> None:
        """Go on from a stored skill: its policy, its critics, and these as the target."""
        self.policy.load_state_dict(policy.state_dict())
        for critics in (self.q, self.target):
            critics.load_state_dict(q.state_dict())

    def act(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Fresh action and its log-density; a policy without noise has none to pay for."""
        noise = self.noise(len(obs))
        if self.policy.noise_dim == 0:
            return self.policy.act(obs, noise), obs.new_zeros(len(obs))
        return self.policy.act_and_log_prob(obs, noise)

    def anneal(self, done: float) -> None:
        """The learning rate falls linearly to `final_rate` of itself."""
        rate = self.config.learning_rate * (1 - (1 - self.config.final_rate) * done)
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = rate

    def update(self, batch: Batch) -> dict[str, Tensor]:
        alpha = self.temperature().detach()
        with torch.no_grad():
            next_action, next_log_prob = self.act(batch.next_obs)
            next_q = self.target(batch.next_obs, next_action)
            y = td_target(batch.reward, batch.discount, next_q, next_log_prob, alpha)
        q = self.q.all(batch.obs, batch.action)
        loss_q = critic_loss(q, y)
        step(self.optimizers["q"], loss_q)

        action, log_prob = self.act(batch.obs)
        loss_policy = actor_loss(log_prob, self.q(batch.obs, action), alpha)
        step(self.optimizers["policy"], loss_policy)

        if self.config.automatic_alpha:
            log_alpha = self.temperature.log_alpha
            step(
                self.optimizers["temperature"],
                temperature_loss(log_alpha, log_prob, self.target_entropy),
            )
        self._track()
        return {
            "critic_loss": loss_q.detach(),
            "actor_loss": loss_policy.detach(),
            "q": q.detach().mean(),
            "entropy": -log_prob.detach().mean(),
            "alpha": alpha,
        }

    def _track(self) -> None:
        self.updates += 1
        if self.config.target == "average":
            track(self.target, self.q, self.config.target_rate)
        elif self.updates % self.config.target_interval == 0:
            track(self.target, self.q, 1.0)


class Temperature(nn.Module):
    """alpha = exp(log_alpha), positive by construction; a fixed alpha may be 0."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.tensor(float(alpha)).log())

    def forward(self) -> Tensor:
        """() [r/nat]"""
        alpha: Tensor = self.log_alpha.exp()
        return alpha
