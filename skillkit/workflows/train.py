"""train: Task -> Skill. Collect, learn, evaluate, draw (thesis ch. 4 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from skillkit.algorithms import ALGORITHMS
from skillkit.collector import Exploration
from skillkit.envs import Task
from skillkit.envs import task as find_task
from skillkit.errors import InvalidValue, NonFinite, UnknownName
from skillkit.evaluation import Evaluation
from skillkit.manifest import Manifest, check_name
from skillkit.replay import ReplayBuffer
from skillkit.report import card, plots
from skillkit.skill import Skill
from skillkit.workflows.common import (
    Event,
    OnEvent,
    check_finite,
    command_line,
    describe,
    part,
    pick_device,
    score,
    summary,
    threads,
)
from skillkit.workflows.run import Run
from skillkit.workflows.settings import check_seed, plain, resolve

Checkpoint = Callable[[Callable[[Path], None]], None]


@dataclass(frozen=True)
class TrainConfig:
    """The loop around a learner."""

    steps: int = 200_000  # environment steps in all
    environments: int = 8  # stepped side by side
    warmup: int = 2_000  # environment steps with uniform actions before the first update
    update_every: int = 1  # environment steps per update
    replay_capacity: int = 1_000_000  # transitions kept while training
    replay_stored: int = 50_000  # transitions kept in the saved skill
    evaluate_every: int = 20_000  # environment steps between points of the learning curve
    evaluation_episodes: int = 20  # per point of the curve
    final_episodes: int = 100  # for the figures in the card
    threads: int = 1  # of the learner; small networks gain nothing from more

    def __post_init__(self) -> None:
        sizes = (self.steps, self.environments, self.update_every, self.threads)
        if min(*sizes, self.replay_capacity, self.replay_stored, self.evaluate_every) < 1:
            raise InvalidValue("every train setting that counts something must be at least 1")
        if min(self.warmup, self.evaluation_episodes - 2, self.final_episodes - 2) < 0:
            raise InvalidValue(
                "train.warmup must not be negative, and evaluations take at least 2 episodes"
            )


def train(
    task: Task | str,
    *,
    settings: Mapping[str, Any] | None = None,
    algorithm: str | None = None,
    name: str | None = None,
    seed: int = 0,
    device: str = "auto",
    on_event: OnEvent | None = None,
    checkpoint: Checkpoint | None = None,
    resume: Path | None = None,
) -> Skill:
    """Learn a maximum-entropy policy and its soft Q-function for a task.

    Args:
        task: a task or its expression, "push_x", "push_x+push_y", "gym:HalfCheetah-v5".
        settings: overrides of the task's recipe, {"sac.alpha": 0.1, "train.steps": 50_000}.
        algorithm: a name from `ALGORITHMS`; None takes the recipe's.
        name: of the skill; the task's own by default.
        seed: the one source of randomness.
        device: "auto", "cpu" or "cuda".
        on_event: called with {"kind": "progress" | "evaluation", ...} as training goes.
        checkpoint: called now and then with a function that writes the run into a folder.
        resume: a folder written that way; training continues from there.

    Returns:
        An unsaved skill; `save` publishes it.

    Raises:
        UnknownName, InvalidValue: a task or a setting that does not exist or fit.
        NonFinite: the environment or a loss gave a NaN; nothing is returned.
    """
    check_seed(seed)
    if name is not None:
        check_name(name)
    task = find_task(task) if isinstance(task, str) else task
    recipe_algorithm, recipe = task.recipe
    algorithm = algorithm or recipe_algorithm
    configs = configure(algorithm, {**recipe, **(settings or {})})
    config: TrainConfig = configs["train"]
    notify = on_event or (lambda event: None)
    with threads(config.threads):
        run = Run(task, algorithm, configs, seed, pick_device(device))
        if resume is not None:
            run.load(resume)
        for row in _learn(run, config, notify, checkpoint):
            notify({"kind": "evaluation", **row})
        final = score(run.learner.policy, task, config.final_episodes)
    options = [task.name] if name is None else [task.name, f"--name {name}"]
    command = command_line("train", *options, seed=seed, settings=settings or {})
    return _skill(run, name or skill_name(task), algorithm, configs, final, command)


def configure(algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved configs of the loop and the algorithm; other algorithms' are dropped."""
    if algorithm not in ALGORITHMS:
        raise UnknownName("algorithm", algorithm, ALGORITHMS)
    _, config = ALGORITHMS[algorithm]
    foreign = {name for name in ALGORITHMS if name != algorithm}
    mine = {key: value for key, value in settings.items() if key.split(".")[0] not in foreign}
    return resolve(mine, **{"train": TrainConfig, "explore": Exploration, algorithm: config})


