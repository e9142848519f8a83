"""Files with any bytes changed are read or refused in a sentence; nothing crashes or hangs."""

from __future__ import annotations

import io
import os
import random
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from skillkit.errors import SkillkitError
from skillkit.exporters.minari import write
from skillkit.importers import minari, sb3
from skillkit.registry import Registry
from skillkit.skill import load
from tests.importers.models import pth, saved, weights

ROUNDS = int(os.environ.get("SKILLKIT_FUZZ", "60"))
GOLDEN = Registry([Path(__file__).parents[1] / "golden/format_1"])


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut off, left out, or a large number in their place."""
    changed, at = bytearray(data), rng.randrange(len(data))
    how = rng.randrange(10)
    if how < 6:
        for _ in range(rng.choice((1, 2, 8))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    elif how < 8:
        changed[at : at + 8] = rng.choice((b"\xff" * 8, bytes(8), (1 << 40).to_bytes(8, "little")))
    else:
        del changed[at : at + rng.choice((1, 64, len(data)))]
    return bytes(changed)


def is_read_or_refused(read: Callable[[], object]) -> bool:
    began = time.monotonic()
    try:
        read()
    except SkillkitError as error:
        assert "\n" not in str(error)
        return False
    finally:
        assert time.monotonic() - began < 5
    return True


def test_models(tmp_path: Path) -> None:
    """Within the zips, so that checksums fit: the pickle of the weights, and the weights."""
    rng, path = random.Random(0), tmp_path / "model.zip"
    whole = zipfile.ZipFile(io.BytesIO(pth(weights())))
    answers = set()
    for _ in range(ROUNDS):
        file, buffer = rng.choice([n for n in whole.namelist() if "/data" in n]), io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in whole.namelist():
                data = whole.read(name)
                archive.writestr(name, damaged(data, rng) if name == file else data)
        saved(path, buffer.getvalue())
        answers.add(is_read_or_refused(lambda: sb3.read(path)))
    assert answers == {True, False}


def test_datasets(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    skill, rng = load("point_x", GOLDEN), random.Random(0)
    path = tmp_path / "dataset"
    write(skill, path)
    file = path / "data" / "main_data.hdf5"
    whole, answers = file.read_bytes(), set()
    for _ in range(ROUNDS):
        head = rng.choice((20_000, len(whole)))  # names and shapes are there
        file.write_bytes(damaged(whole[:head], rng) + whole[head:])
        with warnings.catch_warnings(action="ignore"):  # of numbers that float32 does not hold
            answers.add(is_read_or_refused(lambda: minari.read(path, skill)))
    assert answers == {True, False}
