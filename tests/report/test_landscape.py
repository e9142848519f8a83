"""The picture of a landscape: what is drawn is what was given, all of it inside the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet

from skillkit.envs import Landscape, Task, task
from skillkit.errors import InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.report import landscape
from skillkit.report.landscape import Choice, picture_figure
from skillkit.types import Array
from tests.report.test_plots import assert_all_is_inside, size

MULTIGOAL = task("multigoal")


def played(episodes: int = 5, of: Task = MULTIGOAL) -> Evaluation:
    """Straight walks of up to 4 steps to the right and to the left, by turns."""
    paths = np.full((episodes, of.horizon + 1, of.spec.observation_dim), np.nan, np.float32)
    ways = np.where(np.arange(episodes) % 2 == 0, 1.2, -1.2)
    for steps in range(4):
        paths[:, steps, :2] = np.stack([ways * steps, 0.1 * np.arange(episodes)], axis=1)
    paths[0, 3] = np.nan  # this one ended before
    final = paths[:, 3].copy()
    final[0] = paths[0, 2]
    share = {"goal_right": (ways > 0) * 1.0, "goal_left": (ways < 0) * 1.0}
    return Evaluation(of, 7, share, paths[:, 0], final, paths)


def choice(state: tuple[float, ...] = (-2.5, 0.0)) -> Choice:
    """Q rises with the second action entry; the samples are on a diagonal."""
    grid = np.linspace(-1, 1, 9)
    q = np.tile(10 * grid[:, None], (1, 9))
    return Choice(np.array(state), q, np.stack([grid, grid], axis=1))


def heights(axes: Axes) -> tuple[QuadContourSet, list[float]]:
    (lines,) = (item for item in axes.collections if isinstance(item, QuadContourSet))
    return lines, [float(level) for level in lines.levels]


def test_paths_go_where_the_episodes_went() -> None:
    evaluation = played()
    axes = picture_figure("walk", evaluation).axes[0]
    drawn = [line.get_xydata() for line in axes.lines[:5]]
    assert evaluation.paths is not None
    for line, path in zip(drawn, evaluation.paths, strict=True):
        np.testing.assert_array_equal(line, path)
    np.testing.assert_array_equal(axes.lines[5].get_xydata(), evaluation.final_observations)
    assert axes.get_title("left").startswith("walk: 5 sampled episodes, seed 7\n")
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_aspect()) == ("x [m]", "y [m]", 1.0)


def test_contours_are_the_term_s() -> None:
    axes = picture_figure("walk", played()).axes[0]
    lines, levels = heights(axes)
    goals = np.array([(5, 0), (0, 5), (-5, 0), (0, -5)])
    for level, path in zip(levels, lines.get_paths(), strict=True):
        squared = np.square(path.vertices[:, None] - goals).sum(axis=-1).min(axis=-1)
        assert squared == pytest.approx(level, abs=0.2)
    assert len(levels) > 10 and axes.get_xlim() == axes.get_ylim() == pytest.approx((-7.7, 7.7))
    labels = {text.get_text() for text in axes.texts}
    assert {"4", "8", "12"} <= labels


def test_marks_and_the_share_of_their_outcome() -> None:
    axes = picture_figure("walk", played()).axes[0]
    marks = {tuple(line.get_xydata()[0]) for line in axes.lines[6:]}
    assert marks == {(5, 0), (0, 5), (-5, 0), (0, -5)}
    texts = {text.get_text(): text for text in axes.texts if "%" in text.get_text()}
    assert {label: text.xy for label, text in texts.items()} == {
        "60 %": (5, 0),
        "40 %": (-5, 0),
    }  # no numbers where there is no such metric


def test_q_and_samples_of_each_state() -> None:
    figure = picture_figure("walk", played(), [choice(), choice((2.5, 1.0))])
    _, first, second = figure.axes
    lines, levels = heights(first)
    for level, path in zip(levels, lines.get_paths(), strict=True):
        assert path.vertices[:, 1] == pytest.approx(level / 10)  # q[i, j]: i is the second entry
    np.testing.assert_allclose(first.lines[0].get_xydata(), choice().samples)
    titles = [axes.get_title("left") for axes in (first, second)]
    assert titles == ["at (\N{MINUS SIGN}2.5, 0)", "at (2.5, 1)"]
    assert first.get_xlabel() == "velocity x [m/s]" and first.get_ylabel() == "velocity y [m/s]"
    assert "9 sampled actions" in figure.subfigs[1].get_suptitle()


def test_actions_are_drawn_in_native_units() -> None:
    entries = tuple(replace(entry, low=0.0, high=4.0) for entry in MULTIGOAL.spec.action)
    axes = picture_figure("walk", played()).add_subplot()
    landscape.contours(axes, replace(MULTIGOAL.spec, action=entries), choice())
    np.testing.assert_allclose(axes.lines[0].get_xydata()[[0, -1]], [[0, 0], [4, 4]])
    assert axes.get_ylim() == pytest.approx((0, 4))


@pytest.mark.parametrize("states", [0, 1, 3, 4])
def test_everything_drawn_is_inside_the_picture(states: int) -> None:
    assert_all_is_inside(picture_figure("walk", played(), [choice()] * states))


def test_the_picture_is_a_png_1000_pixels_wide() -> None:
    png = landscape.picture("walk", played(), [choice()] * 3)
    assert size(png)[0] == 1000 and 1300 < size(png)[1] < 1500
    assert png == landscape.picture("walk", played(), [choice()] * 3)


def test_any_domain_with_a_plane_has_one() -> None:
    point = replace(task("point_x"), landscape=Landscape("distance", "distance [m]", 2.0))
    axes = picture_figure("slide", played(of=point)).axes[0]
    lines, levels = heights(axes)
    for level, path in zip(levels, lines.get_paths(), strict=True):
        assert np.abs(path.vertices[:, 0] - 1) == pytest.approx(level, abs=0.02)


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(InvalidValue, match="point_x has no landscape"):
        landscape.picture("slide", played(of=task("point_x")))
    with pytest.raises(InvalidValue, match="multigoal has no landscape to draw paths in"):
        landscape.picture("walk", replace(played(), paths=None))


def test_nan_ends_a_line() -> None:
    line: Array = picture_figure("walk", played()).axes[0].lines[0].get_xydata()
    assert np.isnan(line[3:]).all() and np.isfinite(line[:3]).all()
