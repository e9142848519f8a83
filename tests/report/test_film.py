"""Films: what is filmed is what is evaluated, in the right colours and at the right speed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skillkit.controller import Controller
from skillkit.envs import Domain, Task, task
from skillkit.errors import InvalidValue
from skillkit.evaluation import evaluate
from skillkit.report import film
from skillkit.report.film import Shot, moments, record
from skillkit.report.viewer import view
from skillkit.skill import load
from skillkit.types import Array

MAZE = task("point_maze")
RED, GREEN, BLUE = (
    np.full((40, 60, 3), c, np.uint8) for c in ((255, 0, 0), (0, 128, 0), (0, 0, 255))
)


@pytest.fixture
def act() -> Controller:
    """A stack that holds its latents, so that it has to be told where an episode begins."""
    return load("point_roam/point_maze").controller()


def opened(path: Path) -> list[Image.Image]:
    """The pictures of a GIF; `info` tells how long each is shown."""
    with Image.open(path) as found:
        pictures = []
        for index in range(found.n_frames):  # type: ignore[attr-defined]
            found.seek(index)
            pictures.append(found.convert("RGB"))
    return pictures


def durations(path: Path) -> list[int]:
    return [picture.info["duration"] for picture in opened(path)]


@pytest.mark.parametrize("sample", [False, True])
def test_the_episodes_are_those_of_an_evaluation(sample: bool) -> None:
    act = load("point_roam/point_maze").controller(deterministic=not sample)
    ends, counted, lengths = [], [], []
    for env, episode, step, last in moments(Shot(act, MAZE, 3, seed=7)):
        counted.append((episode, step))
        if last:
            ends.append(env.unwrapped.simulation.observe()[0].copy())
            lengths.append(step)
    noise_dim = act.noise_dim if sample else 0
    wanted = evaluate(act.batch, MAZE, 3, 7, 1, noise_dim=noise_dim, begin=act.reset)
    np.testing.assert_array_equal(np.float32(ends), wanted.final_observations)
    np.testing.assert_array_equal(lengths, wanted.metrics["length"])
    assert len(set(lengths)) > 1 and max(lengths) < MAZE.horizon  # it ends at the goal
    assert counted == [(i, step) for i, n in enumerate(lengths) for step in range(n + 1)]


@pytest.mark.parametrize(
    ("dt", "rate", "speed", "every", "true"),
    [
        (0.05, 20, 1, 1, 20),
        (0.1, 20, 1, 1, 10),  # no more pictures than there are steps
        (0.05, 8, 1, 3, 20 / 3),  # at most
        (0.05, 20, 4, 4, 20),
        (0.05, 20, 0.5, 1, 10),
        (1.0, 20, 5, 1, 5),
    ],
)
def test_a_film_has_its_speed(
    act: Controller, dt: float, rate: float, speed: float, every: int, true: float
) -> None:
    class Clocked(type(MAZE.on)):  # type: ignore[misc]
        pass

    domain = Clocked()
    domain.dt = dt
    shot = Shot(act, replace(MAZE, on=domain), rate=rate, speed=speed)
    assert (shot.every, shot.true_rate) == (every, pytest.approx(true))


def test_a_gif_keeps_colours_and_times(tmp_path: Path) -> None:
    path = tmp_path / "x.gif"
    film.gif(path, iter([RED, GREEN, GREEN, GREEN, BLUE]), 10)
    pictures = opened(path)
    assert [picture.size for picture in pictures] == [(60, 40)] * 3
    colours = [picture.getpixel((5, 5)) for picture in pictures]
    np.testing.assert_allclose(colours, [(255, 0, 0), (0, 128, 0), (0, 0, 255)], atol=8)
    assert durations(path) == [100, 300, 100]
    with Image.open(path) as found:
        assert found.info["loop"] == 0  # for ever


def blue(picture: Image.Image) -> Array:
    """Where the moving point is, and has been. (height, width) bool"""
    red, _, blue = np.asarray(picture, int).transpose(2, 0, 1)
    return np.asarray((blue > 140) & (red < 80))


def dot(picture: Image.Image) -> tuple[float, float]:
    """Where the moving point is [pixels]."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(blue(picture), 3), (7, 7))
    near = around.mean((2, 3))
    rows, columns = np.nonzero(near > 0.95)  # no part of a line
    assert 5 < len(rows) < 100
    return float(columns.mean()), float(rows.mean())


