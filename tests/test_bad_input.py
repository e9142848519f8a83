"""Wrong input: one sentence that names the culprit and the way out, and nothing stored is lost.

Each row is a command line and pieces of its answer. `Answer.sentence` demands exit code 1 or 2 and
exactly one line on standard error; an exception that is no sentence fails the test.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skillkit.envs import catalog
from skillkit.integrity import write_checksums
from skillkit.skill import load
from skillkit.storage import locked
from skillkit.workflows.train import train
from tests.point_skills import (
    BRIEF,
    ROOT,
    SHORT,
    copy_of_trained,
    good,
    options,
    skillkit,
    snapshot,
)

SMALL = {**SHORT, "sac.hidden": 16, "sac.batch_size": 32}

TASK_FILES = {
    "fails/mistyped.py": "mistyped = Task(\n",
    "fails/lonely.py": "import nothing_of_this_name\nlonely = 1\n",
    "fails/leaves.py": "raise SystemExit(3)  # leaver\n",
    "twice/again.py": """
from skillkit.envs import Task, domain
point = domain("point")
point_x = Task("point_x", point, "mine", (point.distance(x=0),), horizon=9)
""",
    "wrong/wrong.py": """
import numpy as np
from skillkit.envs import Task, Term, domain
point = domain("point")
calls = [0]

def later(now, action, then):
    # NaN after 200 steps of 8 environments, as many as training has
    calls[0] += len(action) == 8
    return now["x"] * np.where(calls[0] > 200, np.nan, 1.0)

def wrong(name, function, **more):
    return Task(name, point, name, (Term(name, function),), horizon=50, **more)

becomes_nan = wrong("becomes_nan", later)
fine = wrong("fine", lambda now, action, then: now["x"])
always_nan = wrong("always_nan", lambda now, action, then: now["x"] * np.nan)
raises = wrong("raises", lambda now, action, then: now["x"] + np.zeros(3))
misreads = wrong("misreads", lambda now, action, then: now["xx"])
scalar = wrong("scalar", lambda now, action, then: 1.0)
mistuned = wrong("mistuned", lambda now, action, then: now["x"], recipe=("sac", {"sac.alhpa": 1}))
unborn = wrong("unborn", lambda now, action, then: now["x"], start=lambda rng: 1 / 0)
""",
}


def line(name: str) -> str:
    """Where the task of that name stands in its file."""
    lines = TASK_FILES["wrong/wrong.py"].splitlines()
    return f"wrong.py:{1 + next(i for i, text in enumerate(lines) if text.startswith(name))}"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of skills that do not go together, which no wrong command may change."""
    folder = copy_of_trained(tmp_path_factory.mktemp("shelf"))
    hidden = {"sac.hidden": (16,)}
    made = train("point_y", settings=SHORT | hidden | {"sac.gamma": 0.9})
    made.save("patient", folder)
    greedy = {"sac.policy": "deterministic", "sac.alpha": 0.0}
    train("point_y", settings=SHORT | hidden | greedy).save("greedy", folder)
    tiny = {"train.steps": 40, "train.warmup": 40, "train.final_episodes": 2}
    train("gym:Pendulum-v1", settings=hidden | tiny).save(registry=folder)
    strange = load("point_y", folder).save("strange", folder).folder
    data = json.loads((strange / "skill.json").read_text())
    data["spec"]["observation"][2]["unit"] = "km/h"
    (strange / "skill.json").write_text(json.dumps(data))
    write_checksums(strange)
    return folder


@pytest.fixture(scope="module")
def task_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    for name, text in TASK_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """Task folders that a command named are forgotten, as when its process ends."""
    yield
    catalog._added.clear()


@pytest.fixture
def desk(
    shelf: Path, task_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Path]:
    """Where a person works, and what the places in a command line stand for."""
    monkeypatch.setenv("SKILLKIT_REGISTRY", str(shelf))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a file")
    (tmp_path / "folder").mkdir()
    return {"tasks": task_files}


