"""compose: Skill, Skill, … -> Skill. Add soft Q-functions; distil a policy from the stored replay,
or resample the skills' own actions. No new interaction (thesis ch. 6; THEORY 5, 6)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skillkit.composition import rules
from skillkit.composition.coverage import coverage
from skillkit.composition.estimates import Proposal, estimated_cost
from skillkit.composition.experience import experienced, is_of
from skillkit.composition.instant import instant_policy, unfold
from skillkit.envs import Task, combine, forbid_interaction
from skillkit.envs import task as find_task
from skillkit.errors import IncompatibleSkills, InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.manifest import check_name
from skillkit.policies import Policy
from skillkit.policies.mixture import Mixture
from skillkit.q_functions import WeightedSum
from skillkit.replay import ReplayBuffer, union
from skillkit.report import plots
from skillkit.skill import Skill, load
from skillkit.workflows.common import OnEvent, arithmetic, controller, score
from skillkit.workflows.extract import InstantConfig, seconds_per_action
from skillkit.workflows.merge import MERGING, Merged, Summands, merge
from skillkit.workflows.recipes import for_composing, giving_way
from skillkit.workflows.result import command_line, summary, unsaved
from skillkit.workflows.settings import check_seed, plain, resolve
from skillkit.workflows.streams import composition


@dataclass(frozen=True)
class ComposeConfig:
    """What goes with a composition, however its policy is made."""

    replay_stored: int = 16_000  # transitions of the union that the composed skill keeps
    estimate_states: int = 4_096  # stored transitions on which the cost is estimated
    estimate_updates: int = 1_000  # of the fitted evaluation of F, C and so on; 0 leaves them out
    final_episodes: int = 100  # per skill, for the table and the figure
    threads: int = 1  # of the learner

    def __post_init__(self) -> None:
        if min(self.replay_stored, self.estimate_states, self.threads) < 1:
            raise InvalidValue("every compose setting that counts something must be at least 1")
        if self.estimate_updates < 0:
            raise InvalidValue("compose.estimate_updates must not be negative")
        if self.final_episodes < 2:
            raise InvalidValue("compose.final_episodes must be at least 2")


def compose(
    skills: Sequence[Skill | str],
    *,
    weights: Sequence[float] | None = None,
    temperature: float | None = None,
    instant: bool = False,
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
        instant: train nothing; each action is the best of candidates, or one resampled by Q_S.
        settings: overrides, {"distill.updates": 4000}.
        name: of the result; "push_x+push_y" by default, "push_x+push_y.instant" if instant.
        on_event: called with {"kind": "progress" | "evaluation", ...}.

    Returns:
        An unsaved skill; its `metrics` hold every skill's evaluation in the composed task, the
        estimated cost and the number of environment steps that training took: 0.

    Raises:
        IncompatibleSkills: they do not share what the sum needs; says what and what would.
        InvalidValue: weights or a temperature that make no sense.
        NonFinite: the distillation loss became a NaN.

    Warns:
        UserWarning: a skill has stored other rewards or ends than its task gives today.

    With a distillation that is much too short:

    >>> brief = {"distill.updates": 10, "improve.updates": 0}
    >>> brief |= {"compose.final_episodes": 2, "compose.estimate_updates": 0}
    >>> brief |= {"compose.estimate_states": 64}
    >>> skill = compose(["push_x", "push_y"], weights=[0.7, 0.3], settings=brief)
    >>> skill.name
    '0.7push_x+0.3push_y'
    >>> skill.metrics["interactions"]
    0
    >>> compose(["push_x", "point_roam"])
    Traceback (most recent call last):
    skillkit.errors.IncompatibleSkills: push_x and point_roam cannot be composed: ...
    """
    check_seed(seed)
    tables = {"compose": ComposeConfig, **({"instant": InstantConfig} if instant else MERGING)}
    settings = settings or {}
    resolve(settings, **tables)  # a slip is said before anything is loaded
    sum_ = _add(skills, weights, temperature)
    recipe = for_composing(giving_way(sum_.task.recipe[1], settings), tables)
    configs = resolve({**recipe, **settings}, **tables)
    given, name = name, sum_.name(name, ".instant" * instant)
    config: ComposeConfig = configs["compose"]
    notify = on_event or (lambda event: None)
    with arithmetic(config.threads):
        found, timing, interactions = _extract(sum_, configs, seed, notify)
        started = time.monotonic()
        cost = _cost(sum_, found.policy, config, seed)
        timing["estimate_seconds"] = time.monotonic() - started
    scores = _scores(sum_, name, found.policy, config.final_episodes, notify)
    episodes = sum_.replay.episodes(config.replay_stored)
    options = {
        "instant": instant,
        "weights": None if weights is None else [float(weight) for weight in weights],
        "temperature": None if temperature is None else float(temperature),
        "name": given,
        "seed": seed,
    }
    references = [parent.reference for parent in sum_.parts]
    return unsaved(
        name,
        sum_.task,
        found.policy,
        found.q,
        episodes,
        scores[name],
        command=command_line("compose", references, options, settings),
        figure=plots.outcome(_drawn(scores, name)),
        kind="composed",
        algorithm="resample" if instant else "distill",
        config={table: plain(values) for table, values in configs.items()},
        parents=[parent.as_parent for parent in sum_.parts],
        weights=list(sum_.weights),
        seed=seed,
        timing=timing,
        metrics={
            "parents": {label: summary(scores[label]) for label in sum_.labels},
            "exponents": list(sum_.exponents),
            "covered": rules.covered(sum_.exponents),
            "interactions": interactions,
            "experience": {"transitions": len(sum_.replay), "siblings": len(sum_.beside)},
            **_coverage(episodes, scores[name], seed),
            **cost,
        },
    )


