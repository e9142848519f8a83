"""A skill.json of an older format is read as one of today's."""

from __future__ import annotations

from typing import Any

import pytest

from skillkit import manifest as module
from skillkit.errors import InvalidValue
from skillkit.manifest import Manifest
from skillkit.migrations import FORMAT, MIGRATIONS, migrated
from tests.small_skills import manifest


def test_there_is_a_step_from_every_format_before() -> None:
    assert list(MIGRATIONS) == list(range(1, FORMAT))


def later(data: dict[str, Any]) -> dict[str, Any]:
    """Format 1 called alpha its temperature."""
    return {"alpha": data.pop("temperature"), **data}


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the format were 3."""
    monkeypatch.setitem(MIGRATIONS, 1, later)
    monkeypatch.setitem(MIGRATIONS, 2, lambda data: data | {"alpha": 2 * data["alpha"]})
    monkeypatch.setattr(module, "FORMAT", 3)


def test_steps_follow_each_other(three: None) -> None:
    old = manifest().to_json() | {"format": 1}
    old["temperature"] = old.pop("alpha")
    found = Manifest.from_json(old)
    assert found.alpha == pytest.approx(0.4) and found.format == 3
    assert old["format"] == 1 and "temperature" in old  # what was read stays as it is
    assert Manifest.from_json(manifest().to_json() | {"format": 2}).alpha == pytest.approx(0.4)


@pytest.mark.parametrize("number", [None, 0, 4, "1", [1], True, 1.0, 10**30])
def test_a_format_without_a_step_is_refused(three: None, number: object) -> None:
    data = manifest().to_json() | {"format": number}
    assert migrated(data) is data
    with pytest.raises(InvalidValue, match="its format is .*, and this skillkit reads format 3"):
        Manifest.from_json(data)
