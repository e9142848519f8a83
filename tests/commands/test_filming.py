"""`skillkit play`: films of skills, and a window where there is a display."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skillkit.skill import load
from tests.point_skills import ROOT, good
from tests.point_skills import skillkit as answer


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `play` does to the environment of its process ends with the test."""
    monkeypatch.setenv("MUJOCO_GL", os.environ.get("MUJOCO_GL", "egl"))


PLAY = ["play", "point_roam/point_maze"]


def test_a_film(tmp_path: Path) -> None:
    film = tmp_path / "x.gif"
    size = ["--width", 320, "--height", 200]
    brief = [*size, "--fps", 2, "--speed", 4]
    words = good(*PLAY, "-o", film, *brief)
    assert words == f"film: {film}, {film.stat().st_size / 1e3:.1f} kB\n"
    assert film.stat().st_size < 100_000
    with Image.open(film) as found:
        assert found.size == (320, 200) and found.info["duration"] == 500  # type: ignore
    sampled, other = tmp_path / "sampled.gif", tmp_path / "other.gif"
    good(*PLAY, "-o", sampled, *brief, "--sample")
    good(*PLAY, "-o", other, *brief, "--seed", 7, "--episodes", 1)
    assert sampled.read_bytes() != film.read_bytes() == other.read_bytes()


def test_in_another_task(tmp_path: Path) -> None:
    film = tmp_path / "x.gif"
    small = ["--width", 160, "--height", 160, "--speed", 9]
    good(*PLAY, "--task", "point_maze_north", "-o", film, *small)
    assert film.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "x.png"], "x.png is no film; the name of one ends in .gif or .mp4"),
        (["-o", "x.gif", "--speed", "0"], "--speed is a multiple of real time, .01 to 1000, not 0"),
        (["-o", "x.gif", "--speed", "nan"], "--speed is a multiple of real time, .01 to 1000, no"),
        (["-o", "x.gif", "--fps", "0"], "invalid value for '--fps': 0 is not in the range"),
        (["-o", "x.gif", "--width", "9"], "invalid value for '--width': 9 is not in the range"),
        (["-o", "x.gif", "--task", "push_x"], "point_roam/point_maze cannot play push_x: it was"),
        ([], "the domain point has no viewer, as MuJoCo does not simulate it; write a film with"),
    ],
)
def test_what_it_refuses(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer(*PLAY, *arguments).sentence.startswith(sentence)
    assert not list(tmp_path.glob("x*"))


def test_a_robot_without_a_display(tmp_path: Path) -> None:
    """In a process of its own: MuJoCo decides once with what it draws."""
    film = tmp_path / "x.gif"
    size = ["--speed", "75", "--width", "200", "--height", "160"]
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"}
    run = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "play", "push_x+push_y", "-o", str(film), *size],
        env={k: v for k, v in os.environ.items() if k not in hidden},
        capture_output=True,
        text=True,
    )
    if "OpenGL" in run.stderr or "EGL" in run.stderr:
        pytest.skip("no OpenGL on this machine")
    assert run.returncode == 0, run.stderr
    with Image.open(film) as found:
        assert found.size == (200, 160) and found.n_frames == 5  # type: ignore[attr-defined]
        first = np.asarray(found.convert("RGB"), int)
        found.seek(4)
        last = np.asarray(found.convert("RGB"), int)
    pucks = []
    for picture in (first, last):
        red, green, blue = picture.transpose(2, 0, 1)
        puck, goal = blue > red + 60, red > blue + 80
        assert 10 < puck.sum() < 400 and 10 < goal.sum() < 400
        gap = np.argwhere(puck).mean(0) - np.argwhere(goal).mean(0)
        pucks.append(np.hypot(*gap))
    assert pucks[1] < 0.4 * pucks[0]  # it was pushed to the goal


def test_no_display_no_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glfw.init", lambda: False)
    assert answer("play", "push_x").sentence == (
        "no window can be opened here; write a film with -o FILE.gif"
    )


class Window(AbstractContextManager["Window"]):
    """What MuJoCo's viewer is to whoever moves the world in it."""

    def __init__(self, model: Any, data: Any) -> None:
        self.data, self.seen, self.closed = data, list[Any](), False

    def __exit__(self, *error: object) -> None:
        self.closed = True

    def is_running(self) -> bool:
        return len(self.seen) < 12  # then a person closes it

    def lock(self) -> AbstractContextManager[None]:
        return nullcontext()

    def sync(self) -> None:
        self.seen.append((self.data.time, self.data.qpos.copy()))


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Window]]:
    import glfw
    import mujoco.viewer

    made = list[Window]()

    def launch(model: Any, data: Any) -> Window:
        made.append(Window(model, data))
        return made[-1]

    monkeypatch.setattr(glfw, "init", lambda: True)
    monkeypatch.setattr(mujoco.viewer, "launch_passive", launch)
    yield made


def test_a_window_shows_each_step(windows: list[Window]) -> None:
    good("play", "push_x", "--speed", 1000)
    (window,) = windows
    assert window.closed and len(window.seen) == 12
    places = np.array([qpos for _, qpos in window.seen])
    assert (np.abs(np.diff(places[:, :3], axis=0)).max(1) > 1e-4).all()  # the arm moves each time
    assert load("push_x").task == "push_x" and np.allclose(places[:, 5], -1)  # the goal line


def test_a_window_that_does_not_open(
    windows: list[Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    import mujoco.viewer

    def refuse(model: Any, data: Any) -> None:
        raise RuntimeError("run this under `mjpython`\non macOS")

    monkeypatch.setattr(mujoco.viewer, "launch_passive", refuse)
    assert answer("play", "push_x").sentence == (
        "no window can be opened here; write a film with -o FILE.gif "
        "(run this under `mjpython` on macOS)"
    )


@pytest.mark.parametrize(
    ("display", "library", "chosen"),
    [("", "libEGL.so.1", "egl"), ("", None, None), (":0", "libEGL.so.1", None)],
)
def test_what_draws_where_there_is_no_display(
    display: str, library: str | None, chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MuJoCo could not even be imported if it were told to use a library that is not there."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("skillkit.commands.filming.find_library", lambda name: library)
    monkeypatch.setenv("DISPLAY", display)
    for name in ("WAYLAND_DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    assert "has no viewer" in answer(*PLAY).sentence
    assert os.environ.get("MUJOCO_GL") == chosen
