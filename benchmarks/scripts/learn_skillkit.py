"""skillkit's learners, timed in stretches.

    python learn_skillkit.py TASK ALGORITHM THREADS WARMUP SETTINGS

SETTINGS are JSON. Asked for {"steps": N} it goes on training, for {"updates": N} it updates alone,
and for {"products": N} it multiplies matrices, in float32 and in bfloat16.
"""

from __future__ import annotations

import json
import sys

from learning import Training, products
from pace import answer, asked, take_cores

from skillkit.workflows.common import arithmetic


def main() -> None:
    task, algorithm, threads, warmup, settings = sys.argv[1:]
    take_cores(int(threads))
    with arithmetic(int(threads)):
        serve(Training.begin([task], algorithm, json.loads(settings), int(warmup)))


def serve(training: Training) -> None:
    answer(flops=training.flops() if not training.config.compile else None)
    for what in asked():
        if "products" in what:
            answer(**products(what["products"]))
        elif "steps" in what:
            answer(**training.whole(what["steps"]))
        else:
            answer(**training.updates(what["updates"]))


main()
