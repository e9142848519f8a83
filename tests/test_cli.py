"""Commands as a person types them, and what they answer."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import pytest

import skillkit
from skillkit.cli import main
from skillkit.console import Progress
from skillkit.registry import Registry
from skillkit.skill import load
from tests.point_skills import (
    BRIEF,
    ROOT,
    SHORT,
    Answer,
    copy_of_trained,
    good,
    options,
    process,
    snapshot,
)
from tests.point_skills import skillkit as answer

SMALL = options({**SHORT, "sac.hidden": 16, "sac.batch_size": 32})
COMMANDS = (
    "alias",
    "compose",
    "copy",
    "diff",
    "evaluate",
    "export",
    "gc",
    "import",
    "lineage",
    "list",
    "pack",
    "play",
    "plot",
    "pull",
    "push",
    "rename",
    "report",
    "rm",
    "show",
    "stack",
    "tag",
    "tasks",
    "train",
    "unpack",
    "verify",
)


@pytest.fixture
def mine(registry_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The small skills in a registry of the test's own; figures land in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return copy_of_trained(registry_folder)


def rows(text: str) -> list[list[str]]:
    """The cells of a printed table, row by row."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines() if line.strip()]


def evaluation(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(good("evaluate", *arguments, "--json"))
    return found


# ------------------------------------------------------------------------------------ finding help


def test_help_names_every_command() -> None:
    text = good("--help")
    assert set(main.commands) == set(COMMANDS)
    assert all(re.search(rf"^  {command}  +\S", text, re.MULTILINE) for command in COMMANDS)
    assert good("-h") == text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_explains_itself(command: str) -> None:
    assert good(command, "--help").startswith(f"Usage: skillkit {command} ")
    for parameter in main.commands[command].params:
        if parameter.param_type_name == "option" and parameter.name != "episodes":
            assert getattr(parameter, "help", ""), f"{command} --{parameter.name} has no help"


def test_without_a_command_there_is_help() -> None:
    found = answer()
    assert "Usage: skillkit" in found.out + found.err and found.code in (0, 2)


def test_the_version_is_the_package_s() -> None:
    assert good("--version") == f"skillkit {skillkit.__version__}\n"


def test_a_checkout_needs_no_installation(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "cli.py"), "tasks"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0 and "point_x" in result.stdout and result.stderr == ""


def test_tasks_are_listed_by_domain(tmp_path: Path) -> None:
    found = rows(good("tasks"))
    assert found[0] == ["domain", "task", "what it is"]
    assert ["point", "point_x", "reach x = 1 m"] in found
    assert {"push_x", "push_y", "push_xy"} < {cell for row in found for cell in row}


def test_what_people_write_is_not_markup(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "from skillkit.envs import Task, domain\n"
        "point = domain('point')\n"
        "odd_task = Task('odd_task', point, '[/bold] [red]as :smile: it is', "
        "(point.distance(x=0),), horizon=9)\n"
    )
    assert "[/bold] [red]as :smile: it is" in good("tasks", "--tasks", tmp_path)


# -------------------------------------------------------------------------------------- training


def test_train_saves_the_next_version(registry_folder: Path) -> None:
    text = good("train", "point_x", *SMALL)
    folder = registry_folder / "point_x" / "v1"
    lines = text.splitlines()
    assert re.fullmatch(r"saved point_x@1: return -?[\d.]+, distance [\d.]+", lines[0])
    assert lines[1] == f"card and figure: {folder}"
    assert {"README.md", "figure.png", "skill.json"} <= {path.name for path in folder.iterdir()}
    assert list((registry_folder / ".runs").iterdir()) == [registry_folder / ".runs/.gitignore"]
    assert good("train", "point_x", *SMALL, "--seed", 3).startswith("saved point_x@2")
    assert load("point_x").manifest.seed == 3


def test_settings_of_the_command_line_win_over_the_recipe(registry_folder: Path) -> None:
    good(
        "train",
        "point_x",
        *SMALL,
        "--set",
        "sac.alpha=0.3",
        "--set",
        "sac.hidden=8,9",
        "--name",
        "a/b",
    )
    found = load("a/b")
    assert found.alpha == pytest.approx(0.3)
    assert found.manifest.config["sac"]["hidden"] == [8, 9]
    assert found.manifest.config["sac"]["learning_rate"] == 1e-3  # the recipe's
    assert (registry_folder / "a--b" / "v1").is_dir()


def test_progress_goes_to_standard_error(registry_folder: Path) -> None:
    found = answer("train", "point_x", *SMALL)
    assert "1,000/1,600 environment steps" in found.err
    assert "environment steps" not in found.out


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("point_x+point_y", "point_x+point_y.direct"),
        ("0.7*point_x+0.3*point_y", "0.7point_x+0.3point_y.direct"),
    ],
)
def test_a_sum_trained_directly_says_so_and_is_compared(mine: Path, task: str, name: str) -> None:
    assert good("train", task, *SMALL).startswith(f"saved {name}@1")
    weights = ["--weights", "0.7,0.3"] if "*" in task else []
    text = good("compose", "point_x", "point_y", *weights, *options(BRIEF))
    assert name in [row[0] for row in rows(text)]


