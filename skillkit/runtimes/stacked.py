"""A stack of policies in a control loop: every layer decides in its own rhythm (THEORY 7)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from operator import mul
from typing import Any

import numpy as np

from skillkit.errors import CorruptSkill
from skillkit.runtimes.network import (
    ClippedGaussian,
    Deterministic,
    Gaussian,
    Implicit,
    integers,
)
from skillkit.runtimes.real_nvp import RealNVP
from skillkit.runtimes.symmetric import Symmetric
from skillkit.types import Array

LONGEST = 1 << 31  # steps

Runtime = Gaussian | Deterministic | Implicit | RealNVP | Symmetric
LAYERS: dict[str, type[Runtime]] = {
    "gaussian": Gaussian,
    "clipped_gaussian": ClippedGaussian,
    "deterministic": Deterministic,
    "implicit": Implicit,
    "real_nvp": RealNVP,
    "symmetric": Symmetric,  # at the bottom alone
}


class Stacked:
    """a = f_0(f_1(... f_K(eps; s); s); s): what `skillkit.policies.stacked` does.

    Layer k decides once in as many steps as the holds up to its own multiply to, from the first
    step of an episode on, and the bottom layer at every step: `Episode` and `Episodes` keep count.

    Raises:
        CorruptSkill: a malformed config, or tensors that do not fit it.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        parts, holds = config.get("layers"), integers(config, "holds")
        if not isinstance(parts, list) or len(parts) != len(holds) + 1 or not holds or 0 in holds:
            raise CorruptSkill("a stack needs at least two layers, and a hold for each upper one")
        observation_dim, width = config["observation_dim"], config["action_dim"]
        left = dict(tensors)
        self.layers: list[Runtime] = []
        for index, part in enumerate(parts):
            self.layers.append(_layer(index, part, (observation_dim, width), left))
            width = self.layers[-1].noise_dim  # what the layer above gives
        if left:
            raise CorruptSkill(f"the tensor {min(left)} belongs to no layer of the stack")
        self.periods = list(itertools.accumulate(holds, mul))  # of layers 1 to K
        if self.periods[-1] > LONGEST:
            raise CorruptSkill(f"a latent of the stack is held for more than {LONGEST} steps")
        self.noise_dim = self.layers[-1].noise_dim

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        """The moment at which every layer decides. (..., O), (..., noise_dim) -> (..., A)"""
        *lower, top = self.layers
        action = top(obs, noise)
        for layer in reversed(lower):
            action = layer(obs, action)
        return action


class Episode:
    """One episode, as a control loop plays it."""

    def __init__(self, stack: Stacked) -> None:
        self._bottom, *upper = stack.layers
        self._upper = [*enumerate(zip(upper, stack.periods, strict=True))][::-1]
        self._held: list[Array | None] = [None] * len(upper)  # their latents, (A,) each
        self._steps = 0

    def begin(self) -> None:
        """A new one: every layer decides at the next step."""
        self._steps = 0

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        """One step. (O,), (noise_dim,) or None -> (A,)"""
        latent = noise  # None: the mode of the top layer
        for k, (layer, period) in self._upper:
            if self._steps % period == 0:
                self._held[k] = layer(obs, latent)
            latent = self._held[k]
        self._steps += 1
        return self._bottom(obs, latent)


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
        """One step of each. (E, O), (E, noise_dim) or None -> (E, A)

        Another number of rows than before are other episodes, which begin.
        """
        if len(obs) != len(self._steps):
            self._steps = np.zeros(len(obs), np.int64)
            below = (self._bottom, *self._upper[:-1])
            self._latents = [np.zeros((len(obs), lower.noise_dim), np.float32) for lower in below]
        latent = noise  # None: the mode of the top layer
        layers = zip(self._upper, self._periods, self._latents, strict=True)
        for layer, period, held in reversed(list(layers)):
            due = self._steps % period == 0
            if due.any():
                held[due] = layer(obs[due], None if latent is None else latent[due])
            latent = held
        self._steps += 1
        return self._bottom(obs, latent)


def _layer(index: int, part: Any, sizes: tuple[int, int], left: dict[str, Array]) -> Runtime:
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
