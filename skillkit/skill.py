"""A skill: a policy, its soft Q-function, temperature and replay, in memory or on disk.

This module imports no torch: a controller process can load a skill and act with it. Torch
comes with the first access to `policy`, `q` or `replay`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from skillkit.controller import Controller
from skillkit.errors import CorruptSkill, InvalidValue, NonFinite
from skillkit.manifest import MANIFEST, Manifest, Parent
from skillkit.registry import Entry, Registry, search_path
from skillkit.types import Array, Spec

if TYPE_CHECKING:
    from skillkit.policies import Policy
    from skillkit.q_functions import SoftQ
    from skillkit.replay import ReplayBuffer

PROBE_SIZE = 16
PROBE_TOLERANCE = 1e-4  # relative; covers another processor's order of summation


class Skill:
    """A lazy handle. Files are checked when it is opened, and read when they are needed."""

    def __init__(
        self,
        manifest: Manifest,
        *,
        entry: Entry | None = None,
        policy: Policy | None = None,
        q: SoftQ | None = None,
        replay: ReplayBuffer | None = None,
        curve: Sequence[Mapping[str, float]] = (),
        card: str = "",
        figure: bytes = b"",
    ) -> None:
        self.manifest, self.entry = manifest, entry
        self._policy, self._q, self._replay = policy, q, replay
        self._curve, self.card, self.figure = list(curve), card, figure

    def __repr__(self) -> str:
        state = f"version {self.entry.version}" if self.entry else "unsaved"
        return f"Skill({self.name!r}, {state}, task={self.task!r}, alpha={self.alpha:g})"

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def task(self) -> str:
        """The task's expression, e.g. "push_x+push_y"."""
        return str(self.manifest.task["expression"])

    @property
    def spec(self) -> Spec:
        return self.manifest.spec

    @property
    def alpha(self) -> float:
        """Temperature [r/nat]."""
        return self.manifest.alpha

    @property
    def gamma(self) -> float:
        """Discount per environment step."""
        return self.manifest.gamma

    @property
    def metrics(self) -> dict[str, Any]:
        return self.manifest.metrics

    @property
    def folder(self) -> Path:
        """Where the skill lies on disk.

        Raises:
            InvalidValue: the skill was not saved yet.
        """
        if self.entry is None:
            raise InvalidValue(f"the skill {self.name!r} is not saved yet; call save() first")
        return self.entry.folder

    @property
    def reference(self) -> str:
        """What finds it again: "push_x@3"; the bare name of an unsaved skill."""
        return self.entry.reference if self.entry else self.name

    @property
    def as_parent(self) -> Parent:
        """How a child records this skill; an unsaved one has no version and no content id."""
        version, content = (
            (None, None) if self.entry is None else (self.entry.version, self.entry.content_id)
        )
        return {"name": self.name, "version": version, "content_id": content}

    @property
    def policy(self) -> Policy:
        """The torch policy, on the CPU, in evaluation mode."""
        if self._policy is None:
            from skillkit.policies import POLICIES

            described = self.manifest.policy
            policy = POLICIES[described["kind"]](**described["config"])
            self._policy = _filled(policy, self.folder / "policy.safetensors")
            self._check_probe()
        return self._policy

    @property
    def q(self) -> SoftQ:
        """The torch soft Q-function, on the CPU."""
        if self._q is None:
            from skillkit.q_functions import build_q

            self._q = _filled(build_q(self.manifest.q), self.folder / "q.safetensors")
            self._check_probe()
        return self._q

    @property
    def replay(self) -> ReplayBuffer:
        """The stored experience, on the CPU."""
        if self._replay is None:
            from skillkit.replay import ReplayBuffer

            tensors = _torch(_read(self.folder / "replay" / "00000.safetensors"))
            try:
                self._replay = ReplayBuffer.from_episodes(tensors, self.gamma)
            except (InvalidValue, RuntimeError, IndexError) as error:
                raise CorruptSkill(f"the replay of {self.name!r} is unusable: {error}") from error
        return self._replay

    @property
    def curve(self) -> list[dict[str, float]]:
        """Rows of metrics.jsonl: one per evaluation during training."""
        if not self._curve and self.entry is not None:
            lines = (self.folder / "metrics.jsonl").read_text().splitlines()
            self._curve = [json.loads(line) for line in lines]
        return [dict(row) for row in self._curve]

    def controller(self, deterministic: bool = True, seed: int = 0) -> Controller:
        """The skill as a NumPy callable, (O,) -> native (A,); torch is not needed."""
        if self._policy is None:
            return Controller.load(self.folder, deterministic=deterministic, seed=seed)
        return Controller(
            self.spec, self.manifest.policy, arrays(self._policy), deterministic, seed
        )

    def save(self, name: str | None = None, registry: Registry | Path | str | None = None) -> Skill:
        """Publish as the next version of `name` and return the saved skill.

        Raises:
            InvalidValue: the name is not one.
            NonFinite: a parameter is not a number.
            RegistryUnavailable: the registry cannot be written.
        """
        where = registry if isinstance(registry, Registry) else _registry(registry)
        manifest = dataclasses.replace(self.manifest, name=name or self.name)
        entry = where.publish(manifest.name, lambda folder: self._write(folder, manifest))
        return Skill(manifest, entry=entry, policy=self._policy, q=self._q, replay=self._replay)

    def _write(self, folder: Path, manifest: Manifest) -> None:
        policy, q = arrays(self.policy), arrays(self.q)
        for what, tensors in (("policy", policy), ("Q-function", q)):
            if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
                raise NonFinite(f"the {what} of {self.name!r} holds a NaN; it was not saved")
        text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        save_file(policy, folder / "policy.safetensors")
        save_file(q, folder / "q.safetensors")
        save_file(self._probe(), folder / "probe.safetensors")
        (folder / "replay").mkdir()
        episodes = {key: tensor.numpy() for key, tensor in self.replay.episodes().items()}
        save_file(episodes, folder / "replay" / "00000.safetensors")
        rows = [json.dumps(row) for row in self.curve]
        (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n" * bool(rows))
        (folder / "README.md").write_text(self.card or f"# {manifest.name}\n")
        if self.figure:
            (folder / "figure.png").write_bytes(self.figure)

    def _probe(self, stored: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """What policy and Q-function answer at a few stored observations."""
        import torch

        if stored is None:
            obs = self.replay.all().obs
            obs = obs[torch.linspace(0, len(obs) - 1, PROBE_SIZE).long()].contiguous()
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(PROBE_SIZE, self.policy.noise_dim, generator=generator)
        else:
            obs, noise = (torch.from_numpy(stored[key]) for key in ("observation", "noise"))
        with torch.no_grad():
            mode = self.policy.mode(obs)
            answer = {"sample": self.policy.act(obs, noise), "mode": mode, "q": self.q(obs, mode)}
        answer |= {"observation": obs, "noise": noise}
        return {key: value.numpy() for key, value in answer.items()}

    def _check_probe(self) -> None:
        """Once policy and Q-function are both here: they must still answer as they were saved."""
        if self._policy is None or self._q is None or self.entry is None:
            return
        stored = _read(self.folder / "probe.safetensors")
        answer = self._probe(stored)
        for key in ("sample", "mode", "q"):
            if not np.allclose(answer[key], stored[key], PROBE_TOLERANCE, PROBE_TOLERANCE):
                raise CorruptSkill(
                    f"{self.name!r} no longer gives the {key} that was recorded in "
                    "probe.safetensors; train or download it again"
                )


def load(reference: str, registry: Registry | Path | str | None = None) -> Skill:
    """Open a stored skill: "push_x", "push_x@3" or "push_x@WORD".

    Every file is checked against its checksum; nothing in it is executed.

    Raises:
        UnknownName: no such skill, version or alias.
        CorruptSkill: the directory is incomplete, altered or not a skill.
    """
    where = registry if isinstance(registry, Registry) else _registry(registry)
    entry = where.find(reference)
    where.verify(reference)
    return Skill(entry.manifest, entry=entry)


def arrays(module: Any) -> dict[str, Array]:
    """A torch module's parameters as contiguous float32 arrays, by name."""
    state = module.state_dict()
    return {key: np.ascontiguousarray(value.detach().cpu().numpy()) for key, value in state.items()}


def _registry(folder: Path | str | None) -> Registry:
    return Registry(search_path(folder))


def _read(path: Path) -> dict[str, Array]:
    try:
        return load_file(path)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise CorruptSkill(f"{path.name} of {path.parent.name} cannot be read: {error}") from error


def _torch(tensors: Mapping[str, Array]) -> dict[str, Any]:
    import torch

    return {key: torch.from_numpy(value) for key, value in tensors.items()}


def _filled(module: Any, path: Path) -> Any:
    """The module with the stored parameters, strictly: every name and shape must match."""
    try:
        module.load_state_dict(_torch(_read(path)))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CorruptSkill(f"{path.name} does not fit its description: {reason}") from error
    return module.eval().requires_grad_(False)
