"""report."""

from __future__ import annotations

from pathlib import Path

import pytest

from skillkit.commands import reporting
from skillkit.registry import Registry
from tests.point_skills import good
from tests.point_skills import skillkit as answer
from tests.small_skills import write


@pytest.fixture
def mine(registry_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Registry:
    monkeypatch.setattr("skillkit.registry.shipped_folder", lambda: registry_folder / "nothing")
    monkeypatch.chdir(tmp_path)
    return Registry([registry_folder])


def test_report_writes_a_page(mine: Registry, tmp_path: Path) -> None:
    mine.publish("push_x", write("push_x"))
    assert good("report").startswith("page: skills.html, ")
    text = (tmp_path / "skills.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and "skillkit show push_x@1\n" in text
    good("report", "-o", "deep/er/page.html", "--registry", mine.folders[0])
    there = (tmp_path / "deep" / "er" / "page.html").read_text(encoding="utf-8")
    assert f"skillkit show push_x@1 --registry {mine.folders[0]}\n" in there


def test_commands_quote_a_folder_with_blanks(mine: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "my skills"
    Registry([folder]).publish("push_x", write("push_x"))
    good("report", "--registry", folder)
    quoted = f"skillkit show push_x@1 --registry &#x27;{folder}&#x27;"
    assert quoted in (tmp_path / "skills.html").read_text(encoding="utf-8")


def test_a_registry_that_is_not_there_makes_no_page(mine: Registry, tmp_path: Path) -> None:
    found = answer("report", "-o", "new/page.html", "--registry", tmp_path / "none")
    assert "there is no registry at" in found.sentence and not (tmp_path / "new").exists()


def test_a_page_cannot_be_a_folder(mine: Registry, tmp_path: Path) -> None:
    assert "is a directory" in answer("report", "-o", tmp_path).sentence


def test_progress_shows_only_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    counts = reporting._patient(lambda done, total: told.append((done, total)))
    counts(1, 2)
    assert told == []
    monkeypatch.setattr(reporting, "PATIENCE", -1.0)
    counts(2, 2)
    assert told == [(2, 2)]
