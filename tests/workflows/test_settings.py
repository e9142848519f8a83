"""Settings: text and plain data in, checked dataclasses out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from skillkit.errors import InvalidValue, SkillkitError, UnknownName
from skillkit.workflows.settings import assignments, check_seed, plain, resolve


@dataclass(frozen=True)
class Inner:
    size: int = 3
    widths: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class Loop:
    steps: int = 10
    rate: float = 0.5
    sizes: tuple[int, ...] = (3, 4)
    target: float | None = None
    fast: bool = False
    kind: str = "plain"
    inner: Inner = Inner()


@dataclass(frozen=True)
class Other:
    steps: int = 1


def built(**settings: Any) -> Loop:
    loop: Loop = resolve({f"loop.{key}": value for key, value in settings.items()}, loop=Loop)[
        "loop"
    ]
    return loop


def test_nothing_set_is_the_default() -> None:
    assert resolve({}, loop=Loop, other=Other) == {"loop": Loop(), "other": Other()}


def test_each_table_takes_its_own() -> None:
    found = resolve({"loop.steps": 7, "other.steps": 8}, loop=Loop, other=Other)
    assert (found["loop"].steps, found["other"].steps) == (7, 8)


def test_a_config_within_a_config() -> None:
    """Its fields are settings like any other, and stored under the same keys."""
    found = built(**{"inner.size": "7", "inner.widths": "2,2", "steps": 1})
    assert found == Loop(steps=1, inner=Inner(7, (2, 2)))
    assert plain(found)["inner.size"] == 7 and plain(found)["inner.widths"] == [2, 2]
    assert built(**plain(found)) == found
    with pytest.raises(UnknownName, match="did you mean loop.inner.size"):
        built(**{"inner.sise": 1})
    with pytest.raises(InvalidValue, match=r"^loop\.inner\.size takes a whole number"):
        built(**{"inner.size": "x"})
    with pytest.raises(UnknownName, match=r"no setting is called 'loop\.inner'"):
        built(inner=Inner())


@pytest.mark.parametrize(
    ("key", "given", "meant"),
    [
        ("steps", "200", 200),
        ("steps", "2e5", 200_000),
        ("steps", 20.0, 20),
        ("steps", "-3", -3),  # whether a number makes sense is the dataclass' business
        ("rate", "1e-3", 1e-3),
        ("rate", 1, 1.0),
        ("sizes", "64,32", (64, 32)),
        ("sizes", "64", (64,)),
        ("sizes", 64, (64,)),
        ("sizes", [64, "32"], (64, 32)),
        ("target", "-2.5", -2.5),
        ("target", "none", None),
        ("target", None, None),
        ("fast", "true", True),
        ("fast", "False", False),
        ("fast", True, True),
        ("kind", "odd", "odd"),
    ],
)
def test_a_value_becomes_what_its_field_declares(key: str, given: Any, meant: Any) -> None:
    value = getattr(built(**{key: given}), key)
    assert value == meant and type(value) is type(meant)


@pytest.mark.parametrize(
    ("key", "given", "wanted"),
    [
        ("steps", "ten", "a whole number"),
        ("steps", "1.5", "a whole number"),
        ("steps", "", "a whole number"),
        ("steps", None, "a whole number"),
        ("steps", "inf", "a whole number"),
        ("steps", "1e400", "a whole number"),
        ("steps", 10**13, "a whole number up to 1,000,000,000,000"),
        ("steps", [1, 2], "a whole number"),
        ("rate", "fast", "a number"),
        ("rate", "nan", "a number"),
        ("rate", float("inf"), "a number"),
        ("rate", 10**400, "a number"),
        ("sizes", "64,", "a whole number"),
        ("sizes", "64;32", "a whole number"),
        ("sizes", [64, None], "a whole number"),
        ("fast", "yes", "true or false"),
        ("fast", 1, "true or false"),
    ],
)
def test_a_value_that_does_not_fit_is_named(key: str, given: Any, wanted: str) -> None:
    with pytest.raises(InvalidValue, match=rf"^loop\.{key} takes {wanted}, not "):
        built(**{key: given})


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [("loop.stepps", "loop.steps"), ("steps", "loop.steps"), ("zzz", "choose from loop.fast")],
)
def test_an_unknown_key_is_answered_with_known_ones(key: str, suggestion: str) -> None:
    with pytest.raises(UnknownName, match=suggestion):
        resolve({key: 1}, loop=Loop)


def test_a_config_goes_there_and_back_as_plain_data() -> None:
    loop = built(sizes="5,6", target="1.5")
    assert plain(loop)["sizes"] == [5, 6]
    assert built(**plain(loop)) == loop


def test_assignments_keep_what_stands_behind_the_first_equals_sign() -> None:
    assert assignments(("a.b=1", " a.c = x=y ")) == {"a.b": "1", "a.c": "x=y"}


@pytest.mark.parametrize("pair", ["", "a.b", "=1", "a.b:1"])
def test_an_assignment_without_key_or_value_is_none(pair: str) -> None:
    with pytest.raises(InvalidValue, match="--set takes key=value, not "):
        assignments((pair,))


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_a_seed_is_a_whole_number(seed: int) -> None:
    assert check_seed(seed) == seed


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, "1", None, True])
def test_what_is_no_seed(seed: Any) -> None:
    with pytest.raises(InvalidValue, match="a seed is a whole number from 0"):
        check_seed(seed)


@pytest.mark.parametrize("call", [lambda: built(steps="x"), lambda: assignments(("x",))])
def test_errors_are_sentences_for_people(call: Callable[[], object]) -> None:
    with pytest.raises(SkillkitError) as caught:
        call()
    assert "\n" not in str(caught.value)
