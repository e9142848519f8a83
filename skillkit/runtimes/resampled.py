"""Instant composition in a control loop: the candidates, and the critics that judge them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skillkit.errors import CorruptSkill
from skillkit.runtimes.network import (
    LOG_2,
    ClippedGaussian,
    Gaussian,
    Implicit,
    beside,
    check_tensors,
    integers,
)
from skillkit.runtimes.real_nvp import RealNVP
from skillkit.types import Array

LARGEST = 1 << 22  # candidates times units that they go through at once
NORM_EPS = 1e-5  # of the critics' layer normalisation
PROPOSALS: dict[str, type[Gaussian | Implicit | RealNVP]] = {
    "gaussian": Gaussian,
    "clipped_gaussian": ClippedGaussian,
    "implicit": Implicit,
    "real_nvp": RealNVP,
}


class Critics:
    """The minimum over stacked critics, for K actions in each state (THEORY 3)."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        self._normalised, width = config["normalised"] is True, config["observation_dim"]
        self._inputs = None if config.get("inputs") is None else integers(config, "inputs", width)
        width = width if self._inputs is None else len(self._inputs)
        sizes = [width + config["action_dim"], *integers(config, "hidden"), 1]
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (before, after) in enumerate(itertools.pairwise(sizes)):
            shapes[f"net.layers.{i}.weight"] = (config["critics"], before, after)
            shapes[f"net.layers.{i}.bias"] = (config["critics"], 1, after)
        check_tensors(tensors, shapes)
        copies = [np.array(tensors[name]) for name in shapes]
        for hidden in copies[:-2] * self._normalised:  # the mean over units goes once and for all
            hidden -= hidden.mean(-1, keepdims=True)
        if not 0 < (scale := float(config.get("scale", 1.0))) < math.inf:
            raise ValueError(f"a scale of {scale}")
        for last in copies[-2:]:
            last *= np.float32(scale)
        self._layers = list(zip(copies[::2], copies[1::2], strict=True))

    def __call__(self, obs: Array, action: Array) -> Array:
        """(..., O), (..., K, A) -> (..., K) [r]"""
        read = obs if self._inputs is None else obs[..., self._inputs]
        x = beside(read, action)[..., None, :, :]  # (..., 1, K, I + A)
        for weight, bias in self._layers[:-1]:
            x = np.matmul(x, weight)  # (..., N, K, H)
            x += bias
            if self._normalised:
                variance = np.einsum("...i,...i", x, x) / x.shape[-1]
                x /= np.sqrt(variance + NORM_EPS)[..., None]
            np.maximum(x, 0.0, out=x)
        weight, bias = self._layers[-1]
        q: Array = np.matmul(x, weight) + bias  # (..., N, K, 1)
        lowest: Array = q[..., 0].min(-2)
        return lowest


