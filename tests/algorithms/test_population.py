"""Learners that learn at once learn what each would alone; so does what a GPU would replay."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from skillkit.algorithms import SAC, SACConfig
from skillkit.algorithms.captured import WARM_UP, Function, Outputs, Record
from skillkit.algorithms.population import Population
from skillkit.errors import InvalidValue
from skillkit.flows import FlowConfig
from skillkit.networks import precision
from skillkit.types import Batch
from tests.toys import batch, spec

OPTIONS: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "clipped_gaussian": {"policy": "clipped_gaussian"},
    "real_nvp": {"policy": "real_nvp", "flow": FlowConfig(couplings=3)},
    "deterministic": {"policy": "deterministic", "alpha": 0.0},
    "automatic": {"automatic_alpha": True},
    "automatic flow": {"policy": "real_nvp", "automatic_alpha": True},
    "normalised": {"normalised": True, "critics": 1},
    "annealed": {"alpha_start": 2.0, "final_rate": 0.1},
    "hard target": {"target": "hard", "target_interval": 2},
    "scaled": {"value_scale": 10.0},
    "upper layer": {"unbounded": True, "automatic_alpha": True},
    "linear": {"hidden": ()},
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
FEW = {name: OPTIONS[name] for name in ("gaussian", "automatic flow", "annealed", "hard target")}
some_options = pytest.mark.parametrize("options", FEW.values(), ids=FEW)
UPDATES = 6


def learner(
    seed: int = 0,
    inputs: Sequence[int] | None = None,
    device: str = "cpu",
    unbounded: bool = False,
    **options: Any,
) -> SAC:
    bounds = {"low": -math.inf, "high": math.inf} if unbounded else {}
    config = SACConfig(**{"hidden": (16, 8), "learning_rate": 1e-2} | options)
    return SAC(spec(**bounds), config, seed, device, inputs)


def together(batches: Sequence[Batch]) -> Batch:
    return Batch(*(torch.stack(column) for column in zip(*batches, strict=True)))


def learn(
    learners: Sequence[SAC], first: int = 0, count: int = UPDATES, population: bool = True,
    record: Record | None = None,
) -> list[dict[str, torch.Tensor]]:  # fmt: skip
    """Metrics of every update, (N,) each."""
    whole = Population(learners, record) if population else None
    found = []
    for k in range(first, first + count):
        for one in learners:
            one.anneal(k / 10)
        seen = [batch(32, seed=100 * i + k) for i in range(len(learners))]
        if whole is not None:
            found.append(whole.update(together(seen)))
        else:
            each = [one.update(own) for one, own in zip(learners, seen, strict=True)]
            found.append({key: torch.stack([own[key] for own in each]) for key in each[0]})
    return found


def close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], bound: float) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=bound, atol=bound, msg=key)


def recorded(function: Function) -> Iterator[Outputs]:
    """As a CUDA graph behaves: calls, then a recording that runs nothing, then outputs in place."""
    outputs = {}
    for _ in range(WARM_UP):
        outputs = function()
        yield outputs
    static = {name: torch.full_like(value, torch.nan) for name, value in outputs.items()}
    while True:
        for name, value in function().items():
            static[name].copy_(value)
        yield static


@every_option
def test_each_learns_what_it_would_alone(options: dict[str, Any]) -> None:
    ones, others = ([learner(seed, **options) for seed in (1, 2, 3)] for _ in range(2))
    ours, theirs = learn(ones), learn(others, population=False)
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, 1e-4)
    for one, other in zip(ones, others, strict=True):
        close(one.state(), other.state(), 1e-4)


@every_option
def test_what_is_recorded_is_the_same_to_the_last_bit(options: dict[str, Any]) -> None:
    ones, others = ([learner(seed, **options) for seed in (1, 2)] for _ in range(2))
    for mine, other in zip(learn(ones, record=recorded), learn(others), strict=True):
        close(mine, other, 0.0)
    for one, other in zip(ones, others, strict=True):
        close(one.state(), other.state(), 0.0)


class Unasked(TorchDispatchMode):
    """No number goes to the host or comes from it, which a recording could not repeat."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "lift_fresh", "nonzero", "is_nonzero"), name
        assert name != "_to_copy" or not (kwargs or {}).get("device"), "to another device"
        return func(*args, **kwargs or {})


@every_option
def test_what_is_recorded_asks_nothing_of_the_host(options: dict[str, Any]) -> None:
    def record(function: Function) -> Iterator[Outputs]:
        yield function()
        with Unasked():
            outputs = function()
        yield outputs

    population = Population([learner(i, inputs=(2, 0), **options) for i in (1, 2)], record)
    for k in range(2):
        population.update(together([batch(32, seed=k)] * 2))


