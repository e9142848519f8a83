"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    "skillkit",
    "skillkit.composition.rules",
    "skillkit.envs.task",
    "skillkit.functional.disagreement",
    "skillkit.functional.losses",
    "skillkit.functional.soft_value",
    "skillkit.functional.stein",
    "skillkit.skill",
    "skillkit.workflows.compose",
    "skillkit.workflows.stack",
    "skillkit.workflows.train",
)
HOW = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, no_pictures: None) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=HOW)
    assert found.attempted > 0 and found.failed == 0


def test_a_wrong_example_is_found() -> None:
    test = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None).failed == 1
