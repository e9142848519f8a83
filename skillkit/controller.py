"""A skill in a control loop: NumPy in, NumPy out, native units, no PyTorch.

    control = Controller.load(folder)
    control.reset()
    torque = control(observation)            # (O,) -> (A,), within the bounds of the spec

A policy is a map from noise to action (THEORY 2); here it is a few NumPy lines per policy kind,
the same for one observation and for many. What the torch side trained, this side replays: `load`
compares both on the skill's stored probe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from skillkit.errors import CorruptSkill, InvalidValue, NonFinite
from skillkit.manifest import MANIFEST, Manifest, verify_checksums
from skillkit.types import Array, Spec

FILES = (MANIFEST, "policy.safetensors", "probe.safetensors")  # all that a controller needs
LOG_STD_LOW, LOG_STD_HIGH = -5.0, 2.0  # of the Gaussian policy; fixed by the file format
RTOL = 1e-4  # of the probe, where actions reach to 1; another order of summation costs 1e-6
OVERFLOW = "the policy's action is not finite for this observation; its entries are far too large"
SAFE_NORM = 1e38  # an observation with |o|^2 below this fits into float32


class MLP:
    """Linear layers with ReLU between them, on the entries it reads. (..., O) -> (..., outputs)

    Many rows are multiplied one by one: BLAS rounds a row differently when others are beside it,
    and an episode must not depend on those evaluated with it. One row uses buffers made before.

    Raises:
        CorruptSkill: a malformed config, or tensors that do not fit it.
    """

    def __init__(self, config: Mapping[str, Any], outputs: int, tensors: Mapping[str, Array]):
        width, hidden = config["observation_dim"], _integers(config, "hidden")
        self._inputs = None if config.get("inputs") is None else _integers(config, "inputs", width)
        width = width if self._inputs is None else len(self._inputs)
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (before, after) in enumerate(itertools.pairwise([width, *hidden, outputs])):
            shapes[f"net.layers.{i}.weight"] = (after, before)
            shapes[f"net.layers.{i}.bias"] = (after,)
        _check_tensors(tensors, shapes)
        copies = [np.array(tensors[name].T) for name in shapes]
        self._weights, self._biases = copies[::2], copies[1::2]
        self._buffers = [np.empty_like(bias) for bias in self._biases]

    def __call__(self, obs: Array) -> Array:
        x = obs if self._inputs is None else obs[..., self._inputs]
        if x.ndim == 1:
            return self._forward(x, self._buffers)
        rows: Array = self._forward(x[..., None, :], [None] * len(self._biases))
        return rows[..., 0, :]

    def _forward(self, x: Array, buffers: Sequence[Array | None]) -> Array:
        for weight, bias, out in zip(self._weights, self._biases, buffers, strict=True):
            if weight is not self._weights[0]:
                np.maximum(x, 0.0, out=x)
            x = np.matmul(x, weight, out=out)
            np.add(x, bias, out=x)
        return x


class Gaussian:
    """a = tanh(mu(s) + sigma(s) eps); the mode is tanh(mu(s)) (thesis ch. 4)."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        self.noise_dim = config["action_dim"]
        self._net = MLP(config, 2 * self.noise_dim, tensors)

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        outputs = self._net(obs)  # (..., 2A)
        u: Array = outputs[..., : self.noise_dim]
        if noise is not None:
            half = (LOG_STD_HIGH - LOG_STD_LOW) / 2
            log_std = LOG_STD_LOW + half * (1 + np.tanh(outputs[..., self.noise_dim :]))
            u = u + np.exp(log_std) * noise
        return np.tanh(u)


class Deterministic:
    """a = tanh u(s); there is no noise."""

    noise_dim = 0

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        self._net = MLP(config, config["action_dim"], tensors)

    def __call__(self, obs: Array, noise: Array | None) -> Array:
        return np.tanh(self._net(obs))


# Policies without PyTorch: (..., O), (..., noise_dim) or None for the mode -> unit action (..., A)
Runtime = Gaussian | Deterministic
RUNTIMES: dict[str, type[Runtime]] = {"gaussian": Gaussian, "deterministic": Deterministic}