TRAIN = [  # what cannot be trained
    ("train", "missing argument 'TASKS...'", "skillkit train --help"),
    ("train point_z", "no task is called 'point_z'", "did you mean point_"),
    ("train push_xz", "'push_xz'", "did you mean push_x"),
    ("train zzz", "'zzz'", "choose from"),
    ("train point_x point_x", "a task comes twice", "name each one once"),
    ("train point_x push_x", "differ in domain (point and push", "cannot be added"),
    ("train point_x gym:Pendulum-v1", "gym:Pendulum-v1 cannot be part of a sum"),
    ("train point_x point_y --name both", "both, does not fit 2 skills", "leave it out"),
    ("train point_x --set sac.alpha_start=0", "sac.alpha_start must be positive"),
    ("train point_x --set explore.hand_over=0.5", "hand_over takes at least 1 step"),
    ("train point_x --algorithm sql --set sql.proposal=mixed", "use sql.proposal=uniform"),
    ("train ''", "cannot read the task ''", "write push_x"),
    ("train point_x+", "cannot read the task", "write push_x"),
    ("train point_x+point_x", "a task comes twice", "give it the sum"),
    ("train point_x+push_x", "differ in domain (point and pusher)"),
    ("train 0.5*point_x+point_y", "give every task a weight, or none"),
    ("train nan*point_x+1*point_y", "weights must be finite"),
    ("train 0*point_x+0*point_y", "not all zero"),
    ("train half*point_x+1*point_y", "the weight 'half' is not a number"),
    ("train gym:HalfCheeta-v5", "no Gymnasium environment", "did you mean gym:HalfCheetah-v5"),
    ("train gym:CartPole-v1", "gym:CartPole-v1", "needs a Box"),
    ("train gym:os:Env-v0", "would import that module", "use gym:Env-v0"),
    ("train point_x --algorithm sca", "no algorithm is called 'sca'", "did you mean sac"),
    ("train point_x --device gpu", "takes auto, cpu or cuda, not 'gpu'"),
    ("train point_x --sed 3", "no option of skillkit train is called '--sed'", "mean --seed"),
    ("train point_x --seed -1", "'--seed'", "-1 is not in the range x>=0", "train --help"),
    ("train point_x --seed x", "'x' is not a valid whole number", "train --help"),
    ("train point_x --seed 9223372036854775808", "a seed is a whole number from 0 to"),
    ("train point_x --seeds 0,x", "'--seeds': 'x' is not a valid whole number", "train --help"),
    ("train point_x --seeds 1,1", "takes seeds that differ, not [1, 1]", "name each one once"),
    ("train point_x --seed 0 --seeds 0,1", "--seed and --seeds exclude each other", "leave one"),
    ("train point_x --seed", "'--seed' requires an argument; see skillkit"),
    ("train point_x --name ../x", "'../x' is not a skill name; use"),
    ("train point_x --name /etc/x", "'/etc/x' is not a skill name; use"),
    ("train point_x --name a--b", "'a--b' is not a skill name; use"),
    ("train point_x --name .hidden", "'.hidden' is not a skill name; use"),
    ("train point_x --name ''", "'' is not a skill name; use"),
    ("train point_x --name Point_X", "differs from 'point_x' only in case; use that name"),
    ("train point_x --resume", "no interrupted run of point_x; leave out --resume"),
    ("train point_x --resume --name other", "no interrupted run of other"),
    ("train point_x --set sac.alpa=1", "no setting is called 'sac.alpa'", "mean sac.alpha"),
    ("train point_x --set steps=1", "no setting is called 'steps'", "mean train.steps"),
    ("train point_x --set distill.updates=1", "no setting is called 'distill.updates'"),
    ("train point_x --set sac.alpha", "--set takes key=value, not 'sac.alpha'"),
    ("train point_x --set =1", "--set takes key=value, not '=1'"),
    ("train point_x --set sac.alpha=hot", "sac.alpha takes a number, not 'hot'"),
    ("train point_x --set sac.alpha=nan", "sac.alpha takes a number, not 'nan'"),
    ("train point_x --set sac.alpha=-1", "sac.alpha must be positive, got -1"),
    ("train point_x --set sac.hidden=64,", "sac.hidden takes a whole number, not ''"),
    ("train point_x --set sac.hidden=0", "every sac size must be positive"),
    ("train point_x --set sac.policy=flow", "no policy is called 'flow'", "gaussian"),
    ("train point_x --set train.steps=many", "train.steps takes a whole number, not 'many'"),
    ("train point_x --set train.steps=0", "must be at least 1"),
    (
        "train point_x --set train.steps=1e18",
        "train.steps takes a whole number up to 1,000,000,000,000",
    ),
    ("train point_x --algorithm ''", "no algorithm is called ''; choose from"),
    ("train point_x --seed 3 --resume", "no interrupted run of point_x.seed3; leave out"),
    ("train point_x --set train.environments=1e12", "not enough memory", "smaller settings"),
    ("train point_x --set sac.critics=1e9", "not enough memory", "smaller settings"),
    ("train point_x --set explore.share=1", "explore.share in [0, 1)"),
]
COMPOSE = [  # what cannot be composed
    ("compose", "missing argument 'SKILLS...'", "skillkit compose --help"),
    ("compose point_x", "at least two skills; name another one"),
    ("compose point_x point_z", "no skill is called 'point_z'", "did you mean point_"),
    ("compose point_x@9 point_y", "no version of point_x is called '9'; choose from 1"),
    ("compose point_x@best point_y", "no alias of point_x is called 'best'"),
    ("compose point_x@../y point_y", "neither a version nor an alias; write name@3"),
    ("compose ../point_x point_y", "'../point_x' is not a skill name; use"),
    ("compose point_x point_x", "point_x is one of the skills composed; name the result"),
    ("compose point_x patient", "their gamma differs, 0.99 against 0.9; train them with"),
    ("compose point_x Pendulum-v1", "their domain differs", "choose skills of one domain"),
    ("compose point_x strange", "their observation differs", "train them with the same"),
    (
        "compose point_x greedy",
        "greedy: a temperature must be positive",
        "train it with alpha above",
    ),
    ("compose point_x point_y --weights 1", "2 skills need 2 weights, one each in order, got 1"),
    ("compose point_x point_y --weights 1,1,1", "2 skills need 2 weights", "got 3"),
    ("compose point_x point_y --weights -1,2", "must not be negative, got -1, 2", "weight 0"),
    ("compose point_x point_y --weights 0,0", "at least one weight must be above zero, got 0, 0"),
    ("compose point_x point_y --weights nan,1", "weights must be finite, got nan, 1"),
    ("compose point_x point_y --weights inf,1", "weights must be finite, got inf, 1"),
    ("compose point_x point_y --weights 1e308,1e308", "weights must have a finite sum"),
    ("compose point_x point_y --weights a,b", "--weights takes comma-separated numbers, not 'a,b'"),
    ("compose point_x point_y --weights ''", "--weights takes comma-separated numbers, not ''"),
    ("compose point_x point_y --temperature 0", "temperature must be positive and finite, got 0"),
    ("compose point_x point_y --temperature -1", "must be positive and finite, got -1"),
    ("compose point_x point_y --temperature nan", "must be positive and finite, got nan"),
    ("compose point_x point_y --temperature x", "'x' is not a valid float; see skillkit compose"),
    ("compose point_x point_y --name ../x", "'../x' is not a skill name; use"),
    ("compose point_x point_y --name point_y", "point_y is one of the skills composed; name"),
    ("compose point_x point_y --name POINT_X", "differs from 'point_x' only in case"),
    ("compose point_x point_y --seed -1", "-1 is not in the range x>=0"),
    ("compose point_x point_y --set distill.updates=0", "every distill size must be positive"),
    ("compose point_x point_y --set sac.alpha=1", "no setting is called 'sac.alpha'; choose from"),
    ("compose point_x point_y --set compose.final_episodes=1", "must be at least 2"),
    ("compose point_x point_y --set distill.policy=deterministic", "has no density; use a gauss"),
]
STACK = [  # what cannot be stacked
    ("stack", "missing argument 'BASE'; see skillkit stack --help"),
    ("stack point_x", "missing option '--task'; see skillkit stack --help"),
    ("stack point_z --task point_y", "no skill is called 'point_z'; did you mean"),
    ("stack point_x --task point_z", "no task is called 'point_z'; did you mean"),
    ("stack point_x --task push_x", "it acts in the domain point", "choose a task of point"),
    ("stack point_x --task gym:Pendulum-v1", "the task is one of gym:Pendulum-v1"),
    ("stack point_x --task point_y --set stack.hold=0", "stack.hold must be at least 1, got 0"),
    ("stack point_x --task point_y --set stack.hold=few", "stack.hold takes a whole number"),
    ("stack point_x --task point_y --set stak.hold=1", "did you mean stack.hold"),
    ("stack point_x --task point_y --name ../x", "'../x' is not a skill name; use"),
    ("stack point_x --task point_y --resume", "there is no interrupted run of point_x/point_y"),
    ("stack point_x --task point_y --algorithm ppo", "no algorithm is called 'ppo'"),
    ("stack point_x --task point_y --registry file", "no skill is called 'point_x'"),
    ("train point_x --set stack.hold=1", "no setting is called 'stack.hold'"),
    ("train point_x --set replay.n_step=0", "replay.n_step must be at least 1, got 0"),
    ("train point_x --set plan.candidates=9", "plan.candidates at least 32"),
    ("train gym:Pendulum-v1 --set plan.every=9", "which that of gym:Pendulum-v1 is not"),
    (
        "train point_x --set plan.every=9",
        "plans are made for sums of tasks, and there is none of point_x",
    ),
    ("stack point_x --task point_y --set plan.every=9", "plan.every is for single layers"),
    ("train point_x --set replay.rewarded_share=2", "replay.rewarded_share must lie in [0, 1]"),
    ("train point_x --set sac.value_scale=0", "sac.value_scale must be positive, got 0"),
]
LOOK = [  # what cannot be looked at, played or drawn
    ("--verson", "no option of skillkit is called '--verson'", "--version"),
    ("trian point_x", "no command is called 'trian'; did you mean train or"),
    ("zzz", "no command is called 'zzz'; choose from alias, compose"),
    ("show", "missing argument 'SKILL'", "skillkit show --help"),
    ("show point_z", "no skill is called 'point_z'", "did you mean"),
    ("show a--b", "'a--b' is not a skill name; use"),
    ("evaluate point_z", "no skill is called 'point_z'", "did you mean"),
    ("evaluate point_x --episodes 0", "0 is not in the range 1<=x<=10000"),
    ("evaluate point_x --episodes -3", "-3 is not in the range"),
    ("evaluate point_x --episodes 1000000000", "1000000000 is not in the range"),
    ("evaluate point_x --episodes few", "'few' is not a valid whole number"),
    ("evaluate point_x --seed -1", "-1 is not in the range x>=0"),
    ("evaluate point_x --task point_z", "no task is called 'point_z'", "did you mean point_"),
    ("evaluate point_x --task push_x", "cannot play push_x", "choose a task of that domain"),
    ("evaluate point_x --task gym:Pendulum-v1", "cannot play gym:Pendulum-v1"),
    ("evaluate point_x --jason", "no option of skillkit evaluate is called '--jason'", "--json"),
    ("evaluate point_x --tasks nowhere", "nowhere is not a folder of task files"),
    ("plot", "missing argument 'SKILLS...'"),
    ("plot point_z", "no skill is called 'point_z'"),
    ("plot point_x --output folder", "'folder' is a directory; see skillkit plot --help"),
    ("plot point_x --output file/figure.png", "file: File exists; choose another"),
    ("plot point_x -o figure.jpg", "figure.jpg is no PNG file; the name of one ends in .png"),
    ("pack point_x -o ''", ".: Is a directory; name a file in it"),
    ("pack point_x -o file/point_x.skill", "file/point_x.skill: File exists; choose another"),
    (f"pack point_x -o {300 * 'x'}", f"{300 * 'x'}: File name too long; choose a shorter name"),
    ("plot point_x --episodes 0", "0 is not in the range"),
    ("plot point_x Pendulum-v1 --episodes 2", "cannot share a figure; draw one domain at a time"),
    ("plot point_x point_y --curve", "--curve draws one skill at a time; name one"),
    ("plot point_x+point_y --curve", "there is no learning curve to draw"),
    ("list --registry nowhere", "there is no registry at", "nowhere", "save a skill there"),
    ("list --registry file", "file is no folder, as a registry is; name another with --registry"),
    ("verify --registry nowhere", "there is no registry at", "nowhere"),
    ("verify point_z", "no skill is called 'point_z'"),
    ("evaluate point_x --registry nowhere", "no skill is called 'point_x'", "no registry at"),
    ("train point_x --registry file", "cannot write to", "file", "--registry DIR"),
    ("compose point_x point_y --registry file", "no skill is called 'point_x'", "is no folder"),
    ("alias point_x", "missing argument 'WORD'", "skillkit alias --help"),
    ("alias point_x 3", "'3' is neither a version nor an alias; write name@3"),
    ("alias point_x v3", "('latest' and 'v3' are taken)"),
    ("alias point_x ../x", "'../x' is neither a version nor an alias"),
    ("alias point_z best", "no skill is called 'point_z'"),
    ("rm point_z", "no skill is called 'point_z'"),
    ("rm point_x@9", "no version of point_x is called '9'; choose from 1"),
    ("rm ../point_x", "is not a skill name"),
]
FILES = [  # a person's own task files that fail
    ("tasks --tasks nowhere", "nowhere is not a folder of task files"),
    ("tasks --tasks file", "file is not a folder of task files"),
    ("train mistyped --tasks {tasks}/fails", "mistyped.py:1 could not be loaded (SyntaxError"),
    ("train lonely --tasks {tasks}/fails", "lonely.py:1 could not be loaded (ModuleNotFoundError"),
    ("train leaver --tasks {tasks}/fails", "leaves.py:1 could not be loaded (SystemExit"),
    ("train nothing_here --tasks {tasks}/fails", "no task is called 'nothing_here'"),
    ("tasks --tasks {tasks}/twice", "two tasks are called 'point_x'", "again.py; rename one"),
    (
        "train always_nan --tasks {tasks}/wrong",
        "always_nan: the reward of sub-environment 0 is not",
    ),
    (
        "train raises --tasks {tasks}/wrong",
        f"{line('raises')} failed (ValueError",
        "correct that task",
    ),
    ("train misreads --tasks {tasks}/wrong", "no observation entry is called 'xx'; did you mean x"),
    ("train scalar --tasks {tasks}/wrong", "must give one number per transition"),
    ("train mistuned --tasks {tasks}/wrong", "no setting is called 'sac.alhpa'", "sac.alpha"),
    ("train unborn --tasks {tasks}/wrong", f"{line('unborn')} failed (ZeroDivisionError"),
    ("evaluate point_x --task always_nan --tasks {tasks}/wrong", "reward", "is not finite"),
    (
        "evaluate point_x --task raises --tasks {tasks}/wrong",
        f"{line('raises')} failed (ValueError",
    ),
]