@dataclass(frozen=True)
class _Sum:
    """Q_S = sum_i w_i Q_i and what goes with it, once everything has been checked."""

    parts: tuple[Skill, ...]
    weights: tuple[float, ...]
    exponents: tuple[float, ...]  # b_i
    q: WeightedSum
    replay: ReplayBuffer  # the union, with what siblings have stored of the same runs
    beside: Sequence[Skill]  # those siblings
    tasks: tuple[Task, ...]
    task: Task  # the sum of theirs

    def name(self, given: str | None, ending: str) -> str:
        """Of the result: what was asked for, or that of the task with an ending."""
        name = check_name(self.task.label + ending if given is None else given)
        if name in [part.name for part in self.parts]:
            raise InvalidValue(f"{name} is one of the skills composed; name the result with --name")
        return name

    @property
    def policies(self) -> list[Policy]:
        return [part.policy for part in self.parts]

    @property
    def summands(self) -> Summands:
        """What a policy is made of."""
        return Summands(self.q, self.policies, self.tasks, self.task, self.replay)

    @property
    def labels(self) -> list[str]:
        """What tells the parts apart."""
        return rules.labels([(part.name, part.reference) for part in self.parts])


def _add(
    skills: Sequence[Skill | str], weights: Sequence[float] | None, temperature: float | None
) -> _Sum:
    parts = tuple(load(skill) if isinstance(skill, str) else skill for skill in skills)
    if len(parts) < 2:
        raise InvalidValue("composing takes at least two skills; name another one")
    for skill in parts:
        if reason := rules.unfit(skill.manifest):
            raise IncompatibleSkills(f"{skill.name} is {reason}")
    rules.check_compatible([part.manifest for part in parts])
    for skill in parts:
        rules.check_temperature(skill.alpha, f"{skill.name}: ")
    w = rules.check_weights(weights, len(parts))
    temperatures = [part.alpha for part in parts]
    alpha = rules.default_temperature(w, temperatures) if temperature is None else temperature
    b = rules.exponents(w, temperatures, alpha)
    tasks = tuple(find_task(part.task) for part in parts)
    for part, task in zip(parts, tasks, strict=True):
        _check_task(part, task)
    q = WeightedSum([part.q for part in parts], w, alpha)
    beside = [skill for skill in experienced(parts) if skill not in parts]
    replay = union([skill.replay for skill in (*parts, *beside)])
    return _Sum(parts, w, b, q, replay, beside, tasks, combine(tasks, w))