class WeightedSum:
    """Q_S = sum_i w_i Q_i (thesis eq. 6.2)."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        parts = config["parts"]
        self.weights = np.array(config["weights"], np.float32)  # (N,)
        self.alphas = [float(part["config"]["alpha"]) for part in parts]  # [r/nat]
        if self.weights.shape != (len(parts),) or min(self.alphas) <= 0:
            raise ValueError("a sum needs a weight and a temperature above 0 for each part")
        prefixes = [f"parts.{i}." for i in range(len(parts))]
        self._parts = [
            SOFT_QS[part["kind"]](part["config"], own)
            for part, own in zip(parts, _below(prefixes, tensors), strict=True)
        ]

    def __call__(self, obs: Array, action: Array) -> Array:
        """(..., O), (..., K, A) -> (..., K) [r]"""
        return self.add(self.values(obs, action))

    def values(self, obs: Array, action: Array) -> Array:
        """Every Q_i. (..., O), (..., K, A) -> (N, ..., K) [r]"""
        return np.stack([part(obs, action) for part in self._parts])

    def add(self, values: Array) -> Array:
        """sum_i w_i Q_i. (N, ..., K) -> (..., K) [r]"""
        total: Array = np.tensordot(self.weights, values, 1)
        return total


SOFT_QS: dict[str, type[Critics | WeightedSum]] = {
    "ensemble": Critics,
    "weighted_sum": WeightedSum,
}


def check_q(description: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
    """Whether a stored soft Q-function has the tensors that it is described to have.

    Raises:
        CorruptSkill, or any other error: it has not.
    """
    if description["kind"] in SOFT_QS:
        SOFT_QS[description["kind"]](description["config"], tensors)


class Resampled:
    """One of K candidates by softmax(Q_S/alpha - log q_mix); the mode is the best of fixed ones.

    What `skillkit.policies.resampled` does, which says why (THEORY 6).

    Raises:
        CorruptSkill: a malformed config, or tensors that do not fit it.
    """

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        try:
            self._build(config, tensors)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise CorruptSkill(f"the config of the resampled policy is wrong ({reason})") from error

    def _build(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        parts, count, q = config["policies"], config["candidates"], config["q"]["config"]
        for name, part in itertools.product(("observation_dim", "action_dim"), parts):
            if part["config"][name] != config[name]:
                raise ValueError(f"{name} {part['config'][name]!r} of a part, not {config[name]!r}")
        if type(count) is not int or count < 1:
            raise ValueError(f"{count!r} candidates")
        fixed, others = {}, dict(tensors)
        if "noise" in others:
            fixed["noise"] = others.pop("noise")
        *own, of_q = _below([*(f"policies.{i}." for i in range(len(parts))), "q."], others)
        self._policies = [
            PROPOSALS[part["kind"]](part["config"], mine)
            for part, mine in zip(parts, own, strict=True)
        ]
        self._q, self._alpha = WeightedSum(q, of_q), float(q["alpha"])
        if len(self._q.alphas) != len(parts) or self._alpha <= 0:
            raise ValueError("it needs a Q-function for each policy, and a temperature above 0")
        self._count, self._action_dim = count, config["action_dim"]
        self._dims = [self._action_dim, *(policy.noise_dim for policy in self._policies)]
        check_tensors(fixed, {"noise": (count * sum(self._dims),)})
        units = [value.size for name, value in others.items() if name.endswith("bias")]
        widest = max(config["observation_dim"] + self._action_dim, *units)
        if count * len(self._dims) * widest > LARGEST:
            raise ValueError(f"{count} candidates are too many for networks this wide")
        self._fixed, self.noise_dim = fixed["noise"], 1 + count * sum(self._dims)

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        if noise is None:
            action = np.tanh(self._candidates(obs, self._fixed))
            q = self._q(obs, action)
            return _picked(action, q.argmax(-1), q)
        u = self._candidates(obs, noise[..., 1:])
        action = np.tanh(u)
        values = self._q.values(obs, action)
        log_weights = self._q.add(values) / self._alpha - self._log_proposal(obs, u, values)
        weights = np.exp(log_weights - log_weights.max(-1, keepdims=True))
        share = np.cumsum(weights / weights.sum(-1, keepdims=True), -1)
        below = 0.5 * (1 + _erf(noise[..., :1] / math.sqrt(2)))  # uniform on [0, 1]
        index = (share < below).sum(-1)
        return _picked(action, np.minimum(index, action.shape[-2] - 1), log_weights)

    def _candidates(self, obs: Array, noise: Array) -> Array:
        """u of every component, the uniform ones first. (..., O), (..., noise) -> (..., K, A)"""
        ends = np.cumsum([self._count * dim for dim in self._dims])
        uniform, *own = (
            piece.reshape(*piece.shape[:-1], self._count, dim)
            for piece, dim in zip(np.split(noise, ends[:-1], -1), self._dims, strict=True)
        )
        bound = 1 - np.finfo(np.float32).eps
        u = [np.arctanh(_erf(uniform / math.sqrt(2)).clip(-bound, bound))]
        u += [p.candidates(obs, eps) for p, eps in zip(self._policies, own, strict=True)]
        shape = (*obs.shape[:-1], self._count, self._action_dim)
        return np.concatenate([np.broadcast_to(part, shape) for part in u], -2)

    def _log_proposal(self, obs: Array, u: Array, values: Array) -> Array:
        """log q_mix of candidates with the values Q_i. -> (..., K) [nat]"""
        log_volume = self._action_dim * LOG_2
        densities = [np.full(u.shape[:-1], -log_volume, np.float32)]
        for policy, q, alpha in zip(self._policies, values, self._q.alphas, strict=True):
            if not isinstance(policy, Implicit):
                densities.append(policy.log_prob(obs, u))
                continue
            logits = q / alpha  # for want of a density exp((Q_i - V_i)/alpha_i)
            uniform = logits[..., : self._count]
            top = uniform.max(-1, keepdims=True)
            mean = np.exp(uniform - top).mean(-1, keepdims=True)
            densities.append(logits - (top + np.log(mean) + log_volume))
        mixture: Array = np.logaddexp.reduce(densities) - math.log(len(densities))
        return mixture


_erf = np.vectorize(math.erf, otypes=[np.float32])  # NumPy has none


def _picked(action: Array, index: Array, reason: Array) -> Array:
    """No number if the reason for it is none. (..., K, A), (...,), (..., K) -> (..., A)"""
    found = np.take_along_axis(action, index[..., None, None], -2)[..., 0, :]
    return np.where(np.isfinite(reason.sum(-1, keepdims=True)), found, np.nan)


def _below(prefixes: Sequence[str], tensors: Mapping[str, Array]) -> list[dict[str, Array]]:
    """The tensors of each part, without its prefix.

    Raises:
        ValueError: a tensor that belongs to none of them.
    """
    found: list[dict[str, Array]] = [{} for _ in prefixes]
    for key, value in tensors.items():
        for prefix, own in zip(prefixes, found, strict=True):
            if key.startswith(prefix):
                own[key.removeprefix(prefix)] = value
                break
        else:
            raise ValueError(f"the tensor {key} belongs to no part")
    return found
