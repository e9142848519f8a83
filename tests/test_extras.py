"""What an extra brings is missed in a sentence that says which one to install."""

from __future__ import annotations

import sys
import tomllib

import pytest

from skillkit.errors import InvalidValue
from skillkit.extras import EXTRAS, library
from tests.point_skills import ROOT


@pytest.mark.parametrize("name", EXTRAS)
def test_a_missing_library(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    extra = EXTRAS[name]
    with pytest.raises(InvalidValue) as caught:
        library(name, "a film")
    assert str(caught.value) == (
        f"{name}, which a film needs, cannot be imported; "
        f"pip install -c constraints.txt -e '.[{extra}]' installs it"
    )
    brought = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = brought["optional-dependencies"][extra]
    assert any(line.replace("-", "_").startswith(f"{name}>=") for line in needs)


def test_every_extra_is_known() -> None:
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*EXTRAS.values()} == about["optional-dependencies"].keys() - {"dev"}
