"""Learners that update at once see the batches that they would see one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from skillkit.envs import task
from skillkit.errors import InvalidValue, RunConflict
from skillkit.skill import load
from skillkit.workflows import updates
from skillkit.workflows.recipes import configure
from skillkit.workflows.run import Run
from skillkit.workflows.seeds import Seeds
from skillkit.workflows.train import train_together
from tests.point_skills import SHORT, good, options

SETTINGS = {**SHORT, "sac.hidden": (16,), "sac.batch_size": 16, "sac.learning_rate": 1e-3}
SAMPLINGS: dict[str, dict[str, Any]] = {
    "single": {},
    "several": {"replay.n_step": 3},
    "rewarded": {"replay.rewarded_share": 0.5},
    "images": {"replay.symmetric": True},
}


def run(*tasks: str, algorithm: str = "sac", device: str = "cpu", **changes: Any) -> Seeds:
    settings = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    own = {key: value for key, value in settings.items() if key.partition(".")[0] != "sac"}
    configs = configure(algorithm, settings if algorithm == "sac" else own)
    one = Run([task(name) for name in tasks], algorithm, configs, 0, "cpu")
    one.device = device
    return Seeds([one], configs["train"])


def filled(*tasks: str, **changes: Any) -> Seeds:
    found = run(*tasks, **changes)
    for _ in range(10):
        found.runs[0].collector.step(())
    return found


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
def test_at_once_is_as_one_after_the_other(sampling: dict[str, Any]) -> None:
    tasks = ("locomotion",) if "replay.symmetric" in sampling else ("point_x", "point_y")
    at_once, in_turn = (filled(*tasks, train__stacked=way, **sampling) for way in (True, False))
    for count in (3, 0, 1):
        for one in (at_once, in_turn):
            updates.update(one, count)
    one, other = at_once.runs[0], in_turn.runs[0]
    assert torch.equal(one.sampler.get_state(), other.sampler.get_state())
    for ours, theirs in zip(at_once.trainees, in_turn.trainees, strict=True):
        assert ours.learner.updates == theirs.learner.updates == 4
        wanted = theirs.learner.state()
        for key, value in ours.learner.state().items():
            torch.testing.assert_close(value, wanted[key], rtol=1e-4, atol=1e-5, msg=key)
        for key, metric in ours.metrics.items():
            torch.testing.assert_close(metric, theirs.metrics[key], rtol=1e-4, atol=1e-5)
    if len(tasks) > 1:
        assert at_once.trainees[0].metrics["q"] != at_once.trainees[1].metrics["q"]


def test_a_gpu_takes_them_at_once_unless_told_otherwise_or_unable() -> None:
    def found(device: str, algorithm: str = "sac", **changes: Any) -> bool:
        return run("point_x", algorithm=algorithm, device=device, **changes).population is not None

    assert found("cuda") and found("cpu", train__stacked=True)
    assert not found("cpu") and not found("cuda", train__stacked=False)
    assert not found("cuda", "sql")


@pytest.mark.parametrize(
    ("tasks", "changes", "sentence"),
    [
        (("point_x",), {"algorithm": "sql"}, "for sac, and sql learns one skill after the other"),
        (("point_x",), {"train__compile": True}, "another way to the same end than train.comp"),
        (
            ("point_x", "point_roam"),
            {},
            "for skills that read the same, and point_x and point_roam read different",
        ),
    ],
)
def test_what_cannot_learn_at_once(
    tasks: tuple[str, ...], changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidValue, match=f"train.stacked=true is {sentence}.*; leave it out$"):
        run(*tasks, train__stacked=True, **changes)


def test_a_run_goes_on_in_the_way_it_began(tmp_path: Path) -> None:
    filled("point_x", train__stacked=True).save(tmp_path)
    with pytest.raises(RunConflict, match="train.stacked True, not None"):
        run("point_x").load(tmp_path)


@pytest.mark.usefixtures("no_pictures")
def test_the_command(tmp_path: Path) -> None:
    brief = SHORT | {"train.steps": 800, "sac.hidden": "16,16", "train.stacked": "true"}
    said = good("train", "push_x", "push_y", "--registry", tmp_path, *options(brief))
    assert "saved push_x@" in said and "saved push_y@" in said
    x, y = (load(name, tmp_path) for name in ("push_x", "push_y"))
    assert x.manifest.config["train"]["stacked"] is True
    alike = train_together(["push_x", "push_y"], settings=brief | {"train.stacked": False})
    obs = torch.randn(9, x.spec.observation_dim, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip((x, y), alike, strict=True):
        assert ours.manifest.timing["updates"] == theirs.manifest.timing["updates"] > 0
        torch.testing.assert_close(
            ours.policy.mode(obs), theirs.policy.mode(obs), rtol=0, atol=1e-2
        )
