"""Pictures from above: what is drawn is what was given, all of it inside the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import same_color
from matplotlib.patches import Circle, Rectangle

from skillkit.envs import Task, task, walls
from skillkit.errors import InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.fan import Fan
from skillkit.report import above
from skillkit.types import Array
from tests.report.test_plots import assert_all_is_inside, size

MAZE, ROAM = task("point_maze"), task("point_roam")


def played(of: Task = MAZE, episodes: int = 5) -> Evaluation:
    """Straight ways to five places; the first and the third reach the goal, at (3, -3)."""
    paths = np.full((episodes, of.horizon + 1, of.spec.observation_dim), np.nan, np.float32)
    ends = np.array([(3, -2.5), (1, 0), (2.5, -3), (6, 0), (3, 3)], np.float32)[:episodes]
    for step in range(4):
        paths[:, step] = 0
        paths[:, step, :2] = ends * step / 3
    final = paths[:, 3].copy()
    found = of.success(final)
    metrics = {"length": np.full(episodes, 3)} | (
        {} if found is None else {"success": found.astype(float)}
    )
    return Evaluation(of, 7, metrics, paths[:, 0], final, paths)


def dots(axes: Axes) -> dict[str, Array]:
    found = (item for item in axes.collections if isinstance(item, PathCollection))
    return {str(item.get_label()): np.asarray(item.get_offsets()) for item in found}


def test_paths_end_where_the_episodes_did() -> None:
    evaluation = played()
    axes = above.paths_figure("walk", evaluation).axes[0]
    drawn = {tuple(line.get_xydata()[3]): line for line in axes.lines}
    assert set(drawn) == {tuple(row) for row in evaluation.final_observations[:, :2]}
    for end, line in drawn.items():
        reached = np.hypot(end[0] - 3, end[1] + 3) < 1
        assert same_color(line.get_color(), above.REACHED if reached else above.MISSED)
        assert (line.get_linestyle() == "-") == reached  # not told apart by colour alone
    points = dots(axes)
    assert list(points) == ["not reached, 3", "reached, 2", "start"]
    np.testing.assert_array_equal(points["reached, 2"], [(3, -2.5), (2.5, -3)])
    np.testing.assert_array_equal(points["start"], np.zeros((5, 2)))
    assert axes.get_title("left") == "walk: goal reached in 40 % of 5 episodes, seed 7"
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_aspect()) == ("x [m]", "y [m]", 1.0)


def test_walls_and_goal_stand_where_they_are() -> None:
    axes = above.paths_figure("walk", played()).axes[0]
    (goal,) = (patch for patch in axes.patches if isinstance(patch, Circle))
    assert (goal.center, goal.radius) == ((3, -3), 1)
    stand = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert MAZE.scene_file
    found = walls(MAZE.scene_file)
    corners = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in stand]
    np.testing.assert_allclose(corners, np.hstack([found.low, found.high - found.low]))
    assert axes.get_xlim()[0] < -1.25 and axes.get_xlim()[1] > 7  # all of the maze is in sight
    free = above.paths_figure("walk", played(task("point_goal"))).axes[0]
    assert not any(isinstance(patch, Rectangle) for patch in free.patches)


def test_the_goal_is_a_disc_of_the_plane_or_none() -> None:
    assert above.goal_disc(MAZE) == (3, -3, 1)
    assert above.goal_disc(task("ant_maze_east")) == (12, 0, 2)
    for name in ("point_x", "point_roam", "multigoal", "push_xy", "gym:Pendulum-v1"):
        assert above.goal_disc(task(name)) is None


def test_a_fan_has_a_line_and_a_dot_for_each_latent() -> None:
    evaluation = played(ROAM)
    evaluation.metrics["length"] = np.array([50, 50, 3, 50, 50])  # the third one fell
    found = Fan(evaluation)
    axes = above.fan_figure("roam", found).axes[0]
    ends = [tuple(line.get_xydata()[3]) for line in axes.lines]
    np.testing.assert_array_equal(ends, evaluation.final_observations[:, :2])
    points = dots(axes)
    assert list(points) == ["end", "fell", "start"] and len(points["end"]) == 4
    np.testing.assert_array_equal(points["fell"], [(2.5, -3)])
    colours = [line.get_color() for line in axes.lines]
    assert len({tuple(colour) for colour in colours}) == 4  # two of them go straight east
    assert axes.get_title("left") == f"roam, seed 7\n{found}"


FIGURES = {
    "paths": lambda: above.paths_figure("point_roam/point_maze", played()),
    "paths in the open": lambda: above.paths_figure("walk", played(task("point_goal"))),
    "one path": lambda: above.paths_figure("walk", played(episodes=1)),
    "none reached": lambda: above.paths_figure("walk", played(task("point_maze_north"), 4)),
    "fan": lambda: above.fan_figure("point_roam", Fan(played(ROAM))),
    "fan in a maze": lambda: above.fan_figure(
        "point_roam", Fan(played(replace(ROAM, scene=MAZE.scene, file=MAZE.file)))
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_everything_drawn_is_inside_the_picture(name: str) -> None:
    assert_all_is_inside(FIGURES[name]())


def test_pictures_are_pngs_1000_pixels_wide() -> None:
    pictures = above.paths("walk", played()), above.fan("roam", Fan(played(ROAM)))
    assert [size(picture)[0] for picture in pictures] == [1000, 1000]
    assert pictures[0] == above.paths("walk", played())  # the same bytes at each call


def test_what_cannot_be_drawn() -> None:
    for wrong in (played(ROAM), replace(played(), paths=None)):
        with pytest.raises(InvalidValue, match="has no goal to draw paths to"):
            above.paths("walk", wrong)
