"""Evaluation on a toy whose returns can be counted on fingers, over real vector environments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from skillkit import evaluation
from skillkit.envs import Domain, Task, Term
from skillkit.envs.vector import TaskVectorEnv
from skillkit.errors import InvalidValue, NonFinite
from skillkit.evaluation import bootstrap_interval, episode_seeds, evaluate
from skillkit.types import Array, Entry, Spec


class Walkers:
    """x <- x + action + noise: as many as there are sub-environments."""

    def __init__(self, noise: float, num_envs: int) -> None:
        self.noise, self.x = noise, np.zeros(num_envs)

    def reset(self, ids: Array, starts: Sequence[float]) -> None:
        self.x[ids] = starts

    def step(self, action: Array, rngs: Sequence[np.random.Generator]) -> None:
        self.x += action[:, 0] + [self.noise * rng.standard_normal() for rng in rngs]

    def observe(self) -> Array:
        return self.x[:, None].copy()

    @property
    def state(self) -> Array:
        return self.x[:, None]

    def load_state(self, state: Array) -> None:
        self.x = state[:, 0]


class Line(Domain):
    """A walk on a line, from somewhere between 0 and 3, in steps of at most 1."""

    name = "line"
    spec = Spec((Entry("x", "m"),), (Entry("v", "m/s", -1.0, 1.0),), 1.0)  # type: ignore[assignment]

    def __init__(self, noise: float = 0.0) -> None:
        self.noise, self.made = noise, []  # type: ignore[var-annotated]

    def vector_env(self, task: Task, num_envs: int, seed: int, threads: int) -> TaskVectorEnv:
        walkers = Walkers(self.noise, num_envs)
        env = TaskVectorEnv(task, walkers, lambda rng: rng.uniform(0, 3), num_envs, seed)
        self.made.append(env)
        return env


def line_task(noise: float = 0.0, horizon: int = 100, **fields: Any) -> Task:
    """Reward: the metres walked. The end: beyond x = 5."""
    walked = Term("walked", lambda now, action, then: then["x"] - now["x"], goals={"x": 5.0})
    fields = {"ends": lambda now, action, then: then["x"] >= 5.0, "terms": (walked,), **fields}
    return Task("walk", Line(noise), "walk past 5 m", horizon=horizon, **fields)


def forward(obs: Array) -> Array:
    return np.ones((len(obs), 1))


def test_known_episodes() -> None:
    result = evaluate(forward, line_task(), episodes=20, num_envs=6)
    start, end = result.initial_observations[:, 0], result.final_observations[:, 0]
    steps = np.ceil(5 - start)
    assert start.min() > 0 and start.max() < 3 and len(set(start)) == 20
    assert (result.metrics["length"] == steps).all()
    assert result.metrics["return"] == pytest.approx(steps, abs=1e-5)
    assert end == pytest.approx(start + steps, abs=1e-5)  # the true last state, not a reset one
    assert result.metrics["final_distance"] == pytest.approx(np.abs(end - 5), abs=1e-5)
    assert set(result.metrics) == {"return", "length", "final_distance"}
    assert result.episodes == 20 and result.seed == evaluation.SEED


def test_a_time_limit_ends_an_episode() -> None:
    result = evaluate(forward, line_task(horizon=2), episodes=5)
    assert (result.metrics["length"] == 2).all()
    assert result.metrics["return"] == pytest.approx(np.full(5, 2.0), abs=1e-5)


def test_success_and_no_goal() -> None:
    effort = Term("effort", lambda now, action, then: -np.abs(action[:, 0]))
    task = line_task(horizon=3, terms=(effort,), solved=lambda now: now["x"] >= 4.5)
    result = evaluate(forward, task, episodes=8)
    assert set(result.metrics) == {"return", "length", "success"}
    end = result.final_observations[:, 0]
    assert result.metrics["success"].tolist() == (end >= 4.5).astype(float).tolist()
    assert 0 < result.means()["success"] < 1


def test_outcomes_are_metrics() -> None:
    outcomes = {"far": lambda now: now["x"] >= 4.5, "near": lambda now: now["x"] < 1.0}
    result = evaluate(forward, line_task(horizon=3, outcomes=outcomes), episodes=8)
    end = result.final_observations[:, 0]
    assert list(result.metrics)[-2:] == ["far", "near"]
    assert result.metrics["far"].tolist() == (end >= 4.5).astype(float).tolist()
    assert 0 < result.means()["far"] < 1 and result.means()["near"] == 0
    assert result.summary()["far"]["mean"] == (end >= 4.5).mean()


def test_paths_are_kept_on_request() -> None:
    task = line_task(noise=0.3, horizon=6)
    result = evaluate(noisy, task, episodes=9, num_envs=4, noise_dim=1, paths=True)
    assert evaluate(noisy, task, episodes=9, noise_dim=1).paths is None
    assert result.paths is not None and result.paths.shape == (9, 7, 1)
    for path, length, first, last in zip(
        result.paths, result.metrics["length"], result.initial_observations,
        result.final_observations, strict=True,
    ):  # fmt: skip
        steps = int(length)
        assert path[0] == first and path[steps] == last
        assert np.isfinite(path[: steps + 1]).all() and np.isnan(path[steps + 1 :]).all()
    walked = np.nansum(np.diff(result.paths[:, :, 0]), axis=1)
    assert walked == pytest.approx(result.metrics["return"], abs=1e-5)
    assert len(set(result.metrics["length"])) > 1


def noisy(obs: Array, noise: Array) -> Array:
    return np.clip(0.4 + 0.2 * noise[:, :1], -1, 1)


@pytest.mark.parametrize("num_envs", [1, 2, 7, 11, 50])
def test_numbers_do_not_depend_on_num_envs(num_envs: int) -> None:
    task = line_task(noise=0.3, horizon=15)
    once = evaluate(noisy, task, episodes=11, num_envs=4, noise_dim=2, seed=3)
    again = evaluate(noisy, task, episodes=11, num_envs=num_envs, noise_dim=2, seed=3)
    for name, values in once.metrics.items():
        assert (again.metrics[name] == values).all(), name
    assert (again.initial_observations == once.initial_observations).all()
    assert (again.final_observations == once.final_observations).all()
    assert len(set(once.metrics["length"])) > 1  # or the test would say little


def test_noise_and_environment_do_not_share_a_stream() -> None:
    seen: list[Array] = []

    def act(obs: Array, noise: Array) -> Array:
        seen.append(noise)
        return forward(obs)

    result = evaluate(act, line_task(horizon=1), 400, noise_dim=1, num_envs=400)
    for seed, noise in zip(episode_seeds(result.seed, 400), seen[0], strict=True):
        for environment in (np.random.default_rng(seed), np.random.default_rng((seed, 0))):
            assert environment.standard_normal(dtype=np.float32) != noise[0]
    assert abs(np.corrcoef(result.initial_observations[:, 0], seen[0][:, 0])[0, 1]) < 0.15
    assert seen[0].mean() == pytest.approx(0, abs=0.15) and seen[0].std() == pytest.approx(1, 0.1)


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_noise_can_be_held_for_an_episode(num_envs: int) -> None:
    """It is then the first draw of the episode's stream, whoever plays beside it."""

    def still(obs: Array, noise: Array) -> Array:
        return 0.01 * noise[:, :1]

    task = line_task(horizon=5, ends=None)
    held = evaluate(still, task, 8, 3, num_envs, noise_dim=2, hold_noise=True)
    free = evaluate(still, replace(task, horizon=1), 8, 3, num_envs, noise_dim=2)
    first = free.metrics["return"]
    assert held.metrics["return"] == pytest.approx(5 * first, abs=1e-6)
    assert len(set(first)) == 8