def test_a_gymnasium_id_is_trained_played_and_not_mixed(mine: Path) -> None:
    sizes = {"train.steps": 300, "train.warmup": 200, "train.final_episodes": 2, "sac.hidden": 8}
    text = good("train", "gym:Pendulum-v1", *options(SHORT | sizes))
    assert text.startswith("saved Pendulum-v1@1: return ") and "distance" not in text
    found = evaluation("Pendulum-v1", "--episodes", 2)
    assert found["task"] == "gym:Pendulum-v1" and "final_distance" not in found
    good("plot", "Pendulum-v1", "--episodes", 2)
    refused = answer("compose", "point_x", "Pendulum-v1").sentence
    assert "domain differs, point against gym:Pendulum-v1; choose skills of one domain" in refused
    refused = answer("train", "gym:Pendulum-v1+gym:HalfCheetah-v5").sentence
    assert "cannot be part of a sum: its reward is known to its environment only" in refused


LONG = options({**SHORT, "train.steps": 30_000, "train.update_every": 48, "sac.hidden": 16})


def until_progress(command: subprocess.Popen[str]) -> None:
    """Wait for the first line of progress."""
    assert command.stderr is not None
    for line in command.stderr:
        if line[0].isdigit():
            return
    raise AssertionError("it ended before it made progress")


def stopped(*arguments: object) -> Answer:
    """What a command answers to Ctrl-C at its first line of progress, here in this process."""
    shown = Progress.__call__

    def stop(progress: Progress, event: Mapping[str, Any]) -> None:
        before = progress.tenth
        shown(progress, event)
        if before == 0 < progress.tenth:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "__call__", stop)
        return answer(*arguments)


@pytest.mark.slow
def test_ctrl_c_keeps_the_run_and_resume_ends_it(mine: Path) -> None:
    running = process("train", "point_x", *LONG)
    until_progress(running)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 1
    assert errors.splitlines()[-1] == "Error: stopped; the run was saved, continue it with --resume"
    assert "Traceback" not in errors
    state = json.loads((mine / ".runs/point_x/checkpoint/state.json").read_text())
    steps = state["collector"]["steps"]
    assert load("point_x").reference == "point_x@1" and 3_000 <= steps < 30_000

    other = answer("train", "point_x", "--resume", *LONG, "--set=explore.correlation=0.5")
    assert "has explore.correlation 0.0, not 0.5" in other.sentence
    beside = answer("train", "point_x", "--resume", *LONG, "--seed", 1)
    assert "no interrupted run of point_x.seed1" in beside.sentence
    shorter = [*LONG, f"--set=train.steps={steps + 1_000}"]
    found = answer("train", "point_x", "--resume", *shorter)
    assert found.code == 0 and found.out.startswith("saved point_x@2")
    assert load("point_x").metrics["steps"] == steps + 1_000
    shown = [int(line.split("/")[0].replace(",", "")) for line in found.err.splitlines() if line]
    assert shown and min(shown) > steps
    assert not (mine / ".runs/point_x").exists()
    assert "no interrupted run of point_x" in answer("train", "point_x", "--resume").sentence


