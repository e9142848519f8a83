"""Laws that every task obeys, whatever its domain."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, VectorEnv

from skillkit.envs import Quantities, Task, forbid_interaction, make, task, task_names
from skillkit.envs.vector import ONE_THREAD, finite
from skillkit.errors import InteractionForbidden, InvalidValue, NonFinite
from skillkit.types import Array

NAMED = task_names()
OURS = [*NAMED, "push_x+push_y", "0.7*point_x+0.3*point_roam"]
ALL = [*OURS, "gym:Pendulum-v1"]


def far(now: Quantities, action: Array, then: Quantities) -> Array:
    return np.abs(then["x"]) > 1.2


def ending() -> Task:
    """A task that terminates: out of |x| < 1.2 within a few steps under a constant force."""
    return replace(task("point_roam"), name="escape", ends=far)


def actions(env: VectorEnv[Any, Any, Any], steps: int, seed: int = 0) -> Array:
    """Native actions, different in every sub-environment and the same for any number of them."""
    low, high = env.single_action_space.low, env.single_action_space.high
    rngs = [np.random.default_rng((seed, i)) for i in range(env.num_envs)]
    drawn = [rng.uniform(low, high, (steps, len(low))) for rng in rngs]
    return np.stack(drawn, axis=1)  # (T, E, A)


def play(env: VectorEnv[Any, Any, Any], steps: int, seed: int = 0) -> list[tuple[Array, ...]]:
    """Observation, reward, terminated, truncated of every step; what has ended begins anew."""
    rows: list[tuple[Array, ...]] = [(env.reset()[0],)]
    for action in actions(env, steps, seed):
        if len(rows) > 1 and (over := rows[-1][2] | rows[-1][3]).any():
            env.reset(options={"reset_mask": over})
        rows.append(env.step(action)[:4])
    return rows


WORLDS = {(task(name).domain, task(name).scene): name for name in OURS}  # one task of each


@pytest.mark.parametrize("name", WORLDS.values())
def test_episodes_continue_from_their_state(name: str) -> None:
    """Through JSON, in an environment that was elsewhere; the generators go on, too."""
    env, other = (make(task(name), 3, seed=seed) for seed in (0, 1))
    play(env, 17)
    play(other, 4, seed=1)
    other.load_state(json.loads(json.dumps(env.state())))
    assert other.state() == env.state()
    mask = np.array([False, True, False])
    for action in actions(env, 6, seed=2):
        for a, b in zip(env.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        fresh = [one.reset(options={"reset_mask": mask.copy()})[0] for one in (env, other)]
        np.testing.assert_array_equal(*fresh)
    assert other.state() == env.state()


def test_what_is_over_stays_over() -> None:
    env, other = (make(task("point_x"), 2, seed=0) for _ in range(2))
    play(env, task("point_x").horizon)
    other.load_state(env.state() or {})
    with pytest.raises(InvalidValue, match="has no running episode"):
        other.step(actions(env, 1)[0])


def test_the_episodes_of_others_cannot_be_kept() -> None:
    env = make(task("gym:Pendulum-v1"), 2, seed=0)
    env.reset()
    assert env.state() is None


@pytest.mark.parametrize("name", NAMED)
def test_gymnasium_accepts_it(name: str) -> None:
    env = gymnasium.make(f"skillkit/{name}-v0")
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", ALL)
def test_shapes_dtypes_bounds(name: str) -> None:
    found = task(name)
    env = make(found, 3, seed=0)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    obs, info = env.reset()
    assert info == {}
    size = found.spec.observation_dim
    assert obs.shape == (3, size) and obs.dtype == np.float32
    assert obs in env.observation_space
    np.testing.assert_array_equal(env.single_action_space.low, found.spec.low.astype(np.float32))
    np.testing.assert_array_equal(env.single_action_space.high, found.spec.high.astype(np.float32))
    obs, reward, terminated, truncated, info = env.step(actions(env, 1)[0])
    assert obs.shape == (3, size) and obs.dtype == np.float32 and obs in env.observation_space
    assert reward.shape == (3,) and reward.dtype == np.float64
    for flag in (terminated, truncated):
        assert flag.shape == (3,) and flag.dtype == bool
    assert info == {}


@pytest.mark.parametrize("name", ALL)
def test_a_seed_decides_all_whatever_runs_beside_it(name: str) -> None:
    few = play(make(task(name), 2, seed=4), 40)
    many = play(make(task(name), 5, seed=4, threads=2), 40)
    for mine, theirs in zip(few, many, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other[:2])
    assert not np.array_equal(few[0][0], play(make(task(name), 2, seed=5), 0)[0][0])


@pytest.mark.parametrize("name", ALL)
def test_the_seed_of_reset_is_the_seed_of_make(name: str) -> None:
    made = make(task(name), 2, seed=7).reset()[0]
    env = make(task(name), 2, seed=0)
    first, again = env.reset(seed=7)[0], env.reset()[0]
    np.testing.assert_array_equal(made, first)
    assert not np.array_equal(first, again)  # without a seed the generators go on
    single = make(task(name), 1, seed=7).reset()[0]
    np.testing.assert_array_equal(single, made[:1])
    listed = make(task(name), 2, seed=0).reset(seed=[3, 7])[0]
    np.testing.assert_array_equal(listed[1:], single)


@pytest.mark.parametrize("name", ALL)
def test_starts_are_random(name: str) -> None:
    obs = make(task(name), 8, seed=0).reset()[0]
    assert len(np.unique(obs, axis=0)) == 8


@pytest.mark.parametrize("name", OURS)
def test_no_undeclared_constant(name: str) -> None:
    found = task(name)
    rows = np.concatenate([row[0] for row in play(make(found, 16, seed=1), 40)])
    still = np.ptp(rows, axis=0) < 1e-6
    declared = [entry.constant for entry in found.spec.observation]
    np.testing.assert_array_equal(still, declared)


@pytest.mark.parametrize("name", ALL)
def test_a_mask_resets_only_what_it_names(name: str) -> None:
    env, twin = make(task(name), 3, seed=2), make(task(name), 3, seed=2)
    before, same = play(env, 5)[-1][0], play(twin, 5)[-1][0]
    np.testing.assert_array_equal(before, same)
    mask = np.array([False, True, False])
    after, _ = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(after[~mask], before[~mask])
    assert not np.array_equal(after[mask], before[mask])
    action = actions(env, 1, seed=9)[0]
    for mine, theirs in zip(env.step(action)[:4], twin.step(action)[:4], strict=True):
        np.testing.assert_array_equal(mine[~mask], theirs[~mask])


@pytest.mark.parametrize("name", ["push_x", "point_x", "gym:Pendulum-v1"])
def test_time_runs_out_at_the_horizon_of_each_episode(name: str) -> None:
    found = task(name)
    env = make(found, 2, seed=0)
    env.reset()
    idle = np.zeros((2, found.spec.action_dim))
    for _ in range(3):
        env.step(idle)
    env.reset(options={"reset_mask": np.array([True, False])})
    for _ in range(found.horizon - 4):
        assert not env.step(idle)[3].any()
    np.testing.assert_array_equal(env.step(idle)[3], [False, True])


@pytest.mark.parametrize("name", ["push_x", "point_x"])
def test_the_last_observation_is_the_true_next_one(name: str) -> None:
    short = replace(task(name), horizon=4)
    ended, going = play(make(short, 2, seed=0), 4)[-1], play(make(task(name), 2, seed=0), 4)[-1]
    assert ended[3].all() and not going[3].any()
    np.testing.assert_array_equal(ended[0], going[0])


@pytest.mark.parametrize("name", ALL)
def test_nothing_returned_is_shared(name: str) -> None:
    env, twin = make(task(name), 2, seed=0), make(task(name), 2, seed=0)
    spoiled: list[Array] = [env.reset()[0]]
    twin.reset()
    for action in actions(env, 5):
        for array in spoiled:
            array[...] = 1  # what the caller does to his arrays must not reach the environment
        mine = action.copy()
        spoiled = [*env.step(mine)[:4], mine]
        for one, other in zip(spoiled, twin.step(action)[:4], strict=False):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", [*OURS, "escape"])
def test_rewards_and_endings_can_be_relabelled(name: str) -> None:
    found = ending() if name == "escape" else task(name)
    env = make(found, 6, seed=3)
    obs, _ = env.reset()
    rng, ends = np.random.default_rng(0), 0
    for _ in range(60):
        unit = np.tanh(rng.normal(1, 1, (6, found.spec.action_dim))).astype(np.float32)
        action = found.spec.native(unit)  # what a replay can restore
        then, reward, terminated, truncated, _ = env.step(action)
        np.testing.assert_array_equal(reward, found.reward(obs, action, then))
        np.testing.assert_array_equal(terminated, found.terminated(obs, action, then))
        assert not (terminated & truncated).any()
        ends, obs = ends + terminated.sum(), then
        if (over := terminated | truncated).any():
            obs, _ = env.reset(options={"reset_mask": over})
    assert ends > 0 if name == "escape" else ends == 0 or found.ends is not None


def test_an_ending_beats_the_time_limit() -> None:
    env = make(replace(ending(), horizon=1), 1, seed=0)
    env.reset()
    env.simulation.state[:] = (2.0, 0, 0, 0)  # type: ignore[attr-defined]
    assert env.step(np.zeros((1, 2)))[2:4] == (True, False)


@pytest.mark.parametrize("name", ["push_x", "point_x", "gym:Pendulum-v1"])
def test_misuse_is_refused(name: str) -> None:
    found = task(name)
    env = make(found, 2, seed=0)
    good = np.zeros((2, found.spec.action_dim))
    with pytest.raises(InvalidValue, match="reset it first"):
        env.step(good)
    for mask in (np.array([False, False]), np.array([True]), np.array([1, 0]), [True, False]):
        with pytest.raises(InvalidValue, match="reset_mask"):
            env.reset(options={"reset_mask": mask})
    with pytest.raises(InvalidValue, match="seed"):
        env.reset(seed=[1])
    with pytest.raises(InvalidValue, match="seed"):
        env.reset(seed=-1)
    env.reset()
    with pytest.raises(InvalidValue, match="shape"):
        env.step(good[0])
    bad = good.copy()
    bad[1, 0] = np.nan
    entry = found.spec.action[0].name
    with pytest.raises(NonFinite, match=f"{entry} of sub-environment 1"):
        env.step(bad)
    with forbid_interaction() as interaction, pytest.raises(InteractionForbidden):
        env.step(good)
    assert interaction.steps == 2
    with pytest.raises(InvalidValue, match="at least 1"):
        make(found, 0, seed=0)


@pytest.mark.parametrize("name", ["push_x", "point_x", "gym:Pendulum-v1"])
def test_an_ended_episode_waits_for_its_reset(name: str) -> None:
    found = task(name)
    env = make(found, 1, seed=0)
    env.reset()
    for _ in range(found.horizon):
        _, _, _, truncated, _ = env.step(np.zeros((1, found.spec.action_dim)))
    assert truncated.all()
    with pytest.raises(InvalidValue, match="reset it first"):
        env.step(np.zeros((1, found.spec.action_dim)))


@pytest.mark.parametrize("name", ["push_x", "point_x", "gym:Pendulum-v1"])
def test_actions_are_clipped_to_their_bounds(name: str) -> None:
    found = task(name)
    envs = [make(found, 1, seed=0) for _ in range(2)]
    for env in envs:
        env.reset()
    at, beyond = envs[0].step(found.spec.high[None]), envs[1].step(5 * found.spec.high[None])
    np.testing.assert_array_equal(at[0], beyond[0])
    np.testing.assert_array_equal(at[1], beyond[1])


@pytest.mark.parametrize("name", ["push_x", "point_x"])
def test_a_broken_simulation_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = make(task(name), 3, seed=0)
    env.reset()
    simulation = env.simulation  # type: ignore[attr-defined]
    state = simulation.state if name == "point_x" else simulation.batch.qvel
    state[1, 0] = np.nan
    with pytest.raises(NonFinite, match=f"{name}.*sub-environment 1.*after 1 steps"):
        env.step(np.zeros((3, task(name).spec.action_dim)))
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()


def test_a_broken_reward_is_named() -> None:
    point = task("point_x")
    bad = replace(point.terms[0], function=lambda now, action, then: now["x"] / 0 * 0)
    env = make(replace(point, terms=(bad,)), 2, seed=0)
    env.reset()
    with pytest.raises(NonFinite, match="point_x.*reward"), np.errstate(all="ignore"):
        env.step(np.zeros((2, 2)))


@pytest.mark.parametrize("size", [1, 3 * ONE_THREAD + 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_found_wherever_it_is(
    size: int, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By products that no library splits among threads."""
    lengths = []
    vdot = np.vdot

    def noted(a: Array, b: Array) -> Any:
        lengths.append(len(a.ravel()))
        return vdot(a, b)

    monkeypatch.setattr(np, "vdot", noted)
    values = np.ones((1, size))
    assert finite(values)
    for where in {0, size // 2, size - 1}:
        values[0, where] = bad
        assert not finite(values)
        values[0, where] = 1
    assert max(lengths) <= ONE_THREAD
