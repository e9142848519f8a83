"""Figures: what is drawn is what was given, all of it inside the picture, without a display."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from skillkit.envs import Domain, Task, Term
from skillkit.errors import InvalidValue
from skillkit.evaluation import Evaluation
from skillkit.report import plots
from skillkit.types import Array, Entry, Spec

ROOT = Path(__file__).parents[2]
ENTRIES = (Entry("speed", "m/s"), Entry("puck_x", "m"), Entry("puck_y", "m"))


class Table(Domain):
    """A domain to draw: it has entries and, perhaps, a plane."""

    spec = Spec(ENTRIES, (Entry("force", "N", -1.0, 1.0),), 0.05)  # type: ignore[assignment]

    def __init__(self, name: str, plane: tuple[str, str] | None) -> None:
        self.name, self.plane = name, plane

    def vector_env(self, *args: object) -> object:  # type: ignore[override]
        raise NotImplementedError


TABLE, PLANELESS = Table("table", ("puck_x", "puck_y")), Table("blind", None)


def played(name: str, goals: dict[str, float], domain: Domain = TABLE, n: int = 30) -> Evaluation:
    """Episodes that end around the goals, and anywhere where there is none."""
    task = Task("slide", domain, "", (Term("pull", lambda now, action, then: 0, goals=goals),), 300)
    rng = np.random.default_rng(len(name))
    start, final = (rng.uniform(-1, 1, (n, 3)).astype(np.float32) for _ in range(2))
    for entry, value in goals.items():
        final[:, task.on.index[entry]] = value + rng.normal(0, 0.05, n)
    metrics = {"return": rng.normal(-20, 4, n), "length": np.full(n, 300)}
    distance = task.final_distance(final)
    metrics |= {} if distance is None else {"final_distance": distance}
    return Evaluation(task, 1000, metrics, start, final)


def three(domain: Domain = TABLE) -> dict[str, Evaluation]:
    """The two constituents and the composition of the thesis' figure."""
    return {
        "push_x": played("push_x", {"puck_x": -1.0}, domain),
        "push_y": played("push_y", {"puck_y": -0.8}, domain),
        "push_x+push_y": played("push_x+push_y", {"puck_x": -1.0, "puck_y": -0.8}, domain),
    }


def dots(figure: Figure) -> dict[str, Array]:
    """Label -> the points drawn under it."""
    found = (item for item in figure.axes[0].collections if isinstance(item, PathCollection))
    return {str(item.get_label()): np.asarray(item.get_offsets()) for item in found}


