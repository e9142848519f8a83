"""Soft actor-critic as Stable-Baselines3 saves it: a zip of JSON and of torch's weights.

The one module that calls `torch.load`, and by its weights-only loader, which makes tensors and
calls nothing. Of the JSON, which embeds pickled objects, only plain fields are read; whatever the
weights say themselves, the sizes, is taken from them.

    policy.pth               actor.latent_pi.*, actor.mu, actor.log_std, critic.qf0.*, critic.qf1.*,
                             and critic_target.*, for which a skill has no place
    pytorch_variables.pth    log_ent_coef, or ent_coef_tensor if it was fixed
    data                     gamma, num_timesteps, policy_kwargs, the bounds of the actions as text
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skillkit.errors import InvalidValue, SkillkitError
from skillkit.policies import ClippedGaussianPolicy, Policy
from skillkit.q_functions import Ensemble, SoftQ

LARGEST = 1 << 30  # bytes unpacked, and of tensors
SAC = "stable_baselines3.sac.policies"
RELU = "<class 'torch.nn.modules.activation.ReLU'>"
FLATTEN = "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>"
HARMLESS = {  # of policy_kwargs: they change no action, or only where the weights show it
    "net_arch", "n_critics", "use_sde", "log_std_init", "use_expln", "clip_mean",
    "normalize_images", "optimizer_class", "optimizer_kwargs", "share_features_extractor",
    ":type:", ":serialized:",
}  # fmt: skip


class Learned(NamedTuple):
    """A policy that was learned elsewhere, its soft Q-function, and what is known of them."""

    policy: Policy
    q: SoftQ
    steps: int  # environment steps of its training
    updates: int
    low: tuple[float, ...]  # native action bounds, in the digits of the file; empty: unknown
    high: tuple[float, ...]


def read(path: Path) -> Learned:
    """The actor, the critics and the temperature of a saved SAC model.

    Raises:
        InvalidValue: no such file, another algorithm or network, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = _described(archive)
            _check_supported(about)
            weights = _tensors(archive, "policy.pth")
            alpha = _temperature(_tensors(archive, "pytorch_variables.pth"))
        gamma, counts = float(about["gamma"]), (about["num_timesteps"], about["_n_updates"])
        if not (0 < gamma < 1 and 0 <= alpha < math.inf and all(0 <= n < 2**63 for n in counts)):
            raise ValueError(f"gamma {gamma}, ent_coef {alpha}, steps and updates {counts}")
        policy = _actor(weights)
        q = _critics(weights, policy, alpha, gamma)
        bounds = (_numbers(about.get("action_space"), end) for end in ("low", "high"))
        return Learned(policy, q, int(counts[0]), int(counts[1]), *bounds)
    except SkillkitError as error:
        raise InvalidValue(f"{path} cannot become a skill: {error}") from error
    except FileNotFoundError:
        raise InvalidValue(f"there is no file {path}; name what model.save wrote") from None
    except Exception as error:  # a stranger's file can fail in any way; it is one sentence
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidValue(
            f"{path} is no model that Stable-Baselines3 has saved, or damaged ({reason}); "
            "give the zip that model.save wrote"
        ) from error


def _described(archive: zipfile.ZipFile) -> dict[str, Any]:
    about = json.loads(_entry(archive, "data"))
    if not isinstance(about, dict):
        raise ValueError("its data is no object")
    return about


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > LARGEST:
        raise ValueError(f"{name} is larger than {LARGEST} bytes")
    return archive.read(name)


def _tensors(archive: zipfile.ZipFile, name: str) -> dict[str, Tensor]:
    """Finite float32 tensors by name."""
    data = _entry(archive, name)
    with zipfile.ZipFile(io.BytesIO(data)) as inner:  # torch's own, which could unfold, too
        if sum(info.file_size for info in inner.infolist()) > LARGEST:
            raise ValueError(f"{name} unfolds to more than {LARGEST} bytes")
    found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    tensors = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if sum(4 * tensor.numel() for tensor in tensors.values()) > LARGEST:
        raise ValueError(f"{name} has tensors of more than {LARGEST} bytes")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise InvalidValue(f"{name} holds a NaN or an infinity, so it learned nothing")
    return {key: tensor.detach().float() for key, tensor in tensors.items()}


