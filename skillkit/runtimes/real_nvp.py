"""The flow policy without PyTorch: the couplings of `skillkit.flows`, which says why (THEORY 7)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from skillkit.errors import CorruptSkill
from skillkit.runtimes.network import LOG_2, LOG_2PI, MLP, check_tensors, integers, squashing
from skillkit.types import Array

LARGEST = 1 << 16  # of a size in a config


class Coupling(NamedTuple):
    """x -> x e^l + t on `moved`, l = c tanh(p/c); t and p from the embedding and `kept`."""

    kept: slice
    moved: slice
    net: MLP


class RealNVP:
    """a = tanh(f(eps; s)), one to one in eps; the mode is at eps = 0 (thesis ch. 7).

    Raises:
        CorruptSkill: a malformed config, or tensors that do not fit it.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        self.noise_dim = config["action_dim"]
        self._squash = squashing(config)
        self._bound, embedding = _bound(config), _size(config, "embedding")
        left = dict(tensors)
        self._embed = MLP(config, embedding, _taken(left, "net"))
        inner = {"observation_dim": embedding, "hidden": integers(config, "conditioner")}
        self._couplings = []
        for k in range(_size(config, "couplings")):
            kept, moved = _halves(self.noise_dim, k)
            name = f"flow.couplings.{k}.transform_net"
            sizes = [half.stop - half.start for half in (kept, moved)]
            net = MLP(inner, 2 * sizes[1], _taken(left, name), sizes[0], name)
            self._couplings.append(Coupling(kept, moved, net))
        check_tensors(left, {})

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        shape = (*obs.shape[:-1], self.noise_dim)
        h = np.zeros(shape, np.float32) if noise is None else np.array(noise, np.float32)
        embedding = self._embed(obs)
        return self._squash(self._forth(h, lambda net, kept: net(embedding, kept)))

    def candidates(self, obs: Array, noise: Array) -> Array:
        """u for K noises in each state. (..., O), (..., K, A) -> (..., K, A)"""
        embedding = self._embed(obs)
        h = np.empty((*obs.shape[:-1], *noise.shape[-2:]), np.float32)
        h[:] = noise
        return self._forth(h, lambda net, kept: net.many(embedding, kept))

    def log_prob(self, obs: Array, u: Array) -> Array:
        """log pi(tanh u|s). (..., O), (..., K, A) -> (..., K)"""
        embedding = self._embed(obs)
        h, log_det = np.array(u, np.float32), 2 * (LOG_2 - u - np.logaddexp(0, -2 * u)).sum(-1)
        for kept, moved, net in reversed(self._couplings):
            shift, log_scale = self._moments(net.many(embedding, h[..., kept]))
            h[..., moved] = (h[..., moved] - shift) * np.exp(-log_scale)
            log_det += log_scale.sum(-1)
        density: Array = -0.5 * (h**2 + LOG_2PI).sum(-1) - log_det
        return density

    def _forth(self, x: Array, conditioned: Callable[[MLP, Array], Array]) -> Array:
        """u of h, in its place. (..., A) -> (..., A)"""
        for kept, moved, net in self._couplings:
            shift, log_scale = self._moments(conditioned(net, x[..., kept]))
            x[..., moved] = x[..., moved] * np.exp(log_scale) + shift
        return x

    def _moments(self, outputs: Array) -> tuple[Array, Array]:
        """Shift and log-scale. (..., 2M) -> (..., M), (..., M)"""
        count = outputs.shape[-1] // 2
        log_scale = self._bound * np.tanh(outputs[..., count:] / self._bound)
        return outputs[..., :count], log_scale


def _halves(dim: int, k: int) -> tuple[slice, slice]:
    """What coupling k keeps and what it moves; a single entry always moves."""
    first, last = slice(0, dim // 2), slice(dim // 2, dim)
    return (last, first) if k % 2 and dim > 1 else (first, last)


def _taken(tensors: dict[str, Array], name: str) -> dict[str, Array]:
    """Those of one network, taken out of `tensors`."""
    return {key: tensors.pop(key) for key in [*tensors] if key.startswith(f"{name}.")}


def _size(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if type(value) is not int or not 1 <= value <= LARGEST:
        raise CorruptSkill(f"the policy's {name} is {value!r}, not an integer from 1 to {LARGEST}")
    return value


def _bound(config: Mapping[str, Any]) -> np.float32:
    value = config.get("scale_bound")
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise CorruptSkill(f"the policy's scale_bound is {value!r}, not a positive number")
    return np.float32(value)
