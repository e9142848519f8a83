"""Task files: the shipped ones, a user's, and the ones that fail."""

from __future__ import annotations

import dataclasses
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from skillkit.envs import add_tasks, catalog, domain, make, task, task_names
from skillkit.errors import InvalidValue, TaskFileError, UnknownName

MINE = '''
"""My own task."""

from skillkit.envs import Task, domain

pusher = domain("pusher")

push_corner = Task(
    "push_corner",
    on=pusher,
    summary="push the puck into my corner",
    terms=(pusher.distance(x=0.5, y=-0.5), 0.5 * pusher.effort()),
    horizon=200,
)
'''

SHIPPED = ["locomotion", "ant_run", "ant_goal", "ant_maze", "ant_maze_north", "ant_maze_east"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of task files, which $SKILLKIT_TASKS names."""
    path = tmp_path / "mine"
    path.mkdir()
    monkeypatch.setenv("SKILLKIT_TASKS", str(path))
    return path


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Folders and ids that a test adds are gone after it."""
    added, ids = list(catalog._added), set(gymnasium.registry)
    yield
    catalog._added[:] = added
    for env_id in set(gymnasium.registry) - ids:
        del gymnasium.registry[env_id]


def test_shipped_tasks_are_found() -> None:
    assert task_names()[:6] == SHIPPED
    assert {task(name).domain for name in task_names()} == {"ant", "multigoal", "point", "pusher"}
    assert all(task(name).summary for name in task_names())


def test_a_users_task_is_like_any_other(folder: Path) -> None:
    (folder / "mine.py").write_text(MINE)
    mine = task("push_corner")
    assert "push_corner" in task_names()
    assert mine.file == folder / "mine.py"
    assert mine.recipe == domain("pusher").recipe  # a pusher task trains like the others
    assert mine.goals == {"puck_x": 0.5, "puck_y": -0.5}
    obs, u = np.zeros((1, 12), np.float32), np.ones((1, 3))
    np.testing.assert_allclose(mine.reward(obs, u, obs), -np.sqrt(0.5) - 0.15)
    env = make(task("push_corner+push_x"), 2, seed=0)
    env.reset()
    assert env.step(np.zeros((2, 3)))[1].shape == (2,)


def test_add_tasks_registers_gymnasium_ids(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.replace("push_corner", "push_added"))
    add_tasks(tmp_path)
    add_tasks(tmp_path)  # twice is once
    env = gymnasium.make("skillkit/push_added-v0")
    assert env.reset(seed=0)[0].shape == (12,)
    with pytest.raises(InvalidValue, match="not a folder"):
        add_tasks(tmp_path / "absent")


def test_a_missing_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKILLKIT_TASKS", "/no/such/folder")
    with pytest.raises(InvalidValue, match=r"\$SKILLKIT_TASKS names /no/such/folder"):
        task_names()


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x = 1\n\nbroken = undefined\n", 3, "NameError: name 'undefined'"),
        ("def f(:\n", 1, "SyntaxError"),
        ("\nraise SystemExit(2)\n", 2, "SystemExit: 2"),
        (MINE.replace("x=0.5", "z=0.5"), 12, "UnknownName: no coordinate is called 'z'"),
        (MINE.replace('"push_corner"', '"my corner"'), 8, "InvalidValue: task 'my corner'"),
        (MINE.replace("horizon=200", "horizon=0"), 8, "horizon must be at least 1"),
        (MINE.replace("terms=(", "terms=(1, "), 8, "terms must be a tuple of Term"),
    ],
)
def test_a_broken_file_takes_only_its_own_tasks_away(
    folder: Path, text: str, line: int, reason: str
) -> None:
    (folder / "bad.py").write_text(text)
    (folder / "good.py").write_text(MINE.replace("push_corner", "push_good"))
    with pytest.warns(UserWarning, match=reason) as caught:
        names = task_names()
    assert len(caught) == 1
    assert f"bad.py:{line} could not be loaded" in str(caught[0].message)
    assert "push_good" in names and "push_x" in names and "push_corner" not in names
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one warning is enough
        assert task("push_good").horizon == 200


def test_asking_for_what_a_broken_file_had_names_the_file(folder: Path) -> None:
    (folder / "bad.py").write_text(MINE + "oops\n")
    with pytest.warns(UserWarning), pytest.raises(TaskFileError, match="push_corner.*bad.py:15"):
        task("push_corner")
    with pytest.raises(UnknownName, match=r"push_z.*did you mean.*bad\.py:15 could not be loaded"):
        task("push_z")


@pytest.mark.parametrize("name", ["push_x", "Push_X"])
def test_a_name_defined_twice_names_both_files(folder: Path, name: str) -> None:
    (folder / "mine.py").write_text(MINE.replace("push_corner", name))
    with pytest.raises(TaskFileError, match=r"pusher\.py and .*mine\.py"):
        task_names()


def test_a_refused_folder_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE.replace("push_corner", "push_x"))
    with pytest.raises(TaskFileError, match="push_x"):
        add_tasks(tmp_path)
    assert task("push_x").horizon == 300


def test_what_a_file_only_uses_stays_where_it_is(folder: Path) -> None:
    lines = (
        "from skillkit.envs import domain, task\npusher = domain('pusher')\nbase = task('push_x')\n"
    )
    (folder / "uses.py").write_text(lines + "both = task('push_x+push_y')\n")
    assert task("push_x").file.name == "pusher.py"  # type: ignore[union-attr]
    assert "push_x+push_y" not in task_names()


def test_files_run_once_under_a_private_name(folder: Path) -> None:
    text = "from dataclasses import dataclass\n@dataclass\nclass Row:\n    x: int = 0\n"
    (folder / "private.py").write_text(
        text + "import sys\nsys.runs = getattr(sys, 'runs', 0) + 1\n"
    )
    task_names()
    task_names()
    assert sys.__dict__.pop("runs") == 1
    assert "private" not in sys.modules
    names = [name for name in sys.modules if name.startswith("_skillkit_tasks_")]
    assert sum(name.endswith("_private") for name in names) == 1


def test_source_hash_follows_the_files(folder: Path) -> None:
    (folder / "mine.py").write_text(MINE)
    assert len(task("push_corner").source_hash) == 64
    assert task("push_x").source_hash == task("push_y").source_hash
    assert task("push_x").source_hash != task("point_x").source_hash
    assert task("push_corner").source_hash != task("push_x").source_hash
    assert task("push_x+push_corner").source_hash == task("push_corner").source_hash
    other = folder / "elsewhere" / "mine.py"
    other.parent.mkdir()
    other.write_text(MINE + "# changed\n")
    moved = dataclasses.replace(task("push_corner"), file=other)
    assert moved.source_hash != task("push_corner").source_hash


def test_listing_is_quick_and_loads_no_physics() -> None:
    code = (
        "import sys, skillkit.envs as envs; names = envs.task_names(); "
        "lines = [(envs.task(n).domain, envs.task(n).summary) for n in names]; "
        "print(len(lines), [m for m in ('torch', 'mujoco', 'matplotlib') if m in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split(maxsplit=1)[1].strip() == "[]"
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2  # [s]; usually .2
