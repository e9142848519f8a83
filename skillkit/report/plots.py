"""Figures, one function each: data in, PNG bytes out.

`final_positions` is the thesis' Figure 6.1, `returns` its substitute where a domain has no plane,
`learning_curve` what training looked like. Each has a builder (`*_figure`) that returns the
matplotlib Figure, and `render` makes the bytes. Only matplotlib's objects are used: no pyplot, no
display, nothing global. Colours are Okabe and Ito's, told apart by colour-blind readers, and no
two series differ by colour alone.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from skillkit.envs import Domain
from skillkit.errors import InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.types import Entry

DPI = 125  # 8 inches are 1000 pixels
STYLES = (  # colour, marker; the first three as in the thesis: blue, orange, green
    ("#0072B2", "o"),
    ("#E69F00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#56B4E9", "v"),
    ("#D55E00", "P"),
    ("#000000", "X"),
    ("#7F7F7F", "h"),
)
MOST = len(STYLES)  # evaluations in one figure
GREY, INK = "#8A8A8A", "#222222"
PANELS = (  # key in metrics.jsonl, title of its panel
    ("return", "return [r]"),
    ("final_distance", "final distance"),
    ("success", "success rate"),
    ("entropy", "entropy [nat]"),
    ("alpha", "temperature α [r/nat]"),
    ("q", "soft Q-value [r]"),
    ("critic_loss", "critic loss [r²]"),
    ("kl", "KL to N(0, I) [nat]"),
)
LOGARITHMIC = {"final_distance", "alpha", "critic_loss"}  # where they span more than a decade


def render(figure: Figure) -> bytes:
    """PNG of a figure, at its own size."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)  # draws into memory, whatever backend a user has chosen
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def outcome(evaluations: Mapping[str, Evaluation]) -> bytes:
    """The figure that suits the domain: final positions where it has a plane, else returns.

    Raises:
        InvalidValue: nothing to draw, too many skills, or skills of several domains.
    """
    plane = _domain(evaluations).plane
    return returns(evaluations) if plane is None else final_positions(evaluations)


def final_positions(evaluations: Mapping[str, Evaluation]) -> bytes:
    """Where the episodes of several skills end, in the plane of their domain (thesis fig. 6.1).

    Args:
        evaluations: name of the skill -> its episodes, in the order of the legend.

    Raises:
        InvalidValue: as `outcome`, or the domain has no plane.
    """
    return render(final_positions_figure(evaluations))


def returns(evaluations: Mapping[str, Evaluation]) -> bytes:
    """One row of dots per skill: the return of each episode, with mean and 95 % interval.

    Raises:
        InvalidValue: as `outcome`.
    """
    return render(returns_figure(evaluations))


def learning_curve(rows: Sequence[Mapping[str, float]], title: str = "") -> bytes:
    """What metrics.jsonl recorded, against environment steps, one panel per quantity.

    Raises:
        InvalidValue: no row has a step and a quantity to draw.
    """
    return render(learning_curve_figure(rows, title))


def final_positions_figure(evaluations: Mapping[str, Evaluation]) -> Figure:
    """See `final_positions`."""
    domain = _domain(evaluations)
    if domain.plane is None:
        raise InvalidValue(f"the domain {domain.name} has no plane to draw in; draw its returns")
    columns = domain.spec.index(domain.plane)
    x, y = (domain.spec.observation[column] for column in columns)
    figure = Figure(figsize=(8, 8), dpi=DPI, layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlabel=axis_label(x), ylabel=axis_label(y))
    clean(axes)
    starts = []
    for (colour, marker), (name, evaluation) in zip(STYLES, evaluations.items(), strict=False):
        label = f"{name}{_distance(evaluation, x.unit)}"
        _dots(axes, evaluation.final_observations[:, columns], label, colour, marker, 36, 3)
        starts.append(evaluation.initial_observations[:, columns])
    _goal_lines(axes, evaluations, x, y)
    _dots(axes, np.unique(np.concatenate(starts), axis=0), "start", GREY, ".", 32, 1)
    _square(axes)
    axes.set_title(f"Final positions, {_episodes(evaluations)}", loc="left", color=INK)
    legend = figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.set_figheight(8.3 + 0.21 * math.ceil(len(legend.get_texts()) / 2))  # room for its lines
    return figure


