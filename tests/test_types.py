"""Specs: bounded actions for robots, unbounded ones for layers that act by latents."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from skillkit.errors import InvalidValue
from skillkit.types import Entry, Spec
from tests.toys import spec

LATENT = Spec((Entry("x", "m"),), (Entry("latent_0"), Entry("latent_1")), 0.1)


def test_unit_actions_become_native_ones() -> None:
    bounded = spec(1, 2, low=-1.0, high=3.0)
    assert not bounded.unbounded
    assert bounded.native(np.array([[-1.0, 0.0], [0.5, 7.0]])).tolist() == [[-1, 1], [2, 3]]
    assert bounded.unit(np.array([[-1.0, 1.0], [2.0, 7.0]])).tolist() == [[-1, 0], [0.5, 1]]


def test_latents_stay_as_they_are() -> None:
    h = np.array([[-1e9, 0.25], [1e-9, 7.0]], np.float32)
    assert LATENT.unbounded
    for through in (LATENT.native, LATENT.unit):
        np.testing.assert_array_equal(through(h), h.astype(np.float64))


def test_a_latent_spec_is_strict_json() -> None:
    text = json.dumps(LATENT.to_json(), allow_nan=False)
    assert json.loads(text)["action"][0]["low"] is None
    again = Spec.from_json(json.loads(text))
    assert again == LATENT and again.unbounded


@pytest.mark.parametrize(
    "action",
    [
        (Entry("a", "", -math.inf, 1.0),),
        (Entry("a", "", 0.0),),
        (Entry("a", "", -1.0, 1.0), Entry("b")),
        (Entry("a", "", math.nan, 1.0),),
        (Entry("a", "", math.inf, -math.inf),),
        (Entry("a", "", -1.7e308, 1.7e308),),
        (Entry("a", "", 1.6e308, 1.7e308),),
    ],
)
def test_half_bounded_actions_are_refused(action: tuple[Entry, ...]) -> None:
    with pytest.raises(InvalidValue, match="finite bounds"):
        Spec((Entry("x"),), action, 0.1)
