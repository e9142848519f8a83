"""Soft actor-critics that learn at once: their networks are stacked, each product is one for all.

A GPU is idle while networks of this size learn one after the other; so it is with one network whose
kernels the host starts one by one (see captured.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from skillkit.algorithms.captured import Captured, Outputs, Record, cuda_graph
from skillkit.algorithms.sac import SAC
from skillkit.errors import InvalidValue
from skillkit.types import Batch


class Population:
    """N learners of one shape, each with a batch and a noise of its own, as if it were alone.

    Their parameters become views of stacked ones, (N, ...), and their optimisers' moments those of
    one Adam for all: a learner acts, is annealed, evaluated, saved and loaded as ever.
    """

    def __init__(self, learners: Sequence[SAC], record: Record | None = None) -> None:
        """`record`: how kernels are recorded; None: as a CUDA graph on a GPU, elsewhere not at all.

        Raises:
            InvalidValue: the learners differ in more than what they have learned.
        """
        _check_alike(learners)
        self.learners, self.config = list(learners), learners[0].config
        device = learners[0].generator.device
        self.record = cuda_graph if record is None and device.type == "cuda" else record
        self.one = _Methods(learners[0])
        self.parameters = {
            f"{name}.{key}": tensor
            for name in learners[0].modules
            for key, tensor in _stacked([learner.modules[name] for learner in learners]).items()
        }
        self.rate = torch.zeros((), device=device)  # Adam's; recorded kernels read it where it is
        for learner in learners:
            for adam in learner.optimizers.values():
                adam.register_load_state_dict_post_hook(lambda adam: self._share())
        self._share()

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One update of every learner from its part of the batch.

        Args:
            batch: (N, B, ...) each.

        Returns:
            The metrics of `SAC.update`, (N,) each.
        """
        size = batch.reward.shape[1]
        noises = [torch.stack([one.noise(size) for one in self.learners]) for _ in range(2)]
        self.rate.fill_(self.learners[0].optimizers["q"].param_groups[0]["lr"])
        metrics = self._descend(*batch, *noises)
        for learner in self.learners:
            learner.updates += 1
        hard = self.config.target == "hard"
        if hard and self.learners[0].updates % self.config.target_interval == 0:
            self._track(1.0)
        return metrics

    def _share(self) -> None:
        """One Adam for all, whose moments are the learners' own; again after one was loaded."""
        self.adams = {name: self._adam(name) for name in self.learners[0].optimizers}
        self._descend: Callable[..., Outputs] = self._eager
        if self.record is not None:
            self._descend = Captured(self._eager, self.record)

    def _adam(self, name: str) -> torch.optim.Adam:
        every = [learner.optimizers[name] for learner in self.learners]
        parameters = [own.param_groups[0]["params"] for own in every]
        flat = [parameter for parts in zip(*parameters, strict=True) for parameter in parts]
        adam = torch.optim.Adam(flat, lr=self.rate, fused=True, capturable=True)
        for own, mine in zip(every, parameters, strict=True):
            for parameter in mine:
                adam.state[parameter] = own.state[parameter]
        return adam

    def _eager(self, *inputs: Tensor) -> Outputs:
        """`SAC.update` of all, but for what is drawn and counted. (N, B, ...) -> (N,)"""
        *columns, noise, other = inputs
        batch = Batch(*columns)
        loss_q, q = self._each("evaluation", batch, noise)
        self._step("q", loss_q)
        loss_policy, log_ratio = self._each("improvement", batch.obs, other)
        self._step("policy", loss_policy)
        alpha = self.parameters["temperature.log_alpha"].detach().exp()
        if self.config.automatic_alpha:
            self._step("temperature", self._each("adjustment", log_ratio))
        if self.config.target == "average":
            self._track(self.config.target_rate)
        return {
            "critic_loss": loss_q.detach(),
            "actor_loss": loss_policy.detach(),
            "q": q,
            **self._each("entropy", log_ratio),
            "alpha": alpha,
        }

    def _each(self, method: str, *inputs: Any) -> Any:
        """What a method gives each learner, from its own parameters and its part of the inputs."""

        def one(parameters: dict[str, Tensor], *inputs: Any) -> Any:
            return functional_call(self.one, parameters, (method, *inputs))

        return torch.vmap(one)(self.parameters, *inputs)

    def _step(self, name: str, losses: Tensor) -> None:
        """One step of everybody's module of this name. (N,) -> nothing"""
        gradients = torch.autograd.grad(losses.sum(), self._of(name))
        parts = [part for gradient in gradients for part in gradient.contiguous()]  # as Adam reads
        adam = self.adams[name]
        for parameter, part in zip(adam.param_groups[0]["params"], parts, strict=True):
            parameter.grad = part
        adam.step()

    @torch.no_grad()
    def _track(self, rate: float) -> None:
        """The targets follow the critics, as in `ActorCritic.track`."""
        torch._foreach_lerp_(self._of("target"), self._of("q"), rate)

    def _of(self, name: str) -> list[Tensor]:
        """Stacked parameters of the modules of this name."""
        return [part for key, part in self.parameters.items() if key.startswith(f"{name}.")]


class _Methods(nn.Module):
    """A learner's methods as functions of the parameters of all its modules."""

    def __init__(self, learner: SAC) -> None:
        super().__init__()
        self.learner = learner
        for name, module in learner.modules.items():
            self.add_module(name, module)

    def forward(self, method: str, *inputs: Any) -> Any:
        return getattr(self.learner, method)(*inputs)


def _stacked(modules: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Parameters of modules of one shape in one tensor each, of which theirs become views."""
    found = {}
    for key, first in modules[0].named_parameters():
        every = [module.get_parameter(key) for module in modules]
        together = torch.stack([parameter.detach() for parameter in every])
        for parameter, own in zip(every, together, strict=True):
            parameter.data = own
        found[key] = together.requires_grad_(first.requires_grad)
    return found


def _check_alike(learners: Sequence[SAC]) -> None:
    shapes = [(one.policy.config, one.q.config, one.config, one.prior) for one in learners]
    if any(shape != shapes[0] for shape in shapes):
        raise InvalidValue(
            "a population has learners of one shape, with the same settings and inputs; let those "
            "that differ learn one after the other"
        )
