"""A skill: a policy, its soft Q-function, temperature and replay, in memory or on disk.

This module imports no torch: a controller process can load a skill and act with it. Torch
comes with the first access to `policy`, `q` or `replay`.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from skillkit import probe
from skillkit.controller import Controller
from skillkit.errors import (
    CorruptSkill,
    IncompatibleSkills,
    InvalidValue,
    NonFinite,
    UnknownName,
)
from skillkit.manifest import Manifest, Parent, check_name
from skillkit.reading import blaming, read_bytes, read_tensors, read_text
from skillkit.registry import Entry, Registry, search_path
from skillkit.types import Array, Spec

if TYPE_CHECKING:
    from skillkit.envs import Task
    from skillkit.policies import Policy
    from skillkit.q_functions import SoftQ
    from skillkit.replay import ReplayBuffer


class Skill:
    """A lazy handle. Files are checked when it is opened, and read when they are needed.

    Attributes:
        manifest: what skill.json says: task, settings, metrics, parents, versions, timing.
        entry: the stored version; None for a skill that is not saved.

    Raises:
        CorruptSkill: by whatever reads a file of a stored skill, if that is malformed or its
            contents do not compute what they did.
    """

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
        self._curve, self._card, self._figure = list(curve), card, figure

    def __repr__(self) -> str:
        state = f"version {self.entry.version}" if self.entry else "unsaved"
        return f"Skill({self.name!r}, {state}, task={self.task!r}, alpha={self.alpha:g})"

    @property
    def name(self) -> str:
        """What finds it in its registry; skill.json keeps the name under which it was saved."""
        return self.entry.name if self.entry else self.manifest.name

    @property
    def task(self) -> str:
        """The task's expression, e.g. "push_x+push_y"."""
        return str(self.manifest.task["expression"])

    @property
    def spec(self) -> Spec:
        """Names, units and bounds of observation and action, and the control period [s]."""
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
        """What was measured when it was made; docs/metrics.md explains every name."""
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

    def check_plays(self, task: Task) -> None:
        """Whether it can act in a task.

        Raises:
            IncompatibleSkills: observation, actions or control period are not those it was trained
                with.
        """
        if task.spec == self.spec:
            return
        was, cannot = self.manifest.task["domain"], f"{self.name} cannot play {task.name}"
        if was != task.domain:
            raise IncompatibleSkills(
                f"{cannot}: it was trained in the domain {was}; choose a task of that domain"
            )
        raise IncompatibleSkills(
            f"{cannot}: what the domain {was} observes, its actions or its control period changed "
            f"since it was made; make {self.name} again"
        )

    @property
    def policy(self) -> Policy:
        """The torch policy, on the CPU: unit actions, (B, O), (B, noise_dim) -> (B, A)."""
        if self._policy is None:
            from skillkit.policies import build_policy
            from skillkit.q_functions import build_q

            path = self.folder / "policy.safetensors"
            described, stored = self.manifest.policy, read_tensors(path)
            self.manifest.check_layers(stored)
            with blaming(path):
                Controller(self.spec, described, stored)  # bounds what is to be built
                policy: Policy = _filled(lambda: build_policy(described, build_q), stored)
            self._check_answers(
                lambda at: {
                    "sample": policy.act(at["observation"], at["noise"]),
                    "mode": policy.mode(at["observation"]),
                }
            )
            self._policy = policy
        return self._policy

    @property
    def q(self) -> SoftQ:
        """The torch soft Q-function, on the CPU, of unit actions: (B, O), (B, A) -> (B,) [r].

        That of a stack judges latents of its top layer.
        """
        if self._q is None:
            from skillkit.q_functions import build_q
            from skillkit.runtimes.resampled import check_q

            path = self.folder / "q.safetensors"
            described, stored = self.manifest.q, read_tensors(path)
            with blaming(path):
                check_q(described, stored)
                q: SoftQ = _filled(lambda: build_q(described), stored)
                if (q.alpha, q.gamma) != (self.alpha, self.gamma):
                    raise ValueError(f"alpha {q.alpha}, gamma {q.gamma} are not those of the skill")
            judged = "latent" if self.manifest.layers else "mode"
            self._check_answers(lambda at: {"q": q(at["observation"], at[judged])})
            self._q = q
        return self._q

    @property
    def replay(self) -> ReplayBuffer:
        """The stored experience, on the CPU."""
        if self._replay is None:
            from skillkit.replay import ReplayBuffer

            path = self.folder / "replay" / "00000.safetensors"
            tensors = read_tensors(path)
            with blaming(path):
                if self.manifest.layers:  # there is no tanh
                    tensors["pre_tanh"] = tensors["actions"]
                replay = ReplayBuffer.from_episodes(_torch(tensors), self.gamma)
                found = replay.observation_dim, replay.action_dim
                if found != (needed := (self.spec.observation_dim, self.stored_action_dim)):
                    raise ValueError(f"{found} observation and action entries, not {needed}")
                if not bool(replay.rows.isfinite().all()):
                    raise ValueError("a number is NaN or infinite")
            self._replay = replay
        return self._replay

    @property
    def siblings(self) -> list[Skill]:
        """Skills of the same run that lie beside this one: each has stored a part of its replay.

        Warns:
            UserWarning: one of them is damaged, and left out.
        """
        if self.entry is None or not self.manifest.siblings:
            return []
        beside, found = Registry(self.folder.parents[1]), []
        for name in self.manifest.siblings:
            try:
                run = [
                    one for one in beside.versions(name) if one.manifest.run == self.manifest.run
                ]
                found += [beside.verify(one.reference) for one in run[-1:]]
            except UnknownName:  # removed, renamed, or never saved here
                continue
            except CorruptSkill as error:
                warnings.warn(f"what {name} has stored is left out: {error}", stacklevel=2)
        return [Skill(entry.manifest, entry=entry) for entry in found]

    @property
    def stored_action_dim(self) -> int:
        """Entries of a stored action; those of a stack are latents of the layer below its top."""
        if not self.manifest.layers:
            return self.spec.action_dim
        return int(self.manifest.policy["config"]["layers"][-1]["config"]["action_dim"])

    @property
    def curve(self) -> list[dict[str, float]]:
        """Rows of metrics.jsonl: one per evaluation during training."""
        if not self._curve and self.entry is not None:
            lines = read_text(path := self.folder / "metrics.jsonl").splitlines()
            with blaming(path):
                rows = [json.loads(line) for line in lines]
                if not all(_is_number(value) for row in rows for value in row.values()):
                    raise ValueError("a value is not a number")
            self._curve = rows
        return [dict(row) for row in self._curve]

    @property
    def card(self) -> str:
        """What a person reads first, Markdown."""
        if not self._card and self.entry is not None:
            self._card = read_text(self.folder / "README.md")
        return self._card

    @property
    def figure(self) -> bytes:
        """The card's picture, PNG; empty if there is none."""
        if not self._figure and self.entry is not None:
            path = self.folder / "figure.png"
            self._figure = read_bytes(path) if path.exists() else b""
        return self._figure

    def controller(self, deterministic: bool = True, seed: int = 0) -> Controller:
        """The skill as a NumPy callable, (O,) -> native (A,); torch is not needed.

        Args:
            deterministic: act by the mode of the policy; otherwise sample, with noise from `seed`.

        Raises:
            CorruptSkill: a stored file is missing, altered, or does not compute what it did.
        """
        if self._policy is None:
            return Controller.load(self.folder, deterministic=deterministic, seed=seed)
        return Controller(
            self.spec, self.manifest.policy, arrays(self._policy), deterministic, seed
        )

    def save(self, name: str | None = None, registry: Registry | Path | str | None = None) -> Skill:
        """Publish as the next version of `name` and return the saved skill.

        Args:
            name: None: its own.
            registry: or the folder of one; None: $SKILLKIT_REGISTRY, else ./.skillkit.

        Raises:
            InvalidValue: the name is not one, or differs from another in case alone.
            NonFinite: a parameter is not a number.
            CorruptSkill: a stored skill's own files are not what they were.
            RegistryUnavailable: the registry cannot be written.
        """
        name = check_name(self.name if name is None else name)
        manifest = dataclasses.replace(self.manifest, name=name)
        entry = _registry(registry).publish(name, lambda folder: self._write(folder, manifest))
        return Skill(manifest, entry=entry, policy=self._policy, q=self._q, replay=self._replay)

    def _write(self, folder: Path, manifest: Manifest) -> None:
        policy, q = arrays(self.policy), arrays(self.q)
        for what, tensors in (("policy", policy), ("Q-function", q)):
            if not all(np.isfinite(tensor).all() for tensor in tensors.values()):
                raise NonFinite(
                    f"the {what} of {self.name!r} holds a NaN, so it was not saved; "
                    "train it again with a lower learning rate"
                )
        manifest.save(folder)
        (folder / "replay").mkdir()
        episodes = {key: tensor.numpy() for key, tensor in self.replay.episodes().items()}
        if self.manifest.layers:
            del episodes["pre_tanh"]  # the latents themselves
        for name, tensors in (
            ("policy", policy),
            ("q", q),
            ("probe", probe.record(self.policy, self.q, self.replay)),
            ("replay/00000", episodes),
        ):  # not save_file: on a full disk it raises no OSError
            (folder / f"{name}.safetensors").write_bytes(save(tensors))
        rows = [json.dumps(row) for row in self.curve]
        (folder / "metrics.jsonl").write_text("\n".join(rows) + "\n" * bool(rows), "utf-8")
        (folder / "README.md").write_text(
            _renamed(self.card, self.manifest.name, manifest.name), "utf-8"
        )
        if self.figure:
            (folder / "figure.png").write_bytes(self.figure)

    def _check_answers(self, answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        probe.check(self.folder / "probe.safetensors", self.name, answer)


def _renamed(card: str, was: str, now: str) -> str:
    """A card under another name: where it shows and where it loads the skill."""
    if not card:
        return f"# {now}\n"
    for place in ("# {}\n", "episodes of {} come to]", 'skillkit.load("{}")'):
        card = card.replace(place.format(was), place.format(now), 1)
    return card


def load(reference: str, registry: Registry | Path | str | None = None) -> Skill:
    """Open a stored skill: "push_x", "push_x@3" or "push_x@WORD".

    Every file is checked against its checksum; nothing in it is executed.

    Args:
        registry: or the folder of one, before the shipped skills; None: $SKILLKIT_REGISTRY, else
            ./.skillkit.

    Raises:
        UnknownName: no such skill, version or alias.
        CorruptSkill: the directory is incomplete, altered or not a skill.

    >>> skill = load("push_x")
    >>> [entry.name for entry in skill.spec.action]
    ['torque_1', 'torque_2', 'torque_3']
    >>> obs = skill.replay.all().obs[:2]
    >>> skill.policy.mode(obs).shape, skill.q(obs, skill.policy.mode(obs)).shape
    (torch.Size([2, 3]), torch.Size([2]))
    >>> load("push_z")
    Traceback (most recent call last):
    skillkit.errors.UnknownName: no skill is called 'push_z'; did you mean ...
    """
    entry = _registry(registry).verify(reference)
    return Skill(entry.manifest, entry=entry)


def arrays(module: Any) -> dict[str, Array]:
    """A torch module's parameters as contiguous float32 arrays, by name."""
    state = module.state_dict()
    return {key: np.ascontiguousarray(value.detach().cpu().numpy()) for key, value in state.items()}


def _registry(where: Registry | Path | str | None) -> Registry:
    return where if isinstance(where, Registry) else Registry(search_path(where))


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def _torch(tensors: Mapping[str, Array]) -> dict[str, Any]:
    import torch

    return {key: torch.from_numpy(value) for key, value in tensors.items()}


def _filled(build: Callable[[], Any], stored: Mapping[str, Array]) -> Any:
    """A module with the stored parameters, which were checked against its description.

    It is built without memory of its own.
    """
    import torch

    with torch.device("meta"):
        module = build()
    module.load_state_dict(_torch(stored), assign=True)
    return module.eval().requires_grad_(False)
