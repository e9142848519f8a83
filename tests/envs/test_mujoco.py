"""What the MuJoCo layer adds: scenes, pictures, errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skillkit.envs import make, task
from skillkit.errors import InvalidValue

WALLED = """
import numpy as np
from skillkit.envs import Task, domain

pusher = domain("pusher")

def sliding(rng):
    return np.array([0, 0, 0, 0.0, -1.0, 0, 0]), np.array([0, 0, 0, 8.0, 0, 0, 0])

push_walled = Task("push_walled", pusher, "beside a wall", pusher.pushing(x=1), 300,
                   start=sliding, scene="wall.xml")
push_free = Task("push_free", pusher, "without one", pusher.pushing(x=1), 300, start=sliding)
push_lost = Task("push_lost", pusher, "no such scene", pusher.pushing(x=1), 300, scene="no.xml")
"""
WALL = """
<mujoco>
  <worldbody><geom name="wall" type="box" size="0.05 2 0.5" pos="0.3 0 0" condim="1"/></worldbody>
</mujoco>
"""


@pytest.fixture
def walled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "wall.xml").write_text(WALL)
    (tmp_path / "walled.py").write_text(WALLED)
    monkeypatch.setenv("SKILLKIT_TASKS", str(tmp_path))


@pytest.mark.usefixtures("walled")
def test_a_scene_adds_to_the_world() -> None:
    """Both pucks slide towards the wall, 8 m/s x .08 s = .64 m far if nothing stops them."""
    reached = {}
    for name in ("push_walled", "push_free"):
        env = make(task(name), 1, seed=0)
        env.reset()
        for _ in range(20):
            obs, *_ = env.step(np.zeros((1, 3)))
        reached[name] = obs[0, 9]
    assert reached["push_walled"] < 0.2 < 0.5 < reached["push_free"]
    assert task("push_walled").source_hash != task("push_free").source_hash
    assert task("push_walled").spec == task("push_free").spec


@pytest.mark.usefixtures("walled")
def test_a_missing_scene_is_named() -> None:
    with pytest.raises(InvalidValue, match=r"cannot load .*no\.xml"):
        make(task("push_lost"), 1, seed=0)


def test_a_picture_shows_the_scene() -> None:
    code = (
        "import gymnasium, numpy as np\n"
        "env = gymnasium.make('skillkit.envs:skillkit/push_x-v0', render_mode='rgb_array')\n"
        "env.reset(seed=0); picture = env.render()\n"
        "assert picture.shape == (480, 480, 3) and picture.dtype == np.uint8\n"
        "red, blue = picture[..., 0] > 150, picture[..., 2] > 150\n"
        "assert 50 < (red & ~blue).sum() < 2000\n"  # the goal mark
        "assert 50 < (blue & ~red).sum() < 2000\n"  # the puck
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MUJOCO_GL": "egl"},
        capture_output=True,
        text=True,
    )
    if "OpenGL" in run.stderr or "EGL" in run.stderr:
        pytest.skip("no OpenGL on this machine")
    assert run.returncode == 0, run.stderr