@pytest.mark.parametrize(
    "row", [*TRAIN, *COMPOSE, *STACK, *LOOK, *FILES], ids=lambda row: row[0].replace("{tasks}/", "")
)
def test_one_sentence_and_nothing_lost(
    row: tuple[str, ...], desk: dict[str, Path], shelf: Path
) -> None:
    command, *pieces = row
    before = snapshot(shelf)
    answer = skillkit(*shlex.split(command.format(**desk)))
    for piece in pieces:
        assert piece in answer.sentence
    assert len(answer.err.splitlines()) == 1  # found out before the work, not after it
    assert snapshot(shelf) == before
    assert not list((shelf / ".runs").glob("*/*"))  # nor does a run remain that never began


def test_a_failing_task_file_takes_only_its_own_tasks_away(
    desk: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKILLKIT_TASKS", str(desk["tasks"] / "fails"))
    good("evaluate", "point_x", "--episodes", 2)
    monkeypatch.setenv("SKILLKIT_TASKS", "nowhere")
    sentence = skillkit("evaluate", "point_x", "--episodes", 2).sentence
    assert sentence == "$SKILLKIT_TASKS names nowhere, which is not a folder"


def test_evaluating_asks_for_a_task_file_that_is_gone(
    desk: dict[str, Path], registry_folder: Path
) -> None:
    from skillkit.envs import add_tasks

    add_tasks(desk["tasks"] / "wrong")
    where = ["--registry", registry_folder]
    good("train", "fine", "--set=train.steps=100", "--set=train.warmup=100", *where)
    catalog._added.clear()
    good("show", "fine", *where)
    good("evaluate", "fine", "--task", "point_x", "--episodes", 2, *where)
    for command in ("evaluate", "plot"):
        assert skillkit(command, "fine", *where).sentence == (
            "no task file here declares fine, which fine was made for; "
            "name its folder with --tasks DIR, or another task with --task"
        )


# ---------------------------------------------------------------------------------- NaN, Ctrl-C


def test_a_nan_from_an_environment_keeps_the_last_checkpoint(
    desk: dict[str, Path], registry_folder: Path
) -> None:
    line = ["train", "becomes_nan", "--tasks", desk["tasks"] / "wrong", *options(SMALL)]
    line += ["--registry", registry_folder, "--checkpoint-every", 0, "--set=train.steps=4000"]
    sentence = skillkit(*line).sentence
    assert "task becomes_nan: the reward of sub-environment 0 is not finite after" in sentence
    state = registry_folder / ".runs/becomes_nan/checkpoint/state.json"
    assert json.loads(state.read_text())["collector"]["steps"] == 1_000
    assert snapshot(registry_folder) == {}


def test_a_diverging_loss_keeps_the_last_checkpoint(registry_folder: Path) -> None:
    line = ["train", "point_x", *options(SMALL), "--checkpoint-every", 0]
    line += ["--set=train.warmup=1200", "--set=train.steps=8000"]
    assert skillkit(*line, "--set=sac.learning_rate=1e30").sentence
    assert (registry_folder / ".runs/point_x/checkpoint").is_dir()
    found = skillkit(*line, "--resume", "--set=train.steps=2400")
    assert found.code == 0 and not (registry_folder / ".runs/point_x").exists()


@pytest.mark.parametrize("command", ["evaluate", "plot"])
def test_ctrl_c_is_no_traceback(
    command: str, desk: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("skillkit.evaluation.make", stop)
    assert skillkit(command, "point_x").sentence == "stopped; nothing was saved"
    assert not list(Path().glob("*.png"))


def test_a_run_of_another_process_is_left_alone(registry_folder: Path) -> None:
    run = registry_folder / ".runs/point_x"
    with locked(run):
        sentence = skillkit("train", "point_x", *options(SMALL)).sentence
    assert f"is in use by process {os.getpid()}; wait for it, stop it" in sentence
    assert (run / "lock").exists()


# --------------------------------------------------------------- damaged, tampered, foreign skills

DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": lambda path: path.write_bytes(
        bytes([(data := path.read_bytes())[0] ^ 1]) + data[1:]
    ),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "deleted": lambda path: path.unlink(),
    "garbage": lambda path: path.write_bytes(bytes(range(256))),
    "linked": lambda path: (path.rename(path.parent.parent / "aside"), path.symlink_to("../aside")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}  # fmt: skip
FILES_OF_A_SKILL = (
    "skill.json",
    "policy.safetensors",
    "q.safetensors",
    "probe.safetensors",
    "replay/00000.safetensors",
    "metrics.jsonl",
    "README.md",
    "figure.png",
    "SHA256SUMS",
)
COMMANDS = (
    "show point_x",
    "evaluate point_x --episodes 2",
    "compose point_x point_y",
    "plot point_x --curve",
)


@pytest.fixture
def mine(registry_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return copy_of_trained(registry_folder)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES_OF_A_SKILL)
def test_every_damage_is_found_by_every_command(mine: Path, name: str, damage: str) -> None:
    folder = mine / "point_x" / "v1"
    DAMAGE[damage](folder / name)
    before = snapshot(mine)
    for command in COMMANDS:
        sentence = skillkit(*shlex.split(command)).sentence
        assert str(folder) in sentence, sentence
    assert skillkit("verify").sentence.endswith("these are damaged: point_x@1")
    good("list")
    assert snapshot(mine) == before


FOREIGN: dict[str, Callable[[Path], object]] = {
    "empty": lambda folder: [path.unlink() for path in folder.rglob("*") if path.is_file()],
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_text("no folder")),
    "a link": lambda folder: (folder.rename(folder.parent / "w1"), folder.symlink_to("w1")),
    "more": lambda folder: (folder / "run_me.py").write_text("print('hello')"),
    "hidden": lambda folder: (folder / ".hidden").touch(),
    "sums of others": lambda folder: shutil.copy(
        folder.parents[1] / "point_y/v1/SHA256SUMS", folder
    ),
    "sums twice": lambda folder: (folder / "SHA256SUMS").write_text(
        2 * (folder / "SHA256SUMS").read_text()
    ),
    "sums upwards": lambda folder: (folder / "SHA256SUMS").open("a").write(f"{'0' * 64}  ../x\n"),
    "other manifest": lambda folder: (folder / "skill.json").write_text("{}"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_what_is_no_skill_of_ours_is_found_by_every_command(mine: Path, case: str) -> None:
    folder = mine / "point_x" / "v1"
    FOREIGN[case](folder)
    for command in COMMANDS:
        sentence = skillkit(*shlex.split(command)).sentence
        assert str(folder) in sentence, sentence
    good("list")
    good("rm", "point_x")
    assert not folder.exists() and not folder.is_symlink()


@pytest.mark.parametrize("part", ["policy", "q"])
def test_a_policy_or_q_function_that_was_exchanged_does_not_compose(mine: Path, part: str) -> None:
    """Checksums made anew: what is left is the probe."""
    folder = mine / "point_x" / "v1"
    shutil.copy(mine / "point_y/v1" / f"{part}.safetensors", folder)
    write_checksums(folder)
    before = snapshot(mine)
    sentence = skillkit("compose", "point_x", "point_y", *options(BRIEF)).sentence
    assert "probe.safetensors does not fit its skill: point_x no longer gives the" in sentence
    assert snapshot(mine) == before


# -------------------------------------------------------------- disks that are full or read-only

ENOSPC = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["write_bytes", "write_text", "mkdir"])
def test_a_full_disk_stores_nothing(mine: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    before = snapshot(mine)
    really = getattr(Path, call)

    def full(path: Path, *arguments: Any, **options: Any) -> Any:
        if "skill" in path.parts[-2:] or path.name.startswith("v"):
            raise ENOSPC
        return really(path, *arguments, **options)

    monkeypatch.setattr(Path, call, full)
    sentence = skillkit("compose", "point_x", "point_y", *options(BRIEF)).sentence
    assert "the disk is full, nothing was stored; free some space" in sentence
    monkeypatch.undo()
    assert snapshot(mine) == before


DISKS = """
import json, os, subprocess, sys
from tests.point_skills import SHORT, options, skillkit, snapshot
from pathlib import Path

def disk(*options):
    subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", "disk"], check=True)

def train(*more):
    few = SHORT | {"train.steps": 1_000}  # the first checkpoint
    found = skillkit("train", "point_x", "--registry", "disk", *options(few), *more)
    left = sorted(snapshot(Path("disk"))), os.path.exists("disk/.runs/point_x")
    return found.code, found.err, *left

Path("disk").mkdir()
answers = []
disk("-o", "size=128k")
answers += [train("--checkpoint-every", "0"), train()]
disk("-o", "ro")
answers += [train()]
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_real_disks_that_are_full_or_read_only(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no private mounts on this machine")
    result = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", DISKS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    checkpoint, save, read_only = json.loads(result.stdout)
    for code, errors, stored, run in (checkpoint, save, read_only):
        assert code == 1 and "Traceback" not in errors
        assert stored == [] and not run
    assert "checkpoint" in checkpoint[1] and "free some space and train again" in checkpoint[1]
    assert "the disk is full, nothing was stored; free some space" in save[1]
    assert "Read-only file system; name another registry with --registry DIR" in read_only[1]