def test_a_domain_without_a_camera_is_seen_from_above(act: Controller, tmp_path: Path) -> None:
    path, counts = tmp_path / "new" / "x.GIF", list[tuple[int, int]]()
    shot = Shot(act, MAZE, 2, seed=7, size=(251, 333), rate=2)
    record(shot, path, lambda *count: counts.append(count))
    pictures = opened(path)
    assert {picture.size for picture in pictures} == {(333, 251)}
    played = evaluate(act.batch, MAZE, 2, 7, paths=True, begin=act.reset)
    assert played.paths is not None
    tracks = [track[np.isfinite(track).all(1), :2] for track in played.paths]
    shown = [np.concatenate([track[:-1:5], track[-1:]]) for track in tracks]  # 10 steps a second
    assert len(pictures) == sum(map(len, shown)) and counts[-1] == (300, 300)
    pixels = np.array([dot(picture) for picture in pictures])
    for axis in (0, 1):  # the picture is a plan
        place = np.concatenate(shown)[:, axis]
        scale, offset = np.polyfit(place, pixels[:, axis], 1)
        np.testing.assert_allclose(scale * place + offset, pixels[:, axis], atol=1.0)
        assert scale * (1, -1)[axis] > 10  # pixels per m; rows count downwards
    ahead = [
        blue(picture)[round(y), round(x)]
        for picture, here, (x, y) in zip(pictures, pixels, pixels[1:], strict=False)
        if 8 < np.hypot(*(here - (x, y))) < 40
    ]
    assert len(ahead) > 5 and not any(ahead)  # only the path behind it is drawn
    assert np.ptp(np.argwhere(blue(pictures[-1])), axis=0).min() > 40
    times = durations(path)
    assert times[len(shown[0]) - 1] == times[-1] == 1500 and {*times[:-1]} == {500, 1500}


def test_a_landscape_is_the_ground(tmp_path: Path) -> None:
    """Multigoal: the paths lie over contours and goals."""
    goal = task("multigoal")
    still = load("point_roam/point_maze").controller()
    still.spec, still.noise_dim = goal.spec, 0  # type: ignore[misc]
    still.batch = lambda obs, noise=None: np.tile([1.0, 0.1], (len(obs), 1))  # type: ignore
    path = tmp_path / "x.gif"
    record(Shot(still, goal, speed=5), path)
    first, *_, last = opened(path)
    assert dot(last)[0] > dot(first)[0] + 50
    ground = np.asarray(first)[20:420, 60:460].reshape(-1, 3)
    assert len(np.unique(ground, axis=0)) > 20  # contours in many colours


def test_what_cannot_be_filmed(act: Controller, tmp_path: Path) -> None:
    shot = Shot(act, MAZE)
    with pytest.raises(
        InvalidValue, match=r"x.avi is no film; the name of one ends in .gif or .mp4"
    ):
        record(shot, tmp_path / "x.avi")
    other = task("gym:Pendulum-v1")
    for show in (view, partial(record, path=tmp_path / "x.gif")):  # neither advises the other
        with pytest.raises(InvalidValue, match="gym:Pendulum-v1 cannot be drawn.*plot draws the r"):
            show(replace(shot, task=other))
    assert not list(tmp_path.glob("*x*"))


class Drawn(type(MAZE.on)):  # type: ignore[misc]
    """The point with pictures of its own, and a person who stops them."""

    def __init__(self, stop: int = 1000) -> None:
        self.sizes, self.stop = list[tuple[int, int]](), stop

    def draw(self, env: object, size: tuple[int, int] = (1, 1)) -> Array:
        self.sizes.append(size)
        if len(self.sizes) == self.stop:
            raise KeyboardInterrupt
        return np.full((*size, 3), 5 * len(self.sizes) % 256, np.uint8)


def test_half_a_film_is_none(tmp_path: Path, act: Controller) -> None:
    """Neither what was there nor what is begun is left half-written."""
    path = tmp_path / "x.gif"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        record(Shot(act, replace(MAZE, on=Drawn(stop=30)), size=(20, 30)), path)
    assert path.read_bytes() == b"before" and [*tmp_path.glob("*x*")] == [path]


def test_a_domain_that_draws_itself_is_filmed(act: Controller, tmp_path: Path) -> None:
    """Moment by moment, and the last one always."""

    drawn = Drawn()
    shot = Shot(act, replace(MAZE, on=drawn), 2, seed=7, size=(20, 30), rate=0.5)
    counts = list[tuple[int, int]]()
    record(shot, tmp_path / "x.gif", lambda *count: counts.append(count))
    lengths = evaluate(act.batch, MAZE, 2, 7, begin=act.reset).metrics["length"].astype(int)
    assert drawn.sizes == [(20, 30)] * sum(len({*range(0, n + 1, 20), n}) for n in lengths)
    assert counts[-1] == (150 + lengths[1], 300) and counts == sorted(counts)


def test_an_mp4_takes_an_encoder(
    act: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InvalidValue, match=r"an .mp4 .unlike a .gif. needs, .* '.\[video\]'"):
        record(Shot(act, MAZE), tmp_path / "x.mp4")
    assert not list(tmp_path.glob("*x*"))


def test_an_mp4_has_every_picture(tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "x.mp4"
    film.mp4(path, iter([RED] * 5 + [BLUE] * 5), 10)
    reader: Iterator[bytes] = ffmpeg.read_frames(str(path))
    about, *frames = reader
    assert about["size"] == (60, 40) and about["fps"] == 10  # type: ignore[index]
    pixels = np.array([np.frombuffer(frame, np.uint8)[:3] for frame in frames], int)
    np.testing.assert_allclose(pixels, [(254, 0, 0)] * 5 + [(0, 0, 254)] * 5, atol=12)


def test_every_domain_that_draws_takes_a_size() -> None:
    for name in ("push_x", "ant_maze"):
        assert type(task(name).on).draw is not Domain.draw
    assert isinstance(task("point_x"), Task) and type(task("point_x").on).draw is Domain.draw
