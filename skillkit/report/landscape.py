"""What a skill does in the plane of its domain (thesis ch. 3, the figures of the multigoal task).

Above, trajectories over the contours of a reward term; below, state by state, the contours of the
soft Q-function over the actions, and actions that the policy draws there. Data in, PNG bytes out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke

from skillkit.envs import Landscape, Quantities, Task
from skillkit.errors import InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.report.plots import DPI, INK, STYLES, axis_label, clean, render
from skillkit.types import Array, Spec

COLUMNS = 3  # states side by side
ROW = 2.75  # height of a row of them [inch]
BLUE, RED = STYLES[0][0], STYLES[5][0]
# White around text that stands on lines.
HALO: list[AbstractPathEffect] = [withStroke(linewidth=3, foreground="white")]


@dataclass(frozen=True)
class Choice:
    """What a policy may do in one state.

    Attributes:
        state: the observation. (O,)
        q: soft Q-values [r] on a grid over the unit actions, q[i, j] at (grid[j], grid[i]). (G, G)
        samples: unit actions that the policy drew there. (K, 2)
    """

    state: Array
    q: Array
    samples: Array


def picture(name: str, evaluation: Evaluation, choices: Sequence[Choice] = ()) -> bytes:
    """Trajectories over the task's landscape, and below them the choices of action.

    Args:
        name: of the skill.
        evaluation: episodes of its sampled policy, with their paths.

    Raises:
        InvalidValue: a task without a landscape, or episodes without paths.
    """
    return render(picture_figure(name, evaluation, choices))


def picture_figure(name: str, evaluation: Evaluation, choices: Sequence[Choice] = ()) -> Figure:
    """See `picture`."""
    lines = math.ceil(len(choices) / COLUMNS)
    heights = [8.3, 0.4 + ROW * lines][: 1 + bool(lines)]
    figure = Figure(figsize=(8, sum(heights)), dpi=DPI, layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    trajectories(parts[0].add_subplot(), name, evaluation)
    if choices:
        grid = parts[1].subplots(lines, min(len(choices), COLUMNS), squeeze=False)
        for axes, choice in itertools.zip_longest(grid.flat, choices):
            axes.remove() if choice is None else contours(axes, evaluation.task.spec, choice)
        for axes in grid[:, 1:].flat:
            axes.set_ylabel("")
        title = f"soft Q-function over the actions [r], {len(choices[0].samples)} sampled actions"
        parts[1].suptitle(f"{name}: {title}", x=0.01, ha="left", color=INK)
    return figure


def trajectories(axes: Axes, name: str, evaluation: Evaluation) -> None:
    """Where the episodes of a skill went, over the contours of its task's reward term."""
    task, land = evaluation.task, evaluation.task.landscape
    if land is None or task.on.plane is None or evaluation.paths is None:
        raise InvalidValue(f"{task.name} has no landscape to draw paths in; draw final positions")
    columns = task.spec.index(task.on.plane)
    x, y = (task.spec.observation[column] for column in columns)
    clean(axes)
    ground(axes, task, land)
    paths = evaluation.paths[:, :, columns]
    axes.plot(*paths.transpose(2, 1, 0), color=BLUE, lw=0.9, alpha=0.6, zorder=3)
    final = evaluation.final_observations[:, columns]
    axes.plot(*final.T, ".", color=BLUE, ms=5, zorder=4)
    marks(axes, land)
    _shares(axes, land, evaluation)
    axes.set(xlabel=axis_label(x), ylabel=axis_label(y), aspect="equal")
    episodes = f"{evaluation.episodes} sampled episodes, seed {evaluation.seed}"
    axes.set_title(f"{name}: {episodes}\ncontours: {land.title}", loc="left", color=INK)


def ground(axes: Axes, task: Task, land: Landscape) -> None:
    """Contours of the task's reward term."""
    axes.grid(False)
    grid = np.linspace(-land.reach, land.reach, 201)
    _contour(axes, grid, grid, _heights(task, land, grid), levels=20, size=8)


def marks(axes: Axes, land: Landscape) -> None:
    """The marked points."""
    for place in land.marks.values():
        axes.plot(*place, "o", color=RED, ms=11, mec="white", mew=1.2, zorder=5)


def contours(axes: Axes, spec: Spec, choice: Choice) -> None:
    """The soft Q-function over the actions in one state, and what the policy draws there."""
    x, y = spec.action
    grid = np.linspace(-1, 1, len(choice.q))
    across, up = spec.native(np.stack([grid, grid], axis=1)).T
    clean(axes)
    axes.grid(False)
    _contour(axes, across, up, choice.q, levels=8, size=7)
    drawn = spec.native(choice.samples)
    axes.plot(*drawn.T, "*", color=BLUE, ms=6, mec="white", mew=0.4, zorder=3)
    axes.set(xlabel=axis_label(x), ylabel=axis_label(y), aspect="equal")
    state = ", ".join(map(_number, choice.state))
    axes.set_title(f"at ({state})", loc="left", fontsize=11, color=INK)


def _heights(task: Task, land: Landscape, grid: Array) -> Array:
    """The reward term, unweighted, where one rests at each point of the plane. (G,) -> (G, G)"""
    term = next(term for term in task.terms if term.name == land.term)
    points = np.stack(np.meshgrid(grid, grid), axis=-1)  # (G, G, 2)
    obs = np.zeros((grid.size**2, task.spec.observation_dim))
    obs[:, task.spec.index(task.on.plane or ())] = points.reshape(-1, 2)
    state, rest = Quantities(task.on.index, obs), np.zeros((len(obs), task.spec.action_dim))
    return np.asarray(term.function(state, rest, state)).reshape(points.shape[:2])


def _contour(axes: Axes, x: Array, y: Array, heights: Array, levels: int, size: float) -> None:
    """Labelled contour lines. (G,), (G,), (G, G)"""
    lines = axes.contour(x, y, heights, levels=levels, cmap="viridis", linewidths=0.8, zorder=1)
    for text in axes.clabel(lines, fontsize=size, fmt=_number):
        text.set_path_effects(HALO)


def _shares(axes: Axes, land: Landscape, evaluation: Evaluation) -> None:
    """Beside the marked points the share of the episodes whose outcome is called like them."""
    for name, place in land.marks.items():
        if name in evaluation.metrics:
            outwards = np.array(place) / max(np.linalg.norm(place), 1e-9)
            axes.annotate(
                f"{100 * evaluation.metrics[name].mean():.0f} %", place, 28 * outwards, color=INK,
                textcoords="offset points", ha="center", va="center", fontsize=13,
                path_effects=HALO, zorder=6,
            )  # fmt: skip


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")
