"""Weights, temperatures and refusals: each bad input is one sentence (THEORY 5)."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from skillkit.composition import rules
from skillkit.errors import IncompatibleSkills, InvalidValue
from skillkit.types import Entry, Spec

NAN, INF = float("nan"), float("inf")

# Weights


@pytest.mark.parametrize(
    ("weights", "count", "truth"),
    [
        (None, 4, (0.25,) * 4),
        (None, 1, (1.0,)),
        ([0.7, 0.3], 2, (0.7, 0.3)),
        ([1, 1], 2, (1.0, 1.0)),  # need not sum to one
        ([0.0, 2.0], 2, (0.0, 2.0)),  # zero leaves one out
    ],
)
def test_weights(weights, count, truth):
    assert rules.check_weights(weights, count) == truth


@pytest.mark.parametrize(
    ("weights", "count", "sentence"),
    [
        ([0.5, -0.5], 2, "must not be negative, got 0.5, -0.5"),
        ([0.0, 0.0], 2, "at least one weight must be above zero"),
        ([0.5, NAN], 2, "must be finite, got 0.5, nan"),
        ([INF, 1.0], 2, "must be finite, got inf, 1"),
        ([0.5, 0.5], 3, "3 skills need 3 weights, one each in order, got 2"),
        ([], 2, "2 skills need 2 weights, one each in order, got 0"),
        (["a", 1.0], 2, "must be numbers"),
        (0.5, 2, "must be numbers"),
        (None, 0, "at least one skill"),
    ],
)
def test_bad_weights_are_refused(weights, count, sentence):
    with pytest.raises(InvalidValue, match=sentence) as refusal:
        rules.check_weights(weights, count)
    assert "\n" not in str(refusal.value)


# Temperatures and exponents


@pytest.mark.parametrize(
    ("weights", "temperatures", "alpha", "b"),
    [
        ((0.6, 0.4), (0.5, 0.2), 0.38, (0.78947368, 0.21052632)),
        ((0.5, 0.5), (0.5, 0.5), 0.5, (0.5, 0.5)),
        ((1.0, 1.0), (0.5, 0.5), 1.0, (0.5, 0.5)),
        ((0.5, 0.3, 0.2), (0.5, 0.2, 1.0), 0.51, (0.49019608, 0.11764706, 0.39215686)),
        ((0.2, 0.3, 0.5), (0.5, 0.2, 0.1), 0.21, (0.47619048, 0.28571429, 0.23809524)),
    ],
)
def test_default_temperature_and_exponents(weights, temperatures, alpha, b):
    default = rules.default_temperature(weights, temperatures)
    assert default == pytest.approx(alpha)
    found = rules.exponents(weights, temperatures, default)
    assert found == pytest.approx(b, abs=6e-9)
    assert rules.covered(found)


@pytest.mark.parametrize("alpha", [0.0, -0.2, NAN, INF])
def test_temperatures_must_be_positive(alpha):
    with pytest.raises(InvalidValue, match="temperature must be positive"):
        rules.default_temperature((0.5, 0.5), (0.2, alpha))
    with pytest.raises(InvalidValue, match="temperature must be positive"):
        rules.exponents((0.5, 0.5), (0.2, 0.2), alpha)
    with pytest.raises(InvalidValue, match="temperature must be positive"):
        rules.exponents((0.5, 0.5), (alpha, 0.2), 0.2)


@pytest.mark.parametrize(
    ("b", "truth"),
    [
        ((0.5, 0.5), True),
        ((0.1,) * 10, True),  # sums to 1 - 1e-16
        ((0.47619, 0.2857143, 0.2380952), True),  # rounded to 7 digits
        ((0.12, 0.08), False),  # ORACLES 1a at five times the temperature
        ((1.0, 1.0), False),  # ORACLES 1f: the published code's sum
        ((0.5, 0.49), False),
        ((0.5, 0.51), False),
    ],
)
def test_only_exponents_that_sum_to_one_are_covered(b, truth):
    assert rules.covered(b) is truth


@pytest.mark.parametrize(
    ("b", "log_volume", "slack"),
    [
        ((0.12, 0.08), math.log(2), 9.48225343),  # two actions, or A = 1
        ((0.12, 0.08), 3 * math.log(2), 3 * 9.48225343),  # A = 3
        ((0.5, 0.5), math.log(2), 0.0),
        ((1.0, 1.0), math.log(2), INF),  # densities have no bound
    ],
)
def test_coverage_slack(b, log_volume, slack):
    assert rules.coverage_slack(b, 1.9, 0.9, log_volume) == pytest.approx(slack, abs=3e-8)


# Who composes with whom


@dataclass(frozen=True)
class Skill:
    """The part of a manifest that composing reads."""

    name: str = "push_x"
    kind: str = "trained"
    task: Mapping[str, Any] = field(
        default_factory=lambda: {"expression": "push_x", "domain": "pusher", "scene": None}
    )
    spec: Spec = Spec((Entry("x", "m"), Entry("v", "m/s")), (Entry("u", "N m", -3.0, 3.0),), 0.05)
    gamma: float = 0.99
    policy: Mapping[str, Any] = field(default_factory=lambda: {"kind": "gaussian", "config": {}})
    layers: tuple[Mapping[str, Any], ...] = ()
    siblings: tuple[str, ...] = ()


PUSH_X = Skill()
PUSH_Y = replace(PUSH_X, name="push_y", task={**PUSH_X.task, "expression": "push_y"})


def gym(name: str, domain: str = "gym") -> Skill:
    task = {"expression": f"gym:{name}", "domain": domain, "scene": None}
    return replace(PUSH_X, name=name, task=task)


def stacked(base: str, *holds: int) -> Skill:
    layers = ({"name": "walk", "fingerprint": base}, {"name": "own", "fingerprint": "any"})
    policy = {"kind": "stacked", "config": {"holds": list(holds or (3,))}}
    return replace(PUSH_Y, kind="stacked", layers=layers, policy=policy)


def every_frame(expression: str, *siblings: str) -> Skill:
    """One that was taught in one frame and acts in all."""
    task = {"expression": expression, "domain": "ant", "scene": None}
    policy = {"kind": "symmetric", "config": {}}
    return Skill(name="walk", task=task, policy=policy, siblings=siblings)


def test_what_no_composition_takes() -> None:
    assert rules.unfit(stacked("a")).startswith("a stack, whose Q-function judges latents")
    sentence = "taught in one direction.*skillkit train locomotion --set train.every_frame=false"
    assert re.match(sentence, rules.unfit(every_frame("locomotion")))


@pytest.mark.parametrize(
    "skill",
    [
        PUSH_X,
        every_frame("locomotion", "ant_run"),  # in one run with a task that prefers a direction
        every_frame("ant_run"),
        every_frame("a_task_of_a_stranger"),
        replace(every_frame("locomotion"), policy={"kind": "real_nvp", "config": {}}),
    ],
)
def test_what_a_composition_may_take(skill: Skill) -> None:
    assert rules.unfit(skill) == ""


@pytest.mark.parametrize(
    "skills",
    [
        [PUSH_X],
        [PUSH_X, PUSH_Y],
        [PUSH_X, replace(PUSH_Y, kind="composed"), PUSH_Y],
        [gym("Ant-v5"), gym("Ant-v5")],
        [stacked("abc"), stacked("abc")],
        [PUSH_X, replace(PUSH_Y, task={"expression": "y", "domain": "pusher"})],  # no scene at all
        [PUSH_X, replace(PUSH_Y, spec=Spec.from_json(PUSH_X.spec.to_json()))],
    ],
)
def test_compatible_skills_pass(skills):
    rules.check_compatible(skills)


def with_spec(**changes: Any) -> Skill:
    return replace(PUSH_Y, spec=replace(PUSH_Y.spec, **changes))


REFUSALS = [
    (
        replace(PUSH_Y, task={**PUSH_Y.task, "domain": "ant"}),
        "domain differs, pusher against ant; choose skills of one domain",
    ),
    (gym("Ant-v5", domain="pusher"), "domain differs, pusher against gym:Ant-v5; choose"),
    (
        replace(PUSH_Y, task={**PUSH_Y.task, "scene": "maze"}),
        "scene differs, none against maze; train them in one scene",
    ),
    (
        with_spec(action=(Entry("u", "N m", -3.0, 3.5),)),
        r"action space differs, u in \[-3.0, 3.0\] N m against u in \[-3.0, 3.5\] N m; train",
    ),
    (
        with_spec(action=(*PUSH_Y.spec.action, Entry("w", "N m", -1.0, 1.0))),
        "action space differs, 1 entries against 2; train",
    ),
    (with_spec(dt=0.02), "control period differs, 0.05 against 0.02; train"),
    (
        with_spec(observation=PUSH_Y.spec.observation[::-1]),
        "observation differs, x in .* m against v in .* m/s; train them with the same observation",
    ),
    (
        with_spec(observation=PUSH_Y.spec.observation[:1]),
        "observation differs, 2 entries against 1; train",
    ),
    (
        replace(PUSH_Y, gamma=0.95),
        "gamma differs, 0.99 against 0.95; train them with the same gamma",
    ),
    (stacked("abc"), "base skill differs, none against walk abc; compose stacked skills only with"),
]


@pytest.mark.parametrize(("other", "sentence"), REFUSALS)
def test_incompatible_skills_are_refused_with_reason_and_way_out(other, sentence):
    with pytest.raises(IncompatibleSkills, match=sentence) as refusal:
        rules.check_compatible([PUSH_X, PUSH_X, other])
    message = str(refusal.value)
    assert message.startswith(f"push_x and {other.name} cannot be composed: ")
    assert "\n" not in message


def test_other_gymnasium_ids_and_other_bases_are_refused():
    with pytest.raises(IncompatibleSkills, match="gym:Ant-v5 against gym:Hopper-v5"):
        rules.check_compatible([gym("Ant-v5"), gym("Hopper-v5")])
    with pytest.raises(IncompatibleSkills, match="base skill differs, walk abc against walk def"):
        rules.check_compatible([stacked("abc"), stacked("def")])


def test_stacked_skills_hold_their_latents_alike():
    with pytest.raises(IncompatibleSkills, match="hold differs, 3 against 1; stack them with"):
        rules.check_compatible([stacked("abc"), stacked("abc", 1)])


def test_nothing_to_compose():
    with pytest.raises(InvalidValue, match="at least one skill"):
        rules.check_compatible([])


def test_a_refusal_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import skillkit.composition.rules"
    subprocess.run([sys.executable, "-c", code], check=True)
