"""The random streams of each workflow, independent of each other and all from its one seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skillkit.workflows.settings import spawn


class Training(NamedTuple):
    """Seeds of what is random in a training."""

    learners: list[int]  # one a task
    batches: int
    starts: int  # of episodes
    noises: int  # of exploration
    compasses: int  # of what a base has stored
    plans: int


class Composition(NamedTuple):
    """Seeds of what is random in a composition."""

    learner: int
    batches: int
    candidates: int  # on which its cost is estimated
    watched: int  # the states on which policies are compared
    improver: int
    looks: int  # the batches of the improvement


def training(seed: int, tasks: int = 1) -> Training:
    """The streams of a training of so many tasks."""
    first, batches, starts, noises, *others, compasses, plans = spawn(seed, 5 + tasks)
    return Training([first, *others], batches, starts, noises, compasses, plans)


def composition(seed: int) -> Composition:
    """The streams of a composition."""
    return Composition(*spawn(seed, 6))


def search(stream: int, steps: int, index: int) -> int:
    """The seed of a rehearsal and a plan: of which sum, after so many steps of the training."""
    return int(np.random.SeedSequence((stream, steps, index)).generate_state(1)[0])
