"""Which skills compose, with which weights, at which temperature (THEORY 5). No torch.

Skills i with reward r_i, temperature alpha_i and soft Q-function Q_i; weights w_i >= 0 need not
sum to one. Target: the reward sum_i w_i r_i at temperature alpha, approached by
Q_S = sum_i w_i Q_i, whose policy is prod_i pi_i^{b_i} up to a constant, b_i = w_i alpha_i/alpha.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from skillkit.envs import task as find_task
from skillkit.errors import IncompatibleSkills, InvalidValue, SkillkitError
from skillkit.types import Entry, Spec

SUM_TOLERANCE = 1e-6  # of sum b around one: a stored or typed alpha is rounded


class Manifest(Protocol):
    """What composing needs to know of a skill; `skillkit.manifest.Manifest` has it."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def task(self) -> Mapping[str, Any]: ...
    @property
    def spec(self) -> Spec: ...
    @property
    def gamma(self) -> float: ...
    @property
    def policy(self) -> Mapping[str, Any]: ...
    @property
    def layers(self) -> Sequence[Mapping[str, Any]]: ...
    @property
    def siblings(self) -> Sequence[str]: ...


def check_weights(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    """The weights w_i of `count` skills, 1/N each unless given. -> (N,)

    Raises:
        InvalidValue: no skill, a wrong number of weights, one that is negative or not a finite
            number, or all zero.
    """
    if count < 1:
        raise InvalidValue("composing needs at least one skill; name the skills to compose")
    if weights is None:
        return (1.0 / count,) * count
    try:
        w = tuple(float(w_i) for w_i in weights)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"weights must be numbers, one a skill, got {weights!r}") from error
    if len(w) != count:
        raise InvalidValue(f"{count} skills need {count} weights, one each in order, got {len(w)}")
    if not all(math.isfinite(w_i) for w_i in w):
        raise InvalidValue(f"weights must be finite, got {_shown(w)}")
    if min(w) < 0:
        raise InvalidValue(
            f"weights must not be negative, got {_shown(w)}; a skill cannot be subtracted, "
            f"give what is to be left out weight 0"
        )
    if not math.isfinite(sum(w)):
        raise InvalidValue(f"weights must have a finite sum, got {_shown(w)}")
    if max(w) == 0:
        raise InvalidValue(f"at least one weight must be above zero, got {_shown(w)}")
    return w


def default_temperature(weights: Sequence[float], temperatures: Sequence[float]) -> float:
    """alpha = sum_i w_i alpha_i, for which sum b = 1 (THEORY 5). (N,), (N,) -> [r/nat]

    Raises:
        InvalidValue: a temperature is not a positive finite number.
    """
    for alpha_i in temperatures:
        check_temperature(alpha_i)
    return math.fsum(w * a for w, a in zip(weights, temperatures, strict=True))


def exponents(
    weights: Sequence[float], temperatures: Sequence[float], alpha: float
) -> tuple[float, ...]:
    """b_i = w_i alpha_i/alpha: the policy of Q_S is proportional to prod_i pi_i^{b_i} (THEORY 5).

    >>> alpha = default_temperature([0.5, 0.5], [0.2, 0.6])
    >>> [round(b, 6) for b in exponents([0.5, 0.5], [0.2, 0.6], alpha)]
    [0.25, 0.75]

    Raises:
        InvalidValue: a temperature is not a positive finite number.
    """
    for a in (*temperatures, alpha):
        check_temperature(a)
    return tuple(w * a / alpha for w, a in zip(weights, temperatures, strict=True))


