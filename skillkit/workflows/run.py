"""A training in progress: everything that a checkpoint holds, and how it is written.

One task or several: several share the environments and the replay, and each has its own learner.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from skillkit.algorithms import ALGORITHMS, Learner
from skillkit.augmentation import Augmentation
from skillkit.collector import Collector
from skillkit.envs import Task, combine, make
from skillkit.envs.planning import Plan, PlanConfig
from skillkit.envs.symmetry import images, rotation_of
from skillkit.errors import CorruptSkill, InvalidValue, NonFinite, RunConflict
from skillkit.guide import Guide
from skillkit.manifest import Parent
from skillkit.policies import POLICIES, Policy
from skillkit.q_functions import SoftQ
from skillkit.replay import ReplayBuffer, Sampling
from skillkit.turning import Turning
from skillkit.types import Batch, Spec
from skillkit.workflows.base import Base
from skillkit.workflows.common import part
from skillkit.workflows.frames import taught
from skillkit.workflows.merge import MERGING
from skillkit.workflows.plans import check_plans, look_ahead
from skillkit.workflows.settings import plain
from skillkit.workflows.shards import Shards
from skillkit.workflows.streams import training

FORMAT = 5  # of a checkpoint; those before lack what a run must keep: 4 what was rehearsed
# Of train: what --resume may change. The last two are compared by their effect, see `identity`.
FREE = {
    "steps", "threads", "replay_stored", "evaluate_every", "evaluation_episodes",
    "final_episodes", "stacked", "every_frame",
}  # fmt: skip
MALFORMED = (AttributeError, KeyError, RuntimeError, TypeError, ValueError)  # a file not ours


@dataclass
class Trainee:
    """A skill in the making."""

    column: int  # of its rewards in the replay
    task: Task
    learner: Learner
    base: Base | None = None  # what the learner's policy stands on
    curve: list[dict[str, float]] = field(default_factory=list)
    metrics: Mapping[str, torch.Tensor] = field(default_factory=dict)  # of the latest update

    @property
    def policy(self) -> Policy:
        """What acts in the task: the learner's policy, or the stack with it on top."""
        own = self.learner.policy
        return own if self.base is None else self.base.topped(own)

    @property
    def file(self) -> str:
        """Where a checkpoint keeps its learner."""
        return f"learner{self.column}.safetensors"

    def batch(
        self,
        replay: ReplayBuffer,
        sampler: torch.Generator,
        sampling: Sampling | None = None,
        augment: Augmentation | None = None,
    ) -> Batch:
        """From the whole replay, with the rewards of its own task."""
        batch = replay.sample(self.learner.config.batch_size, sampler, self.column, sampling)
        return augment(batch, sampler) if augment else batch

    def update(self, batch: Batch) -> None:
        """One update from such a batch."""
        self.metrics = self.learner.update(batch)


