"""Laws that every learner obeys, whatever its options."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch

from skillkit.algorithms import (
    ALGORITHMS,
    SAC,
    SQL,
    Distill,
    DistillConfig,
    Learner,
    SACConfig,
    SQLConfig,
)
from skillkit.algorithms.learner import COMPILERS, initialisation
from skillkit.errors import InvalidValue
from skillkit.flows import FlowConfig
from skillkit.q_functions import Ensemble, WeightedSum
from tests.toys import batch, spec

SMALL: dict[str, Any] = {"hidden": (16,), "learning_rate": 1e-2}
SAC_OPTIONS: dict[str, dict[str, Any]] = {
    "sac": {},
    "sac, automatic": {"automatic_alpha": True},
    "sac, hard target": {"target": "hard", "target_interval": 2},
    "sac, one critic": {"critics": 1},
    "sac, deterministic": {"policy": "deterministic", "alpha": 0.0},
    "sac, linear": {"hidden": ()},
    "sac, flow": {"policy": "real_nvp", "flow": FlowConfig(couplings=3)},
}
SQL_OPTIONS: dict[str, dict[str, Any]] = {
    "sql": {},
    "sql, gaussian": {"policy": "gaussian", "proposal": "mixed"},
    "sql, cooling": {"alpha_start": 2.0},
    "sql, published": {"legacy": True, "target": "hard", "target_interval": 2},
    "sql, two critics": {"critics": 2, "normalised": True},
    "sql, linear": {"hidden": ()},
    "sql, flow": {"policy": "real_nvp", "proposal": "mixed"},
}


def sac(seed: int = 0, **options: Any) -> SAC:
    return SAC(spec(), SACConfig(**(SMALL | options)), seed)


def sql(seed: int = 0, **options: Any) -> SQL:
    return SQL(spec(), SQLConfig(**(SMALL | {"particles": 8, "value_samples": 6} | options)), seed)


def distill(seed: int = 0, updates: int = 50, **options: Any) -> Distill:
    with initialisation(5):  # the Q-function is given, the same whatever the seed
        parts = [Ensemble(3, 2, (16,), 2, alpha, 0.9) for alpha in (0.5, 0.1)]
    q = WeightedSum(parts, (0.5, 0.5), 0.3)
    return Distill(spec(), q, DistillConfig(updates=updates, **SMALL | options), seed)


Make = Callable[[int], Learner]
LEARNERS: dict[str, Make] = {
    name: lambda seed, make=make, options=options: make(seed, **options)
    for make, table in ((sac, SAC_OPTIONS), (sql, SQL_OPTIONS))
    for name, options in table.items()
}
LEARNERS |= {
    "distill": distill,
    "distill, forward": lambda seed: distill(seed, loss="forward_kl", particles=4),
    "distill, flow": lambda seed: distill(seed, policy="real_nvp"),
    "distill, implicit": lambda seed: distill(seed, policy="implicit", particles=4),
}
every_learner = pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)


def learn(learner: Learner, updates: int, first: int = 0) -> None:
    for i in range(first, first + updates):
        learner.update(batch(32, seed=i))


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that are not bit-identical."""
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


def copied(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in learner.state().items()}


def test_every_algorithm_is_tested() -> None:
    assert {name.split(",")[0] for name in LEARNERS} == {*ALGORITHMS, "distill"}


@every_learner
def test_an_update_reports_plain_finite_numbers(make: Make) -> None:
    """0-d and detached: nothing was waited for, and no graph is kept alive."""
    learner = make(0)
    for i in range(3):
        metrics = learner.update(batch(32, seed=i))
        assert learner.updates == i + 1
        for name, value in metrics.items():
            assert value.shape == () and not value.requires_grad and value.isfinite(), name


@every_learner
def test_the_seed_decides_all(make: Make) -> None:
    before = torch.get_rng_state()
    one, same = make(1), make(1)
    start = copied(one)
    for learner in (one, same):
        learn(learner, 3)
    assert difference(one.state(), same.state()) == []
    other = make(2)
    policy = {name for name in start if name.startswith("policy/") and start[name].any()}
    assert policy <= set(difference(start, copied(other)))
    assert torch.equal(torch.get_rng_state(), before)


