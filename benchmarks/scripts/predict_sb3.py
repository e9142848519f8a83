"""Stable-Baselines3's `predict`, timed call by call, in an environment of its own.

python predict_sb3.py OBSERVATIONS ACTIONS
"""

import sys
import time

import gymnasium
import numpy as np
import stable_baselines3
import torch
from gymnasium.spaces import Box
from pace import answer, asked


class Still(gymnasium.Env):
    """Nothing but the spaces."""

    def __init__(self, observations: int, actions: int) -> None:
        self.observation_space = Box(-np.inf, np.inf, (observations,), np.float32)
        self.action_space = Box(-1, 1, (actions,), np.float32)


def main() -> None:
    torch.set_num_threads(1)
    observations, actions = map(int, sys.argv[1:])
    env = Still(observations, actions)
    layers = {"net_arch": [256, 256]}
    model = stable_baselines3.SAC("MlpPolicy", env, policy_kwargs=layers, buffer_size=1)
    obs = np.random.default_rng(0).normal(size=observations).astype(np.float32)
    answer(versions={"stable-baselines3": stable_baselines3.__version__})
    for what in asked():
        took = np.empty(what["calls"])
        for i in range(len(took)):
            began = time.perf_counter_ns()
            model.predict(obs, deterministic=True)
            took[i] = time.perf_counter_ns() - began
        p50, p99, worst = np.percentile(took, [50, 99, 100]) / 1000
        answer(p50=p50, p99=p99, worst=worst)


main()
