"""A run on disk: what was saved is what is loaded, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from skillkit.envs import task
from skillkit.errors import InvalidValue, NonFinite, RunConflict
from skillkit.workflows.recipes import configure
from skillkit.workflows.run import Run
from tests.point_skills import SHORT

SETTINGS = {
    **SHORT,
    "sac.hidden": (8,),
    "sac.batch_size": 16,
    "sac.alpha": 0.1,
    "sac.learning_rate": 1e-3,
    "train.replay_capacity": 200,
}


def run(expression: str = "point_x", seed: int = 0, **changes: Any) -> Run:
    settings = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    return Run([task(expression)], "sac", configure("sac", settings), seed, "cpu")


def advance(one: Run, steps: int) -> None:
    """Collect, and learn once per step."""
    for _ in range(steps):
        one.collector.step([one.trainees[0].learner.policy])
        trainee = one.trainees[0]
        trainee.update(trainee.batch(one.replay, one.sampler))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run after 240 environment steps, more than its replay holds."""
    folder = tmp_path_factory.mktemp("checkpoint")
    one = run()
    advance(one, 30)
    one.owed = 0.5
    one.trainees[0].curve.append({"step": 100, "return": -1.0})
    one.save(folder)
    return folder


def test_everything_comes_back(saved: Path, tmp_path: Path) -> None:
    one = run()
    one.load(saved)
    assert (one.collector.steps, one.owed) == (240, 0.5)
    assert one.trainees[0].curve == [{"step": 100, "return": -1.0}]
    assert one.seconds > json.loads((saved / "state.json").read_text())["seconds"]
    one.save(tmp_path)
    for name in ("learner0", "replay", "replay/000000000000"):
        before, after = (load_file(f / f"{name}.safetensors") for f in (saved, tmp_path))
        assert before.keys() == after.keys()
        for key in before:
            torch.testing.assert_close(after[key], before[key], rtol=0, atol=0)
    before, after = (json.loads((f / "state.json").read_text()) for f in (saved, tmp_path))
    assert before.pop("seconds") < after.pop("seconds") and before == after


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"expression": "point_y"}, "has task 'point_x', not 'point_y'"),
        ({"seed": 1}, "has seed 0, not 1"),
        ({"sac__hidden": (9,)}, r"has sac.hidden \[8\], not \[9\]"),
        ({"sac__critics": 1}, "has sac.critics 2, not 1"),
        ({"sac__gamma": 0.9}, "has sac.gamma 0.99, not 0.9"),
        ({"sac__alpha": 0.5}, "has sac.alpha 0.1, not 0.5"),
        ({"sac__automatic_alpha": True}, "has sac.automatic_alpha False, not True"),
        ({"train__environments": 3}, "has train.environments 8, not 3"),
        ({"train__warmup": 9_000}, "has train.warmup [0-9]+, not 9000"),
        ({"train__update_every": 3}, "has train.update_every 12, not 3"),
        ({"train__replay_capacity": 300}, "has train.replay_capacity 200, not 300"),
        ({"explore__correlation": 0.9}, "has explore.correlation 0.0, not 0.9"),
        ({"replay__n_step": 3}, "has replay.n_step 1, not 3"),
        ({"train__steps": 232}, "has taken 240 steps already"),
    ],
)
def test_another_run_is_refused(saved: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RunConflict, match=complaint) as caught:
        run(**changes).load(saved)
    assert "resume it" in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"sac__learning_rate": 1e-5},
        {"train__steps": 5_000},
        {"train__steps": 233},  # its last step
        {"train__evaluate_every": 7, "train__final_episodes": 3, "train__threads": 2},
    ],
)
def test_what_may_change(saved: Path, changes: dict[str, Any]) -> None:
    one = run(**changes)
    one.load(saved)
    advance(one, 2)
    assert one.collector.steps == 240 + 2 * one.env.num_envs
    rate = one.trainees[0].learner.optimizers["policy"].param_groups[0]["lr"]
    assert rate == changes.get("sac__learning_rate", 1e-3)


def shortened(path: Path, key: str) -> None:
    tensors = load_file(path)
    tensors[key] = tensors[key].flatten()[:1].clone()
    save_file(tensors, path)


