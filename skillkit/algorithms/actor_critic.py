"""What the algorithms that learn from interaction share: policy, critics, target, temperature."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from skillkit.algorithms.learner import Learner, initialisation
from skillkit.errors import InvalidValue, UnknownName
from skillkit.policies import POLICIES, make_policy
from skillkit.policies.prior import Prior
from skillkit.q_functions import Ensemble, track
from skillkit.types import Spec


class ActorCritic(Learner):
    """A member defines `update`; `learned` names the modules that Adam moves.

    An upper layer, whose actions are latents, differs in its `prior` alone (THEORY 7). `inputs` are
    the positions of the observation entries that policy and critics read; None reads all.
    """

    q: Ensemble

    def __init__(
        self,
        spec: Spec,
        config: Any,
        seed: int,
        device: str = "cpu",
        learned: Sequence[str] = ("policy", "q"),
        inputs: Sequence[int] | None = None,
    ) -> None:
        self.config = config
        self.prior = Prior(spec.action_dim, spec.unbounded)
        self.generator = torch.Generator(device).manual_seed(seed)
        sizes = (spec.observation_dim, spec.action_dim, config.hidden)
        with initialisation(seed):
            self.policy = make_policy(spec, config, inputs).to(device)
            self.q = Ensemble(
                *sizes, config.critics, config.alpha, config.gamma, config.normalised, inputs,
                config.value_scale,
            ).to(device)  # fmt: skip
        self.target = copy.deepcopy(self.q).requires_grad_(False)
        self.temperature: Temperature = Temperature(config.alpha).to(device)
        self.modules = {
            "policy": self.policy,
            "q": self.q,
            "target": self.target,
            "temperature": self.temperature,
        }
        self.optimizers = {
            name: torch.optim.Adam(
                self.modules[name].parameters(), lr=config.learning_rate, fused=True
            )
            for name in learned
        }
        self.anneal(0.0)

    @property
    def alpha(self) -> float:
        """The temperature now [r/nat]."""
        return float(self.temperature().detach())

    def anneal(self, done: float) -> None:
        """The learning rate falls linearly to `final_rate` of itself; the temperature in its log.

        A high temperature finds out what there is to do, a low one does it precisely: entropy that
        costs more than the last centimetre is worth keeps the policy from going there.
        """
        config = self.config
        rate = config.learning_rate * (1 - (1 - config.final_rate) * done)
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = rate
        if config.alpha_start is not None:
            left = 1 - min(1.0, done / config.anneal_share)
            log_alpha = math.log(config.alpha) + left * math.log(config.alpha_start / config.alpha)
            with torch.no_grad():
                self.temperature.log_alpha.fill_(log_alpha)

    def entropy(self, log_ratio: Tensor) -> dict[str, Tensor]:
        """What the temperature multiplies, from log pi - log measure: an entropy, or minus a KL.

        (B,) -> metrics [nat]
        """
        mean = log_ratio.detach().mean()
        return {"kl": mean} if self.prior.unbounded else {"entropy": -mean}

    def track(self) -> None:
        """Counts the update; the target follows the critics."""
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


def check(config: Any, table: str) -> None:
    """The hyperparameters that every member has.

    Args: config, the frozen dataclass; table, its prefix in settings, for the sentence.

    Raises:
        UnknownName, InvalidValue: one of them makes no sense.
    """
    if config.policy not in POLICIES:
        raise UnknownName("policy", config.policy, POLICIES)
    if config.target not in ("average", "hard"):
        raise UnknownName("target", config.target, ["average", "hard"])
    if not 0 < config.gamma < 1:
        raise InvalidValue(f"{table}.gamma must lie strictly between 0 and 1, got {config.gamma}")
    if config.learning_rate <= 0 or min(config.batch_size, config.critics, *config.hidden) < 1:
        raise InvalidValue(f"{table}.learning_rate and every {table} size must be positive")
    if config.value_scale <= 0:
        raise InvalidValue(f"{table}.value_scale must be positive, got {config.value_scale}")
    if config.alpha_start is not None and min(config.alpha, config.alpha_start) <= 0:
        raise InvalidValue(f"{table}.alpha and {table}.alpha_start must be positive")
    if not 0 < config.anneal_share <= 1:
        raise InvalidValue(f"{table}.anneal_share must lie in (0, 1], got {config.anneal_share}")
    if not 0 <= config.final_rate <= 1:
        raise InvalidValue(f"{table}.final_rate must lie in [0, 1], got {config.final_rate}")
    if not 0 < config.target_rate <= 1 or config.target_interval < 1:
        raise InvalidValue(
            f"{table}.target_rate must lie in (0, 1], and {table}.target_interval be at least 1"
        )
