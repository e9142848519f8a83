"""Clips for the page: filmed once, kept under the content id, never in the way of the page."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from skillkit.registry import Registry
from skillkit.report import clips
from skillkit.report.clips import Clips
from tests.small_skills import write


def test_a_clip_is_made_once_for_all_of_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, shipped = Clips(tmp_path / "clips"), Registry()
    entry = shipped.find("point_roam/point_maze")
    made = film(entry)
    with Image.open(io.BytesIO(made)) as picture:
        assert picture.size == clips.SIZE and picture.n_frames > 5  # type: ignore[attr-defined]
    monkeypatch.setattr(clips, "record", lambda *a: pytest.fail("filmed again"))
    assert film(entry) == made and not film.refused
    mine = Registry([tmp_path / "mine", *shipped.folders])
    assert film(mine.copy("point_roam/point_maze", "roundabout")) == made


def test_what_cannot_be_filmed_is_said_and_no_error(tmp_path: Path) -> None:
    mine = Registry([tmp_path / "mine"])
    entry = mine.publish("push_x", write("push_x"))
    film = Clips(tmp_path / "clips")
    (entry.folder / "policy.safetensors").write_bytes(b"")
    assert film(entry) == b"" and "policy.safetensors" in film.refused["push_x@1"]
    shutil.copytree(Registry().find("point_roam").folder, tmp_path / "mine/point_roam/v1")
    (tmp_path / "file").write_text("")
    film = Clips(tmp_path / "file")
    assert film(mine.find("point_roam")) == b"" and film.refused


def test_filming_ends_with_its_time_and_goes_on_with_the_next_page(tmp_path: Path) -> None:
    first, second = (Registry().find(name) for name in ("point_roam", "point_roam/point_maze"))
    film = Clips(tmp_path, seconds=1e-6)
    assert film(first) and not film(second) and film.left == 1
    film = Clips(tmp_path, seconds=1e-6)
    assert film(first) and film(second) and not film.left
