"""The card of a skill says what it is, how good, whence, and how to use it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from skillkit.envs import task
from skillkit.evaluation import Evaluation
from skillkit.manifest import Manifest
from skillkit.report import card
from tests.small_skills import stacked


def played(expression: str) -> Evaluation:
    """Four episodes with distances .1, .2, .3, .4."""
    found = task(expression)
    nothing = np.zeros((4, found.spec.observation_dim), np.float32)
    metrics = {
        "return": np.array([-10.0, -20, -30, -40]),
        "length": np.full(4, 300.0),
        "final_distance": np.array([0.1, 0.2, 0.3, 0.4]),
    }
    return Evaluation(found, 77, metrics, nothing, nothing)


def manifest(expression: str, **fields: object) -> Manifest:
    found = task(expression)
    values = {
        "kind": "trained",
        "name": expression,
        "task": {
            "expression": expression,
            "domain": found.domain,
            "scene": None,
            "source_hash": found.source_hash,
        },
        "spec": found.spec,
        "alpha": 0.2,
        "gamma": 0.99,
        "algorithm": "sac",
        "config": {},
        "policy": {"kind": "gaussian", "config": {}},
        "q": {"kind": "ensemble", "config": {}},
        "seed": 3,
        "versions": {"torch": "2.13.0"},
        "metrics": {
            "steps": 200_000,
            "mean_disagreement": 0.123456,
            "evaluation": {"return": {"mean": -25.0}},
        },
        "replay": {"episodes": 9, "transitions": 2700},
        "timing": {"seconds": 123.4},
    }
    return Manifest(**{**values, **fields})  # type: ignore[arg-type]


def test_card_of_a_trained_skill() -> None:
    text = card.text(manifest("push_x"), played("push_x"), "skillkit train push_x --seed 3")
    assert text.startswith(f"# push_x\n\n{task('push_x').summary}\n")
    for line in (
        "![What 4 episodes of push_x come to](figure.png)",
        "4 episodes, evaluation seed 77, deterministic policy.",
        "| per episode | mean | std | 95 % interval of the mean |",
        "| length [steps] | 300 | 0 | 300 to 300 |",
        "- steps: 200000",
        "- mean disagreement: 0.1235",
        "`push_x` in the domain pusher; at most 300 steps of 0.05 s.  ",
        "Goals: puck_x = -1 m.  ",
        "    skillkit train push_x --seed 3",
        "import skillkit",
        'control = skillkit.load("push_x").controller()',
        "action = control(observation)  # every 0.05 s",
    ):
        assert line in text.splitlines(), line
    assert "temperature 0.2 r/nat, discount 0.99" in text
    assert "Algorithm sac, seed 3 in 123 s" in text and "torch 2.13.0" in text
    assert "9 episodes, 2700 transitions" in text
    assert "Observation, 12 entries:" in text and "from -3 to 3" in text
    assert "parent" not in text


def test_the_numbers_are_those_of_the_evaluation() -> None:
    evaluation = played("push_x")
    row = evaluation.summary()["final_distance"]
    text = card.text(manifest("push_x"), evaluation, "")
    expected = f"| {row['mean']:.3g} | {row['std']:.3g} | {row['low']:.3g} to {row['high']:.3g} |"
    assert f"| final_distance [m] {expected}" in text and "| 0.25 | 0.129 |" in text


PARENTS = [
    {"name": "push_x", "version": 2, "content_id": "ab" * 32},
    {"name": "push_y", "version": 0, "content_id": ""},
]


def test_card_of_a_composed_skill() -> None:
    described = manifest(
        "push_x+push_y", kind="composed", parents=PARENTS, weights=[0.7, 0.3], algorithm="distill"
    )
    text = card.text(described, played("push_x+push_y"), "skillkit compose push_x push_y")
    lines = text.splitlines()
    assert "| push_x@2 | 0.7 | abababababab |" in lines
    assert "| push_y@unsaved | 0.3 |  |" in lines
    assert "Goals: puck_x = -1 m, puck_y = -1 m.  " in lines
    assert "composed from the Q-functions" in text


def test_what_a_composition_costs() -> None:
    row = {"mean": 12.345, "q95": 20.0}
    metrics = {
        "pairwise_disagreement": {"a, b": row, "a, c": row},
        "estimated": {"policy_gap": row, "optimal_gap": row},
    }
    described = manifest(
        "push_x+push_y", kind="composed", parents=PARENTS, weights=[0.7, 0.3], metrics=metrics
    )
    lines = card.text(described, played("push_x+push_y"), "").splitlines()
    first = lines.index("| G of a, b alone | 12.3 | 20 |")
    assert [line.split(" | ")[0] for line in lines[first : first + 4]] == [
        "| G of a, b alone", "| G of a, c alone", "| C, to the optimum",
        "| F, to the value of the policy of Q_S",
    ]  # fmt: skip
    alone = {"pairwise_disagreement": {"a, b": row}}
    assert card.costs(manifest("push_x", metrics=alone)) == []  # the two are the whole


def test_a_stacked_skill_has_parents_without_weights() -> None:
    names = ("kind", "parents", "layers", "policy")
    described = manifest("push_x", **{name: getattr(stacked(), name) for name in names})
    text = card.text(described, played("push_x"), "")
    assert "| walk@2 |  | abababababab |" in text
    assert "0. walk@2: walk, sac, 1,000 steps\n1. this skill: maze" in text
    assert "control.reset()" in text and "control.reset()" not in card.text(
        manifest("push_x"), played("push_x"), ""
    )


def test_the_layers_of_a_stack() -> None:
    assert card.layers(manifest("push_x")) == []
    three = stacked().layers[:1] * 2 + stacked().layers[1:]
    config = {"layers": [{}, {}, {}], "holds": [3, 2]}
    found = card.layers(stacked(layers=three, policy={"kind": "stacked", "config": config}))
    assert found == [
        "walk@2: walk, sac, 1,000 steps",
        "walk@2: walk, sac, 1,000 steps, each latent held for 3 environment steps",
        "this skill: maze, sac, 1,000 steps, each latent held for 2 decisions of layer 1",
    ]
    composed = {**stacked().layers[0], "steps": None, "algorithm": "distill", "version": None}
    assert card.layers(stacked(layers=[composed, stacked().layers[1]]))[0] == (
        "walk@unsaved: walk, distill"
    )


@pytest.mark.parametrize("timing", [{}, {"seconds": "long"}])
def test_the_duration_may_be_unknown(timing: dict[str, object]) -> None:
    described = dataclasses.replace(manifest("push_x"), timing=timing)
    assert "seed 3, 2" in card.text(described, played("push_x"), "")  # then the date
