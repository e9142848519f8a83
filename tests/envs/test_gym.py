"""Any Gymnasium environment as a task; and ours as Gymnasium environments."""

from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils.env_checker import check_env

from skillkit.envs import make, task
from skillkit.envs.single import SingleEnv
from skillkit.errors import InvalidValue, NonFinite, UnknownName


def test_half_cheetah() -> None:
    cheetah = task("gym:HalfCheetah-v5")
    assert (cheetah.name, cheetah.label) == ("gym:HalfCheetah-v5", "HalfCheetah-v5")
    assert cheetah.horizon == 1000 and cheetah.spec.dt == pytest.approx(0.05)
    assert (cheetah.spec.observation_dim, cheetah.spec.action_dim) == (17, 6)
    assert not cheetah.relabellable and cheetah.goals == {}
    env = make(cheetah, 2, seed=0)
    obs, _ = env.reset()
    raw = gymnasium.make("HalfCheetah-v5")
    word = int(np.random.SeedSequence((0, 1)).generate_state(1)[0])
    truth, _ = raw.reset(seed=word)
    np.testing.assert_array_equal(obs[1], truth.astype(np.float32))
    action = np.linspace(-1, 1, 6)
    obs, reward, *_ = env.step(np.stack([action, action]))
    truth, expected, *_ = raw.step(action.astype(np.float32))
    np.testing.assert_array_equal(obs[1], truth.astype(np.float32))
    assert reward[1] == expected


def test_mujoco_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading this model makes MuJoCo warn, and a bare MuJoCo writes that to MUJOCO_LOG.TXT."""
    monkeypatch.chdir(tmp_path)
    make(task("gym:HalfCheetah-v5"), 1, seed=0)
    assert not (tmp_path / "MUJOCO_LOG.TXT").exists()


class Odd(gymnasium.Env[np.ndarray, np.ndarray]):
    """An environment whose spaces, reward and limits a test chooses."""

    def __init__(
        self,
        observation: object = None,
        action: object = None,
        reward: float = 0,
        ends: bool = False,
    ) -> None:
        self.observation_space = observation or Box(-1, 1, (2,))  # type: ignore[assignment]
        self.action_space = action or Box(-1, 1, (1,))  # type: ignore[assignment]
        self.reward, self.ends = reward, ends

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        return np.zeros(2, np.float32), self.reward, self.ends, False, {}


@pytest.fixture(autouse=True)
def odd() -> None:
    if "Odd-v0" not in gymnasium.registry:
        box, infinite = Box(-1, 1, (2,)), Box(-np.inf, np.inf, (1,))
        gymnasium.register("Odd-v0", Odd)
        gymnasium.register("OddDict-v0", Odd, kwargs={"observation": Dict({"a": box})})
        gymnasium.register("OddImage-v0", Odd, kwargs={"observation": Box(0, 1, (4, 4))})
        gymnasium.register("OddDiscrete-v0", Odd, kwargs={"action": Discrete(2)})
        gymnasium.register("OddInfinite-v0", Odd, kwargs={"action": infinite})
        gymnasium.register("OddEnding-v0", Odd, kwargs={"ends": True}, max_episode_steps=1)
        gymnasium.register("OddNaN-v0", Odd, kwargs={"reward": np.nan})


@pytest.mark.parametrize(
    ("env_id", "says"),
    [
        ("CartPole-v1", r"action space Discrete\(2\)"),
        ("OddDiscrete-v0", r"action space Discrete\(2\)"),
        ("OddDict-v0", "observation space Dict"),
        ("OddImage-v0", "Box of one dimension"),
        ("OddInfinite-v0", "unbounded actions"),
        ("os:Odd-v0", "would import that module.*gym:Odd-v0"),
    ],
)
def test_what_cannot_be_used_is_refused(env_id: str, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        task(f"gym:{env_id}")


def test_unknown_ids_get_suggestions() -> None:
    with pytest.raises(UnknownName, match="did you mean gym:HalfCheetah-v5"):
        task("gym:HalfCheta-v5")


def test_an_environment_without_a_limit_gets_one() -> None:
    assert task("gym:Odd-v0").horizon == 1000


def test_relabelling_is_refused() -> None:
    pendulum = task("gym:Pendulum-v1")
    with pytest.raises(InvalidValue, match="cannot be relabelled"):
        pendulum.reward(np.zeros((1, 3)), np.zeros((1, 1)), np.zeros((1, 3)))
    with pytest.raises(InvalidValue, match="cannot be relabelled"):
        pendulum.terminated(np.zeros((1, 3)), np.zeros((1, 1)), np.zeros((1, 3)))


def test_an_ending_beats_the_time_limit() -> None:
    env = make(task("gym:OddEnding-v0"), 1, seed=0)
    env.reset()
    assert env.step(np.zeros((1, 1)))[2:4] == (True, False)


def test_a_nan_names_the_task() -> None:
    env = make(task("gym:OddNaN-v0"), 1, seed=0)
    env.reset()
    with pytest.raises(NonFinite, match="gym:OddNaN-v0"):
        env.step(np.zeros((1, 1)))


@pytest.mark.parametrize("expression", ["push_x+push_y", "gym:Pendulum-v1"])
def test_any_expression_as_one_environment(expression: str) -> None:
    env = gymnasium.make("skillkit.envs:skillkit/Task-v0", task=expression)
    check_env(env.unwrapped, skip_render_check=True)
    batch = make(task(expression), 1, seed=11)
    obs, _ = env.reset(seed=11)
    np.testing.assert_array_equal(obs, batch.reset()[0][0])
    action = env.action_space.high / 2
    obs, reward, terminated, truncated, _ = env.step(action)
    expected = batch.step(action[None])
    np.testing.assert_array_equal(obs, expected[0][0])
    assert (reward, terminated, truncated) == (expected[1][0], False, False)
    assert isinstance(reward, float) and isinstance(truncated, bool)


def test_one_environment_truncates_at_the_horizon() -> None:
    env = gymnasium.make("skillkit/point_x-v0")
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[3] for _ in range(50)]
    assert ends == [False] * 49 + [True]


def test_unseeded_episodes_differ() -> None:
    starts = [gymnasium.make("skillkit/point_x-v0").reset()[0] for _ in range(2)]
    assert not np.array_equal(*starts)


def test_pictures_are_asked_for_properly() -> None:
    with pytest.raises(InvalidValue, match="render_mode"):
        SingleEnv("push_x", render_mode="ansi")
    env = gymnasium.make("skillkit/point_x-v0", render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(InvalidValue, match="point has no picture"):
        env.render()
    assert gymnasium.make("skillkit/push_x-v0").unwrapped.render() is None
