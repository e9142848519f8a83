"""The card of a skill: the README.md that lies beside its weights and says what they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from skillkit.evaluation import Evaluation
from skillkit.manifest import Manifest
from skillkit.types import Entry

FIGURE = "figure.png"
UNITS = {"return": "r", "length": "steps", "success": "share"}
KINDS = {
    "trained": "trained from interaction with its task",
    "composed": "composed from the Q-functions and the stored replay of its parents",
    "stacked": "a layer on top of another skill",
}


def text(manifest: Manifest, evaluation: Evaluation, command: str) -> str:
    """Markdown: what the skill is, how good, how it was made, how to use it.

    Args:
        manifest: of the skill.
        evaluation: of its deterministic policy in its own task, as in the figure.
        command: what makes it again, e.g. "skillkit train push_x --seed 0".
    """
    sections = (
        _head(manifest, evaluation),
        _results(manifest, evaluation),
        _cost(manifest),
        _layers(manifest),
        _task(manifest, evaluation),
        _origin(manifest, command),
        _use(manifest),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(manifest: Manifest, evaluation: Evaluation) -> str:
    return (
        f"# {manifest.name}\n\n{evaluation.task.summary}\n\n"
        f"A maximum-entropy skill, {KINDS[manifest.kind]}: a policy, its soft Q-function "
        f"(temperature {manifest.alpha:g} r/nat, discount {manifest.gamma:g}) and its replay.\n\n"
        f"![What {evaluation.episodes} episodes of {manifest.name} come to]({FIGURE})"
    )


def _results(manifest: Manifest, evaluation: Evaluation) -> str:
    goals = _entries(manifest).keys() & evaluation.task.goals.keys()
    distance = {_entries(manifest)[name].unit for name in goals}
    units = UNITS | {"final_distance": distance.pop() if len(distance) == 1 else ""}
    units |= dict.fromkeys(evaluation.task.outcomes, "share")
    rows = [
        (_with_unit(name, units.get(name, "")), *(f"{row[key]:.3g}" for key in ("mean", "std")),
         f"{row['low']:.3g} to {row['high']:.3g}")
        for name, row in evaluation.summary().items()
    ]  # fmt: skip
    table = _table(("per episode", "mean", "std", "95 % interval of the mean"), rows)
    numbers = {key: value for key, value in manifest.metrics.items() if _is_number(value)}
    more = "".join(
        f"\n- {key.replace('_', ' ')}: {_short(value)}" for key, value in numbers.items()
    )
    return (
        f"## Results\n\n{evaluation.episodes} episodes, evaluation seed {evaluation.seed}, "
        f"deterministic policy.\n\n{table}" + (f"\n{more}" if more else "")
    )


# What `compose` estimates, in the order of the table (THEORY 5)
COSTS = {
    "optimal_gap": "C, to the optimum",
    "optimal_gap_lower": "C_lo <= C",
    "optimal_gap_upper": "C_up >= C",
    "policy_gap": "F, to the value of the policy of Q_S",
    "distilled_gap": "F^pi, to the value of this policy",
    "regret_bound": "F^pi - C_lo, the regret of this policy at most",
    "thesis_regret": "D, the bound of the thesis",
}


RESET = "control.reset()  # at the beginning of every episode\n"
ESTIMATED = "Estimated on stored transitions, as if the skills' Q-functions were soft-optimal"


def costs(manifest: Manifest) -> list[tuple[str, str, str]]:
    """Rows (what, mean, 95 % quantile) over stored states [r]; none unless it was estimated."""
    m = manifest.metrics
    estimated = m.get("estimated", {})
    pairs = m.get("pairwise_disagreement", {})
    rows = {f"G of {pair} alone": row for pair, row in pairs.items() if len(pairs) > 1}
    rows |= {text: estimated[key] for key, text in COSTS.items() if key in estimated}
    return [(text, f"{row['mean']:.3g}", f"{row['q95']:.3g}") for text, row in rows.items()]


def _cost(manifest: Manifest) -> str:
    if not (rows := costs(manifest)):
        return ""
    return (
        "## What the composition costs\n\nCounted from Q_S, the sum of the Q-functions, down. "
        f"{ESTIMATED}.\n\n" + _table(("[r]", "mean", "95 % quantile"), rows)
    )


def layers(manifest: Manifest) -> list[str]:
    """One line for each layer of a stack, from the bottom up; none for other skills."""
    lines: list[str] = []
    if not manifest.layers:
        return lines
    holds = [None, *manifest.policy["config"]["holds"]]
    for index, (layer, hold) in enumerate(zip(manifest.layers, holds, strict=False)):
        new = index == len(manifest.layers) - 1
        name = "this skill" if new else f"{layer['name']}@{layer['version'] or 'unsaved'}"
        trained = "" if layer["steps"] is None else f", {layer['steps']:,} steps"
        what = ("environment step", "") if index == 1 else ("decision", f" of layer {index - 1}")
        several = "" if hold == 1 else "s"
        held = "" if hold is None else f", each latent held for {hold} {what[0]}{several}{what[1]}"
        lines.append(f"{name}: {layer['task']}, {layer['algorithm']}{trained}{held}")
    return lines


def _layers(manifest: Manifest) -> str:
    if not manifest.layers:
        return ""
    items = "".join(f"\n{index}. {line}" for index, line in enumerate(layers(manifest)))
    return (
        "## Layers\n\nFrom the bottom up; the noise of each is the action of the one above, and "
        f"only the top one was learned here.\n{items}"
    )


def _task(manifest: Manifest, evaluation: Evaluation) -> str:
    task, entries = evaluation.task, _entries(manifest)
    scene = f" with {task.scene}" if task.scene else ""
    lines = [
        f"`{task.name}` in the domain {task.domain}{scene}; at most {task.horizon} steps of "
        f"{manifest.spec.dt:g} s."
    ]
    if task.goals:
        goals = (f"{k} = {v:g} {entries[k].unit}".rstrip() for k, v in task.goals.items())
        lines.append(f"Goals: {', '.join(goals)}.")
    if task.terms:
        terms = (f"{term.weight:g} × {term.name}" for term in task.terms)
        lines.append(f"Reward: {', '.join(terms)}.")
    return "## Task\n\n" + "  \n".join(lines)


def _origin(manifest: Manifest, command: str) -> str:
    seconds = manifest.timing.get("seconds")
    duration = f" in {seconds:.0f} s" if _is_number(seconds) else ""
    versions = ", ".join(f"{library} {version}" for library, version in manifest.versions.items())
    text = (
        f"## How it was made\n\n    {command}\n\n"
        f"Algorithm {manifest.algorithm}, seed {manifest.seed}{duration}, {manifest.created}, "
        f"with {versions}. {stored(manifest)}"
    )
    if manifest.siblings:
        text += f" Trained together with {', '.join(manifest.siblings)}, on one shared replay."
    if not manifest.parents:
        return text
    rows = [
        (f"{parent['name']}@{parent['version'] or 'unsaved'}", weight, parent["content_id"] or "")
        for parent, weight in itertools.zip_longest(manifest.parents, manifest.weights)
    ]
    lines = [(name, "" if weight is None else f"{weight:g}", id[:12]) for name, weight, id in rows]
    return text + "\n\n" + _table(("parent", "weight", "content id"), lines)


def stored(manifest: Manifest) -> str:
    """How much experience lies beside the weights."""
    held = manifest.replay
    return f"Stored replay: {held['episodes']} episodes, {held['transitions']} transitions."


def _use(manifest: Manifest) -> str:
    spec = manifest.spec
    actions = (f"{_with_unit(e.name, e.unit)} from {e.low:g} to {e.high:g}" for e in spec.action)
    return (
        "## Use\n\n```python\nimport skillkit\n"
        f'control = skillkit.load("{manifest.name}").controller()\n'
        f"{RESET if manifest.layers else ''}"
        f"action = control(observation)  # every {spec.dt:g} s\n```\n\n"
        f"Observation, {spec.observation_dim} entries: "
        f"{', '.join(_with_unit(e.name, e.unit) for e in spec.observation)}.\n\n"
        f"Action, {spec.action_dim} entries: {', '.join(actions)}."
    )


def _entries(manifest: Manifest) -> dict[str, Entry]:
    return {entry.name: entry for entry in manifest.spec.observation}


def _with_unit(name: str, unit: str) -> str:
    return f"{name} [{unit}]" if unit else name


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines: list[Sequence[str]] = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
