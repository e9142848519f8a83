"""Learning curves as inline SVG, one panel a quantity, from the rows of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter

from skillkit.report.page.found import Row
from skillkit.report.page.markup import Html, element
from skillkit.report.page.numbers import MINUS, shown
from skillkit.report.plots import LOGARITHMIC, PANELS

BUCKETS = 100  # of steps; of each the lowest and the highest value is drawn
WIDTH, HEIGHT = 260, 104
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 18  # margins

Series = Sequence[tuple[float, float]]  # (step, value), ascending


def panels(rows: Sequence[Row]) -> list[Html]:
    """A figure for each quantity that was recorded more than once."""
    drawn = []
    for key, title in PANELS:
        series = points(rows, key)
        if len(series) > 1:
            caption = element("figcaption", title, " ", element("b", shown(series[-1][1], 3)))
            panel = _panel(series, title, key in LOGARITHMIC)
            drawn.append(element("figure", caption, panel, class_="curve"))
    return drawn


def spark(rows: Sequence[Row], key: str = "return") -> Html | None:
    """A curve for a cell of a table: no axes, no words."""
    series = points(rows, key)
    if len(series) < 2:
        return None
    scale = _Scale(series, (1, 91, 17, 2), False)
    line = element("polyline", points=scale.line(series), class_="line")
    label = f"{key}, {_course(series)}"
    return element("svg", line, viewBox="0 0 92 19", class_="spark", role="img", aria_label=label)


def points(rows: Sequence[Row], key: str) -> list[tuple[float, float]]:
    """(step, value) in order; of many, the extremes of each stretch of steps."""
    found = sorted((row["step"], row[key]) for row in rows if row.keys() >= {"step", key})
    if len(found) <= 2 * BUCKETS:
        return found
    size = math.ceil(len(found) / BUCKETS)
    stretches = [found[i : i + size] for i in range(0, len(found), size)]
    value = itemgetter(1)
    return [p for s in stretches for p in sorted({min(s, key=value), max(s, key=value)})]


def _panel(series: Series, title: str, logarithmic: bool) -> Html:
    values = [value for _, value in series]
    low, high = min(values), max(values)
    scale = _Scale(series, (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP), logarithmic)
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    marks = [] if len(series) > 40 else [
        element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="1.7") for x, y in map(scale, series)
    ]  # fmt: skip
    return element(
        "svg",
        element("path", d=f"M{LEFT} {TOP}V{bottom}H{right}", class_="axis"),
        element("text", shown(high, 3), x=LEFT - 5, y=TOP + 7, class_="y"),
        element("text", shown(low, 3), x=LEFT - 5, y=bottom, class_="y") if low < high else "",
        element("text", "log", x=LEFT - 5, y=HEIGHT // 2, class_="y") if scale.logarithmic else "",
        element("text", "0", x=LEFT, y=HEIGHT - 4),
        element("text", f"{steps(series[-1][0])} steps", x=right, y=HEIGHT - 4, class_="y"),
        element("polyline", points=scale.line(series), class_="line"),
        marks,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{title}, {_course(series)}",
    )


class _Scale:
    """From steps and values to places; logarithmic only where values span more than a decade.

    Args:
        box: left, right, bottom and top, where step 0, the last step, the lowest and the highest
            value are drawn.
    """

    def __init__(
        self, series: Series, box: tuple[float, float, float, float], logarithmic: bool
    ) -> None:
        values = [value for _, value in series]
        self.logarithmic = logarithmic and 0 < 10 * min(values) < max(values)
        self.left, self.right, self.bottom, self.top = box
        self.low, self.high = self._value(min(values)), self._value(max(values))
        self.first, self.last = min(0.0, series[0][0]), series[-1][0]

    def __call__(self, point: tuple[float, float]) -> tuple[float, float]:
        along = _share(point[0], self.first, self.last)
        up = _share(self._value(point[1]), self.low, self.high)
        return (
            self.left + (self.right - self.left) * along,
            self.bottom + (self.top - self.bottom) * up,
        )

    def line(self, series: Series) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self, series))

    def _value(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def _share(value: float, low: float, high: float) -> float:
    """Where between low and high; in the middle if they are one."""
    return (value - low) / (high - low) if high > low else 0.5


def _course(series: Series) -> str:
    """A curve in words, for who cannot see it."""
    values = [value for _, value in series]
    return (
        f"from {shown(values[0], 3)} at {shown(series[0][0])} steps to {shown(values[-1], 3)} at "
        f"{shown(series[-1][0])}, between {shown(min(values), 3)} and {shown(max(values), 3)}"
    )


def steps(number: float) -> str:
    """'400k'."""
    for unit, sign in ((1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{sign}"
    return f"{number:.0f}".replace("-", MINUS)