@every_learner
def test_a_stored_state_continues_to_the_last_bit(make: Make) -> None:
    learner = make(1)
    learn(learner, 5)
    stored = copied(learner)
    again = make(2)
    again.load_state(stored)
    assert difference(again.state(), stored) == []
    for one in (learner, again):
        learn(one, 5, first=5)
    assert difference(again.state(), learner.state()) == []
    assert again.updates == 10
    assert {"updates"} < set(difference(stored, again.state()))


@every_learner
def test_another_learners_state_is_refused(make: Make) -> None:
    learner = make(0)
    learn(learner, 1)
    foreign = SAC(spec(observations=4), SACConfig(**SMALL), 0)
    for state in (
        foreign.state(),
        {},
        {**learner.state(), "policy/net.layers.9.bias": torch.ones(2)},
    ):
        with pytest.raises(InvalidValue, match="this checkpoint is of another learner"):
            make(0).load_state(state)


@every_learner
def test_annealing_reaches_every_optimiser(make: Make) -> None:
    """From the whole rate down, never up, and whatever was annealed before does not matter."""
    learner = make(0)

    def rates(done: float) -> list[float]:
        learner.anneal(done)
        return [adam.param_groups[0]["lr"] for adam in learner.optimizers.values()]

    first, middle, last = rates(0.0), rates(0.5), rates(1.0)
    assert first == [1e-2] * len(first) and rates(0.5) == middle
    assert all(a >= b >= c for a, b, c in zip(first, middle, last, strict=True))
    assert len({*middle}) == len({*last}) == 1


# The temperature may fall


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_temperature_falls_in_its_logarithm(name: str) -> None:
    make, config = ALGORITHMS[name]
    options = {"hidden": (8,), "alpha": 0.01, "alpha_start": 1.0, "anneal_share": 0.5}
    learner = make(spec(), config(**options), 0)
    found = []
    for done in (0.0, 0.125, 0.25, 0.5, 0.8, 1.0):
        learner.anneal(done)
        found.append(learner.alpha)
    assert found == pytest.approx([1.0, 0.1**0.5, 0.1, 0.01, 0.01, 0.01], rel=1e-5)
    assert make(spec(), config(**options), 0).alpha == pytest.approx(1.0)  # before the first update


@pytest.mark.parametrize("name", ALGORITHMS)
def test_without_a_start_it_stays(name: str) -> None:
    make, config = ALGORITHMS[name]
    learner = make(spec(), config(hidden=(8,), alpha=0.3), 0)
    learner.anneal(0.7)
    assert learner.alpha == pytest.approx(0.3)


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize(
    "options", [{"alpha_start": 0.0}, {"alpha_start": -1.0}, {"anneal_share": 0.0}]
)
def test_what_cannot_fall(name: str, options: dict[str, float]) -> None:
    _, config = ALGORITHMS[name]
    with pytest.raises(InvalidValue, match=rf"{name}\.(alpha|anneal_share)"):
        config(**options)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C++ compiler")
@pytest.mark.parametrize("options", ["sac, automatic", "sac, flow"])
def test_compiled_updates_are_the_same_updates(options: str) -> None:
    plain, native = sac(**SAC_OPTIONS[options]), sac(**SAC_OPTIONS[options])
    native.compile()
    for i in range(5):
        metrics = [learner.update(batch(32, seed=i)) for learner in (plain, native)]
        for one, other in zip(*(m.values() for m in metrics), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    for key, value in plain.state().items():
        torch.testing.assert_close(native.state()[key], value, rtol=1e-3, atol=1e-4)


def test_what_cannot_be_compiled_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidValue, match="train.compile=true is for sac; sql draws"):
        SQL(spec(), SQLConfig(**SMALL), 0).compile()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InvalidValue, match=r"needs a C\+\+ compiler, and none of g\+\+, clang"):
        sac().compile()