def _check_task(skill: Skill, task: Task) -> None:
    """A skill acts in its task as that is today, and should have been trained for that."""
    skill.check_plays(task)
    made = skill.manifest
    brought = "replay" in made.config.get("import", {})  # from elsewhere, and rewarded there
    witnessed = made.kind == "trained" and task.relabellable and not brought
    if witnessed and not is_of(skill, task):
        warnings.warn(
            f"what {skill.name} has stored was rewarded or ended otherwise than by today's "
            f"{task.name}; if the task file has changed since, train {skill.name} again",
            stacklevel=4,
        )


def _extract(
    sum_: _Sum, configs: Mapping[str, Any], seed: int, notify: OnEvent
) -> tuple[Merged, dict[str, Any], int]:
    """The policy, how long making it took, and how many environment steps: none."""
    started = time.monotonic()
    with forbid_interaction() as interaction:
        if "instant" in configs:
            count = configs["instant"].candidates
            policy = instant_policy(sum_.q, sum_.policies, count, seed)
            found = Merged(policy, sum_.q, 0)
        else:
            config, further = configs["distill"], configs["improve"]
            steps = config.updates + further.updates

            def report(update: int, **numbers: float) -> None:
                notify({"kind": "progress", "step": update, "steps": steps, **numbers})

            found = merge(sum_.summands, config, further, seed, report)
    timing = {"seconds": time.monotonic() - started, "updates": found.updates}
    if "instant" in configs:
        act = controller(sum_.task, found.policy)
        timing["seconds_per_action"] = seconds_per_action(act, sum_.replay.all().obs)
    return found, timing, interaction.steps


def _cost(sum_: _Sum, policy: Policy, config: ComposeConfig, seed: int) -> dict[str, Any]:
    """What the sum costs, estimated on transitions of the union."""
    generator = torch.Generator().manual_seed(composition(seed).candidates)
    batch = sum_.replay.sample(config.estimate_states, generator)
    _, parents = unfold(sum_.q, sum_.policies)
    count = max(CANDIDATES // (1 + len(parents)), 1)
    propose = Proposal(Mixture(sum_.task.spec.action_dim, parents, count))
    updates = config.estimate_updates
    return estimated_cost(sum_.q, sum_.labels, policy, batch, propose, updates, generator)


CANDIDATES = 48  # actions in each state, from all skills and uniformly together


def _coverage(episodes: Mapping[str, Tensor], played: Evaluation, seed: int) -> dict[str, float]:
    """How much of what the composed policy visits is like what is stored: in all entries of the
    observation, and in those that the task has goals for."""
    assert played.paths is not None
    paths = torch.from_numpy(played.paths).flatten(0, 1)  # (episodes (horizon + 1), O)
    visited, stored = paths[~paths.isnan().any(-1)], episodes["observations"]
    entries = {"replay_coverage": list(range(stored.shape[1]))}
    if goals := played.task.goals:
        entries["replay_coverage_goals"] = played.task.spec.index(tuple(goals))
    found: dict[str, float] = {}
    if len(episodes["lengths"]) < 2:
        return found  # what is usual is seen between episodes
    for name, which in entries.items():
        rng = torch.Generator().manual_seed(seed)
        found[name] = coverage(stored[:, which], episodes["lengths"] + 1, visited[:, which], rng)
    return found


def _drawn(scores: Mapping[str, Evaluation], name: str) -> dict[str, Evaluation]:
    """The result, and as many of the skills before it as one figure has room for."""
    parents = [label for label in scores if label != name][: plots.MOST - 1]
    return {label: scores[label] for label in (*parents, name)}


def _scores(
    sum_: _Sum, name: str, policy: Policy, episodes: int, notify: OnEvent
) -> dict[str, Evaluation]:
    """The skills and what was composed of them, all in the composed task."""
    scores = {}
    for label, tested in zip([*sum_.labels, name], [*sum_.policies, policy], strict=True):
        scores[label] = score(tested, sum_.task, episodes, paths=label == name)
        notify({"kind": "evaluation", "skill": label, **scores[label].means()})
    return scores
