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


RENDER = """
import sys, gymnasium, numpy as np
env = gymnasium.make(f"skillkit.envs:skillkit/{sys.argv[1]}-v0", render_mode="rgb_array")
env.reset(seed=0)
picture = env.render()
assert picture.shape == (480, 480, 3) and picture.dtype == np.uint8
red, green, blue = picture.astype(int).transpose(2, 0, 1)
"""
PICTURES = {
    # the red goal mark and the blue puck
    "push_x": "assert 50 < ((red > 150) & (blue < 150)).sum() < 2000\n"
    "assert 50 < ((blue > 150) & (red < 150)).sum() < 2000",
    # the red goal, the orange robot, bluish walls all around
    "ant_maze": "assert 3000 < ((red > 180) & (green < 120)).sum() < 20_000\n"
    "assert 100 < ((red > 1.5 * blue) & (green > 100)).sum() < 2000\n"
    "assert 30_000 < (blue > red + 15).sum() < 120_000",
    # the robot alone, in the middle
    "locomotion": "robot = (red > 1.5 * blue) & (green > 60)\n"
    "assert 5000 < robot.sum() < 60_000 and robot[200:280, 200:280].mean() > 0.5",
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_shows_the_scene(name: str) -> None:
    code = RENDER + PICTURES[name]
    run = subprocess.run(
        [sys.executable, "-c", code, name],
        env={**os.environ, "MUJOCO_GL": "egl"},
        capture_output=True,
        text=True,
    )
    if "OpenGL" in run.stderr or "EGL" in run.stderr:
        pytest.skip("no OpenGL on this machine")
    assert run.returncode == 0, run.stderr


def test_a_renderer_that_is_not_there_is_named() -> None:
    code = "from skillkit.envs import make, task; make(task('push_x'), 1, seed=0)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MUJOCO_GL": "crayon"},
        capture_output=True,
        text=True,
    )
    said = "InvalidValue: MuJoCo cannot start with MUJOCO_GL=crayon (invalid value for"
    assert said in run.stderr and "unset it, or set it to egl" in run.stderr


@pytest.mark.parametrize("name", ["push_x", "ant_run"])
def test_memory_of_their_own_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies that go on from what they have computed play what those play that begin anew."""
    found = task(name)
    own = make(found, num_envs=3, seed=5)
    monkeypatch.setattr("skillkit.envs.mujoco.PERSISTENT", 0)
    shared = make(found, num_envs=3, seed=5)
    rng, ends = np.random.default_rng(0), np.array([False, True, False])
    assert (own.reset()[0] == shared.reset()[0]).all()
    for step in range(60):
        action = rng.uniform(found.spec.low, found.spec.high, (3, found.spec.action_dim))
        mine, theirs = own.step(action), shared.step(action)
        for one, other in zip(mine[:4], theirs[:4], strict=True):
            assert one.tobytes() == other.tobytes()
        done = mine[2] | mine[3] | (ends & (step == 20))
        if done.any():
            first, other = (env.reset(options={"reset_mask": done})[0] for env in (own, shared))
            assert first.tobytes() == other.tobytes()
        if step == 40:
            own.load_state(shared.state())