class Run:
    """Trainees, collector, replay and every source of randomness.

    One seed: each learner, the collector, the batches and the environments draw from a stream of
    their own, spawned from it. On a base the environment is that of its latents.

    Raises:
        IncompatibleSkills: several tasks that cannot share an environment.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        algorithm: str,
        configs: Mapping[str, Any],
        seed: int,
        device: str,
        base: Base | None = None,
        begins_with: int = 0,
    ) -> None:
        """
        Args:
            begins_with: how many transitions the replay will hold before the first step.
        """
        config, loop = configs[algorithm], configs["train"]
        shared = combine(tasks)  # a single task is itself
        played = taught(tasks) if loop.every_frame and base is None else [*tasks]
        self.algorithm, self.seed, self.device, self.steps = algorithm, seed, device, loop.steps
        _check_symmetries(shared, base, configs)
        self.identity = {"task": shared.name, "algorithm": algorithm, "seed": seed}
        self.identity |= _settings(algorithm, configs)
        if played != [*tasks]:
            self.identity["train.every_frame"] = True
        self.identity |= {} if base is None else base.identity
        streams = training(seed, len(tasks))
        self.env, spec = make(combine(played), loop.environments, seed=streams.starts), shared.spec
        if base is not None:
            self.env, spec = base.wrap(self.env, shared, config.gamma)
        learner, _ = ALGORITHMS[algorithm]
        self.trainees = [
            Trainee(column, task, learner(spec, config, stream, device, inputs=task.reads), base)
            for column, (task, stream) in enumerate(zip(tasks, streams.learners, strict=True))
        ]
        if loop.compile:
            for trainee in self.trainees:
                trainee.learner.compile()
        needed = loop.steps + loop.environments + begins_with
        capacity = min(loop.replay_capacity, needed)
        sizes = spec.observation_dim, spec.action_dim
        held = base is not None and base.steps_per_decision > 1
        self.replay = ReplayBuffer(capacity, *sizes, config.gamma, device, len(tasks), held)
        self.shards = Shards(self.replay)
        self.sampler = torch.Generator(device).manual_seed(streams.batches)
        self.sampling: Sampling = configs["replay"]
        self.augment = (
            Augmentation(images(spec, shared.on.symmetries), device)
            if self.sampling.symmetric
            else None
        )
        self.configs = configs
        if configs["plan"].every:
            check_plans(self.trainees, played, configs)
        self.collector = self._collector(spec, played, configs, streams.noises)
        self.rehearsed: list[Policy] = []  # what acts for sums of the tasks
        self._plans, self._warmup = streams.plans, loop.warmup
        self.planned = 0  # steps simulated for the sake of plans
        self._looked = 0  # ahead: after so many times plan.every steps at the latest
        self.parent: Parent | None = None  # the skill that the policies began as, if any
        self.owed = 0.0  # part of an update that each learner has not made for the steps taken
        self._before, self._began = 0.0, time.monotonic()

    def _collector(
        self, spec: Spec, played: Sequence[Task], configs: Mapping[str, Any], noises: int
    ) -> Collector:
        """What acts in the environment; turns, plans and noise share its generator."""
        loop, explore = configs["train"], configs["explore"]
        generator = torch.Generator().manual_seed(noises)
        turning = guide = None
        if every := explore.turn_every:
            turning = Turning(played[0].on, every, loop.environments, generator)
        if configs["plan"].every:
            guide = Guide(configs["plan"], loop.environments, generator)
        tasks = played if len(self.trainees) > 1 or turning else ()
        return Collector(self.env, spec, self.replay, generator, explore, tasks, turning, guide)

    def owes(self, updates: float) -> int:
        """How many whole updates each learner has to make, when so many more are due."""
        self.owed += updates
        whole = int(self.owed)
        self.owed -= whole
        return whole

    @property
    def plans_due(self) -> bool:
        """Whether it is time to look ahead again."""
        plan: PlanConfig = self.configs["plan"]
        steps, first = self.collector.steps, max(plan.after * self.steps, self._warmup)
        return plan.every > 0 and steps >= first and steps // plan.every > self._looked

    @property
    def latest(self) -> float:
        """Share of what is stored that is the latest: without rehearsals it is no better."""
        return self.configs["plan"].latest if self.rehearsed else 0.0

    def look_ahead(self, report: Callable[[float], None]) -> dict[str, Plan]:
        """Rehearse the compositions of the skills, and look for plans that are better than those;
        both guide the collector.

        Args:
            report: called now and then with the share that is done.

        Returns:
            All that were looked for: one for each sum of tasks, by its name.
        """
        assert self.collector.guide is not None
        at = self._plans, self.collector.steps
        found = look_ahead(self.trainees, self.replay, self.configs, at, report)
        self.planned += found.steps
        self.rehearsed = [policy.to(self.device) for policy in found.rehearsed]
        self.collector.guide.add([plan for plan in found.plans.values() if plan.gain > 0])
        self._looked = self.collector.steps // self.configs["plan"].every
        return found.plans

    @property
    def seconds(self) -> float:
        """Wall-clock time of this run over all its sittings [s]."""
        return self._before + time.monotonic() - self._began

    def close(self) -> None:
        """Let go of the environments; what was learned stays, whatever they say to that."""
        try:
            self.env.close()
        except Exception as error:  # a stranger's environment
            reason = " ".join(str(error).split())
            warnings.warn(f"{self.identity['task']} did not close: {reason}", stacklevel=2)

    def save(self, folder: Path, before: Path | None = None) -> None:
        """Write the whole state into an empty folder; this changes nothing about the run.

        Args:
            before: the checkpoint that was saved or loaded last: what both hold of the replay is
                linked, and not written again.

        Raises:
            NonFinite: a parameter is no number any more, which no loss has shown yet.
        """
        _check_parameters(self.rehearsed, self.collector.steps)
        for trainee in self.trainees:
            own = trainee.learner.policy, trainee.learner.q
            _check_parameters(own, self.collector.steps)
            save_file(_contiguous(trainee.learner.state()), folder / trainee.file)
        for index, policy in enumerate(self.rehearsed):
            save_file(_contiguous(policy.state_dict()), folder / _rehearsal(index))
        self.shards.save(folder, before)
        state = {
            "format": FORMAT,
            "identity": self.identity,
            "collector": self.collector.state(),
            "env": self.env.state(),
            "sampler": self.sampler.get_state().tolist(),
            "owed": self.owed,
            "planned": [self.planned, self._looked],
            "rehearsed": [part(policy) for policy in self.rehearsed],
            "curves": [trainee.curve for trainee in self.trainees],
            "metrics": [numbers(trainee.metrics) for trainee in self.trainees],
            "seconds": self.seconds,
        }
        (folder / "state.json").write_text(json.dumps(state))

    def load(self, folder: Path) -> None:
        """Go on where `save` was, bit for bit; only what Gymnasium plays begins new episodes.

        Raises:
            RunConflict: the checkpoint is of another run, of another version, or damaged.
            InvalidValue: it holds more than this run would.
        """
        try:
            state = json.loads((folder / "state.json").read_text())
            if state.get("format") != FORMAT:
                raise RunConflict(
                    f"the checkpoint {folder} is of another version of skillkit; train without "
                    "--resume"
                )
            taken = state["collector"]
            self._check(state["identity"], taken["steps"], taken["before"])
            self.shards.load(folder)
            self.collector.load_state(state["collector"])
            self.sampler.set_state(torch.tensor(state["sampler"], dtype=torch.uint8))
            self.owed, self._before = float(state["owed"]), float(state["seconds"])
            self.planned, self._looked = map(int, state["planned"])
            self.rehearsed = [
                _restored(description, folder / _rehearsal(index)).to(self.device)
                for index, description in enumerate(state["rehearsed"])
            ]
            learned = zip(self.trainees, state["curves"], state["metrics"], strict=True)
            for trainee, curve, metrics in learned:
                trainee.learner.load_state(load_file(folder / trainee.file))
                trainee.curve = [dict(row) for row in curve]
                trainee.metrics = {key: torch.tensor(value) for key, value in metrics.items()}
            if state["env"] is not None:
                self.env.load_state(state["env"])
        except (*MALFORMED, CorruptSkill, OSError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise RunConflict(
                f"the checkpoint {folder} is damaged ({reason}); train without --resume"
            ) from error
        if state["env"] is None:
            self.collector.restart()
            warnings.warn(
                f"{self.identity['task']} cannot continue a running episode, so those that were "
                "interrupted began anew; everything else went on where it was",
                stacklevel=2,
            )

    def _check(self, other: Mapping[str, Any], steps: int, before: int) -> None:
        for key in sorted(self.identity.keys() | other.keys()):
            was, now = other.get(key), self.identity.get(key)
            if was != now:
                raise RunConflict(
                    f"the interrupted run has {key} {was!r}, not {now!r}; resume it as it was "
                    "started, or train without --resume"
                )
        if before >= self.steps:  # there would have been no latest step
            raise RunConflict(
                f"the interrupted run has taken {steps} steps already; resume it with more "
                f"train.steps than {self.steps}"
            )


def _rehearsal(index: int) -> str:
    """Where a checkpoint keeps what acts for a sum."""
    return f"rehearsed{index}.safetensors"


def _restored(description: Mapping[str, Any], file: Path) -> Policy:
    policy = POLICIES[description["kind"]](**description["config"])
    policy.load_state_dict(load_file(file))
    return policy.requires_grad_(False)


def _settings(algorithm: str, configs: Mapping[str, Any]) -> dict[str, Any]:
    """Those that a resumed run must share with the one that was interrupted, by their names."""
    names = [algorithm, "train", "explore", "replay", "plan"]
    names += [table for table in ("reuse", *MERGING) if table in configs]
    free = {f"train.{key}" for key in FREE}
    # the one thing to change when a loss diverged
    free |= {f"{algorithm}.learning_rate", "distill.learning_rate"}
    free |= {"improve.learning_rate", "improve.policy_rate"}
    if configs["plan"].every:
        free -= {"train.replay_stored"}  # rehearsals learn from so much
    found = {f"{name}.{key}": v for name in names for key, v in plain(configs[name]).items()}
    return {key: value for key, value in found.items() if key not in free}


def _check_symmetries(task: Task, base: Base | None, configs: Mapping[str, Any]) -> None:
    """What is wrong with a task's symmetries, or with their use, is said now and not at the end."""
    if task.symmetric:
        images(task.spec, task.on.symmetries)
        rotation_of(task.on)
    used = {
        "replay.symmetric": configs["replay"].symmetric,
        "explore.turn_every": configs["explore"].turn_every,
    }
    for setting in (name for name, value in used.items() if value):
        if base is not None:
            raise InvalidValue(
                f"{setting} is for single layers: a latent has no mirror image; leave it out"
            )
        if not task.symmetric or task.scene is not None:
            raise InvalidValue(
                f"{setting} is for symmetric tasks in the open, and {task.name} prefers a "
                "direction, has a domain without symmetries, or a scene; leave it out"
            )


def _check_parameters(modules: Iterable[Policy | SoftQ], steps: int) -> None:
    for module in modules:
        if not all(bool(value.isfinite().all()) for value in module.parameters()):
            raise NonFinite(
                f"a parameter of the {module.kind} became infinite or NaN before step {steps}; "
                "resume from the last checkpoint with a lower learning rate"
            )


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """safetensors wants tensors that share no memory."""
    return {key: value.detach().contiguous().clone() for key, value in tensors.items()}


def numbers(metrics: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Metrics on the host."""
    return {key: float(value) for key, value in metrics.items()}
