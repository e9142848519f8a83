"""A stack of policies in a control loop: every layer decides in its own rhythm (THEORY 7)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from operator import mul
from typing import Any

import numpy as np

from skillkit.errors import CorruptSkill
from skillkit.runtimes.network import Deterministic, Gaussian, Implicit, integers
from skillkit.runtimes.real_nvp import RealNVP
from skillkit.types import Array

LAYERS: dict[str, type[Gaussian | Deterministic | Implicit | RealNVP]] = {
    "gaussian": Gaussian,
    "deterministic": Deterministic,
    "implicit": Implicit,
    "real_nvp": RealNVP,
}


class Stacked:
    """a = f_0(f_1(... f_K(eps; s); s); s): what `skillkit.policies.stacked` does.

    Layer k decides once in as many steps as the holds up to its own multiply to, from the first
    step of an episode on, and the bottom layer at every step: `Episodes` keeps count.

    Raises:
        CorruptSkill: a malformed config, or tensors that do not fit it.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        parts, holds = config.get("layers"), integers(config, "holds")
        if not isinstance(parts, list) or len(parts) != len(holds) + 1 or not holds or 0 in holds:
            raise CorruptSkill("a stack needs at least two layers, and a hold for each upper one")
        sizes = config["observation_dim"], config["action_dim"]
        left = dict(tensors)
        self.layers = [_layer(i, part, sizes, left) for i, part in enumerate(parts)]
        if left:
            raise CorruptSkill(f"the tensor {min(left)} belongs to no layer of the stack")
        for layer in self.layers[:-1]:
            if layer.noise_dim != sizes[1]:
                raise CorruptSkill(f"a layer of {layer.noise_dim} latents takes none on top of it")
        self.periods = list(itertools.accumulate(holds, mul))  # of layers 1 to K
        self.noise_dim = self.layers[-1].noise_dim

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        """The moment at which every layer decides. (..., O), (..., noise_dim) -> (..., A)"""
        *lower, top = self.layers
        action = top(obs, noise)
        for layer in reversed(lower):
            action = layer(obs, action)
        return action


class Episodes:
    """Episodes that a stack plays side by side: the steps of each, and the latents it holds."""

    def __init__(self, stack: Stacked) -> None:
        self._bottom, *self._upper = stack.layers
        self._periods = stack.periods
        self._steps = np.zeros(0, np.int64)  # since each row's episode began
        self._latents: list[Array] = []  # of the upper layers, (E, A) each

    def begin(self, rows: Array | None = None) -> None:
        """New episodes in these rows, (E,) bool, or all: every layer decides at the next step."""
        if rows is None or len(rows) != len(self._steps):
            self._steps = np.zeros(0, np.int64)
        else:
            self._steps[rows] = 0

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        """One step of each. (E, O), (E, noise_dim) or None -> (E, A); or of one, without the E.

        Another number of rows than before are other episodes, which begin.
        """
        if obs.ndim == 1:
            one: Array = self(obs[None], None if noise is None else noise[None])[0]
            return one
        if len(obs) != len(self._steps):
            self._steps = np.zeros(len(obs), np.int64)
            width = self._bottom.noise_dim
            self._latents = [np.zeros((len(obs), width), np.float32) for _ in self._upper]
        latent = noise  # None: the mode of the top layer
        layers = zip(self._upper, self._periods, self._latents, strict=True)
        for layer, period, held in reversed(list(layers)):
            due = self._steps % period == 0
            if due.any():
                held[due] = layer(obs[due], None if latent is None else latent[due])
            latent = held
        self._steps += 1
        return self._bottom(obs, latent)


def _layer(
    index: int, part: Any, sizes: tuple[int, int], left: dict[str, Array]
) -> Gaussian | Deterministic | Implicit | RealNVP:
    """One layer, with its tensors taken out of those that are left."""
    prefix = f"layers.{index}."
    try:
        kind, config = part["kind"], part["config"]
        found = config["observation_dim"], config["action_dim"]
        squashed = config.get("squash", True)
    except (AttributeError, KeyError, TypeError) as error:
        raise CorruptSkill(f"layer {index} of the stack is not described: {error!r}") from error
    if kind not in [*LAYERS]:  # whatever it is
        raise CorruptSkill(
            f"layer {index} is of the kind {kind!r}; stacks have {', '.join(LAYERS)}"
        )
    if found != sizes or squashed is not (index == 0):
        raise CorruptSkill(
            f"layer {index} does not fit the stack: {found} sizes, squash {squashed}"
        )
    own = {key.removeprefix(prefix): left.pop(key) for key in [*left] if key.startswith(prefix)}
    return LAYERS[kind](config, own)
