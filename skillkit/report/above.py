"""Paths from above (thesis ch. 7): to a goal, or out from the start, one for each fixed latent."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle

from skillkit.envs import Task, walls
from skillkit.envs.terms import Distance, Within
from skillkit.errors import InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.fan import Fan
from skillkit.report.plots import DPI, GREY, INK, STYLES, axis_label, clean, render
from skillkit.types import Array

REACHED, MISSED = STYLES[0][0], STYLES[5][0]
GOAL, WALL = STYLES[2][0], "#C9CED6"


def goal_disc(task: Task) -> tuple[float, float, float] | None:
    """Where in the plane the task is solved, if that is a disc: x, y, radius."""
    test, plane = task.solved, task.on.plane
    if plane is None or not isinstance(test, Within) or not isinstance(test.distance, Distance):
        return None
    goals = dict(test.distance.goals)
    return (goals[plane[0]], goals[plane[1]], test.radius) if goals.keys() == {*plane} else None


def paths(name: str, evaluation: Evaluation) -> bytes:
    """Where the episodes of a skill went, and whether they reached the goal.

    Args:
        name: of the skill.
        evaluation: of a task with a goal in the plane of its domain, with paths.

    Raises:
        InvalidValue: no such goal, or no paths.
    """
    return render(paths_figure(name, evaluation))


def fan(name: str, found: Fan) -> bytes:
    """Where each fixed latent leads; its colour is the direction."""
    return render(fan_figure(name, found))


def paths_figure(name: str, evaluation: Evaluation) -> Figure:
    """See `paths`."""
    disc = goal_disc(evaluation.task)
    if disc is None or evaluation.paths is None:
        raise InvalidValue(
            f"{evaluation.task.name} has no goal to draw paths to; draw final positions"
        )
    figure, axes = plane(evaluation.task)
    axes.add_patch(Circle(disc[:2], disc[2], color=GOAL, alpha=0.25, lw=0, zorder=1, label="goal"))
    reached = evaluation.metrics["success"].astype(bool)
    for which, colour, line, marker, label in (
        (~reached, MISSED, (0, (4, 2)), "X", "not reached"),
        (reached, REACHED, "-", "o", "reached"),
    ):
        if which.any():
            lines = tracks(evaluation)[which].transpose(2, 1, 0)
            axes.plot(*lines, color=colour, ls=line, lw=1.0, alpha=0.6, zorder=3)
            _ends(axes, evaluation, which, colour, marker, f"{label}, {which.sum()}")
    _finish(figure, axes, evaluation)
    episodes = f"{evaluation.episodes} episodes, seed {evaluation.seed}"
    title = f"{name}: goal reached in {100 * reached.mean():.0f} % of {episodes}"
    axes.set_title(title, loc="left", color=INK)
    return figure


def fan_figure(name: str, found: Fan) -> Figure:
    """See `fan`."""
    evaluation = found.evaluation
    figure, axes = plane(evaluation.task)
    angle = np.arctan2(found.displacement[:, 1], found.displacement[:, 0])
    hue = angle / (2 * np.pi) % 1.0
    colours = hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.9), np.full_like(hue, 0.75)], axis=1))
    for track, colour in zip(tracks(evaluation), colours, strict=True):
        axes.plot(*track.T, color=colour, lw=1.2, zorder=3)
    for which, marker, label in ((~found.fell, "o", "end"), (found.fell, "X", "fell")):
        if which.any():
            _ends(axes, evaluation, which, colours[which], marker, label)
    _finish(figure, axes, evaluation)
    axes.set_title(f"{name}, seed {evaluation.seed}\n{found}", loc="left", color=INK, fontsize=11)
    return figure


def plane(task: Task) -> tuple[Figure, Axes]:
    """Axes over the plane of the task's domain, with the walls of its scene."""
    x, y = (task.spec.observation[column] for column in task.spec.index(task.on.plane or ()))
    figure = Figure(figsize=(8, 8), dpi=DPI, layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlabel=axis_label(x), ylabel=axis_label(y))
    clean(axes)
    if task.scene_file:
        stand = walls(task.scene_file)
        for low, size in zip(stand.low, stand.high - stand.low, strict=True):
            axes.add_patch(Rectangle(tuple(low), *size, color=WALL, lw=0, zorder=2))
    return figure, axes


def tracks(evaluation: Evaluation) -> Array:
    """Paths in the plane, NaN after the end. (episodes, horizon + 1, 2)"""
    assert evaluation.paths is not None
    return evaluation.paths[:, :, _columns(evaluation)]


def _columns(evaluation: Evaluation) -> list[int]:
    return evaluation.task.spec.index(evaluation.task.on.plane or ())


def _ends(
    axes: Axes, evaluation: Evaluation, which: Array, colour: Any, marker: str, label: str
) -> None:
    """Where these episodes ended. (episodes,) bool"""
    x, y = evaluation.final_observations[which][:, _columns(evaluation)].T
    axes.scatter(
        x, y, s=36, c=colour, marker=marker, label=label,
        edgecolors="white", linewidths=0.5, zorder=4,
    )  # fmt: skip


def _finish(figure: Figure, axes: Axes, evaluation: Evaluation) -> None:
    """Starts, limits and legend; the figure becomes as high as its axes need."""
    x, y = evaluation.initial_observations[:, _columns(evaluation)].T
    axes.scatter(x, y, s=16, c=GREY, marker=".", label="start", zorder=5)
    axes.autoscale_view()
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    figure.set_figheight(1.4 + 7.2 * (top - bottom) / (right - left))
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
