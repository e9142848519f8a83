"""Rollouts to numbers: what a policy does in a task, per episode, with intervals. NumPy only.

An evaluation is a fixed list of episodes. Episode i draws everything random, its start, its
dynamics and its action noise, from a seed of its own made from (seed, i); the sub-environments
take the episodes one after the other and are reseeded at each reset. So the same (seed, episodes)
gives the same numbers whatever `num_envs` and `threads` are, and the first ten episodes of a
hundred are the ten of ten, provided that `act` treats rows independently, as `Controller.batch`
does bit for bit. (A PyTorch policy does so up to the rounding of its matrix products.)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from skillkit.envs import Task, make
from skillkit.errors import InvalidValue
from skillkit.types import Array

SEED = 1_000_000  # of evaluations, far from the numbers that people train with
MOST_ENVS = 50
RESAMPLES = 2000
DRAWN = 1_000_000  # episodes in memory at once while resampling

Act = Callable[..., Array]
Noise = Iterator[Array]  # (noise_dim,) for each step of an episode
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What happened in each episode.

    Attributes:
        task: the task that was played.
        seed: with the number of episodes, what determines the episodes.
        metrics: name -> one number per episode (episodes,): return [r], undiscounted; length
            [steps]; where the task has them, final_distance, success (0 or 1) and its outcomes
            (0 or 1), all on the state after the last step.
        initial_observations: at reset. (episodes, O)
        final_observations: after the last step. (episodes, O)
        paths: all observations, NaN after the end, if asked for. (episodes, horizon + 1, O)
    """

    task: Task
    seed: int
    metrics: dict[str, Array]
    initial_observations: Array
    final_observations: Array
    paths: Array | None = None

    @property
    def episodes(self) -> int:
        return len(self.final_observations)

    def means(self) -> dict[str, float]:
        """Per metric: the mean over episodes."""
        return {name: float(values.mean()) for name, values in self.metrics.items()}

    def summary(self) -> dict[str, dict[str, float]]:
        """Per metric: mean, sample standard deviation, and a 95 % interval of the mean."""
        return {name: _summary(values) for name, values in self.metrics.items()}


def evaluate(
    act: Act,
    task: Task,
    episodes: int = 100,
    seed: int = SEED,
    num_envs: int | None = None,
    *,
    noise_dim: int = 0,
    hold_noise: bool = False,
    threads: int = 1,
    paths: bool = False,
    progress: Progress | None = None,
    begin: Callable[[Array], None] | None = None,
) -> Evaluation:
    """Play `episodes` episodes of a task.

    Args:
        act: native actions for a batch of observations, (E, O) -> (E, A); with `noise_dim` it is
            called with noise too, (E, O), (E, noise_dim) -> (E, A). `controller.batch` is both.
        num_envs: parallel sub-environments; min(episodes, 50) by default.
        noise_dim: entries of action noise ~ N(0, I), drawn from each episode's own stream.
        hold_noise: draw once an episode: what each fixed latent does (thesis ch. 7).
        paths: keep every observation.
        progress: called with (episodes done, episodes) after each step that ended one.
        begin: called with the rows (E,) bool whose episodes begin, for an `act` that remembers:
            `controller.reset`, which a stack needs.

    Raises:
        InvalidValue: a count below one, a negative seed, actions of the wrong shape.
        NonFinite: an action, a state or a reward is not finite; the environment names it.
    """
    num_envs = min(episodes, MOST_ENVS) if num_envs is None else min(num_envs, episodes)
    if episodes < 1 or num_envs < 1:
        raise InvalidValue(
            f"an evaluation needs at least one episode and one environment, not {episodes} and "
            f"{num_envs}"
        )
    if seed < 0:
        raise InvalidValue(f"the seed of an evaluation is {seed}; use 0 or more")
    env = make(task, num_envs, seed=seed, threads=threads)
    try:
        log = _Log(episodes, task, paths, progress)
        noise = partial(action_noise, dim=noise_dim, hold=hold_noise)
        _play(act, begin or (lambda rows: None), env, episode_seeds(seed, episodes), noise, log)
    finally:
        env.close()
    return Evaluation(task, seed, _metrics(task, log), log.initial, log.final, log.paths)


def episode_seeds(seed: int, episodes: int) -> list[int]:
    """One seed per episode; a longer list begins with the shorter one."""
    return [int(word) for word in np.random.SeedSequence(seed).generate_state(episodes)]