class Controller:
    """A policy at work: one observation in, one native action out.

    It has buffers and a random stream of its own: use one controller per thread.

    Args:
        spec: names, units and bounds of what the policy reads and writes.
        policy: the `policy` field of skill.json, {"kind", "config"}.
        tensors: the contents of policy.safetensors.
        deterministic: act by the mode of the policy; otherwise sample, with noise from `seed`.

    Raises:
        CorruptSkill: an unknown kind, or tensors that do not fit the config or the spec.
    """

    def __init__(
        self,
        spec: Spec,
        policy: Mapping[str, Any],
        tensors: Mapping[str, Array],
        deterministic: bool = True,
        seed: int = 0,
    ) -> None:
        _check_policy(policy, spec)
        self.spec, self.deterministic = spec, deterministic
        self._policy = RUNTIMES[policy["kind"]](policy["config"], tensors)
        self.noise_dim = self._policy.noise_dim
        self._names = [entry.name for entry in spec.observation]
        self._rng = np.random.default_rng(seed)
        self._low, self._high = spec.low, spec.high
        self._middle, self._half = (spec.high + spec.low) / 2, (spec.high - spec.low) / 2
        self._obs = np.empty(spec.observation_dim, np.float32)
        self._noise = np.empty(self.noise_dim, np.float32)

    @classmethod
    def load(cls, folder: Path | str, deterministic: bool = True, seed: int = 0) -> Controller:
        """The controller of a stored skill, after its checksums and its probe.

        Raises:
            CorruptSkill: a file is missing, altered, malformed, or does not compute what it did.
        """
        folder = Path(folder)
        verify_checksums(folder, FILES)
        manifest = Manifest.load(folder)
        tensors, probe = (_tensors(folder / name) for name in FILES[1:])
        try:
            controller = cls(manifest.spec, manifest.policy, tensors, deterministic, seed)
            controller.check(probe)
        except CorruptSkill as error:
            raise CorruptSkill(f"{folder}: {error}") from error
        return controller

    def reset(self) -> None:
        """Begin an episode. These policies remember nothing; the stream of noise goes on."""

    def __call__(self, obs: Array) -> Array:
        """One control step. (O,) -> (A,) float64, native units, within the bounds.

        Raises:
            InvalidValue: not O numbers.
            NonFinite: an entry is NaN or infinite, or the action would be.
        """
        noise = None
        if not self.deterministic:
            noise = self._rng.standard_normal(dtype=np.float32, out=self._noise)
        unit = self._policy(self._read(obs), noise)
        if not math.isfinite(unit.dot(unit)):
            raise NonFinite(OVERFLOW)
        action = self._half * unit  # Spec.native, without recomputing the middle and the half range
        action += self._middle
        np.maximum(action, self._low, out=action)
        return np.minimum(action, self._high, out=action)

    def batch(self, obs: Array, noise: Array | None = None) -> Array:
        """Many steps at once, to the last bit as one by one. (E, O) -> (E, A) float64, native.

        Without `noise` (E, noise_dim): the mode, or a sample from the controller's own stream.

        Raises:
            InvalidValue, NonFinite: as for one observation, naming the row too.
        """
        obs = _float32(obs, self._names, batch=True)
        if noise is None and not self.deterministic:
            noise = self._rng.standard_normal((len(obs), self.noise_dim), np.float32)
        return self.spec.native(self.unit(obs, noise))

    def unit(self, obs: Array, noise: Array | None) -> Array:
        """The policy itself: unit actions in [-1, 1]. (E, O), (E, noise_dim) or None -> (E, A)

        Raises:
            InvalidValue, NonFinite: as for `batch`.
        """
        obs = _float32(obs, self._names, batch=True)
        if noise is not None and np.shape(noise) != (len(obs), self.noise_dim):
            needed = (len(obs), self.noise_dim)
            raise InvalidValue(f"this noise has the shape {np.shape(noise)}, not {needed}")
        unit = self._policy(obs, noise)
        if not np.isfinite(unit).all():
            raise NonFinite(OVERFLOW)
        return unit

    def check(self, probe: Mapping[str, Array]) -> None:
        """Compare with the 16 observations, noises and actions stored when the skill was made.

        Raises:
            CorruptSkill: the probe is incomplete, or an action differs by more than 1e-4.
        """
        try:
            obs = probe["observation"]
            ours = {"sample": self.unit(obs, probe["noise"]), "mode": self.unit(obs, None)}
            lost = [key for key in ours if not np.allclose(ours[key], probe[key], RTOL, RTOL)]
        except (KeyError, ValueError, InvalidValue, NonFinite) as error:
            raise CorruptSkill(f"probe.safetensors does not fit the policy: {error}") from error
        if lost:
            raise CorruptSkill(
                f"the policy no longer gives the {lost[0]} recorded in probe.safetensors; "
                "train or download the skill again"
            )

    def _read(self, obs: Array) -> Array:
        """One observation, checked, as float32 in a buffer. (O,) -> (O,)"""
        usual = type(obs) is np.ndarray and obs.shape == self._obs.shape and obs.dtype.char in "fd"
        if usual and obs.dot(obs) < SAFE_NORM:  # false for NaN, infinity and float32 overflow too
            np.copyto(self._obs, obs, casting="same_kind")
            return self._obs
        return _float32(obs, self._names, batch=False)