def size(png: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the header; the end must be there too."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and png[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def assert_all_is_inside(figure: Figure) -> None:
    figure.draw_without_rendering()  # lays out
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= width and drawn.y1 <= height, drawn


# ------------------------------------------------------------------------------ final positions


def test_final_positions_draws_the_episodes() -> None:
    evaluations = three()
    drawn = dots(plots.final_positions_figure(evaluations))
    for name, evaluation in evaluations.items():
        (points,) = (points for label, points in drawn.items() if label.startswith(f"{name}:"))
        assert points == pytest.approx(evaluation.final_observations[:, 1:])
    starts = np.concatenate([one.initial_observations[:, 1:] for one in evaluations.values()])
    assert {*map(tuple, drawn["start"])} == {*map(tuple, np.float64(starts))}


def test_goal_lines_have_the_colour_of_the_skill_that_wants_only_them() -> None:
    axes = plots.final_positions_figure(three()).axes[0]
    vertical, horizontal = axes.lines
    assert list(vertical.get_xdata()) == [-1.0, -1.0]
    assert list(horizontal.get_ydata()) == [-0.8, -0.8]
    assert same_color(vertical.get_color(), plots.STYLES[0][0])
    assert same_color(horizontal.get_color(), plots.STYLES[1][0])
    assert vertical.get_label() == "goal puck x = \N{MINUS SIGN}1 m"


def test_goals_that_only_a_composition_has_are_grey_and_drawn_once() -> None:
    both = {"puck_x": -1.0, "puck_y": -0.8}
    figure = plots.final_positions_figure({"a": played("a", both), "b": played("bb", both)})
    assert [line.get_color() for line in figure.axes[0].lines] == [plots.GREY] * 2


def test_goals_outside_the_plane_are_no_lines() -> None:
    figure = plots.final_positions_figure({"fast": played("fast", {"speed": 1.0})})
    assert not figure.axes[0].lines


def test_final_positions_says_what_it_shows() -> None:
    evaluations = three()
    figure = plots.final_positions_figure(evaluations)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("puck x [m]", "puck y [m]")
    assert axes.get_aspect() == 1.0
    assert axes.get_title("left") == "Final positions, 30 episodes each, seed 1000"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    distance = evaluations["push_x"].metrics["final_distance"]
    assert labels[0] == f"push_x: distance {distance.mean():.2f} ± {distance.std(ddof=1):.2f} m"
    assert labels[-1] == "start" and len(labels) == 6


def test_no_two_series_differ_by_colour_alone() -> None:
    assert len({marker for _, marker in plots.STYLES}) == len(plots.STYLES)
    assert len({colour for colour, _ in plots.STYLES}) == len(plots.STYLES)


# -------------------------------------------------------------------- returns, learning curve


def test_returns_draws_every_return_with_mean_and_interval() -> None:
    evaluations = three(PLANELESS)
    figure = plots.returns_figure(evaluations)
    drawn = dots(figure)
    assert list(drawn) == list(evaluations)
    for row, (name, evaluation) in enumerate(evaluations.items()):
        assert drawn[name][:, 0] == pytest.approx(evaluation.metrics["return"])
        assert (np.abs(drawn[name][:, 1] - row) < 0.3).all()
        summary = evaluation.summary()["return"]
        interval, mean = figure.axes[0].lines[2 * row : 2 * row + 2]
        assert list(interval.get_xdata()) == [summary["low"], summary["high"]]
        assert list(mean.get_xdata()) == [summary["mean"]]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == list(evaluations)


ROWS = [
    {"step": 0, "return": -90.0, "final_distance": 1.0, "alpha": 0.2},
    {"step": 1000, "return": math.nan, "final_distance": 0.3, "alpha": 0.2, "seconds": 3.0},
    {"step": 2000, "return": -20.0, "final_distance": 0.02, "critic_loss": 0.5},
]


def test_learning_curve_draws_the_finite_rows() -> None:
    figure = plots.learning_curve_figure(ROWS, "push_x")
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert list(panels) == [
        "return [r]",
        "final distance",
        "temperature α [r/nat]",
        "critic loss [r²]",
    ]
    drawn = {name: axes.lines[0].get_xydata().tolist() for name, axes in panels.items()}
    assert drawn["return [r]"] == [[0, -90], [2000, -20]]
    assert drawn["final distance"] == [[0, 1], [1000, 0.3], [2000, 0.02]]
    assert drawn["critic loss [r²]"] == [[2000, 0.5]]
    scales = [axes.get_yscale() for axes in panels.values()]
    assert scales == ["linear", "log", "linear", "linear"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", *["environment steps"] * 2]


def test_a_distance_of_zero_is_not_logarithmic() -> None:
    rows = [{"step": step, "final_distance": distance} for step, distance in ((0, 1), (1, 0))]
    assert plots.learning_curve_figure(rows).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("rows", [[], [{"step": 1.0}], [{"return": 1.0}], [{"step": 1, "q": None}]])
def test_no_learning_curve(rows: list[dict[str, float]]) -> None:
    with pytest.raises(InvalidValue, match="no learning curve"):
        plots.learning_curve_figure(rows)


# --------------------------------------------------------------------------------------- bytes


def many(count: int, domain: Domain = TABLE) -> dict[str, Evaluation]:
    goals = [{"puck_x": 0.1 * i} for i in range(count)]
    return {f"skill_number_{i}": played(f"{i}", goal, domain) for i, goal in enumerate(goals)}


FIGURES = {
    "one": lambda: plots.final_positions_figure(many(1)),
    "three": lambda: plots.final_positions_figure(three()),
    "eight": lambda: plots.final_positions_figure(many(8)),
    "returns": lambda: plots.returns_figure(three(PLANELESS)),
    "one return": lambda: plots.returns_figure({"a": played("a", {}, PLANELESS, n=1)}),
    "curve": lambda: plots.learning_curve_figure(ROWS, "push_x"),
    "one point": lambda: plots.learning_curve_figure([{"step": 5, "return": 1.0}]),
    "five panels": lambda: plots.learning_curve_figure(
        [dict.fromkeys(("step", "return", "alpha", "q", "entropy", "critic_loss"), 2.0)]
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_everything_drawn_is_inside_the_picture(name: str) -> None:
    assert_all_is_inside(FIGURES[name]())


def test_pictures_are_pngs_1000_pixels_wide() -> None:
    pictures = (
        plots.outcome(three()),
        plots.outcome(three(PLANELESS)),
        plots.learning_curve(ROWS),
    )
    sizes = [size(picture) for picture in pictures]
    assert [width for width, _ in sizes] == [1000] * 3
    assert 1000 < sizes[0][1] < 1250 and 400 < sizes[1][1] < 700 and 500 < sizes[2][1] < 800
    assert pictures[0] == plots.final_positions(three())  # the same bytes at each call
    assert pictures[1] == plots.returns(three(PLANELESS))


@pytest.mark.parametrize(
    ("evaluations", "words"),
    [
        ({}, "nothing to draw"),
        (many(9), "9 skills do not fit.*at most 8"),
        ({"a": played("a", {}), "b": played("b", {}, PLANELESS)}, "blind and table cannot share"),
    ],
)
def test_what_cannot_be_drawn(evaluations: dict[str, Evaluation], words: str) -> None:
    for draw in (plots.outcome, plots.final_positions, plots.returns):
        with pytest.raises(InvalidValue, match=words):
            draw(evaluations)


def test_no_plane_no_positions() -> None:
    with pytest.raises(InvalidValue, match="blind has no plane"):
        plots.final_positions(three(PLANELESS))


def test_needs_no_display_no_pyplot_and_no_backend() -> None:
    code = (
        "import os, sys; os.environ.pop('DISPLAY', None); os.environ['MPLBACKEND'] = 'tkagg'\n"
        "from skillkit.report import plots\n"
        "picture = plots.learning_curve([{'step': 1, 'return': 2.0}])\n"
        "print(picture[1:4].decode(), 'matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.split() == ["PNG", "False", "False"], result.stderr
