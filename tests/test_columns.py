"""Columns: what rich would draw where all fits, and nothing lost where it does not."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from skillkit.columns import lines
from skillkit.console import table

HEAD = ("skill", "version", "made by")
ROWS = [("push_x", "3", "trained, sac"), ("locomotion/ant_maze", "12", ""), ("", "", "走る")]


def test_as_rich_draws_it() -> None:
    rich = table(*HEAD)
    for row in ROWS:
        rich.add_row(*row)
    out = io.StringIO()
    Console(file=out, width=100, markup=False, emoji=False, highlight=False).print(rich)
    assert [*lines(HEAD, ROWS, 100)] == out.getvalue().split("\n")[1:-2]


@pytest.mark.parametrize("width", range(12, 60, 3))
def test_what_does_not_fit_folds(width: int) -> None:
    found = [*lines(HEAD, ROWS, width)]
    assert all(cell_len(line) <= max(width, 16) for line in found)
    for text in (*HEAD, *(cell for row in ROWS for cell in row)):
        assert all(any(letter in line for line in found) for letter in text)
    if width >= 27:  # short columns keep their width, and the longest folds
        assert any("3" in line and "push" in line for line in found)


def test_no_rows() -> None:
    assert [*lines(("a", "b"), [], 40)] == ["  a   b  ", " ─────── "]
