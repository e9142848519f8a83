"""compose: Skill, Skill, … -> Skill. Add soft Q-functions, distil a policy from the stored replay,
no new interaction (thesis ch. 6; THEORY 5, 6)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from skillkit.algorithms import Distill, DistillConfig
from skillkit.composition import rules
from skillkit.composition.estimates import estimated_cost
from skillkit.envs import Task, combine, forbid_interaction
from skillkit.envs import task as find_task
from skillkit.errors import InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.manifest import Manifest, check_name
from skillkit.policies import Policy
from skillkit.q_functions import SoftQ, WeightedSum
from skillkit.replay import ReplayBuffer, union
from skillkit.report import card, plots
from skillkit.skill import Skill, load
from skillkit.workflows.common import (
    OnEvent,
    check_finite,
    command_line,
    describe,
    part,
    score,
    summary,
    threads,
)
from skillkit.workflows.refit import RefitConfig, can_refit, refit
from skillkit.workflows.settings import check_seed, plain, resolve, spawn


@dataclass(frozen=True)
class ComposeConfig:
    """The loop around the distillation."""

    replay_stored: int = 24_000  # transitions of the union that the composed skill keeps
    estimate_states: int = 1_024  # replay states on which the disagreement is estimated
    final_episodes: int = 100  # per skill, for the table and the figure
    threads: int = 1  # of the learner

    def __post_init__(self) -> None:
        if min(self.replay_stored, self.estimate_states, self.threads) < 1:
            raise InvalidValue("every compose setting that counts something must be at least 1")
        if self.final_episodes < 2:
            raise InvalidValue("compose.final_episodes must be at least 2")


def compose(
    skills: Sequence[Skill | str],
    *,
    weights: Sequence[float] | None = None,
    temperature: float | None = None,
    settings: Mapping[str, Any] | None = None,
    name: str | None = None,
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> Skill:
    """The skill for the weighted sum of the skills' rewards, from what they have stored.

    Args:
        skills: at least two, or names of stored ones; of one domain, scene, termination, action
            space and gamma.
        weights: w_i >= 0; 1/N each by default.
        temperature: alpha of the result [r/nat]; sum_i w_i alpha_i by default, for which
            Q_S >= Q* is guaranteed (THEORY 5).
        settings: overrides, {"distill.updates": 4000}.
        name: of the result; "push_x+push_y" by default.
        on_event: called with {"kind": "progress" | "evaluation", ...}.

    Returns:
        An unsaved skill; its `metrics` hold every skill's evaluation in the composed task, the
        estimated disagreement and the number of environment steps that training took: 0.

    Raises:
        IncompatibleSkills: they do not share what the sum needs; says what and what would.
        InvalidValue: weights or a temperature that make no sense.
        NonFinite: the distillation loss became a NaN.
    """
    check_seed(seed)
    configs = resolve(
        settings or {}, compose=ComposeConfig, refit=RefitConfig, distill=DistillConfig
    )
    sum_ = _add(skills, weights, temperature)
    name = check_name(sum_.task.label if name is None else name)
    if name in [part.name for part in sum_.parts]:
        raise InvalidValue(f"{name} is one of the skills composed; name the result with --name")
    config: ComposeConfig = configs["compose"]
    notify = on_event or (lambda event: None)
    with threads(config.threads):
        started = time.monotonic()
        progress = _Progress(notify, configs["distill"].updates)
        with forbid_interaction() as interaction:
            sum_ = _refit(sum_, configs["refit"], seed, progress)
            learner = _distill(sum_, configs["distill"], seed, progress)
        timing = {"seconds": time.monotonic() - started, "updates": progress.total}
        cost = _cost(sum_, config.estimate_states, seed)
    scores = _scores(sum_, name, learner.policy, config.final_episodes, notify)
    options = sum_.labels
    if weights is not None:
        options.append("--weights " + ",".join(f"{weight:g}" for weight in weights))
    if temperature is not None:
        options.append(f"--temperature {temperature:g}")
    command = command_line("compose", *options, seed=seed, settings=settings or {})
    metrics = {
        "evaluation": summary(scores[name]),
        "parents": {label: summary(scores[label]) for label in sum_.labels},
        "exponents": list(sum_.exponents),
        "covered": rules.covered(sum_.exponents),
        "interactions": interaction.steps,
        **cost,
    }
    episodes = sum_.replay.episodes(config.replay_stored)
    described = Manifest(
        kind="composed",
        name=name,
        task=describe(sum_.task),
        spec=sum_.task.spec,
        alpha=sum_.q.alpha,
        gamma=sum_.q.gamma,
        algorithm="distill",
        config={table: plain(values) for table, values in configs.items()},
        policy=part(learner.policy),
        q=part(sum_.q),
        parents=[parent.as_parent for parent in sum_.parts],
        weights=list(sum_.weights),
        seed=seed,
        metrics=metrics,
        replay={"episodes": len(episodes["lengths"]), "transitions": len(episodes["actions"])},
        timing=timing,
    )
    return Skill(
        described,
        policy=learner.policy,
        q=sum_.q,
        replay=ReplayBuffer.from_episodes(episodes, sum_.q.gamma),
        card=card.text(described, scores[name], command),
        figure=plots.outcome(scores),
    )


@dataclass(frozen=True)
class _Sum:
    """Q_S = sum_i w_i Q_i and what goes with it, once everything has been checked."""

    parts: tuple[Skill, ...]
    weights: tuple[float, ...]
    exponents: tuple[float, ...]  # b_i
    q: WeightedSum
    replay: ReplayBuffer  # the union
    tasks: tuple[Task, ...]  # of the parts
    task: Task  # their sum

    @property
    def labels(self) -> list[str]:
        """What tells the parts apart: their names, with the version where a name comes twice."""
        names = [part.name for part in self.parts]
        return [p.reference if names.count(p.name) > 1 else p.name for p in self.parts]


def _add(
    skills: Sequence[Skill | str], weights: Sequence[float] | None, temperature: float | None
) -> _Sum:
    parts = tuple(load(skill) if isinstance(skill, str) else skill for skill in skills)
    if len(parts) < 2:
        raise InvalidValue("composing takes at least two skills; name another one")
    rules.check_compatible([part.manifest for part in parts])
    w = rules.check_weights(weights, len(parts))
    temperatures = [part.alpha for part in parts]
    alpha = rules.default_temperature(w, temperatures) if temperature is None else temperature
    b = rules.exponents(w, temperatures, alpha)
    tasks = tuple(find_task(part.task) for part in parts)
    q = WeightedSum([part.q for part in parts], w, alpha)
    replay = union([part.replay for part in parts])
    return _Sum(parts, w, b, q, replay, tasks, combine(tasks, w))


class _Progress:
    """Counts updates over all stages: the refits, then the distillation."""

    def __init__(self, notify: OnEvent, total: int) -> None:
        self.notify, self.total, self.before = notify, total, 0

    def __call__(self, step: int, **numbers: float) -> None:
        done = self.before + step
        self.notify({"kind": "progress", "step": done, "steps": self.total, **numbers})


def _refit(sum_: _Sum, config: RefitConfig, seed: int, progress: _Progress) -> _Sum:
    """The same sum, of critics that know the whole union; composed parts stay as they are."""
    able = [can_refit(*pair) for pair in zip(sum_.parts, sum_.tasks, strict=True)]
    progress.total += config.updates * sum(able)
    critics: list[SoftQ] = []
    for skill, task, stream, can in zip(
        sum_.parts, sum_.tasks, spawn(seed + 1, len(able)), able, strict=True
    ):
        if not can or not config.updates:
            critics.append(skill.q)
            continue
        critics.append(refit(skill, task, sum_.replay, config, stream, progress))
        progress.before += config.updates
    return replace(sum_, q=WeightedSum(critics, sum_.weights, sum_.q.alpha))


def _distill(sum_: _Sum, config: DistillConfig, seed: int, progress: _Progress) -> Distill:
    """The policy of Q_S, from the stored observations alone."""
    initial, batches, _ = spawn(seed, 3)
    learner = Distill(sum_.task.spec, sum_.q, config, initial)
    sampler = torch.Generator().manual_seed(batches)
    for update in range(1, config.updates + 1):
        learner.anneal((update - 1) / config.updates)
        metrics = learner.update(sum_.replay.sample(config.batch_size, sampler))
        if update % PROGRESS_EVERY == 0 or update == config.updates:
            check_finite(metrics, update)
            numbers = {key: float(value) for key, value in metrics.items()}
            progress(update, **numbers)
    return learner


PROGRESS_EVERY = 200  # updates between progress events


def _cost(sum_: _Sum, states: int, seed: int) -> dict[str, float]:
    """The disagreement on states of the union."""
    *_, candidates = spawn(seed, 3)
    generator = torch.Generator().manual_seed(candidates)
    obs = sum_.replay.sample(states, generator).obs
    return estimated_cost(sum_.q, [part.policy for part in sum_.parts], obs, generator)


def _scores(
    sum_: _Sum, name: str, policy: Policy, episodes: int, notify: OnEvent
) -> dict[str, Evaluation]:
    """The skills and what was composed of them, all in the composed task."""
    policies = [part.policy for part in sum_.parts]
    scores = {}
    for label, tested in zip([*sum_.labels, name], [*policies, policy], strict=True):
        scores[label] = score(tested, sum_.task, episodes)
        notify({"kind": "evaluation", "skill": label, **scores[label].means()})
    return scores
