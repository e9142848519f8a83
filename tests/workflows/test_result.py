"""What a workflow gives back: the command that makes a skill again."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from skillkit.workflows.result import command_line


@pytest.mark.parametrize(
    ("arguments", "options", "settings", "expected"),
    [
        (["push_x"], {"seed": 0}, {}, "train push_x --seed 0"),
        (["a", "b"], {"seeds": [0, 1]}, {}, "train a b --seeds 0,1"),
        (["a"], {"instant": True, "name": None, "x": False}, {}, "train a --instant"),
        (["a"], {"weights": [0.5, 2]}, {}, "train a --weights 0.5,2"),
        (["0.5*a+2*b"], {"from": "c@1"}, {}, "train '0.5*a+2*b' --from c@1"),
        (["a"], {}, {"sac.hidden": (8, 8), "sac.alpha": 0.1}, "train a --set sac.hidden=8,8 "
         "--set sac.alpha=0.1"),
        (["my model.zip"], {"task": "gym:X-v1"}, {}, "train 'my model.zip' --task gym:X-v1"),
    ],
)  # fmt: skip
def test_commands(
    arguments: list[str], options: dict[str, Any], settings: dict[str, Any], expected: str
) -> None:
    found = command_line("train", arguments, options, settings)
    assert found == f"skillkit {expected}"
    assert shlex.split(found)[2 : 2 + len(arguments)] == arguments