def rewritten(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


DAMAGE: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "other": lambda path: path.write_text("[]"),
}
FILES = (
    "state.json",
    "learner0.safetensors",
    "replay.safetensors",
    "replay/000000000000.safetensors",
)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_one_sentence(
    saved: Path, tmp_path: Path, name: str, damage: str
) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    DAMAGE[damage](tmp_path / name)
    with pytest.raises(RunConflict, match="is damaged .*train without --resume") as caught:
        run().load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.json", rewritten(identity=3)),
        ("state.json", rewritten(collector={"steps": "many"})),
        ("state.json", rewritten(env={"simulation": []})),
        ("state.json", rewritten(curves=3)),
        ("state.json", rewritten(owed=None)),
        ("state.json", rewritten(sampler=[0])),
        ("replay/000000000000.safetensors", lambda path: shortened(path, "rows")),
        ("replay", shutil.rmtree),
    ],
)
def test_so_is_a_content_that_does_not_fit(
    saved: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / name)
    with pytest.raises(RunConflict, match="is damaged .*train without --resume"):
        run().load(tmp_path)


@pytest.mark.parametrize("changes", [{}, {"format": 1}])
def test_one_of_another_version_is_refused(
    saved: Path, tmp_path: Path, changes: dict[str, int]
) -> None:
    """Those of before there was a format, too."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    state = json.loads((tmp_path / "state.json").read_text())
    del state["format"]
    (tmp_path / "state.json").write_text(json.dumps(state | changes))
    with pytest.raises(RunConflict, match="is of another version of skillkit; train without"):
        run().load(tmp_path)


@pytest.mark.parametrize("part", ["policy", "q"])
def test_what_has_diverged_is_not_written(tmp_path: Path, part: str) -> None:
    one = run()
    with torch.no_grad():
        next(iter(getattr(one.trainees[0].learner, part).parameters())).view(-1)[0] = torch.nan
    with pytest.raises(NonFinite, match="a parameter of the .* became infinite or NaN"):
        one.save(tmp_path)
    assert not list(tmp_path.glob("*.*"))


def test_images_of_what_was_lived_where_the_task_has_them() -> None:
    """A learner meets states that nobody was in: with the ant's eight images of every one."""
    changes = {"replay.symmetric": True, "sac.batch_size": 64}
    plain, symmetric = run("locomotion"), run("locomotion", **changes)
    assert plain.augment is None and symmetric.augment is not None
    symmetric.collector.step(())
    met = []
    symmetric.trainees[0].learner.update = lambda batch: met.append(batch) or {}  # type: ignore[assignment, func-returns-value]
    source = symmetric.replay, symmetric.sampler, symmetric.sampling, symmetric.augment
    symmetric.trainees[0].update(symmetric.trainees[0].batch(*source))
    lived = {tuple(row) for row in symmetric.replay.all().obs.tolist()}
    share = sum(tuple(row) in lived for row in met[0].obs.tolist()) / 64
    assert share < 0.5  # one of eight on average


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"explore__turn_every": 0}, "explore.turn_every 10.0, not 0.0"),
        ({"explore__turn_every": 20}, "explore.turn_every 10.0, not 20.0"),
        ({"explore__turn_every": 10, "train__every_frame": False}, "train.every_frame True, not"),
    ],
)
def test_it_goes_on_in_its_frames_or_not_at_all(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    begun = run("locomotion", explore__turn_every=10)
    begun.collector.step(())
    begun.save(tmp_path)
    with pytest.raises(RunConflict, match=sentence):
        run("locomotion", **changes).load(tmp_path)


def test_beside_a_task_that_prefers_a_direction_each_is_taught_itself() -> None:
    """What is directed ends sooner, and an episode that two share has one end."""
    both = [task("locomotion"), task("ant_run")]
    assert Run(both, "sac", configure("sac", SETTINGS), 0, "cpu").collector.tasks == tuple(both)


@pytest.mark.parametrize("expression", ["ant_run", "point_x"])
def test_a_task_without_images_is_refused(expression: str) -> None:
    with pytest.raises(InvalidValue, match=f"{expression} prefers a direction, has a domain"):
        run(expression, **{"replay.symmetric": True})
