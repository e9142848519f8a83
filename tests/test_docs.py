"""docs/: what it explains is there, and what there is it explains."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from skillkit.registry import shipped_folder
from tests.algorithms.test_laws import Make, every_learner
from tests.toys import batch

ROOT = Path(__file__).resolve().parents[1]
METRICS = (ROOT / "docs" / "metrics.md").read_text()
EXPLAINED = set(re.findall(r"`([a-z0-9_]+)`", METRICS))
OUTER = {"mean", "std", "low", "high", "q95", "estimated", "parents", "evaluation"}  # in words
COUNTED = {"episodes", "seed", "steps"}  # and not measured


def keys(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Every name of a number in skill.json, but for the names of skills."""
    for key, value in metrics.items():
        if key == "parents":
            yield from (name for of in value.values() for name in keys(of))
        elif key == "pairwise_disagreement":
            yield key
        else:
            yield key
            yield from keys(value) if isinstance(value, dict) else ()


@every_learner
def test_every_metric_of_an_update_is_explained(make: Make) -> None:
    assert set(make(0).update(batch(32, seed=0))) <= EXPLAINED


@pytest.mark.parametrize("folder", sorted(shipped_folder().glob("*/v*/skill.json")), ids=str)
def test_every_number_of_a_shipped_skill_is_explained(folder: Path) -> None:
    described = json.loads(folder.read_text())
    found = {*keys(described["metrics"]), *described["timing"]}
    assert found - OUTER - COUNTED <= EXPLAINED


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_page_points_at_files_that_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
