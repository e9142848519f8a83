"""Policies that are one network: Gaussian, deterministic, implicit."""

from __future__ import annotations

import itertools
import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skillkit.errors import CorruptSkill
from skillkit.types import Array

LOG_STD_LOW, LOG_STD_HIGH = -5.0, 2.0  # of the Gaussian policy; fixed by the file format
CLIP_LOW, CLIP_HIGH = -20.0, 2.0  # of the clipped one, cut off
LOG_2, LOG_2PI = math.log(2.0), math.log(2.0 * math.pi)


class MLP:
    """Linear layers with ReLU between them, on the entries it reads and the noise, if it takes any.

    (..., O), (..., noise_dim) -> (..., outputs)

    Many rows are multiplied one by one: BLAS rounds a row differently when others are beside it,
    and an episode must not depend on those evaluated with it. One row is the control loop's, where
    a microsecond counts: it uses buffers made before.

    Raises:
        CorruptSkill: a malformed config, or tensors that do not fit it.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        outputs: int,
        tensors: Mapping[str, Array],
        noise_dim: int = 0,
        name: str = "net",
    ) -> None:
        width, hidden = config["observation_dim"], integers(config, "hidden")
        self._inputs = None if config.get("inputs") is None else integers(config, "inputs", width)
        width = noise_dim + (width if self._inputs is None else len(self._inputs))
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (before, after) in enumerate(itertools.pairwise([width, *hidden, outputs])):
            shapes[f"{name}.layers.{i}.weight"] = (after, before)
            shapes[f"{name}.layers.{i}.bias"] = (after,)
        check_tensors(tensors, shapes)
        copies = [np.array(tensors[name].T, order="C") for name in shapes]
        weights, biases = copies[::2], copies[1::2]
        outs = [np.empty_like(bias) for bias in biases]
        zeros = [np.zeros_like(bias) for bias in biases]  # the number 0 takes twice as long
        *self._hidden, self._last = zip(weights, biases, outs, zeros, strict=True)
        self._beside = np.empty(width, np.float32)  # one row: what it reads, and the noise

    def __call__(self, obs: Array, noise: Array | None = None) -> Array:
        x = obs if self._inputs is None else obs[..., self._inputs]
        if x.ndim == 1:
            return self._one(x, noise)
        if noise is not None:
            x = np.concatenate((x, noise), axis=-1, dtype=np.float32)
        rows: Array = self._rows(x[..., None, :])
        return rows[..., 0, :]

    def many(self, obs: Array, noise: Array) -> Array:
        """K noises in each state, in one product. (..., O), (..., K, noise_dim) -> (..., K, A)"""
        x = obs if self._inputs is None else obs[..., self._inputs]
        return self._rows(beside(x, noise))

    def _one(self, x: Array, noise: Array | None) -> Array:
        if noise is not None:
            self._beside[: len(x)] = x
            self._beside[len(x) :] = noise
            x = self._beside
        for weight, bias, out, zero in self._hidden:
            np.dot(x, weight, out)
            np.add(out, bias, out=out)
            x = np.maximum(out, zero, out=out)
        weight, bias, out, _ = self._last
        np.dot(x, weight, out)
        np.add(out, bias, out=out)
        return out

    def _rows(self, x: Array) -> Array:
        for weight, bias, _, zero in self._hidden:
            x = np.matmul(x, weight)
            np.add(x, bias, out=x)
            np.maximum(x, zero, out=x)
        weight, bias, _, _ = self._last
        x = np.matmul(x, weight)
        np.add(x, bias, out=x)
        return x


class Gaussian:
    """a = tanh(mu(s) + sigma(s) eps); the mode is tanh(mu(s)) (thesis ch. 4)."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        self.noise_dim = config["action_dim"]
        self._squash = squashing(config)
        self._net = MLP(config, 2 * self.noise_dim, tensors)

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        if noise is None:
            u: Array = self._net(obs)[..., : self.noise_dim]
        else:
            mean, log_std = self._moments(obs)
            u = mean + np.exp(log_std) * noise
        return self._squash(u)

    def candidates(self, obs: Array, noise: Array) -> Array:
        """u for K noises in each state. (..., O), (..., K, A) -> (..., K, A)"""
        mean, log_std = self._moments(obs[..., None, :])
        u: Array = mean + np.exp(log_std) * noise
        return u

    def log_prob(self, obs: Array, u: Array) -> Array:
        """log pi(tanh u|s). (..., O), (..., K, A) -> (..., K)"""
        mean, log_std = self._moments(obs[..., None, :])
        squares = ((u - mean) * np.exp(-log_std)) ** 2
        log_det = log_std + 2 * (LOG_2 - u - np.logaddexp(0, -2 * u))  # of eps -> a
        density: Array = (-0.5 * (squares + LOG_2PI) - log_det).sum(-1)
        return density

    def _moments(self, obs: Array) -> tuple[Array, Array]:
        outputs = self._net(obs)  # (..., 2A)
        return outputs[..., : self.noise_dim], self._bounded(outputs[..., self.noise_dim :])

    def _bounded(self, log_std: Array) -> Array:
        half = (LOG_STD_HIGH - LOG_STD_LOW) / 2
        bent: Array = LOG_STD_LOW + half * (1 + np.tanh(log_std))
        return bent


