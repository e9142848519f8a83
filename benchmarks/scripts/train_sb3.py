"""SAC of Stable-Baselines3 or SBX, timed in stretches of a training, in an environment of its own.

    python train_sb3.py sb3|sbx ENVIRONMENT THREADS WARMUP

2x256 networks, batches of 256 and one update per step are the defaults of both.
"""

import sys
import time
from typing import Any

import gymnasium
import stable_baselines3
import torch
from pace import answer, asked, take_cores
from stable_baselines3.common.callbacks import BaseCallback


class Pace(BaseCallback):
    """Goes on for as many steps as are asked for, and says how long they took."""

    def __init__(self, warmup: int, about: dict[str, str]) -> None:
        super().__init__()
        self.asked, self.until, self.about = asked(), warmup, about
        self.began = 0.0

    def _on_step(self) -> bool:
        if self.num_timesteps < self.until:
            return True
        if self.began:
            answer(seconds=time.perf_counter() - self.began)
        else:
            answer(versions=self.about)
        what = next(self.asked, None)
        if what is None:
            return False
        self.until = self.num_timesteps + what["steps"]
        self.began = time.perf_counter()
        return True


def main() -> None:
    peer, env_id, threads, warmup = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    take_cores(threads)
    torch.set_num_threads(threads)
    about = {"stable-baselines3": stable_baselines3.__version__}
    kind: Any = stable_baselines3.SAC
    if peer == "sbx":
        import jax
        import sbx

        kind, about = sbx.SAC, {"sbx-rl": sbx.__version__, "jax": jax.__version__}
    model = kind("MlpPolicy", gymnasium.make(env_id), learning_starts=warmup, seed=0)
    model.learn(10**9, callback=Pace(warmup, about))


main()