def action_noise(seed: int, dim: int, hold: bool = False) -> Noise:
    """Of the actions of one episode; its environment draws from (seed, 0), which equals seed."""
    stream = np.random.default_rng((seed, 1))
    draws = (stream.standard_normal(dim, np.float32) for _ in itertools.count())
    return itertools.repeat(next(draws)) if hold else draws


class _Log:
    """Per-episode records, filled as the sub-environments go through the episodes."""

    def __init__(self, episodes: int, task: Task, paths: bool, progress: Progress | None) -> None:
        self.episodes, self.done, self.progress = episodes, 0, progress
        self.returns, self.lengths = np.zeros(episodes), np.zeros(episodes, np.int64)
        width = task.spec.observation_dim
        self.initial, self.final = (np.zeros((episodes, width), np.float32) for _ in range(2))
        shape = (episodes, task.horizon + 1, width)
        self.paths = np.full(shape, np.nan, np.float32) if paths else None

    def begin(self, episode: Array, obs: Array) -> None:
        """Episodes (n,) start at observations (n, O); those past the end do not count."""
        real = episode < self.episodes
        self.initial[episode[real]] = obs[real]
        self._trace(episode[real], obs[real])

    def step(self, episode: Array, obs: Array, reward: Array, ended: Array) -> None:
        """One step of the episodes (E,), to observations (E, O) with rewards (E,)."""
        real = episode < self.episodes
        self.returns[episode[real]] += reward[real]
        self.lengths[episode[real]] += 1
        self._trace(episode[real], obs[real])
        self.final[episode[real & ended]] = obs[real & ended]
        self.done += int((real & ended).sum())
        if self.progress is not None and (real & ended).any():
            self.progress(self.done, self.episodes)

    def _trace(self, episode: Array, obs: Array) -> None:
        if self.paths is not None:
            self.paths[episode, self.lengths[episode]] = obs


def _play(
    act: Act,
    begin: Callable[[Array], None],
    env: Any,
    seeds: list[int],
    noise: Callable[[int], Noise],
    log: _Log,
) -> None:
    """Go through the list of episodes; a sub-environment without one left repeats an old one."""
    episode = np.arange(env.num_envs)  # (E,) which one each sub-environment plays
    streams = [noise(seeds[i]) for i in episode]
    obs, _ = env.reset(seed=[seeds[i] for i in episode])
    begin(np.ones(env.num_envs, bool))
    log.begin(episode, obs)
    while log.done < log.episodes:
        drawn = np.stack([next(stream) for stream in streams])  # (E, noise_dim)
        action = act(obs, drawn) if drawn.size else act(obs)
        obs, reward, terminated, truncated, _ = env.step(action)
        ended = terminated | truncated  # (E,)
        log.step(episode, obs, reward, ended)
        if ended.any() and log.done < log.episodes:
            episode[ended] = episode.max() + 1 + np.arange(ended.sum())
            chosen = [seeds[i % len(seeds)] for i in episode]
            for i in np.flatnonzero(ended):
                streams[i] = noise(chosen[i])
            fresh, _ = env.reset(seed=chosen, options={"reset_mask": ended})
            obs = np.where(ended[:, None], fresh, obs)
            begin(ended)
            log.begin(episode[ended], obs[ended])


def _metrics(task: Task, log: _Log) -> dict[str, Array]:
    """The metrics that this task has, one number per episode."""
    metrics = {"return": log.returns, "length": log.lengths}
    final = log.final.astype(np.float64)
    measured = {"final_distance": task.final_distance(final), "success": task.success(final)}
    measured |= task.outcome(final)
    return metrics | {
        name: np.asarray(values, np.float64)
        for name, values in measured.items()
        if values is not None
    }


def _summary(values: Array) -> dict[str, float]:
    low, high = bootstrap_interval(values)
    std = values.std(ddof=1) if len(values) > 1 else 0.0
    return {"mean": float(values.mean()), "std": float(std), "low": low, "high": high}


def bootstrap_interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, the same at every call. (n,) -> low, high"""
    rng = np.random.default_rng(0)
    count = len(values)
    at_once = max(1, DRAWN // count)  # the stream of draws goes on, however it is cut
    means = np.concatenate(
        [
            values[rng.integers(count, size=(min(at_once, RESAMPLES - done), count))].mean(axis=1)
            for done in range(0, RESAMPLES, at_once)
        ]
    )
    tail = (1 - level) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)