def test_a_run_that_begins_anew_says_so(mine: Path) -> None:
    (mine / ".runs/point_x/checkpoint").mkdir(parents=True)
    found = answer("train", "point_x", *SMALL)
    assert found.code == 0
    assert "this begins point_x anew; --resume continues the interrupted run" in found.err
    assert not (mine / ".runs/point_x").exists()


# -------------------------------------------------------------------------------------- stacking


def test_a_stack_of_three_layers(mine: Path) -> None:
    """Each is a base of the next; what is said of it comes from its own files."""
    assert good("stack", "point_x", "--task", "point_y", *SMALL).startswith(
        "saved point_x/point_y@1: return "
    )
    text = good("stack", "point_x/point_y@1", "--task", "point_x", "--name", "three", *SMALL)
    assert text.startswith("saved three@1: ")
    good("rm", "point_x@1")
    shown = {row[0]: row[1] for row in rows(good("show", "three")) if len(row) == 2}
    assert shown["made by"].startswith("stacked, sac, seed 0, ")
    assert shown["parents"] == "point_x/point_y@1"
    assert shown["layer 0"] == "point_x@1: point_x, sac, 1,600 steps"
    held = "each latent held for 3 environment steps"
    assert re.fullmatch(
        rf"point_x/point_y@1: point_y, sac, 1,6\d\d steps, {held}", shown["layer 1"]
    )
    held = "each latent held for 1 decision of layer 1"
    assert re.fullmatch(rf"this skill: point_x, sac, 1,6\d\d steps, {held}", shown["layer 2"])
    for more in ([], ["--sample"]):
        assert evaluation("three", "--episodes", 3, *more)["task"] == "point_x"
    good("plot", "three", "--episodes", 3)


def test_an_interrupted_stack_goes_on(mine: Path) -> None:
    command = ["point_x", "--task", "point_y", *LONG]
    assert stopped("stack", *command).sentence.startswith("stopped; the run was saved")
    state = json.loads((mine / ".runs/point_x--point_y/checkpoint/state.json").read_text())
    assert (
        "stack.hold 3, not 2"
        in answer("stack", *command, "--resume", "--set=stack.hold=2").sentence
    )
    shorter = [*command, f"--set=train.steps={state['collector']['steps'] + 1_000}"]
    found = answer("stack", *shorter, "--resume")
    assert found.code == 0 and found.out.startswith("saved point_x/point_y@1")
    assert load("point_x/point_y").metrics["steps"] >= state["collector"]["steps"] + 1_000
    assert not (mine / ".runs/point_x--point_y").exists()


# ------------------------------------------------------------------------------------- composing


def test_compose_reports_what_it_did(mine: Path) -> None:
    text = good("compose", "point_x", "point_y", *options(BRIEF))
    found = rows(text)
    assert found[0] == ["in point_x+point_y"]
    assert [row[0] for row in found[1:6] if len(row) == 3] == [
        "skill", "point_x", "point_y", "point_x+point_y",
    ]  # fmt: skip
    assert re.search(r"^40 updates in [\d.]+ s, 0 environment steps$", text, re.MULTILINE)
    assert "disagreement of the skills: " in text and "candidates that count: " in text
    assert "visited states that the replay covers: " in text and "F^pi, to the value of" in text
    assert "saved point_x+point_y@2" in text


def test_compose_with_weights_name_and_temperature(mine: Path) -> None:
    text = good("compose", "point_x", "point_y", "--weights", "0.7,0.3", "--name", "corner",
                "--temperature", 0.02, *options(BRIEF))  # fmt: skip
    assert "saved corner@1" in text and "not an upper bound of the optimal Q-function" in text
    found = load("corner")
    assert (found.task, found.alpha) == ("0.7*point_x+0.3*point_y", 0.02)
    made = "compose point_x@1 point_y@1 --weights 0.7,0.3 --temperature 0.02 --name corner"
    assert f"skillkit {made}" in found.card