class ClippedGaussian(Gaussian):
    """The same with a log standard deviation that is cut off at both ends."""

    def _bounded(self, log_std: Array) -> Array:
        return np.clip(log_std, CLIP_LOW, CLIP_HIGH)


class Deterministic:
    """a = tanh u(s); there is no noise."""

    noise_dim = 0

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        self._squash = squashing(config)
        self._net = MLP(config, config["action_dim"], tensors)

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        return self._squash(self._net(obs))


class Implicit:
    """a = tanh u(s, eps); the mode is at eps = 0 (thesis ch. 3)."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        noise_dim = config.get("noise_dim")
        if type(noise_dim) is not int or noise_dim < 1:
            raise CorruptSkill(f"the policy's noise_dim is {noise_dim!r}, not a positive integer")
        self.noise_dim = noise_dim
        self._squash = squashing(config)
        self._net = MLP(config, config["action_dim"], tensors, noise_dim)

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        if noise is None:
            noise = np.zeros((*obs.shape[:-1], self.noise_dim), np.float32)
        return self._squash(self._net(obs, noise))

    def candidates(self, obs: Array, noise: Array) -> Array:
        """u for K noises in each state. (..., O), (..., K, noise_dim) -> (..., K, A)"""
        return self._net.many(obs, noise)


def beside(obs: Array, each: Array) -> Array:
    """The state beside each of K rows. (..., O), (..., K, D) -> (..., K, O + D)"""
    states = np.broadcast_to(obs[..., None, :], (*obs.shape[:-1], each.shape[-2], obs.shape[-1]))
    rows = np.broadcast_to(each, (*states.shape[:-1], each.shape[-1]))
    return np.concatenate((states, rows), axis=-1, dtype=np.float32)


def squashing(config: Mapping[str, Any]) -> Callable[[Array], Array]:
    """What makes an action of u, a new array: tanh; for latents, which have no bounds, a copy.

    Raises:
        CorruptSkill: the config says neither.
    """
    if type(squash := config.get("squash", True)) is not bool:
        raise CorruptSkill(f"the policy's squash is {squash!r}, neither true nor false")
    return np.tanh if squash else np.copy


def integers(config: Mapping[str, Any], name: str, below: int = 1 << 16) -> list[int]:
    values = config.get(name)
    if not isinstance(values, list | tuple) or len(values) >= 1 << 16:
        values = [None]
    if all(type(value) is int and 0 <= value < below for value in values):
        return list(values)
    given = reprlib.repr(config.get(name))
    raise CorruptSkill(f"the policy's {name} is {given}, not a list of integers below {below}")


def check_tensors(tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Exactly these names and shapes, float32 and finite."""
    found = {name: f"{tensor.dtype} {tensor.shape}" for name, tensor in tensors.items()}
    wanted = {name: f"float32 {shape}" for name, shape in shapes.items()}
    for name in sorted(found.keys() | wanted.keys()):
        has, needs = found.get(name, "absent"), wanted.get(name, "no such tensor")
        if has != needs:
            raise CorruptSkill(f"{name} is {has}; skill.json describes {needs}")
        if not np.isfinite(tensors[name]).all():
            raise CorruptSkill(f"{name} has NaN or infinite weights")