def test_a_shorter_list_of_episodes_begins_a_longer_one() -> None:
    task = line_task(noise=0.3)
    few, many = (evaluate(noisy, task, n, noise_dim=1).metrics["return"] for n in (4, 10))
    assert (many[:4] == few).all()


def test_another_seed_is_another_list() -> None:
    first, second = (evaluate(forward, line_task(), 5, seed=s) for s in (1, 2))
    assert not np.isin(first.initial_observations, second.initial_observations).any()


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    evaluate(forward, line_task(), 9, num_envs=4, progress=lambda *pair: seen.append(pair))
    done = [pair[0] for pair in seen]
    assert done == sorted(set(done)) and seen[-1] == (9, 9)
    assert all(total == 9 for _, total in seen)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"episodes": 0}, "not 0"),
        ({"num_envs": 0}, "at least one environment|and 0"),
        ({"seed": -1}, "seed of an evaluation is -1"),
    ],
)
def test_bad_counts(wrong: dict[str, int], words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        evaluate(forward, line_task(), **wrong)


def test_bad_actions_stop_the_evaluation_and_close_the_environment() -> None:
    task = line_task()
    with pytest.raises(InvalidValue, match="shape"):
        evaluate(lambda obs: np.ones((len(obs), 2)), task, 3)
    with pytest.raises(NonFinite, match="NaN"):
        evaluate(lambda obs: np.full((len(obs), 1), np.nan), task, 3)
    assert all(env.closed for env in task.on.made) and len(task.on.made) == 2


def test_summary() -> None:
    result = evaluate(forward, line_task(), episodes=50)
    row = result.summary()["return"]
    values = result.metrics["return"]
    assert row["mean"] == pytest.approx(values.mean()) == result.means()["return"]
    assert row["std"] == pytest.approx(np.std(values, ddof=1))
    assert row["low"] < row["mean"] < row["high"]
    assert result.summary() == result.summary()
    assert all(type(number) is float for number in row.values())


def test_summary_of_one_episode() -> None:
    row = evaluate(forward, line_task(), episodes=1).summary()["length"]
    assert row["std"] == 0.0 and row["low"] == row["mean"] == row["high"]


def test_bootstrap_interval_is_the_normal_one_for_many_normal_numbers() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert bootstrap_interval(values) == (low, high)
    assert np.subtract(*bootstrap_interval(values, 0.5)) > low - high  # narrower


def test_bootstrap_covers_the_mean_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.exponential(1.0, 50)) for _ in range(200)]
    assert 0.88 <= np.mean([low <= 1.0 <= high for low, high in intervals]) <= 0.99
