"""Distillation: a policy for a fixed soft Q-function, from stored observations alone (THEORY 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skillkit.algorithms.learner import Learner, initialisation, jittered, step
from skillkit.errors import InvalidValue, UnknownName
from skillkit.flows import FlowConfig
from skillkit.functional.losses import actor_loss, squash_log_det
from skillkit.functional.soft_value import boltzmann_log_weights, effective_sample_size
from skillkit.functional.stein import stein_direction
from skillkit.policies import POLICIES, Policy, make_policy
from skillkit.policies.mixture import Mixture, candidate_values
from skillkit.q_functions import SoftQ
from skillkit.types import Batch, Spec


@dataclass(frozen=True)
class DistillConfig:
    """Hyperparameters of the projection."""

    policy: str = "gaussian"  # its kind; or real_nvp, implicit: any that takes noise
    loss: str | None = None  # reverse_kl, forward_kl or svgd; None: reverse_kl, or svgd for a
    # policy without density
    hidden: tuple[int, ...] | None = None  # widths of the policy's hidden layers; None: those of a
    # parent of its kind
    flow: FlowConfig = FlowConfig()  # of a real_nvp policy
    warm_start: bool = True  # begin as the nearest of the parents' policies, where one fits
    learning_rate: float = 1e-3  # of Adam; falls to zero along a half cosine
    batch_size: int = 256  # observations per update
    updates: int = 4_000  # gradient steps, at most
    jitter: float = 0.3  # half of the states are moved by noise of so many standard deviations
    patience: int = 0  # updates without progress after which to stop; 0: make them all
    trust: float = 0.0  # beta of a penalty beta KL(pi || mixture of the parents' policies) [r/nat]
    particles: int = 16  # actions per state: half stay, half move (svgd); or so many from each
    # parent and uniformly (forward_kl). An update costs that many times reverse_kl's

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise UnknownName("policy", self.policy, POLICIES)
        if self.policy == "deterministic":
            raise InvalidValue("a deterministic policy has no density; use a gaussian policy")
        if self.loss is not None and self.loss not in LOSSES:
            raise UnknownName("loss", self.loss, LOSSES)
        if self.objective != "svgd" and not POLICIES[self.policy].has_density:
            raise InvalidValue(
                f"distill.loss={self.loss} needs the density of the policy, and {self.policy} "
                "policies have none; use distill.loss=svgd"
            )
        if self.learning_rate <= 0 or min(self.batch_size, self.updates, *(self.hidden or ())) < 1:
            raise InvalidValue("distill.learning_rate and every distill size must be positive")
        if min(self.trust, self.patience, self.jitter) < 0:
            raise InvalidValue("distill.trust, patience and jitter must not be negative")
        if self.particles < 4:
            raise InvalidValue(f"distill.particles must be at least 4, got {self.particles}")

    @property
    def objective(self) -> str:
        """The key of the loss in `LOSSES`."""
        if self.loss is not None:
            return self.loss
        return "reverse_kl" if POLICIES[self.policy].has_density else "svgd"


class Distill(Learner):
    """min_pi E_s [KL(pi(.|s) || exp(Q_S/alpha)/Z)], or what `distill.loss` puts in its place.

    The penalty beta KL(pi || mix) towards mix, the equal mixture of the parents' policies, keeps
    the policy where the critics were trained. It only moves the target: for every loss the sum is
    (alpha + beta) KL to the policy of Q_S + beta log mix at the temperature alpha + beta.

    Args:
        q: Q_S; it stays as it is.
        parents: the skills' policies and soft Q-functions; trust, forward_kl and `begin` use them.
        inputs: positions of the observation entries that the policy reads; None: all.

    Raises:
        InvalidValue: a penalty towards parents that have no density, or that are missing.
    """

    config: DistillConfig

    def __init__(
        self,
        spec: Spec,
        q: SoftQ,
        config: DistillConfig,
        seed: int,
        device: str = "cpu",
        parents: Sequence[tuple[Policy, SoftQ]] = (),
        inputs: Sequence[int] | None = None,
    ) -> None:
        check_trust(config, parents)
        self.config = config
        self.generator = torch.Generator(device).manual_seed(seed)
        self.q = q.to(device).requires_grad_(False)
        self.parents = [policy for policy, _ in parents]
        self.proposal = Mixture(spec.action_dim, parents, config.particles)
        widths = [p.hidden for p in self.parents if p.kind == config.policy] or [HIDDEN]
        sized = config if config.hidden is not None else replace(config, hidden=widths[0])
        with initialisation(seed):
            self.policy = make_policy(spec, sized, inputs).to(device)
        self.modules = {"policy": self.policy}
        self.noise_scale: Tensor | None = None  # of the jitter, in each entry of the observation
        adam = torch.optim.Adam(self.policy.parameters(), lr=config.learning_rate, fused=True)
        self.optimizers = {"policy": adam}

    def begin(self, obs: Tensor) -> None:
        """Become the parent's policy of this shape that has the lowest loss on these states.

        Each of them can handle the robot already, and is nearly right where its own task matters
        most; from random weights the same number of updates ends elsewhere with every seed. The
        states also tell how far apart they lie, which is the unit of the jitter. (B, O)
        """
        self.noise_scale = self.config.jitter * obs.std(0)
        shape = self.policy.config
        kind = self.policy.kind
        fitting = [p for p in self.parents if p.kind == kind and p.config == shape]
        losses = []
        for parent in fitting * self.config.warm_start:
            self.policy.load_state_dict(parent.state_dict())
            losses.append(self.score(obs))
        if losses:
            nearest = fitting[losses.index(min(losses))]
            self.policy.load_state_dict(nearest.state_dict())

    @property
    def temperature(self) -> float:
        """alpha + beta: of the target [r/nat]."""
        return self.q.alpha + self.config.trust

    def target(self, obs: Tensor, u: Tensor) -> Tensor:
        """Q_S + beta log mix at actions tanh u. (B, O), (B, K, A) -> (B, K) [r]"""
        action = torch.tanh(u)
        found = candidate_values(self.q, obs, action)
        if not self.config.trust:
            return found
        own = [policy.log_prob(obs[:, None], action, pre_tanh=u) for policy in self.parents]
        log_mix = torch.logsumexp(torch.stack(own), 0) - math.log(len(own))
        return found + self.config.trust * log_mix

    def update(self, batch: Batch) -> dict[str, Tensor]:
        obs = self.between(batch.obs)
        loss, metrics = LOSSES[self.config.objective](self, obs, self.generator)
        step(self.optimizers["policy"], loss)
        self.updates += 1
        return {name: value.detach() for name, value in metrics.items()}

    def between(self, obs: Tensor) -> Tensor:
        """The states, half of them moved, once it is known how far they lie apart. (B, O)"""
        if self.noise_scale is None or not self.config.jitter:
            return obs
        return jittered(obs, self.noise_scale, self.generator)

    def score(self, obs: Tensor) -> float:
        """The loss on these states with the same noise each time, to compare over updates."""
        generator = torch.Generator(obs.device).manual_seed(0)
        _, metrics = LOSSES[self.config.objective](self, obs, generator)
        return float(metrics["distillation_loss"].detach())

    def anneal(self, done: float) -> None:
        """The learning rate falls along half a cosine, from the full rate to zero."""
        rate = self.config.learning_rate * (1 + math.cos(math.pi * done)) / 2
        self.optimizers["policy"].param_groups[0]["lr"] = rate


def check_trust(config: DistillConfig, parents: Sequence[tuple[Policy, SoftQ]]) -> None:
    """Whether there is a mixture of parents to trust.

    Raises:
        InvalidValue: no parents, or one without density.
    """
    if config.trust and not (parents and all(policy.has_density for policy, _ in parents)):
        raise InvalidValue(
            "distill.trust needs the densities of the parents' policies, and one has none; "
            "leave it 0, or compose skills with gaussian policies"
        )


HIDDEN = (128, 128)  # widths, where no parent has any to offer


# ---------------------------------------------------------------------------------- the losses
#
# Each takes the learner, observations (B, O) and the source of its noise, and returns what Adam
# descends, and metrics; "distillation_loss" among them falls as the policy comes closer.

Loss = tuple[Tensor, dict[str, Tensor]]


def reverse_kl(learner: Distill, obs: Tensor, generator: torch.Generator) -> Loss:
    """E[alpha log pi - Q], a ~ pi: SAC's actor step against a frozen Q. Fits inside the target.

    In the metrics [r]: alpha KL(pi || exp(Q/alpha)/Z) less the soft value of the states.
    """
    policy = learner.policy
    noise = _normal((len(obs), policy.noise_dim), generator)
    u, log_prob = policy.raw_and_log_prob(obs, noise)
    q = learner.target(obs, u[:, None]).squeeze(1)
    loss = actor_loss(log_prob, q, learner.temperature)
    return loss, {"distillation_loss": loss, "entropy": -log_prob.mean()}


def forward_kl(learner: Distill, obs: Tensor, generator: torch.Generator) -> Loss:
    """E[-log pi], a ~ exp(Q/alpha)/Z: covers the target, all modes of it.

    The expectation has self-normalised importance weights over candidates from the parents'
    policies and the uniform density; `effective_sample_size` says how many of them count.
    """
    with torch.no_grad():
        u = learner.proposal.raw(obs, _normal((len(obs), learner.proposal.noise_dim), generator))
        log_weights = boltzmann_log_weights(
            learner.target(obs, u), learner.temperature, learner.proposal.log_prob(obs, u)
        )
    log_prob = learner.policy.log_prob(obs[:, None], torch.tanh(u), pre_tanh=u)  # (B, K)
    loss = -(torch.softmax(log_weights, -1) * log_prob).sum(-1).mean()
    count = effective_sample_size(log_weights).mean()
    return loss, {"distillation_loss": loss, "effective_sample_size": count}


def svgd(learner: Distill, obs: Tensor, generator: torch.Generator) -> Loss:
    """Amortised Stein variational gradient descent: for a policy without density (thesis ch. 3).

    In the metrics: the root of the mean squared Stein direction, 0 where the particles settled.
    """
    policy, count = learner.policy, learner.config.particles
    states = obs[:, None].expand(-1, count, -1)
    u = policy.raw(states, _normal((len(obs), count, policy.noise_dim), generator))
    moving, fixed = u.tensor_split([count // 2], 1)  # (B, K_y, A), (B, K_x, A)
    fixed = fixed.detach().requires_grad_()
    log_density = learner.target(obs, fixed) / learner.temperature + squash_log_det(fixed)
    (score,) = torch.autograd.grad(log_density.sum(), fixed)  # before the tanh
    direction = stein_direction(fixed, moving, score)
    loss = -(direction * moving).sum(-1).mean()  # descending it moves along the direction
    return loss, {"distillation_loss": direction.square().mean().sqrt()}


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


LOSSES: dict[str, Callable[[Distill, Tensor, torch.Generator], Loss]] = {
    "reverse_kl": reverse_kl,
    "forward_kl": forward_kl,
    "svgd": svgd,
}


class Plateau:
    """Says when a loss has stopped falling.

    That is when in `patience` updates it fell by less than 1 % of its whole fall so far: a rule
    that does not depend on the unit of the loss, nor on what the states are worth.
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.first, self.best, self.update = patience, math.inf, math.inf, 0

    def __call__(self, update: int, loss: float) -> bool:
        """Note the loss after so many updates; whether to stop."""
        if math.isinf(self.first):
            self.first = self.best = loss
        if self.best - loss > MARGIN * (self.first - loss):
            self.best, self.update = loss, update
        return update - self.update >= self.patience


MARGIN = 0.01  # of the fall so far
