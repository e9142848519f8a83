"""A training in progress: everything that a checkpoint holds, and how it is written."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from skillkit.algorithms import ALGORITHMS
from skillkit.collector import Collector
from skillkit.envs import Task, make
from skillkit.errors import RunConflict
from skillkit.replay import ReplayBuffer


class Run:
    """Learner, collector, replay, learning curve and every source of randomness.

    One seed: the learner, the collector, the batches and the environments each draw from a
    stream of their own, spawned from it.
    """

    def __init__(
        self, task: Task, algorithm: str, configs: Mapping[str, Any], seed: int, device: str
    ) -> None:
        config, loop = configs[algorithm], configs["train"]
        self.task, self.seed, self.device = task, seed, device
        self.identity = {"task": task.name, "algorithm": algorithm, "seed": seed}
        streams = [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(seed).spawn(4)]
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
        """Write the whole state into an empty folder."""
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
        """
        try:
            state = json.loads((folder / "state.json").read_text())
            if state["identity"] != self.identity:
                raise RunConflict(
                    f"the checkpoint is of {state['identity']}, not of {self.identity}; "
                    "resume with the same task, algorithm and seed, or train without --resume"
                )
            self.learner.load_state(load_file(folder / "learner.safetensors"))
            self.replay.load_state(load_file(folder / "replay.safetensors"))
            generators = load_file(folder / "generators.safetensors")
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise RunConflict(
                f"the checkpoint in {folder.name} is damaged ({error}); train without --resume"
            ) from error
        self.sampler.set_state(generators["sampler"])
        self.collector.generator.set_state(generators["collector"])
        self.collector.resume(state["steps"], state["episodes"])
        self.owed, self.curve, self._before = state["owed"], state["curve"], state["seconds"]


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """safetensors wants tensors that share no memory."""
    return {key: value.detach().contiguous().clone() for key, value in tensors.items()}