def skill_name(task: Task) -> str:
    """The default name: a composed task that is trained directly says so."""
    return f"{task.label}.direct" if task.parts else task.label


def _learn(
    run: Run, config: TrainConfig, notify: OnEvent, checkpoint: Checkpoint | None
) -> Iterator[dict[str, float]]:
    """The loop: yields a row of the learning curve at each evaluation."""
    collector, learner = run.collector, run.learner
    metrics: dict[str, torch.Tensor] = {}
    while collector.steps < config.steps:
        before = collector.steps
        try:
            collector.step(learner.policy if collector.steps >= config.warmup else None)
        except NonFinite:
            check_finite(metrics, collector.steps)  # a diverged policy is not the task's fault
            raise
        if collector.steps >= config.warmup:
            learner.anneal(min(1.0, collector.steps / config.steps))
            run.owed += (collector.steps - before) / config.update_every
            while run.owed >= 1:
                metrics = learner.update(run.replay.sample(learner.config.batch_size, run.sampler))
                run.owed -= 1
        due = _crossed(before, collector.steps, config.evaluate_every) or _done(run, config)
        reporting = _crossed(before, collector.steps, PROGRESS_EVERY)
        if due or reporting:
            check_finite(metrics, collector.steps)
        if due:
            found = score(learner.policy, run.task, config.evaluation_episodes)
            row = {"step": collector.steps, **_numbers(metrics), **found.means()}
            run.curve.append(row)
            yield row
        if reporting:
            notify(_progress(run, config, metrics))
            if checkpoint is not None:
                checkpoint(run.save)


PROGRESS_EVERY = 1_000  # environment steps between progress events: the only host syncs


def _crossed(before: int, now: int, period: int) -> bool:
    return before // period != now // period


def _done(run: Run, config: TrainConfig) -> bool:
    return run.collector.steps >= config.steps


def _numbers(metrics: Mapping[str, torch.Tensor]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


def _progress(run: Run, config: TrainConfig, metrics: Mapping[str, torch.Tensor]) -> Event:
    returns = run.collector.returns
    recent = {"return": sum(returns) / len(returns)} if returns else {}
    steps = {"step": run.collector.steps, "steps": config.steps}
    return {"kind": "progress", **steps, **_numbers(metrics), **recent}


def _skill(
    run: Run,
    name: str,
    algorithm: str,
    configs: Mapping[str, Any],
    final: Evaluation,
    command: str,
) -> Skill:
    """Everything that was learned, with its numbers and its picture, not yet saved."""
    task, learner, config = run.task, run.learner, configs["train"]
    q = learner.q.cpu()
    q.alpha = learner.alpha
    episodes = run.replay.episodes(config.replay_stored)
    described = Manifest(
        kind="trained",
        name=name,
        task=describe(task),
        spec=task.spec,
        alpha=q.alpha,
        gamma=q.gamma,
        algorithm=algorithm,
        config={table: plain(values) for table, values in configs.items()},
        policy=part(learner.policy),
        q=part(q),
        seed=run.seed,
        metrics={"evaluation": summary(final), "steps": run.collector.steps},
        replay={"episodes": len(episodes["lengths"]), "transitions": len(episodes["actions"])},
        timing={"seconds": run.seconds, "updates": learner.updates},
    )
    return Skill(
        described,
        policy=learner.policy.cpu(),
        q=q,
        replay=ReplayBuffer.from_episodes(episodes, q.gamma),
        curve=run.curve,
        card=card.text(described, final, command),
        figure=plots.outcome({described.name: final}),
    )