def returns_figure(evaluations: Mapping[str, Evaluation]) -> Figure:
    """See `returns`."""
    _domain(evaluations)
    figure = Figure(figsize=(8, 1.6 + 0.8 * len(evaluations)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot(xlabel="return of an episode [r]")
    clean(axes)
    rng = np.random.default_rng(0)
    for row, (name, evaluation) in enumerate(evaluations.items()):
        values, summary = evaluation.metrics["return"], evaluation.summary()["return"]
        colour, marker = STYLES[row]
        spread = row + rng.uniform(-0.25, 0.25, len(values))
        _dots(axes, np.stack([values, spread], axis=1), name, colour, marker, 24, 2)
        axes.plot([summary["low"], summary["high"]], [row, row], color=INK, lw=3, zorder=4)
        axes.plot(summary["mean"], row, "|", color=INK, ms=22, mew=3, zorder=4)
    axes.set_yticks(range(len(evaluations)), list(evaluations))
    axes.set_ylim(len(evaluations) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_title(
        f"Returns, {_episodes(evaluations)}; bar: mean, 95 % interval", loc="left", color=INK
    )
    return figure


def learning_curve_figure(rows: Sequence[Mapping[str, float]], title: str = "") -> Figure:
    """See `learning_curve`."""
    series = {key: _series(rows, key) for key, _ in PANELS}
    shown = [(key, name) for key, name in PANELS if len(series[key])]
    if not shown:
        raise InvalidValue("there is no learning curve to draw: no row has a step and a metric")
    columns = min(len(shown), 2)
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(8, 0.4 + 2.3 * lines), dpi=DPI, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, squeeze=False)
    for axes, (key, name) in zip(grid.flat, shown, strict=False):
        _curve(axes, series[key], name, key in LOGARITHMIC)
    for axes in list(grid.flat)[len(shown) :]:
        axes.remove()
    for axes in list(grid.flat)[max(len(shown) - columns, 0) : len(shown)]:
        axes.set_xlabel("environment steps")
        axes.tick_params(labelbottom=True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, color=INK)
    return figure


def _domain(evaluations: Mapping[str, Evaluation]) -> Domain:
    """The one domain of all skills."""
    if not evaluations:
        raise InvalidValue("there is nothing to draw: name at least one skill")
    if len(evaluations) > MOST:
        raise InvalidValue(
            f"{len(evaluations)} skills do not fit into one figure; draw at most {MOST}"
        )
    domains = {evaluation.task.domain for evaluation in evaluations.values()}
    if len(domains) > 1:
        names = " and ".join(sorted(domains))
        raise InvalidValue(f"skills of {names} cannot share a figure; draw one domain at a time")
    return next(iter(evaluations.values())).task.on


def _goal_lines(axes: Axes, evaluations: Mapping[str, Evaluation], x: Entry, y: Entry) -> None:
    """One line per goal coordinate, in the colour of the skill that has this goal alone."""
    colours: dict[tuple[str, float], str] = {}
    for (colour, _), evaluation in zip(STYLES, evaluations.values(), strict=False):
        goals = evaluation.task.goals
        for name, value in goals.items():
            if len(goals) == 1:
                colours.setdefault((name, value), colour)
    for evaluation in evaluations.values():
        for name, value in evaluation.task.goals.items():
            colours.setdefault((name, value), GREY)
    for (name, value), colour in colours.items():
        draw = {x.name: axes.axvline, y.name: axes.axhline}.get(name)
        if draw is not None:
            label = f"goal {axis_label(x if name == x.name else y, value)}"
            draw(value, color=colour, lw=2, ls=(0, (6, 3)), zorder=2, label=label)


def _square(axes: Axes) -> None:
    """As much of x as of y, so that equal aspect fills the figure and the ticks agree."""
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    reach = 0.54 * np.ptp(limits, axis=1).max()
    (x, y) = limits.mean(axis=1)
    axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach))


def _dots(
    axes: Axes, points: Any, label: str, colour: str, marker: str, size: float, layer: float
) -> None:
    """Points (n, 2)."""
    axes.scatter(
        points[:, 0], points[:, 1], s=size, c=colour, marker=marker, label=label,
        alpha=0.8, edgecolors="white", linewidths=0.5, zorder=layer,
    )  # fmt: skip


def _series(rows: Sequence[Mapping[str, float]], key: str) -> Any:
    """(step, value) of the rows that have both and are finite. (n, 2)"""
    pairs = [(row["step"], row[key]) for row in rows if None not in (row.get("step"), row.get(key))]
    values = np.array(pairs, np.float64).reshape(-1, 2)
    return values[np.isfinite(values).all(axis=1)]


def _curve(axes: Axes, series: Any, name: str, logarithmic: bool) -> None:
    """One panel."""
    clean(axes)
    marker = "o" if len(series) < 60 else ""
    axes.plot(series[:, 0], series[:, 1], color=STYLES[0][0], lw=1.8, marker=marker, ms=3)
    low, high = series[:, 1].min(), series[:, 1].max()
    if logarithmic and 0 < 10 * low < high:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(name, loc="left", fontsize=11, color=INK)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_major_locator(MaxNLocator(6))


def clean(axes: Axes) -> None:
    """The look of all axes: two thin spines, a faint grid behind everything."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(color=GREY, labelcolor=INK)
    axes.grid(True, color="#E6E6E6", lw=0.8)
    axes.set_axisbelow(True)


def axis_label(entry: Entry, value: float | None = None) -> str:
    """'puck x [m]', or with a value 'puck x = -1 m'."""
    name = entry.name.replace("_", " ")
    if value is None:
        return f"{name} [{entry.unit}]" if entry.unit else name
    return f"{name} = {value:g} {entry.unit}".rstrip().replace("-", "\N{MINUS SIGN}")


def _distance(evaluation: Evaluation, unit: str) -> str:
    """': final distance 0.02 ± 0.01 m', where the task has one."""
    row = evaluation.summary().get("final_distance")
    return f": distance {row['mean']:.2f} ± {row['std']:.2f} {unit}".rstrip() if row else ""


def _episodes(evaluations: Mapping[str, Evaluation]) -> str:
    """'100 episodes each, seed 1000', as far as it is the same for all."""
    counts = sorted({evaluation.episodes for evaluation in evaluations.values()})
    seeds = sorted({evaluation.seed for evaluation in evaluations.values()})
    each = " each" if len(evaluations) > 1 else ""
    return f"{' or '.join(map(str, counts))} episodes{each}, seed {' or '.join(map(str, seeds))}"
