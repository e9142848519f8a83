"""Skills of every format version, as they were saved: they stay whole, load, and act the same.

These folders are never made again. If one fails here, so do the skills that people have: raise
FORMAT, add a step to `skillkit.migrations`, and put a golden skill of the new format beside these.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from skillkit.migrations import FORMAT
from skillkit.registry import Registry
from skillkit.skill import load

GOLDEN = Path(__file__).parent / "golden"
NOW = [0.5, -0.25, 0.1, 0.0]  # x, y [m] and their velocities [m/s]
SKILLS = {  # content id, and the action at NOW [N]
    ("format_1", "point_x"): (
        "fad1ef9890881114f8de76cd851130ddc55259435396371bb02449b2a60830d1",
        [0.0555143, -0.0765046],
    ),
    ("format_1", "point_y"): (
        "99993f40a061623db3664c3b1e49f16870305e8e4c8c49b191b438a4d2cc3fff",
        [0.0562430, -0.0774307],
    ),
    ("format_1", "point_x+point_y"): (
        "05c88bd489f3461c7b779d70cecc97957bbf43b8e91eac2706b40b02645fb5e1",
        [0.0103472, -0.0669143],
    ),
    ("format_1", "point_x/point_y"): (
        "d37e89dd45a8ebe8eb26303d4a6b57e2b8827acfad996b53af4b61fec2cfc9e1",
        [0.0730491, -0.1028613],
    ),
}


def test_every_format_has_golden_skills() -> None:
    folders = {folder.name for folder in GOLDEN.iterdir()}
    assert folders == {f"format_{number}" for number in range(1, FORMAT + 1)}
    stored = {(f, entry.name) for f in folders for entry in Registry([GOLDEN / f]).entries()}
    assert stored == SKILLS.keys()


@pytest.mark.parametrize(("folder", "name"), SKILLS, ids="/".join)
def test_a_golden_skill_acts_as_it_did(folder: str, name: str) -> None:
    identity, action = SKILLS[folder, name]
    skill = load(name, GOLDEN / folder)
    assert skill.entry is not None and skill.entry.content_id == identity
    control = skill.controller()
    control.reset()
    np.testing.assert_allclose(control(np.array(NOW)), action, rtol=0, atol=1e-4)
    assert skill.policy is not None and skill.q is not None  # both answer as on their probe
    assert len(skill.replay) == skill.manifest.replay["transitions"]
    assert skill.curve or skill.manifest.kind == "composed"


def test_golden_parents_are_found() -> None:
    registry = Registry([GOLDEN / "format_1"])
    for child in ("point_x+point_y", "point_x/point_y"):
        for record in registry.find(child).manifest.parents:
            assert registry.parent(record) is not None


def test_a_renamed_skill_is_called_so_and_acts_the_same(registry_folder: Path) -> None:
    shutil.copytree(GOLDEN / "format_1", registry_folder, dirs_exist_ok=True)
    base = load("point_x")
    Registry().rename("point_x", "reach")
    assert base.as_parent["content_id"] == SKILLS["format_1", "point_x"][0]  # one in use
    skill = load("reach")
    assert (skill.name, skill.reference, skill.manifest.name) == ("reach", "reach@1", "point_x")
    assert skill.save().reference == "reach@2" and load("reach").manifest.name == "reach"
    assert Registry().verify("reach@1").content_id == SKILLS["format_1", "point_x"][0]
