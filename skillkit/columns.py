"""Plain columns of text: thousands of rows in the time that a table of rich's takes for ten."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len, chop_cells

EDGE, GAP = "  ", "   "  # as in the tables of `skillkit.console`
NARROWEST = 2  # columns of a terminal, which the letters of some scripts take


def lines(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """The head, a rule, the rows; where they are too wide, cells of the widest columns fold.

    Args:
        rows: with as many cells as the head has.
        width: of a line [columns of a terminal].
    """
    widths = [max(map(_length, column)) for column in zip(head, *rows, strict=True)]
    room = width - 2 * len(EDGE) - len(GAP) * (len(head) - 1)
    while (excess := sum(widths) - room) > 0 and (widest := max(widths)) > NARROWEST:
        next_widest = max((w for w in widths if w < widest), default=NARROWEST)
        widths[widths.index(widest)] = max(widest - excess, next_widest - 1, NARROWEST)
    yield from _row(head, widths)
    yield " " + "─" * (sum(widths) + len(GAP) * (len(head) - 1) + 2) + " "
    for row in rows:
        yield from _row(row, widths)


def _row(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    lengths = [*map(_length, cells)]
    if all(map(int.__le__, lengths, widths)):
        yield _line(cells, lengths, widths)
        return
    folded = [_folded(cell, width) for cell, width in zip(cells, widths, strict=True)]
    for pieces in itertools.zip_longest(*folded, fillvalue=""):
        yield _line(pieces, [*map(_length, pieces)], widths)


def _line(cells: Sequence[str], lengths: Sequence[int], widths: Sequence[int]) -> str:
    padded = [c + " " * (w - n) for c, w, n in zip(cells, widths, lengths, strict=True)]
    return EDGE + GAP.join(padded) + EDGE


def _folded(cell: str, width: int) -> list[str]:
    if cell.isascii():
        return textwrap.wrap(cell, width)
    return chop_cells(cell, width)


def _length(cell: str) -> int:
    return len(cell) if cell.isascii() else cell_len(cell)
