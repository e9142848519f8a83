"""A skill in a control loop: NumPy in, NumPy out, native units, no PyTorch.

    control = Controller.load(folder)
    control.reset()
    torque = control(observation)            # (O,) -> (A,), within the bounds of the spec

The policy itself is a runtime (skillkit/runtimes/). What the torch side trained, this side
replays: `load` compares both on the skill's stored probe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from skillkit.errors import CorruptSkill, InvalidValue, NonFinite
from skillkit.manifest import MANIFEST, Manifest, verify_checksums
from skillkit.reading import read_tensors, reason
from skillkit.runtimes import RUNTIMES
from skillkit.runtimes.stacked import Episode, Episodes, Stacked
from skillkit.types import Array, Spec

Act = Callable[[Array, Array | None], Array]  # (..., O), (..., noise_dim) or None -> (..., A)

FILES = (MANIFEST, "policy.safetensors", "probe.safetensors")  # all that a controller needs
PROBE = ("observation", "noise", "sample", "mode")
PROBE_SIZE = 16  # of each
RTOL = 1e-4  # of the probe, where actions reach to 1; another order of summation costs 1e-6
OVERFLOW = "the policy's action is not finite for this observation; its entries are far too large"
SAFE_NORM = 1e38  # an observation with |o|^2 below this fits into float32


class Controller:
    """A policy at work: one observation in, one native action out.

    It has buffers and a random stream of its own, and the latents that a stack holds: use one
    controller per thread, and call `reset` where an episode begins.

    Args:
        spec: names, units and bounds of what the policy reads and writes.
        policy: the `policy` field of skill.json, {"kind", "config"}.
        tensors: the contents of policy.safetensors.
        deterministic: act by the mode of the policy; otherwise sample, with noise from `seed`.

    Raises:
        CorruptSkill: an unknown kind, or tensors that do not fit the config or the spec.
        InvalidValue: not a seed.
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
        self._rng = _generator(seed)
        self._low, self._high = spec.low, spec.high
        self._middle, self._half = spec.middle, spec.half
        # Rounding is monotone: where the images of -1 and 1 are within the bounds, all are.
        low, high = self._middle - self._half, self._middle + self._half
        self._exact = bool((low >= spec.low).all() and (high <= spec.high).all())
        self._obs = np.empty(spec.observation_dim, np.float32)
        self._noise = np.empty(self.noise_dim, np.float32)
        self._one: Act = self._policy  # of single observations, and of those in batches
        self._many: Act = self._policy
        if isinstance(self._policy, Stacked):
            self._one, self._many = Episode(self._policy), Episodes(self._policy)

    @classmethod
    def load(cls, folder: Path | str, deterministic: bool = True, seed: int = 0) -> Controller:
        """The controller of a stored skill, after its checksums and its probe.

        Raises:
            CorruptSkill: a file is missing, altered, malformed, or does not compute what it did.
            InvalidValue: not a seed.
        """
        _generator(seed)  # the caller's mistake is not the skill's
        folder = Path(folder)
        verify_checksums(folder, FILES)
        manifest = Manifest.load(folder)
        tensors, probe = (read_tensors(folder / name) for name in FILES[1:])
        manifest.check_layers(tensors)
        try:
            controller = cls(manifest.spec, manifest.policy, tensors, deterministic, seed)
            controller.check(probe)
        except Exception as error:  # a stranger's data can fail in any way
            raise CorruptSkill(f"{folder}: {reason(error)}") from error
        return controller

    @property
    def stacked(self) -> bool:
        """Whether it has several layers, and so a memory of its episodes."""
        return isinstance(self._policy, Stacked)

    def reset(self, rows: Array | None = None) -> None:
        """Begin an episode: the layers of a stack forget their latents and decide anew.

        Policies of one layer remember nothing. The stream of noise goes on.

        Args:
            rows: of a `batch`, whose episodes begin, (E,) bool; None: all, and single ones too.
        """
        if isinstance(self._many, Episodes):
            self._many.begin(rows)
        if isinstance(self._one, Episode) and rows is None:
            self._one.begin()

    def __call__(self, obs: Array) -> Array:
        """One control step. (O,) -> (A,) float64, native units, within the bounds.

        Raises:
            InvalidValue: not O numbers.
            NonFinite: an entry is NaN or infinite, or the action would be.
        """
        noise = None
        if not self.deterministic:
            noise = self._rng.standard_normal(dtype=np.float32, out=self._noise)
        unit = self._one(self._read(obs), noise)
        if not math.isfinite(unit.dot(unit)):
            raise NonFinite(OVERFLOW)
        action = self._half * unit  # Spec.native, and clipped only if need be
        action += self._middle
        if not self._exact:
            np.maximum(action, self._low, out=action)
            np.minimum(action, self._high, out=action)
        return action

    def batch(self, obs: Array, noise: Array | None = None) -> Array:
        """Many steps at once, to the last bit as one by one. (E, O) -> (E, A) float64, native.

        Without `noise` (E, noise_dim): the mode, or a sample from the controller's own stream. For
        a stack row i is always the same episode, until `reset`; another number of rows begins anew.

        Raises:
            InvalidValue, NonFinite: as for one observation, naming the row too.
        """
        obs = _float32(obs, self._names, batch=True)
        if noise is None and not self.deterministic:
            noise = self._rng.standard_normal((len(obs), self.noise_dim), np.float32)
        return self.spec.native(self._units(self._many, obs, noise))

    def unit(self, obs: Array, noise: Array | None) -> Array:
        """The policy itself: unit actions in [-1, 1]. (E, O), (E, noise_dim) or None -> (E, A)

        Of a stack the moment at which every layer decides, as when an episode begins.

        Raises:
            InvalidValue, NonFinite: as for `batch`.
        """
        return self._units(self._policy, obs, noise)

    def _units(self, act: Act, obs: Array, noise: Array | None) -> Array:
        obs = _float32(obs, self._names, batch=True)
        if noise is not None and np.shape(noise) != (len(obs), self.noise_dim):
            needed = (len(obs), self.noise_dim)
            raise InvalidValue(f"this noise has the shape {np.shape(noise)}, not {needed}")
        unit = act(obs, noise)
        if not np.isfinite(unit).all():
            raise NonFinite(OVERFLOW)
        return unit

    def check(self, probe: Mapping[str, Array]) -> None:
        """Compare with the 16 observations, noises and actions stored when the skill was made.

        Raises:
            CorruptSkill: the probe is incomplete, or an action differs by more than 1e-4.
        """
        try:
            action, sizes = self.spec.action_dim, (self.spec.observation_dim, self.noise_dim)
            for key, size in zip(PROBE, (*sizes, action, action), strict=True):
                if probe[key].shape != (PROBE_SIZE, size) or probe[key].dtype.kind != "f":
                    raise ValueError(f"{key} is {probe[key].dtype} {probe[key].shape}")
            # A few at a time: a policy that judges candidates takes memory for each.
            rows = [np.split(probe[key], 4) for key in PROBE]
            for obs, noise, *stored in zip(*rows, strict=True):
                ours = self.unit(obs, noise), self.unit(obs, None)
                for key, now, was in zip(PROBE[2:], ours, stored, strict=True):
                    if not np.allclose(now, was, RTOL, RTOL):
                        raise CorruptSkill(
                            f"the policy no longer gives the {key} recorded in probe.safetensors; "
                            "train or download the skill again"
                        )
        except (KeyError, ValueError, InvalidValue, NonFinite) as error:
            raise CorruptSkill(f"probe.safetensors does not fit the policy: {error}") from error

    def _read(self, obs: Array) -> Array:
        """One observation, checked, as float32 in a buffer. (O,) -> (O,)"""
        usual = type(obs) is np.ndarray and obs.shape == self._obs.shape and obs.dtype.char in "fd"
        if usual and obs.dot(obs) < SAFE_NORM:  # false for NaN, infinity and float32 overflow too
            self._obs[:] = obs
            return self._obs
        return _float32(obs, self._names, batch=False)


def _generator(seed: int) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"a seed is a whole number from 0 on, not {seed!r}") from error


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
    if config.get("squash", True) is not True:
        raise CorruptSkill("the policy has no tanh, but the actions of its spec have bounds")


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