def _check_supported(about: Mapping[str, Any]) -> None:
    """Raises InvalidValue for what would act differently here."""
    made = about["policy_class"].get("__module__")
    if made != SAC:
        raise InvalidValue(f"its policy is one of {made}; only those of {SAC} are read")
    kwargs: Mapping[str, Any] = about["policy_kwargs"]
    if about["use_sde"] or kwargs.get("use_sde"):
        raise InvalidValue("its noise depends on the state (use_sde); train without it")
    if (activation := kwargs.get("activation_fn", RELU)) != RELU:
        raise InvalidValue(f"its activation is {activation}; only ReLU networks are read")
    if (extractor := kwargs.get("features_extractor_class", FLATTEN)) != FLATTEN:
        raise InvalidValue(f"it extracts features by {extractor}; only plain MLPs are read")
    if odd := kwargs.keys() - HARMLESS - {"activation_fn", "features_extractor_class"}:
        raise InvalidValue(f"its policy_kwargs have {min(odd)}, which is not known here")


def _temperature(variables: Mapping[str, Tensor]) -> float:
    """alpha [r/nat]"""
    if "log_ent_coef" in variables:
        return float(variables["log_ent_coef"].exp())
    return float(variables["ent_coef_tensor"])


def _actor(weights: Mapping[str, Tensor]) -> Policy:
    """mu and log sigma, two layers beside each other there, are one here."""
    own = {key[6:]: value for key, value in weights.items() if key.startswith("actor.")}
    _check_mlp("actor", own, "latent_pi", "mu", "log_std")
    ends = [
        torch.cat([own[f"mu.{of}"], own[f"log_std.{of}"]]) for of in ("weight", "bias")
    ]  # (2A, H), (2A,)
    layers = [*_layers(own, "latent_pi"), (ends[0], ends[1])]
    hidden = [len(bias) for _, bias in layers[:-1]]
    policy = ClippedGaussianPolicy(layers[0][0].shape[1], len(own["mu.bias"]), hidden)
    _fill(policy, layers)
    return policy


def _critics(weights: Mapping[str, Tensor], policy: Policy, alpha: float, gamma: float) -> SoftQ:
    """Every critic's layers, side by side: (N, I, O) here, (O, I) each there."""
    own = {key[7:]: value for key, value in weights.items() if key.startswith("critic.")}
    names = sorted({key.partition(".")[0] for key in own})
    if names != [f"qf{index}" for index in range(len(names))] or not names:
        raise InvalidValue("it has no critics qf0, qf1, … of its own")
    _check_mlp("critic", own, *names)
    each = [_layers(own, name) for name in names]
    stacked = [
        (torch.stack([w.T for w, _ in layer]), torch.stack([b[None] for _, b in layer]))
        for layer in zip(*each, strict=True)
    ]
    hidden = [bias.shape[-1] for _, bias in stacked[:-1]]
    q = Ensemble(
        policy.observation_dim, policy.action_dim, hidden, len(names), alpha, gamma
    )  # it takes observation and action in this order, too, the action in [-1, 1]
    _fill(q, stacked)
    return q


def _fill(module: Policy | SoftQ, layers: list[tuple[Tensor, Tensor]]) -> None:
    """Strictly: every shape must match."""
    state = {}
    for index, (weight, bias) in enumerate(layers):
        state[f"net.layers.{index}.weight"], state[f"net.layers.{index}.bias"] = weight, bias
    module.load_state_dict({key: value.contiguous() for key, value in state.items()})
    module.eval().requires_grad_(False)


def _layers(own: Mapping[str, Tensor], name: str) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of the linear layers of a Sequential; between them are ReLUs."""
    pattern = re.compile(rf"{name}\.(\d+)\.weight")
    places = sorted(int(match[1]) for key in own if (match := pattern.fullmatch(key)))
    if places != [*range(0, 2 * len(places), 2)]:
        raise InvalidValue(f"its {name} is more than linear layers with ReLUs between them")
    return [(own[f"{name}.{i}.weight"], own[f"{name}.{i}.bias"]) for i in places]


def _check_mlp(which: str, own: Mapping[str, Tensor], *parts: str) -> None:
    """Nothing but linear layers with these names, so no network for images, among others."""
    plain = re.compile(rf"(?:{'|'.join(parts)})(?:\.\d+)?\.(?:weight|bias)")
    if odd := [key for key in own if not plain.fullmatch(key)]:
        raise InvalidValue(f"its {which} has {odd[0]}; only plain MLPs are read")


def _numbers(space: Any, end: str) -> tuple[float, ...]:
    """A bound of a Box, from the text of its array; none where it is abridged."""
    text = space.get(end) if isinstance(space, dict) else None
    if not isinstance(text, str) or "..." in text:
        return ()
    return tuple(map(float, text.strip("[] \n").split()))
