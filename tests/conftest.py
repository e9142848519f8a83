"""What every test may rely on: one thread, no window, and nobody's own skills or tasks touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before NumPy and torch are imported: small matrices run slower on many threads, and a test's
# time should not depend on what else the machine does. Children inherit both.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "agg"


@pytest.fixture(autouse=True)
def registry_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty registry of the test's own, which $SKILLKIT_REGISTRY names."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("SKILLKIT_REGISTRY", str(folder))
    monkeypatch.delenv("SKILLKIT_TASKS", raising=False)
    return folder


@pytest.fixture(autouse=True)
def no_added_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Task folders that a test adds are gone after it."""
    from skillkit.envs import catalog

    monkeypatch.setattr(catalog, "_added", [])


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where episodes end is built but not drawn, for tests that look at no picture.

    Skills of a wider scope than the test's own have real ones.
    """
    from skillkit.report import plots

    monkeypatch.setattr(plots, "render", lambda figure: b"\x89PNG")


@pytest.fixture
def float64() -> Iterator[None]:
    """Modules and random numbers that the test makes have double precision, from seed 0."""
    import torch  # here, because many tests need none

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