@some_options
def test_neighbours_do_not_matter(options: dict[str, Any]) -> None:
    ones = [learner(seed, **options) for seed in (1, 2)]
    others = [learner(seed, **options) for seed in (1, 3)]
    with torch.no_grad():
        for parameter in others[1].policy.parameters():
            parameter.mul_(3.0)
    for group in (ones, others):
        learn(group)
    a, b = ones[0].state(), others[0].state()
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(ones[1].state()["q/net.layers.0.weight"], b["q/net.layers.0.weight"])


@some_options
@pytest.mark.parametrize("begun", [0, 5], ids=["new", "begun"])
def test_stored_states_continue_to_the_last_bit(options: dict[str, Any], begun: int) -> None:
    """In a population that is new, and in one that has learned and recorded something else."""
    ones, others = ([learner(seed + i, **options) for i in (0, 1)] for seed in (1, 3))
    population, again = Population(ones), Population(others, recorded)
    seen = [together([batch(32, seed=100 * i + k) for i in (0, 1)]) for k in range(8)]
    for k in range(begun):
        again.update(seen[k])
    for k in range(4):
        population.update(seen[k])
    stored = [{key: value.clone() for key, value in one.state().items()} for one in ones]
    for other, state in zip(others, stored, strict=True):
        other.load_state(state)
    for whole in (population, again):
        for k in range(4, 8):
            whole.update(seen[k])
    for one, other in zip(ones, others, strict=True):
        close(other.state(), one.state(), 0.0)
        assert other.updates == 8


def test_what_a_learner_is_told_reaches_its_part() -> None:
    """Annealing and loading change the stacked numbers, and nobody else's."""
    ones = [learner(seed, alpha_start=2.0) for seed in (1, 2)]
    population = Population(ones)
    ones[1].anneal(0.7)
    alphas = population.parameters["temperature.log_alpha"].exp()
    assert alphas.tolist() == pytest.approx([2.0, 0.2])
    ones[0].policy.load_state_dict(learner(9).policy.state_dict())
    weights = population.parameters["policy.net.layers.0.weight"]
    assert torch.equal(weights[0], learner(9).policy.get_parameter("net.layers.0.weight"))
    assert torch.equal(weights[1], learner(2).policy.get_parameter("net.layers.0.weight"))


def test_metrics_stay_as_they_were() -> None:
    found = learn([learner(1), learner(2)], record=recorded)
    before = [{key: value.clone() for key, value in metrics.items()} for metrics in found]
    assert len({float(metrics["critic_loss"][0]) for metrics in found}) == UPDATES
    for metrics, copy in zip(found, before, strict=True):
        assert all(value.shape == (2,) and value.isfinite().all() for value in metrics.values())
        close(metrics, copy, 0.0)


def test_a_population_of_one_and_one_that_reads_some_entries() -> None:
    one, other = (learner(1, inputs=(2, 0)) for _ in range(2))
    for mine, theirs in zip(learn([one]), learn([other], population=False), strict=True):
        close(mine, theirs, 1e-4)
    close(one.state(), other.state(), 1e-4)


def test_a_rounded_population_learns_the_same() -> None:
    """To the few digits of bfloat16; every update rounds the parameters of the one before."""
    ones, others = ([learner(seed, hidden=(16, 16, 16)) for seed in (1, 2)] for _ in range(2))
    with precision("bfloat16", "cpu"):
        ours, theirs = learn(ones), learn(others, population=False)
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, 0.02)
    exact = learn([learner(seed, hidden=(16, 16, 16)) for seed in (1, 2)])
    assert not torch.equal(exact[0]["actor_loss"], ours[0]["actor_loss"])


@pytest.mark.parametrize(
    "other", [{"inputs": (0,)}, {"hidden": (16, 9)}, {"alpha": 0.3}, {"policy": "real_nvp"}]
)
def test_unlike_learners_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="a population has learners of one shape"):
        Population([learner(), learner(**other)])


@pytest.mark.gpu
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_graph_replays_the_same_updates(options: dict[str, Any]) -> None:
    """To 1e-4 after 100 updates."""
    options = {"learning_rate": 3e-4} | options
    ones, others = ([learner(i, device="cuda", **options) for i in (1, 2)] for _ in range(2))
    for group, population in ((ones, Population(ones)), (others, Population(others, recorded))):
        for k in range(100):
            for one in group:
                one.anneal(k / 100)
            seen = together([batch(32, seed=100 * i + k) for i in range(2)])
            population.update(Batch(*(column.cuda() for column in seen)))
    for one, other in zip(ones, others, strict=True):
        close(one.state(), other.state(), 1e-4)