def check_temperature(alpha: float, whose: str = "") -> None:
    """A temperature [r/nat] divides Q, so it must be positive.

    Args:
        whose: begins the sentence.

    Raises:
        InvalidValue: it is not.
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise InvalidValue(
            f"{whose}a temperature must be positive and finite, got {alpha:g}; skills compose "
            "through exp(Q/alpha)" + (", so train it with alpha above zero" if whose else "")
        )


def covered(b: Sequence[float]) -> bool:
    """Whether theory guarantees Q_S >= Q*, the optimum: on [-1, 1]^A only if sum b = 1.

    Q_S - T Q_S = gamma (1-d) E[G] with T the target's soft Bellman operator, so G >= 0 is needed,
    that is int prod pi_i^{b_i} <= 1. Hoelder gives it for sum b = 1. For sum b < 1 flat policies
    break it (int = 2^{A (1 - sum b)} > 1; repaired by `coverage_slack`); for sum b > 1 peaked
    densities do (the published code's plain sum at the training temperature).
    """
    return math.isclose(math.fsum(b), 1.0, rel_tol=0.0, abs_tol=SUM_TOLERANCE)


def coverage_slack(b: Sequence[float], alpha: float, gamma: float, log_volume: float) -> float:
    """Smallest known c with Q_S + c >= Q*: gamma alpha (1 - sum b) log|A| / (1 - gamma) [r].

    Hoelder with the constant 1 as one more factor: int prod pi_i^{b_i} <= |A|^{1 - sum b}. Zero
    where Q_S is covered; infinite for sum b > 1, where densities have no bound.

    Args:
        log_volume: log |A|, A log 2 for [-1, 1]^A, log of the number of discrete actions [nat].
    """
    missing = 1.0 - math.fsum(b)
    if covered(b):
        return 0.0
    return gamma * alpha * missing * log_volume / (1.0 - gamma) if missing > 0 else math.inf


def labels(skills: Sequence[tuple[str, str]]) -> list[str]:
    """What tells skills of a sum apart: their names, with the version where a name comes twice, and
    with a number where that is not enough.

    Args:
        skills: name and reference of each.

    >>> labels([("a", "a@1"), ("b", "b@1"), ("a", "a@2"), ("a", "a@2")])
    ['a@1', 'b', 'a@2', 'a@2 (2)']
    """
    names = [name for name, _ in skills]
    found = [reference if names.count(name) > 1 else name for name, reference in skills]
    times = [found[:i].count(label) for i, label in enumerate(found)]
    return [f"{label} ({n + 1})" if n else label for label, n in zip(found, times, strict=True)]


def unfit(skill: Manifest) -> str:
    """What a skill is that no composition can take, and the way out; empty if one can."""
    if skill.layers:
        return (
            "a stack, whose Q-function judges latents and not actions; compose skills of one "
            "layer, and stack on what comes of them"
        )
    tasks = [str(skill.task["expression"]), *skill.siblings]  # taught another only all together
    if skill.policy["kind"] == "symmetric" and all(map(_directed, tasks)):
        return (
            "taught in one direction and covers the others by symmetry, so its Q-function is not "
            f"that of the task {tasks[0]}; train it without: skillkit train {tasks[0]} "
            "--set train.every_frame=false"
        )
    return ""


def _directed(expression: str) -> bool:
    """Whether the policy of a task is taught another one in its one frame."""
    try:
        return find_task(expression).directed is not None
    except SkillkitError:  # a stranger's skill, whose task is not here
        return False


def check_compatible(skills: Sequence[Manifest]) -> None:
    """Preconditions of every equation here: one dynamics, action measure and gamma. That they end
    alike is for their tasks to say: `envs.combine`.

    Raises:
        InvalidValue: there is no skill.
        IncompatibleSkills: two of them differ; says in what, and what would compose.
    """
    if not skills:
        raise InvalidValue("composing needs at least one skill; name the skills to compose")
    first = skills[0]
    for other in skills[1:]:
        for what, read, way_out in PRECONDITIONS:
            a, b = read(first), read(other)
            if a != b:
                raise IncompatibleSkills(
                    f"{first.name} and {other.name} cannot be composed: their {what} differs, "
                    f"{_difference(a, b)}; {way_out}"
                )


def _world(skill: Manifest) -> str:
    """The domain; for a Gymnasium skill its id, which fixes dynamics and termination alike."""
    expression = str(skill.task["expression"])
    return expression if expression.startswith("gym:") else str(skill.task["domain"])


def _base(skill: Manifest) -> str:
    """The frozen layers below a stacked skill, which are part of its dynamics (THEORY 7)."""
    below = skill.layers[:-1]
    return ", ".join(f"{layer['name']} {layer['fingerprint'][:12]}" for layer in below) or "none"


def _holds(skill: Manifest) -> str:
    """For how many decisions of the layer below each latent is held."""
    return ", ".join(map(str, skill.policy["config"]["holds"])) if skill.layers else "none"


def _entries(entries: Sequence[Entry]) -> tuple[str, ...]:
    return tuple(f"{e.name} in [{e.low!r}, {e.high!r}] {e.unit}".rstrip() for e in entries)


# What must agree, how to read it, what to do when it does not; the first difference is reported.
PRECONDITIONS: tuple[tuple[str, Callable[[Manifest], Any], str], ...] = (
    ("domain", _world, "choose skills of one domain"),
    ("base skill", _base, "compose stacked skills only with others on the same base"),
    ("hold", _holds, "stack them with the same stack.hold"),
    (
        "scene",
        lambda skill: skill.task.get("scene") or "none",
        "train them in one scene, because Q-functions add only under the same dynamics",
    ),
    (
        "action space",
        lambda skill: _entries(skill.spec.action),
        "train them with the same actions and bounds",
    ),
    ("control period", lambda skill: skill.spec.dt, "train them with the same period"),
    (
        "observation",
        lambda skill: _entries(skill.spec.observation),
        "train them with the same observation entries in the same order",
    ),
    ("gamma", lambda skill: skill.gamma, "train them with the same gamma"),
)


def _difference(a: Any, b: Any) -> str:
    """The two values; of two lists of entries their lengths or the first pair that differs."""
    if not isinstance(a, tuple):
        return f"{a} against {b}"
    if len(a) != len(b):
        return f"{len(a)} entries against {len(b)}"
    return next(f"{x} against {y}" for x, y in zip(a, b, strict=True) if x != y)


def _shown(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
