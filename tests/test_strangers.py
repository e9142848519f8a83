"""Skills and packs from anyone: loaded correctly or refused in a sentence, and nothing else.

    SKILLKIT_FUZZ=10000 pytest -m slow -s tests/test_strangers.py

tries as many mutants of each; the default is a few hundred, for every day.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skillkit.controller import Controller
from skillkit.envs import task
from skillkit.errors import SkillkitError
from skillkit.packs import pack, unpack
from skillkit.registry import Registry
from skillkit.skill import load
from tests import attacks
from tests.point_skills import skillkit, snapshot
from tests.strange import NAME, mutant, put, seal, specimens, spoiled_pack
from tests.watched import Outcome, Worker

MANY = int(os.environ.get("SKILLKIT_FUZZ", "500"))  # of each


# --------------------------------------------------------------------- what is done with a skill


def answers(skill: Any) -> str:
    """What a look at every part of a loaded skill says."""
    assert skill.policy.noise_dim >= 0 and skill.q.alpha == skill.alpha
    assert len(skill.replay) > 0 and skill.replay.rows.isfinite().all()
    assert isinstance(skill.curve, list) and isinstance(skill.card, str)
    assert isinstance(skill.figure, bytes)
    return "loaded"


def acts(control: Controller) -> str:
    """Actions within their bounds, of a controller that loaded."""
    control.reset()
    spec = control.spec
    for obs in (np.zeros(spec.observation_dim), np.full(spec.observation_dim, 0.3)):
        action = control(obs)
        assert action.shape == (spec.action_dim,)
        assert ((spec.low <= action) & (action <= spec.high)).all(), action
    return "acted"


def shown(command: str, argument: str, folder: Path) -> str:
    """A command that says something about it, or its sentence."""
    answer = skillkit(command, argument, "--registry", folder)
    if answer.code:
        assert answer.sentence
        return "refused"
    return "shown"


def examine(folder: Path) -> dict[str, str]:
    """Everything that people do with a skill; what each of it came to."""
    where = Registry([folder])
    entry = where.find(NAME)
    found = {
        "verify": tried(lambda: where.verify(NAME) and "whole"),
        "load": tried(lambda: answers(load(NAME, where))),
        "control": tried(lambda: acts(Controller.load(entry.folder))),
        "sample": tried(lambda: acts(Controller.load(entry.folder, deterministic=False))),
        "show": tried(lambda: shown("show", NAME, folder)),
        "list": tried(lambda: shown("list", "--all", folder)),
    }
    for sentence in where.damage(entry):
        assert_sentence(sentence)
    return found


def tried(what: Callable[[], str]) -> str:
    try:
        return what()
    except SkillkitError as error:
        assert_sentence(str(error))
        return "refused"


def assert_sentence(text: str) -> None:
    assert text.isprintable(), "what was refused is printed as it is"
    assert 10 < len(text) < 1_500, f"{len(text)} characters: {text[:200]}"


# --------------------------------------------------------------------------------- mutated skills


def report(what: str, outcome: Outcome, names: Sequence[str] = ()) -> None:
    for step, count in sorted(outcome.counts.items()):
        print(f"{what}, {step:20} {count}")
    print(f"{what}, slowest {outcome.seconds:.2f} s, most memory {outcome.memory >> 20} MiB")
    wrong = {names[number] if names else number: why for number, why in outcome.wrong.items()}
    for case, why in [*wrong.items()][:20]:
        print(f"\n{what} {case}: {why}")
    assert not wrong, f"{len(wrong)} of them went wrong: {[*wrong][:20]}"


@pytest.fixture(scope="module")
def worker() -> Iterator[Callable[..., Worker]]:
    """What makes workers, once everything that they need was imported here."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # where a flush takes no time
    with tempfile.TemporaryDirectory(dir=memory, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for number, files in enumerate(specimens().values()):
            put(files, folder / f"whole{number}" / NAME / "v1")
            assert "refused" not in examine(folder / f"whole{number}").values()
        task("gym:Pendulum-v1")
        yield lambda job: Worker(job, folder)


def spoiled(number: int, place: Path) -> dict[str, str]:
    """A mutated skill, with right checksums as a rule."""
    _, files = mutant(number)
    put(files, place / NAME / "v1")
    return examine(place)


def test_mutants_are_loaded_or_refused(worker: Callable[..., Worker]) -> None:
    report("skills", worker(spoiled).run(range(100)))


@pytest.mark.slow
def test_many_mutants_are_loaded_or_refused(worker: Callable[..., Worker]) -> None:
    report("skills", worker(spoiled).run(range(100, MANY)))


# ---------------------------------------------------------------------------------- mutated packs


def unpacked(number: int, place: Path) -> dict[str, str]:
    """A mutated pack: nothing of it, or all of it, is in the registry afterwards."""
    data, where = spoiled_pack(number), Registry([place / "mine"])
    came = tried(lambda: unpack(io.BytesIO(data), where) and "unpacked")
    entries = list(where.entries())
    assert len(entries) == (came == "unpacked")
    if not entries:
        names = {path.name for path in place.rglob("*")}
        assert names <= {"mine", ".aside", ".gitignore", "lock"}, names
        return {"unpack": came}
    (entry,) = entries
    again = io.BytesIO()
    pack(entry, again)
    assert again.getvalue() == data, "what is taken for a pack is one that we write"
    if entry.name != NAME:
        where.rename(entry.name, NAME)
    return {"unpack": came} | examine(place / "mine")


def test_packs_are_unpacked_or_refused(worker: Callable[..., Worker]) -> None:
    report("packs", worker(unpacked).run(range(100)))


@pytest.mark.slow
def test_many_packs_are_unpacked_or_refused(worker: Callable[..., Worker]) -> None:
    report("packs", worker(unpacked).run(range(100, MANY)))


# ------------------------------------------------------------------------------- attacks by hand

ATTACKS = [*attacks.FILES, *attacks.FOLDERS, *attacks.TASKS]
STACK = "point_x/point_y"
VICTIMS = {
    "candidates without end": "resampled",
    "a tower of latents": STACK,
    "a hold that is none": STACK,
}


def attacked(number: int, place: Path) -> dict[str, str]:
    """A known attack: on what files hold, on the folder, or by the name of a task."""
    what, outside = ATTACKS[number], place / "outside"
    if what in attacks.TASKS:
        return {"task": tried(lambda: task(what).name and "known")}
    outside.mkdir()
    os.chdir(place)
    files = dict(specimens()[VICTIMS.get(what, "point_x")])
    if what in attacks.FILES:
        attacks.FILES[what](files)
        seal(files)
    folder = place / "skills" / NAME / "v1"
    put(files, folder)
    if what in attacks.FOLDERS:
        attacks.FOLDERS[what](folder, outside)
        os.chdir(place)
    kept = snapshot(outside)
    found = examine(place / "skills")
    assert snapshot(outside) == kept
    assert not any(attacks.CANARY in files for _, _, files in os.walk(place)), "it was executed"
    assert what not in attacks.REFUSED or found[attacks.REFUSED[what]] == "refused"
    return found


@pytest.mark.slow
def test_known_attacks_are_refused_or_do_nothing(worker: Callable[..., Worker]) -> None:
    report("attacks", worker(attacked).run(range(len(ATTACKS))), ATTACKS)