def test_a_composed_skill_composes_again_and_three_do(mine: Path) -> None:
    good("train", "point_roam", *SMALL)
    assert "saved again@1" in good(
        "compose", "point_x+point_y", "point_roam", "--name", "again", *options(BRIEF)
    )
    assert "saved point_x+point_y+point_roam@1" in good(
        "compose", "point_x", "point_y@1", "point_roam", *options(BRIEF)
    )
    assert load("again").task == "0.25*point_x+0.25*point_y+0.5*point_roam"


def test_the_same_commands_make_the_same_files(mine: Path, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        good("compose", "point_x", "point_y", *options(BRIEF), "--name", folder, "--seed", 5)
    one, two = (load(name).folder for name in ("one", "two"))
    for name in ("policy", "q", "probe", "replay/00000"):
        files = [folder / f"{name}.safetensors" for folder in (one, two)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_ctrl_c_while_composing_saves_nothing(mine: Path) -> None:
    before = snapshot(mine)
    long = options(BRIEF | {"distill.updates": 1_000, "distill.batch_size": 16})
    found = stopped("compose", "point_x", "point_y", *long)
    assert found.sentence == "stopped; nothing was saved" and found.out == ""
    assert snapshot(mine) == before


# --------------------------------------------------------------------------------------- looking


def test_list_shows_the_latest_of_each(mine: Path) -> None:
    load("point_x").save()
    found = {row[0]: row for row in rows(good("list"))}
    assert found["point_x"][1:5] == ["2", "point_x", "trained, sac", "0.1"]
    assert found["point_x+point_y"][1:4] == ["1", "point_x+point_y", "composed, distill"]
    assert found["point_x"][-1] == "yours"


def test_list_shows_damage_and_goes_on(mine: Path) -> None:
    (mine / "point_x/v1/skill.json").write_text("{")
    text = good("list")
    assert "damaged: " in text and "point_y" in text


def test_an_empty_registry_says_how_to_fill_it(
    registry_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skillkit.registry.shipped_folder", lambda: registry_folder / "nothing")
    assert good("list") == "there are no skills yet; skillkit train TASK makes one\n"


def test_the_search_path(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKILLKIT_REGISTRY")
    assert "point_x+point_y" not in [row[0] for row in rows(good("list")) if "shipped" not in row]
    good("train", "point_x", *SMALL)  # into ./.skillkit, made on first save and ignored by git
    assert (tmp_path / ".skillkit/point_x/v1").is_dir()
    assert (tmp_path / ".skillkit/.gitignore").read_text() == "*\n"
    assert "point_x+point_y" in good("list", "--registry", mine)


def test_show_tells_everything(mine: Path) -> None:
    good("alias", "point_x+point_y", "best")
    found = {row[0]: row[1] for row in rows(good("show", "point_x+point_y@best")) if len(row) == 2}
    assert found["skill"] == "point_x+point_y, version 1 of 1"
    assert found["task"] == "point_x+point_y, domain point"
    assert found["parents"] == "0.5 x point_x@1 + 0.5 x point_y@1"
    assert found["alpha"] == "0.1 r/nat" and found["gamma"] == "0.99 per 0.1 s"
    assert found["replay"] == "3,200 transitions in 64 episodes"
    assert found["aliases"] == "best" and found["origin"].startswith("yours, ")
    assert found["size"].endswith(" MB") and found["interactions"] == "0"
    assert {"evaluation, return", "evaluation, final distance", "seconds"} <= found.keys()


def test_a_stranger_s_metrics_are_shown_as_far_as_they_make_sense(mine: Path) -> None:
    from skillkit.integrity import write_checksums

    folder = mine / "point_x/v1"
    data = json.loads((folder / "skill.json").read_text())
    odd = {"return": {"mean": "high", "std": [1]}, "final_distance": 3, "length": None}
    data["metrics"] = {"evaluation": odd, "steps": [1, [2]], "[red]": "[/x]"}
    (folder / "skill.json").write_text(json.dumps(data))
    write_checksums(folder)
    text = good("list") + good("show", "point_x")
    assert "high ± [1]" in text and "[/x]" in text


# ------------------------------------------------------------------------------------- evaluating


def test_json_is_one_object(mine: Path) -> None:
    found = evaluation("point_x+point_y", "--episodes", 5, "--seed", 3)
    assert list(found)[:4] == ["task", "skill", "episodes", "seed"]
    assert [found[key] for key in list(found)[:4]] == ["point_x+point_y", "point_x+point_y", 5, 3]
    metrics = {key: found[key] for key in list(found)[4:]}
    assert set(metrics) == {"return", "length", "final_distance", "success"}
    for row in metrics.values():
        assert set(row) == {"mean", "std", "low", "high"}
        assert row["low"] <= row["mean"] <= row["high"] and row["std"] >= 0
    assert answer("evaluate", "point_x", "--episodes", 2, "--json").err == ""


def test_a_seed_gives_the_same_numbers(mine: Path) -> None:
    few = ["--episodes", 4]
    first = evaluation("point_x", *few)
    assert first["seed"] == 7 and evaluation("point_x", *few, "--seed", 7) == first
    assert evaluation("point_x", *few, "--seed", 8)["return"] != first["return"]
    sampled = evaluation("point_x", *few, "--sample")
    assert sampled["return"] != first["return"]
    assert evaluation("point_x", *few, "--sample") == sampled


def test_a_skill_plays_another_task_of_its_domain(mine: Path) -> None:
    few = ["--episodes", 4]
    own, other = evaluation("point_x", *few), evaluation("point_x", *few, "--task", "point_y")
    assert (own["task"], other["task"]) == ("point_x", "point_y")
    assert own["final_distance"] != other["final_distance"]
    assert "success" not in evaluation("point_x", *few, "--task", "point_roam")


def test_evaluate_prints_a_table(mine: Path) -> None:
    text = good("evaluate", "point_x@1", "--episodes", 4)
    assert text.startswith("point_x@1 in point_x, 4 episodes, seed 7\n")
    assert [row[0] for row in rows(text)[1:] if len(row) == 4] == [
        "metric", "return", "length", "final_distance", "success",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["point_x", "point_x+point_y"], "point_x_point_x+point_y.png"),
        (["point_x", "--task", "point_y", "--output", "new/figure.png"], "new/figure.png"),
        (["point_x", "--curve"], "point_x.curve.png"),
    ],
)
def test_plot_writes_a_picture(mine: Path, arguments: list[str], file: str) -> None:
    assert good("plot", *arguments, "--episodes", 3) == f"figure: {file}\n"
    assert Path(file).read_bytes().startswith(b"\x89PNG")


def test_a_plot_says_where_fixed_latents_lead(mine: Path) -> None:
    told = good("plot", "point_x", "--task", "point_roam", "--episodes", 3)
    words, file = told.splitlines()
    assert words.startswith("3 fixed latents, 10 s each: median displacement ")
    assert file == "figure: point_x.png" and Path("point_x.png").read_bytes()[:4] == b"\x89PNG"


def test_a_task_with_a_landscape_is_drawn_in_it_and_its_outcomes_counted(
    registry_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    good("train", "multigoal", "--algorithm", "sac", *SMALL)
    found = evaluation("multigoal", "--sample", "--episodes", 6)
    goals = [found[key]["mean"] for key in found if key.startswith("goal_")]
    assert len(goals) == 4 and sum(goals) == pytest.approx(found["success"]["mean"])
    assert good("plot", "multigoal", "--episodes", 6) == "figure: multigoal.png\n"
    tall, card = Path("multigoal.png"), registry_folder / "multigoal/v1/figure.png"
    load("multigoal").save("other")  # several are compared by where their episodes end
    good("plot", "multigoal", "other", "--episodes", 3, "--output", "both.png")
    heights = [int.from_bytes(file.read_bytes()[20:24], "big")
               for file in (tall, card, Path("both.png"))]  # fmt: skip
    assert heights[0] == heights[1] > 1300 > heights[2]


# ----------------------------------------------------------------------------------------- upkeep


def test_alias_and_rm(mine: Path) -> None:
    load("point_y").save("point_x")
    assert good("alias", "point_x@1", "best") == "point_x@best is version 1\n"
    assert load("point_x@best").reference == "point_x@1"
    assert good("rm", "point_x") == "removed point_x, version 2\n"
    assert good("rm", "point_x@best") == (
        "removed point_x, version 1\n"
        "it was a parent of point_x+point_y@1, which still work without it\n"
    )
    assert "no skill is called 'point_x'" in answer("show", "point_x").sentence
    load("point_x+point_y").controller()
    assert load("point_y").save("point_x").reference == "point_x@3"  # a number is never used again


def test_a_damaged_skill_can_be_removed(mine: Path) -> None:
    (mine / "point_x/v1/SHA256SUMS").unlink()
    assert good("rm", "point_x") == "removed point_x, version 1\n"


def test_verify_checks_all_or_some(mine: Path) -> None:
    count = len(list(Registry().entries()))
    assert good("verify") == f"{count} versions are as they were saved\n"
    (mine / "point_x/v1/README.md").write_text("better now")
    assert good("verify", "point_y") == "1 version is as it was saved\n"
    found = answer("verify")
    assert found.sentence == f"of {count} versions these are damaged: point_x@1"
    assert "README.md was changed after it was saved" in found.out


def test_nobody_reads_the_answer(mine: Path) -> None:
    """`skillkit list | head -0`: no traceback."""
    running = process("list")
    assert running.stdout is not None and running.stderr is not None
    running.stdout.close()
    assert running.stderr.read() == ""
    assert running.wait(30) in (0, 1)


# ------------------------------------------------------------------------------- warnings, Python


def test_a_task_file_that_fails_is_one_plain_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    found = answer("tasks", "--tasks", tmp_path)
    assert found.code == 0 and "push_x" in found.out
    assert found.err == (
        f"Warning: {tmp_path}/broken.py:1 could not be loaded (ModuleNotFoundError: No module "
        "named 'nothing_of_this_name'); its tasks are left out\n"
    )


def test_it_does_so_in_a_process_of_its_own_too(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    out, errors = process("tasks", SKILLKIT_TASKS=str(tmp_path)).communicate(timeout=60)
    assert "push_x" in out
    assert re.fullmatch(r"Warning: \S+broken.py:1 could not be loaded .* left out\n", errors)


def test_the_library_in_ten_lines(mine: Path) -> None:
    skill = skillkit.load("point_x+point_y")
    control = skill.controller(deterministic=True)
    env = gymnasium.make("skillkit.envs:skillkit/Task-v0", task="point_x+point_y")
    obs, _ = env.reset(seed=0)
    control.reset()
    total, truncated = 0.0, False
    while not truncated:
        obs, reward, _, truncated, _ = env.step(control(obs))
        total += float(reward)
    assert total < 0
    skill = skillkit.train("point_x", settings=SHORT)
    skill = skillkit.compose([skill, "point_y"], settings=BRIEF)
    assert skill.save().reference == "point_x+point_y@2"
    assert skillkit.Registry().find("point_x+point_y").version == 2


@pytest.mark.slow
def test_two_skills_trained_by_their_recipes_compose(mine: Path) -> None:
    """The main job on the lesson's domain: each parent reaches a line, their sum the corner."""
    for task in ("point_x", "point_y"):
        good("train", task, "--seed", 1)
    good("compose", "point_x", "point_y")
    distances = {
        name: evaluation(name, "--task", "point_x+point_y")["final_distance"]["mean"]
        for name in ("point_x", "point_y", "point_x+point_y")
    }
    composed = distances.pop("point_x+point_y")
    assert composed < 0.15 and composed < min(distances.values()) / 3
