"""One distillation of skillkit's, in a process of its own, which says what it took.

    python distil_skillkit.py POLICY SKILLS UPDATES THREADS EPISODES PRODUCTS GOAL

SKILLS is even: half of them are push_x, the others push_y, so that however many there are they
want the same, and only the work grows. Played every fifth of the updates while the clock stands.
"""

from __future__ import annotations

import copy
import resource
import sys
import time
from typing import Any

import torch
from learning import products
from pace import answer, take_cores
from torch.utils.flop_counter import FlopCounterMode

from skillkit import load
from skillkit.algorithms import DistillConfig
from skillkit.algorithms.distill import Distill
from skillkit.envs import task
from skillkit.q_functions import WeightedSum
from skillkit.replay import union
from skillkit.workflows import extract
from skillkit.workflows.common import arithmetic, score

PARENTS = ("push_x", "push_y")
LOOKS = 5
MEGA = 1 << 10 if sys.platform != "darwin" else 1 << 20  # what ru_maxrss counts in, for MB


def main() -> None:
    kind, count, updates, threads, episodes, calls = sys.argv[1], *map(int, sys.argv[2:7])
    take_cores(threads)
    pair = [load(name) for name in PARENTS]
    each = [pair[i % 2] for i in range(count)]
    parents = [copy.deepcopy((skill.policy, skill.q)) for skill in each]
    alpha = sum(skill.alpha for skill in each) / count
    q = WeightedSum([own for _, own in parents], [1 / count] * count, alpha)
    replay = union([skill.replay for skill in each])
    goal, wanted = task("+".join(PARENTS)), float(sys.argv[7])
    before, reached, stopped, distance = _memory(), 0.0, 0.0, float("inf")
    first: tuple[int, float] | None = None
    learner: Distill

    class Watched(Distill):
        def __init__(self, *args: Any, **options: Any) -> None:
            nonlocal learner
            super().__init__(*args, **options)
            learner = self

    def report(update: int, **numbers: float) -> None:
        nonlocal distance, first, reached, stopped
        paused = time.perf_counter()
        first = first or (update, paused - began)
        if episodes:
            distance = score(learner.policy, goal, episodes).means()["final_distance"]
            if distance <= wanted and not reached:
                reached = paused - began - stopped
            stopped += time.perf_counter() - paused

    extract.CHECK_EVERY = max(1, updates // LOOKS)
    extract.Distill = Watched  # type: ignore[misc]
    config = DistillConfig(policy=kind, updates=updates)
    began = time.perf_counter()
    with arithmetic(threads):
        extract.distil(goal.spec, q, parents, replay, config, 0, report, goal.reads)
    took = time.perf_counter() - began - stopped
    more = _memory() - before
    done, after = first or (0, 0.0)  # the first look comes after what happens but once
    each = (took - after) / max(1, updates - done)
    with arithmetic(threads):
        ceiling = products(calls)["float32"]
    with FlopCounterMode(display=False) as counter:
        learner.update(replay.sample(config.batch_size, torch.Generator()))
    answer(
        seconds=took,
        each=each,
        reached=reached,
        distance=distance,
        memory=more,
        flops=counter.get_total_flops(),
        ceiling=ceiling,
    )


def _memory() -> float:
    """The most that was resident so far [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGA


main()
