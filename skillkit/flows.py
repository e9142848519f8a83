"""Conditional affine flows: the one place that touches nflows (thesis ch. 7; THEORY 7)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import torch
from nflows.transforms import AffineCouplingTransform
from torch import Tensor, nn

from skillkit.errors import InvalidValue
from skillkit.networks import MLP


@dataclass(frozen=True)
class FlowConfig:
    """Size and reach of a flow.

    k couplings scale an entry k/2 times (all k times, if it is the only one), each time by a factor
    between e^-c and e^c. In a state the standard deviations of u have a geometric mean above
    e^(-ck/2), therefore: at the defaults .135 before the tanh. A narrower policy takes a bound of
    5, or six couplings.
    """

    couplings: int = 2  # k; each moves half of the entries, given the other half
    conditioner: tuple[int, ...] = (64,)  # widths of the network in each coupling
    embedding: int = 64  # entries of the observation's embedding, which every coupling reads
    scale_bound: float = 2.0  # c [nat]: the log-scale of a coupling lies in (-c, c)

    def __post_init__(self) -> None:
        if self.couplings < 2:
            raise InvalidValue(
                f"flow.couplings must be at least 2, got {self.couplings}; one would leave half of "
                "the action to chance"
            )
        if min([self.embedding, *self.conditioner]) < 1:
            raise InvalidValue("flow.embedding and flow.conditioner hold widths, each at least 1")
        if not 0 < self.scale_bound <= LARGEST_BOUND:
            raise InvalidValue(
                f"flow.scale_bound must lie in (0, {LARGEST_BOUND:g}], got {self.scale_bound}"
            )


LARGEST_BOUND = 10.0  # a few factors of e^10 are all that float32 can take


class Conditioner(MLP):
    """Shift and unbounded log-scale of a coupling; 0 at first, where the coupling is the identity.

    (B, passed), (B, C) -> (B, 2 moved)
    """

    def __init__(self, inputs: int, outputs: int, config: FlowConfig) -> None:
        super().__init__([inputs + config.embedding, *config.conditioner, outputs])
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x if context is None else torch.cat([context, x], -1))


class Coupling(AffineCouplingTransform):  # type: ignore[misc]
    """x -> x e^l + t on the entries that move, l = c tanh(p/c), t and p from those that do not.

    The scale of nflows 0.14 lies in (.001, 1.001), and never begins at 1: it is overridden.
    """

    def __init__(self, moved: list[bool], config: FlowConfig) -> None:
        with torch.device("cpu"):  # real, even in a module that is built on the meta device
            super().__init__(moved, nn.Identity)
        sizes = self.num_identity_features, 2 * self.num_transform_features
        self.transform_net = Conditioner(*sizes, config)
        self.bound = config.scale_bound
        for name in ("identity_features", "transform_features"):  # follow from the sizes: not saved
            self.register_buffer(name, getattr(self, name), persistent=False)

    def _scale_and_shift(self, transform_params: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, in this order. (B, 2 moved) -> (B, moved), (B, moved)"""
        shift, p = transform_params.chunk(2, -1)
        return (self.bound * torch.tanh(p / self.bound)).exp(), shift


class Flow(nn.Module):
    """u = f(h; context), invertible in h; the couplings move the two halves of it in turn."""

    def __init__(self, dim: int, config: FlowConfig) -> None:
        super().__init__()
        half = dim // 2
        halves = [[i >= half for i in range(dim)], [i < half or dim == 1 for i in range(dim)]]
        self.couplings = nn.ModuleList(
            Coupling(halves[k % 2], config) for k in range(config.couplings)
        )

    def forward(self, h: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """u and log|det du/dh|. (..., A), (..., C) -> (..., A), (...,)"""
        return _cascade(h, context, self.couplings)

    def inverse(self, u: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """h and log|det du/dh|, not that of the way back. (..., A), (..., C) -> (..., A), (...,)"""
        back = (cast(Coupling, coupling).inverse for coupling in reversed(self.couplings))
        h, log_det = _cascade(u, context, back)
        return h, -log_det


def _cascade(
    x: Tensor, context: Tensor, steps: Iterable[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]]
) -> tuple[Tensor, Tensor]:
    """One step after the other, and the sum of their log|det|; nflows knows no further dimensions.

    (..., A), (..., C) -> (..., A), (...,)
    """
    shape = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
    x, context = (part.expand(*shape, -1).reshape(-1, part.shape[-1]) for part in (x, context))
    log_det = x.new_zeros(len(x))
    for step in steps:
        x, more = step(x, context)
        log_det = log_det + more
    return x.view(*shape, x.shape[-1]), log_det.view(shape)