def _check_policy(policy: Mapping[str, Any], spec: Spec) -> None:
    """A kind that exists here, for the observations and actions of the spec."""
    kind, config = policy["kind"], policy["config"]
    if kind not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise CorruptSkill(f"no policy kind is called {kind!r}; this version runs {known}")
    for name in ("observation_dim", "action_dim"):
        found, needed = config.get(name), getattr(spec, name)
        if found != needed:
            raise CorruptSkill(f"the policy's {name} is {found!r}, but its spec has {needed}")


def _integers(config: Mapping[str, Any], name: str, below: int = 1 << 16) -> list[int]:
    values = config.get(name)
    if isinstance(values, list | tuple) and all(type(v) is int and 0 <= v < below for v in values):
        return list(values)
    raise CorruptSkill(f"the policy's {name} is {values!r}, not a list of integers below {below}")


def _check_tensors(tensors: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Exactly these names and shapes, float32 and finite."""
    found = {name: f"{tensor.dtype} {tensor.shape}" for name, tensor in tensors.items()}
    wanted = {name: f"float32 {shape}" for name, shape in shapes.items()}
    for name in sorted(found.keys() | wanted.keys()):
        has, needs = found.get(name, "absent"), wanted.get(name, "no such tensor")
        if has != needs:
            raise CorruptSkill(f"{name} in policy.safetensors is {has}; its config says {needs}")
        if not np.isfinite(tensors[name]).all():
            raise CorruptSkill(f"{name} in policy.safetensors has NaN or infinite weights")


def _tensors(path: Path) -> dict[str, Array]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, KeyError, TypeError) as error:  # bfloat16 is a TypeError
        raise CorruptSkill(f"{path} cannot be read as safetensors: {error}") from error


def _float32(obs: Any, names: Sequence[str], batch: bool) -> Array:
    """Finite float32 numbers, (O,) or (E, O), or the error that says why not."""
    try:
        array = np.asarray(obs)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidValue(f"the observation is not one array of numbers: {error}") from error
    if array.ndim != 1 + batch or array.shape[-1] != len(names):
        shape = f"(E, {len(names)})" if batch else f"({len(names)},)"
        raise InvalidValue(
            f"an observation has the shape {shape}, {names[0]} to {names[-1]}, not {array.shape}"
        )
    if array.dtype.kind not in "iuf":
        array = _numbers(np.asarray(obs, dtype=object), names)
    with np.errstate(over="ignore"):
        single: Array = array.astype(np.float32)
    if not np.isfinite(single).all():
        *row, column = np.argwhere(~np.isfinite(single))[0]
        where = f" in row {row[0]}" if row else ""
        raise NonFinite(
            f"the observation's {names[column]}{where} is {array[*row, column]}, which is not a "
            "number or too large for float32; look at the sensor or estimator behind it"
        )
    return single


def _numbers(array: Array, names: Sequence[str]) -> Array:
    for name, value in zip(itertools.cycle(names), array.ravel(), strict=False):
        if not isinstance(value, Real):
            raise InvalidValue(f"the observation's {name} is {value!r}, not a real number")
    return array.astype(np.float64)
