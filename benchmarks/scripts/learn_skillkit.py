"""skillkit's learners, timed in stretches.

    python learn_skillkit.py TASKS ALGORITHM THREADS WARMUP SETTINGS DEVICE

TASKS are separated by commas, SETTINGS are JSON. Asked for {"steps": N} it goes on training, for
{"updates": N} it updates alone, and for {"products": N} it multiplies matrices, in float32 and in
bfloat16.
"""

from __future__ import annotations

import json
import sys

from learning import Training, products
from pace import answer, asked, take_cores

from skillkit.workflows.common import arithmetic


def main() -> None:
    tasks, algorithm, threads, warmup, settings, device = sys.argv[1:]
    take_cores(int(threads))
    with arithmetic(int(threads)):
        wanted = json.loads(settings)
        serve(Training.begin(tasks.split(","), algorithm, wanted, int(warmup), device))


def serve(training: Training) -> None:
    answer(flops=training.flops() if not training.config.compile else None)
    for what in asked():
        if "products" in what:
            answer(**products(what["products"], training.run.device))
        elif "steps" in what:
            answer(**training.whole(what["steps"]))
        else:
            answer(**training.updates(what["updates"]))


main()
