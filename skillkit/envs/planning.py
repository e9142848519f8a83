"""Plans: actions ahead that a simulation shows to be worth more than what a policy would do.

A policy learns from what it has seen. What it would have to do for seconds without gain before it
pays, no exploration shows it; but a simulation can be asked. The cross-entropy method (Rubinstein
1999) tries many sequences of actions from one state, and again around the best of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skillkit.envs.catalog import make
from skillkit.envs.interaction import interact
from skillkit.envs.task import Task
from skillkit.envs.vector import TaskVectorEnv
from skillkit.errors import InvalidValue
from skillkit.types import Array

ELITES = 16  # one of so many candidates shapes the next ones
CORRELATION = 0.8  # of a candidate's noise between neighbouring steps
SPREAD = 0.25  # of the first candidates, in units of half the range of an action
FLOOR = 0.07  # below which it does not fall at first; at the end it may come to a tenth of that
RENEWED = 0.7  # of the mean, by the elites of one round

Act = Callable[[Array], Array]  # (B, O) -> native actions (B, A)


@dataclass(frozen=True)
class PlanConfig:
    """When a training looks ahead to compositions, how, and what becomes of it."""

    every: int = 0  # environment steps from one look ahead to the next, counted from the beginning;
    # 0: there is none. At each the sums of what is trained together, as far as one state can have
    # all their goals, are composed from what would be stored by now, and plans are made that are
    # better
    after: float = 0.0  # share of the training's steps, in [0, 1], before the first look ahead:
    # skills that know little hope for other things than they will at the end
    rehearsals: float = 0.5  # share of the episodes, in [0, 1], that belong to the latest
    # compositions from their first step to their last
    latest: float = 1.0  # share of what the skills store, in [0, 1], that is the latest there is:
    # what rehearsals of nearly finished skills have seen. The rest is spread over the training
    length: int = 100  # of a plan [steps]
    candidates: int = 256  # plans that are tried at once
    rounds: int = 40  # of trying, each around the best of the one before
    kept: int = 3  # searches whose plans are in use, the latest: earlier policies knew less
    share: float = 0.5  # share of the other episodes, in [0, 1], that begin in a state along a plan
    noise: float = 0.05  # of half of them, which follow their plan from its first half on: standard
    # deviation, at most, of what is added to its actions [half the range of an action]; in the
    # others the policy acts at once

    def __post_init__(self) -> None:
        shares = self.after, self.rehearsals, self.latest, self.share
        if min(self.every, self.noise) < 0 or not 0 <= min(shares) <= max(shares) <= 1:
            raise InvalidValue(
                "plan.every and plan.noise must not be negative, and plan.after, plan.rehearsals, "
                "plan.latest and plan.share lie in [0, 1]"
            )
        if min(self.length, self.rounds, self.kept) < 1 or self.candidates < 2 * ELITES:
            raise InvalidValue(
                "plan.length, plan.rounds and plan.kept must be at least 1, and plan.candidates "
                f"at least {2 * ELITES}"
            )


class Plan(NamedTuple):
    """Actions from one state on."""

    actions: Array  # native (H, A)
    states: Array  # of the simulation, before each of them (H, S)
    elapsed: int  # steps of an episode before the first of them
    value: float  # of the task that it is for [r]
    own: float  # of what the policy would have done instead [r]

    @property
    def gain(self) -> float:
        """By how much it is better than the policy [r]."""
        return self.value - self.own

    def to_json(self) -> dict[str, Any]:
        """Plain data, for a checkpoint."""
        arrays = {"actions": self.actions.tolist(), "states": self.states.tolist()}
        return {**self._asdict(), **arrays}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Plan:
        """Inverse of `to_json`."""
        arrays = {key: np.array(data[key], np.float64) for key in ("actions", "states")}
        return Plan(**{**data, **arrays})


class Planner:
    """The world of one task, in as many copies as candidates are tried at once.

    Args:
        task: what its plans are for.
        gamma: discount factor of their values.
        seed: of the start states, of noise in the dynamics, and of the search.

    Raises:
        InvalidValue: its world is not simulated here, or knows its rewards alone.
    """

    def __init__(self, task: Task, gamma: float, config: PlanConfig, seed: int) -> None:
        check_plannable(task)
        env = make(task, config.candidates, seed)
        assert isinstance(env, TaskVectorEnv)
        self.task, self.gamma, self.config, self.env = task, gamma, config, env
        self.rng = np.random.default_rng(seed)
        self.steps = 0  # of the simulation, in all copies

    def close(self) -> None:
        """Let go of the copies."""
        self.env.close()

    def plan(self, act: Act, report: Callable[[float], None]) -> Plan:
        """From a state on the policy's path, in the second half of those early enough to be over at
        the end of an episode: where the policy has done what it knows, and what is left is seen.

        Args:
            act: the policy.
            report: called after each round with the share of them that is done.
        """
        self.env.reset()
        length = min(self.config.length, self.task.horizon)
        latest = self.task.horizon - length
        elapsed = int(self.rng.integers(latest // 2, latest + 1))
        state = self.env.simulation.state.copy()
        if elapsed:
            self._follow(act, state, elapsed)
            state = self.env.simulation.state.copy()
        own, _ = self._follow(act, state, length)
        actions, value = self._search(state[0], own, report)
        _, states = self._follow(_script(actions), state, len(actions))
        return Plan(actions, states, elapsed, value, float(self.values(state[0], own[None])[0]))

    def values(self, state: Array, plans: Array) -> Array:
        """Discounted returns from there on, up to as many plans as there are copies. (S,),
        (B, H, A) -> (B,) [r]

        After the last action the world stays as it is and no action is taken: less than what a
        policy could do there, and no promise of a Q-function.
        """
        copies = self.env.num_envs
        plans = np.concatenate((plans, np.repeat(plans[-1:], copies - len(plans), 0)))[:copies]
        obs = self._put(np.repeat(state[None], copies, 0))
        value, weight = np.zeros(copies), np.ones(copies)
        for actions in plans.swapaxes(0, 1):
            before, obs = obs, self._step(actions)
            value += weight * self.task.reward(before, actions, obs)
            weight *= self.gamma * ~self.task.terminated(before, actions, obs)
        rest = np.clip(np.zeros_like(plans[:, 0]), self.task.spec.low, self.task.spec.high)
        value += weight * self.task.reward(obs, rest, obs) / (1 - self.gamma)
        return np.nan_to_num(value, nan=-np.inf)  # the physics diverged

    def _search(
        self, state: Array, guess: Array, report: Callable[[float], None]
    ) -> tuple[Array, float]:
        """The best plan that was tried, begun around a guess (H, A), and its value."""
        config, spec = self.config, self.task.spec
        mean, deviation = guess, np.broadcast_to(SPREAD * spec.half, guess.shape)
        best, most = guess, -np.inf
        for round_ in range(config.rounds):
            tried = mean + deviation * self._noise(guess.shape)
            tried[:2] = mean, best
            tried = tried.clip(spec.low, spec.high)
            values = self.values(state, tried)
            order = np.argsort(-values, kind="stable")[: config.candidates // ELITES]
            if values[order[0]] > most:
                best, most = tried[order[0]].copy(), float(values[order[0]])
            elites = tried[order]
            left = (1 - round_ / config.rounds) ** 2
            floor = FLOOR * (0.1 + 0.9 * left) * spec.half
            mean = (1 - RENEWED) * mean + RENEWED * elites.mean(0)
            deviation = np.maximum((deviation + elites.std(0)) / 2, floor)
            report((round_ + 1) / config.rounds)
        return best, most

    def _noise(self, shape: tuple[int, ...]) -> Array:
        """N(0, I) at each step, correlated between them. (H, A) -> (candidates, H, A)"""
        noise = self.rng.standard_normal((self.config.candidates, *shape))
        for t in range(1, shape[0]):
            fresh = (1 - CORRELATION**2) ** 0.5 * noise[:, t]
            noise[:, t] = CORRELATION * noise[:, t - 1] + fresh
        return noise

    def _follow(self, act: Act, state: Array, steps: int) -> tuple[Array, Array]:
        """What the first copy does, and the states before each step. -> (T, A), (T, S)"""
        obs = self._put(state)
        actions, states = [], []
        for _ in range(steps):
            action = np.asarray(act(obs[:1].astype(np.float32)), np.float64)
            action = action.clip(self.task.spec.low, self.task.spec.high)
            states.append(self.env.simulation.state[0].copy())
            actions.append(action[0])
            obs = self._step(np.repeat(action, self.env.num_envs, 0))
        return np.array(actions), np.array(states)

    def _put(self, states: Array) -> Array:
        """-> what is observed there"""
        self.env.simulation.load_state(states)
        return self.env.simulation.observe().copy()

    def _step(self, actions: Array) -> Array:
        """-> what is observed afterwards"""
        interact(self.env.num_envs)
        self.steps += self.env.num_envs
        self.env.simulation.step(actions, self.env.rngs)
        return self.env.simulation.observe().copy()


def sums(tasks: Sequence[Task]) -> list[tuple[int, ...]]:
    """The largest sums of tasks that one state can fulfil: no two want an entry at other values.

    One task is a sum if it was composed.

    >>> from skillkit.envs import task
    >>> sums([task("push_x"), task("push_x_right"), task("push_y")])
    [(0, 2), (1, 2)]
    """
    found: list[tuple[int, ...]] = []
    for new, task in enumerate(tasks):
        fits = [
            all(task.goals.get(name, goal) == goal for name, goal in other.goals.items())
            for other in tasks[:new]
        ]
        grown = [(*(i for i in one if fits[i]), new) for one in found] or [(new,)]
        every = list(dict.fromkeys([*found, *grown]))
        found = [one for one in every if not any(set(one) < set(other) for other in every)]
    return sorted(one for one in found if len(one) > 1 or tasks[one[0]].parts)


def check_plannable(task: Task) -> None:
    """Whether states of its world can be returned to, and judged.

    Raises:
        InvalidValue: they cannot.
    """
    if not task.relabellable:
        raise InvalidValue(
            f"plans are made in worlds that are simulated here, which that of {task.name} is not; "
            "set plan.every=0"
        )


def _script(actions: Array) -> Act:
    """The plan itself as a policy."""
    steps = iter(actions)
    return lambda obs: next(steps)[None]
