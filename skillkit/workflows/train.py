"""train: Task -> Skill. Collect, learn, evaluate, draw (thesis ch. 4 and 5).

Several tasks of one domain can be trained together: every transition is relabelled for each of
them, so each critic learns from what all the skills have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from skillkit.algorithms import ALGORITHMS
from skillkit.collector import Exploration
from skillkit.envs import Task
from skillkit.envs import task as find_task
from skillkit.errors import InvalidValue, NonFinite, UnknownName
from skillkit.manifest import Manifest, check_name
from skillkit.replay import ReplayBuffer
from skillkit.report import card
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
from skillkit.workflows.picture import picture
from skillkit.workflows.run import Run, Trainee
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
    (skill,) = train_together(
        [task], settings=settings, algorithm=algorithm, name=name, seed=seed, device=device,
        on_event=on_event, checkpoint=checkpoint, resume=resume,
    )  # fmt: skip
    return skill


def train_together(
    tasks: Sequence[Task | str],
    *,
    settings: Mapping[str, Any] | None = None,
    algorithm: str | None = None,
    name: str | None = None,
    seed: int = 0,
    device: str = "auto",
    on_event: OnEvent | None = None,
    checkpoint: Checkpoint | None = None,
    resume: Path | None = None,
) -> tuple[Skill, ...]:
    """Learn several tasks in one run, on one shared replay, relabelled for each of them.

    The policies take turns in the same environments (`explore.hand_over`); each learner makes as
    many updates as it would alone, from everything that all of them have collected.

    Args:
        tasks: of one domain, scene and termination; the first one's recipe and start states.
        settings: overrides of that recipe; train.steps counts the steps of all together.
        name: only with a single task; see `train` for it and everything else.

    Returns:
        One unsaved skill for each task; they record each other as siblings.

    Raises:
        IncompatibleSkills: the tasks cannot share an environment; says why.
        UnknownName, InvalidValue, NonFinite: as `train`.
    """
    check_seed(seed)
    found = [find_task(task) if isinstance(task, str) else task for task in tasks]
    names = check_names(found, name)
    recipe_algorithm, recipe = found[0].recipe
    algorithm = algorithm or recipe_algorithm
    configs = configure(algorithm, {**recipe, **(settings or {})}, recipe_algorithm)
    config: TrainConfig = configs["train"]
    notify = on_event or (lambda event: None)
    options = [task.name for task in found] + ([] if name is None else [f"--name {name}"])
    if algorithm != recipe_algorithm:
        options.append(f"--algorithm {algorithm}")
    command = command_line("train", *options, seed=seed, settings=settings or {})
    with threads(config.threads):
        run = Run(found, algorithm, configs, seed, pick_device(device))
        if resume is not None:
            run.load(resume)
        for event in _learn(run, config, notify, checkpoint):
            notify({"kind": "evaluation", **event})
        return tuple(_skill(run, trainee, names, configs, command) for trainee in run.trainees)


def configure(
    algorithm: str, settings: Mapping[str, Any], lender: str | None = None
) -> dict[str, Any]:
    """The resolved configs of the loop and the algorithm.

    What the recipe says of `lender`, its own algorithm, holds for this one too where both have the
    setting and this one's is not given; only the kind of policy is each algorithm's own.
    """
    if algorithm not in ALGORITHMS:
        raise UnknownName("algorithm", algorithm, ALGORITHMS)
    _, config = ALGORITHMS[algorithm]
    shared = {field.name for field in fields(config)} - {"policy"}
    mine, lent = {}, {}
    for key, value in settings.items():
        table, _, name = key.partition(".")
        if table not in ALGORITHMS or table == algorithm:
            mine[key] = value
        elif table == lender and name in shared:
            lent[f"{algorithm}.{name}"] = value
    tables = {"train": TrainConfig, "explore": Exploration, algorithm: config}
    return resolve(lent | mine, **tables)


def check_names(tasks: Sequence[Task], name: str | None = None) -> list[str]:
    """What the skills will be called: a composed task that is trained directly says so.

    Raises:
        InvalidValue: no task, one that comes twice, one name for several, or no legal name.
    """
    if not tasks:
        raise InvalidValue("training takes at least one task; `skillkit tasks` lists them")
    if name is not None and len(tasks) > 1:
        raise InvalidValue(f"one name, {name}, does not fit {len(tasks)} skills; leave it out")
    names = [f"{task.label}.direct" if task.parts else task.label for task in tasks]
    if len(set(names)) < len(names):
        raise InvalidValue(f"a task comes twice in {' '.join(names)}; name each one once")
    return [check_name(label) for label in ([name] if name is not None else names)]


def run_name(names: Sequence[str]) -> str:
    """What a run in progress is called: several skills share one."""
    return names[0] if len(names) == 1 else check_name("+".join(names) + ".together")


def _learn(
    run: Run, config: TrainConfig, notify: OnEvent, checkpoint: Checkpoint | None
) -> Iterator[dict[str, Any]]:
    """The loop: yields a row of a learning curve for each skill at each evaluation."""
    collector, trainees = run.collector, run.trainees
    policies = [trainee.learner.policy for trainee in trainees]
    while collector.steps < config.steps:
        before = collector.steps
        try:
            collector.step(policies if collector.steps >= config.warmup else ())
        except NonFinite:
            _check(trainees, collector.steps)  # a diverged policy is not the task's fault
            raise
        if collector.steps >= config.warmup:
            run.owed += (collector.steps - before) / config.update_every
            for trainee in trainees:
                trainee.learner.anneal(min(1.0, collector.steps / config.steps))
                for _ in range(int(run.owed)):
                    trainee.update(run.replay, run.sampler)
            run.owed %= 1
        due = _crossed(before, collector.steps, config.evaluate_every) or _done(run, config)
        reporting = _crossed(before, collector.steps, PROGRESS_EVERY)
        if due or reporting:
            _check(trainees, collector.steps)
        for trainee in trainees * due:
            found = score(trainee.learner.policy, trainee.task, config.evaluation_episodes)
            row = {"step": collector.steps, **_numbers(trainee.metrics), **found.means()}
            trainee.curve.append(row)
            yield {"task": trainee.task.name, **row}
        if reporting:
            notify(_progress(run, config))
            if checkpoint is not None:
                checkpoint(run.save)


PROGRESS_EVERY = 1_000  # environment steps between progress events: the only host syncs


def _check(trainees: Sequence[Trainee], step: int) -> None:
    for trainee in trainees:
        check_finite(trainee.metrics, step)


def _crossed(before: int, now: int, period: int) -> bool:
    return before // period != now // period


def _done(run: Run, config: TrainConfig) -> bool:
    return run.collector.steps >= config.steps


def _numbers(metrics: Mapping[str, torch.Tensor]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}


def _progress(run: Run, config: TrainConfig) -> Event:
    """Where the run stands; of several skills the averages."""
    returns = run.collector.returns
    recent = {"return": sum(returns) / len(returns)} if returns else {}
    each = [_numbers(trainee.metrics) for trainee in run.trainees]
    averages = {key: sum(own[key] for own in each) / len(each) for key in each[0]}
    steps = {"step": run.collector.steps, "steps": config.steps}
    return {"kind": "progress", **steps, **averages, **recent}


def _skill(
    run: Run, trainee: Trainee, names: Sequence[str], configs: Mapping[str, Any], command: str
) -> Skill:
    """Everything that was learned, with its numbers and its picture, not yet saved."""
    task, learner, config = trainee.task, trainee.learner, configs["train"]
    name = names[trainee.column]
    final = score(learner.policy, task, config.final_episodes)
    q = learner.q.cpu()
    q.alpha = learner.alpha
    episodes = run.replay.episodes(config.replay_stored, trainee.column)
    described = Manifest(
        kind="trained",
        name=name,
        task=describe(task),
        spec=task.spec,
        alpha=q.alpha,
        gamma=q.gamma,
        algorithm=run.algorithm,
        config={table: plain(values) for table, values in configs.items()},
        policy=part(learner.policy),
        q=part(q),
        siblings=[other for other in names if other != name],
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
        curve=trainee.curve,
        card=card.text(described, final, command),
        figure=picture(name, learner.policy, q, final),
    )
