"""A training in progress: everything that a checkpoint holds, and how it is written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from skillkit.algorithms import ALGORITHMS
from skillkit.collector import Collector
from skillkit.envs import Task, make
from skillkit.errors import NonFinite, RunConflict
from skillkit.replay import ReplayBuffer
from skillkit.workflows.settings import plain, spawn

MALFORMED = (AttributeError, KeyError, RuntimeError, TypeError, ValueError)  # a file not ours


class Run:
    """Learner, collector, replay, learning curve and every source of randomness.

    One seed: the learner, the collector, the batches and the environments each draw from a
    stream of their own, spawned from it.
    """

    def __init__(
        self, task: Task, algorithm: str, configs: Mapping[str, Any], seed: int, device: str
    ) -> None:
        config, loop = configs[algorithm], configs["train"]
        self.task, self.seed, self.device, self.steps = task, seed, device, loop.steps
        self.identity = {"task": task.name, "algorithm": algorithm, "seed": seed} | {
            f"{algorithm}.{key}": value
            for key, value in plain(config).items()
            if key != "learning_rate"  # the one thing to change when a loss diverged
        }
        streams = spawn(seed, 4)
        spec = task.spec
        learner, _ = ALGORITHMS[algorithm]
        self.learner = learner(spec, config, streams[0], device)
        capacity = min(loop.replay_capacity, loop.steps + loop.environments)
        self.replay = ReplayBuffer(
            capacity, spec.observation_dim, spec.action_dim, config.gamma, device
        )
        self.sampler = torch.Generator(device).manual_seed(streams[1])
        self.env = make(task, loop.environments, seed=streams[2])
        generator = torch.Generator().manual_seed(streams[3])
        self.collector = Collector(self.env, spec, self.replay, generator, configs["explore"])
        self.owed = 0.0  # updates not yet made for the steps taken
        self.curve: list[dict[str, float]] = []
        self._before, self._began = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall-clock time of this run over all its sittings [s]."""
        return self._before + time.monotonic() - self._began

    def save(self, folder: Path) -> None:
        """Write the whole state into an empty folder.

        Raises:
            NonFinite: a parameter is no number any more, which no loss has shown yet.
        """
        for part in (self.learner.policy, self.learner.q):
            if not all(bool(value.isfinite().all()) for value in part.parameters()):
                raise NonFinite(
                    f"a parameter of the {part.kind} became infinite or NaN before step "
                    f"{self.collector.steps}; resume from the last checkpoint with a lower "
                    "learning rate"
                )
        save_file(_contiguous(self.learner.state()), folder / "learner.safetensors")
        save_file(_contiguous(self.replay.state()), folder / "replay.safetensors")
        generators = {
            "sampler": self.sampler.get_state(),
            "collector": self.collector.generator.get_state(),
        }
        save_file(generators, folder / "generators.safetensors")
        state = {
            "identity": self.identity,
            "steps": self.collector.steps,
            "owed": self.owed,
            "seconds": self.seconds,
            "curve": self.curve,
            "episodes": self.collector.episodes,
        }
        (folder / "state.json").write_text(json.dumps(state))

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote. Episodes restart; everything else goes on.

        Raises:
            RunConflict: the checkpoint is of another run, or damaged.
            InvalidValue: it holds more than this run would.
        """
        try:
            state = json.loads((folder / "state.json").read_text())
            self._check(state["identity"], state["steps"])
            self.learner.load_state(load_file(folder / "learner.safetensors"))
            self.replay.load_state(load_file(folder / "replay.safetensors"))
            generators = load_file(folder / "generators.safetensors")
            self.sampler.set_state(generators["sampler"])
            self.collector.generator.set_state(generators["collector"])
            self.collector.resume(int(state["steps"]), int(state["episodes"]))
            self.owed, self._before = float(state["owed"]), float(state["seconds"])
            self.curve = [dict(row) for row in state["curve"]]
        except (*MALFORMED, OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise RunConflict(
                f"the checkpoint {folder} is damaged ({reason}); train without --resume"
            ) from error

    def _check(self, other: Mapping[str, Any], steps: int) -> None:
        for key in sorted(self.identity.keys() | other.keys()):
            was, now = other.get(key), self.identity.get(key)
            if was != now:
                raise RunConflict(
                    f"the interrupted run has {key} {was!r}, not {now!r}; resume it as it was "
                    "started, or train without --resume"
                )
        if steps > self.steps:
            raise RunConflict(
                f"the interrupted run has taken {steps} steps already; resume it with more "
                f"train.steps than {self.steps}"
            )


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """safetensors wants tensors that share no memory."""
    return {key: value.detach().contiguous().clone() for key, value in tensors.items()}
