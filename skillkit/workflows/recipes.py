"""The settings of a training: those of a task's recipe, and what is given instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from skillkit.algorithms import ALGORITHMS, DistillConfig
from skillkit.collector import Exploration
from skillkit.envs.planning import PlanConfig
from skillkit.errors import InvalidValue, UnknownName
from skillkit.policies import POLICIES
from skillkit.replay import Sampling
from skillkit.workflows.loop import TrainConfig
from skillkit.workflows.settings import resolve

COMPOSING = ("compose", "distill", "improve", "instant")  # what a recipe says of compositions
ONE_FRAME = "explore.turn_every"  # for a single layer that is taught in one frame
PLANS = "plan."  # for several tasks with sums
EVERY = "plan.every"  # a training that looks ahead composes, too


def configure(
    algorithm: str,
    given: Mapping[str, Any],
    recipe: Mapping[str, Any] | None = None,
    lender: str | None = None,
    **more: type,
) -> dict[str, Any]:
    """The resolved configs of the loop and the algorithm, and of whatever `more` there is.

    Args:
        given: settings that win over those of the recipe.
        recipe: what it says of other algorithms is theirs. But what it says of `lender`, its own
            algorithm, holds for this one too where both have the setting and nothing is said of
            this one's; only the kind of policy is each algorithm's own.

    Raises:
        UnknownName: an algorithm or a setting that there is not.
        InvalidValue: a value that its setting cannot take, or a given setting of another algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise UnknownName("algorithm", algorithm, ALGORITHMS)
    _, config = ALGORITHMS[algorithm]
    shared = {field.name for field in fields(config)} - {"policy"}
    own, lent = {}, {}
    for key, value in (recipe or {}).items():
        table, _, name = key.partition(".")
        if table in COMPOSING and table not in more:
            continue
        if table not in ALGORITHMS or table == algorithm:
            own[key] = value
        elif table == lender and name.partition(".")[0] in shared:
            lent[f"{algorithm}.{name}"] = value
    for key in given:
        table = key.partition(".")[0]
        if table in ALGORITHMS and table != algorithm:
            raise InvalidValue(
                f"{key} is for the algorithm {table}, and this training is by {algorithm}; set one "
                f"of {algorithm}'s, or choose --algorithm {table}"
            )
    tables = {"train": TrainConfig, "explore": Exploration, "replay": Sampling, "plan": PlanConfig}
    return resolve({**lent, **own, **given}, **tables, **{algorithm: config}, **more)


def check_learns(config: TrainConfig) -> None:
    """Whether a training is long enough for a single update.

    Raises:
        InvalidValue: it would end with what it began with.
    """
    if not config.updates:
        raise InvalidValue(
            f"train.steps={config.steps} leave no time for an update: train.warmup={config.warmup} "
            f"come first, and train.update_every={config.update_every} for each; raise train.steps"
        )


def for_composing(recipe: Mapping[str, Any], tables: Collection[str]) -> dict[str, Any]:
    """What a recipe says of compositions, as far as it is of these tables."""
    return {key: value for key, value in recipe.items() if key.partition(".")[0] in tables}


def giving_way(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe whose improvement gives way to a distilled policy that was asked for and cannot be
    improved, or that was asked to stay with the skills."""
    asked = for_composing(given, ["distill"])
    distill: DistillConfig = resolve(asked, distill=DistillConfig)["distill"]
    improvable = POLICIES[distill.policy].has_density and not distill.trust
    return dict(recipe) if improvable else without(recipe, "improve.")


def without(recipe: Mapping[str, Any], *beginnings: str) -> dict[str, Any]:
    """The settings of a recipe, but for those that begin so: "stack." are those of layers alone."""
    return {key: value for key, value in recipe.items() if not key.startswith(beginnings)}
