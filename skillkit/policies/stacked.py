"""A stack of policies: the noise of each layer is the action of the one above (thesis ch. 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from skillkit.errors import InvalidValue
from skillkit.policies.policy import Policy


class StackedPolicy(Policy):
    """a = f_0(f_1(... f_K(eps; s); s); s), layers from the bottom up (THEORY 2, 7).

    This is the map of a moment at which every layer decides, as all do when an episode begins;
    between such moments the latents of the upper layers are held, which is a memory, and the
    business of `skillkit.runtimes.stacked`. Where every layer is invertible, so is the stack.

    Args:
        layers: at least two; those above the bottom one act by latents (squash=False).
        holds: for how many decisions of the layer below each upper layer's latent is held.

    Raises:
        InvalidValue: layers or holds that do not fit each other.
    """

    kind = "stacked"

    def __init__(self, layers: Sequence[Policy], holds: Sequence[int]) -> None:
        check_layers(layers, holds)
        bottom, top = layers[0], layers[-1]
        super().__init__(bottom.observation_dim, bottom.action_dim, hidden=())
        self.layers, self.holds = nn.ModuleList(layers), tuple(holds)
        self.noise_dim = top.noise_dim
        self.has_density = all(layer.has_density for layer in layers)
        self.onto = all(layer.onto for layer in layers)

    @property
    def config(self) -> dict[str, Any]:
        return {
            "observation_dim": self.observation_dim,
            "action_dim": self.action_dim,
            "holds": list(self.holds),
            "layers": [{"kind": layer.kind, "config": layer.config} for layer in self.each],
        }

    @property
    def steps_per_decision(self) -> int:
        """Environment steps for which the top layer holds its latent."""
        return math.prod(self.holds)

    @property
    def top(self) -> Policy:
        """The newest layer, whose latents the skill's Q-function judges."""
        return self.each[-1]

    @property
    def each(self) -> list[Policy]:
        """The layers, from the bottom up."""
        return list(self.layers)  # type: ignore[arg-type]

    def raw(self, obs: Tensor, noise: Tensor) -> Tensor:
        bottom, *upper = self.each
        for layer in reversed(upper):
            noise = layer.act(obs, noise)
        return bottom.raw(obs, noise)

    def raw_and_log_det(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        total = obs.new_zeros(())
        for layer in reversed(self.each):
            noise, log_det = layer.raw_and_log_det(obs, noise)
            total = total + log_det
        return noise, total

    def raw_inverse(self, obs: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        total = obs.new_zeros(())
        for layer in self.each:
            u, log_det = layer.raw_inverse(obs, u)
            total = total + log_det
        return u, total


def check_layers(layers: Sequence[Policy], holds: Sequence[int]) -> None:
    """One layer's latents are the noise of the next one below.

    Raises:
        InvalidValue: they are not, or there is not one hold of at least 1 for each upper layer.
    """
    if len(layers) < 2 or len(holds) != len(layers) - 1:
        raise InvalidValue(f"{len(layers)} layers do not make a stack with {len(holds)} holds")
    if not all(type(hold) is int and hold >= 1 for hold in holds):
        raise InvalidValue(f"a hold counts decisions, at least 1, not {list(holds)}")
    for below, above in pairwise(layers):
        fits = above.action_dim == below.noise_dim and not above.squash
        if not fits or above.observation_dim != below.observation_dim:
            raise InvalidValue(f"a {above.kind} layer does not fit the {below.kind} one below it")
