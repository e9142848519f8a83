"""What skills and runs in progress are called."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from skillkit.envs import Task
from skillkit.errors import InvalidValue
from skillkit.names import MAX_NAME, check_name


def check_names(tasks: Sequence[Task], name: str | None = None) -> list[str]:
    """What the skills will be called: a composed task that is trained directly says so.

    Raises:
        InvalidValue: no task, one that comes twice, one name for several, or no legal name.
    """
    if not tasks:
        raise InvalidValue("training takes at least one task; `skillkit tasks` lists them")
    if name is not None and len(tasks) > 1:
        raise InvalidValue(f"one name, {name}, does not fit {len(tasks)} skills; leave it out")
    names = [f"{task.label}.direct" if task.parts else task.label for task in tasks]
    if len(set(names)) < len(names):
        raise InvalidValue(f"a task comes twice in {' '.join(names)}; name each one once")
    return [check_name(label) for label in ([name] if name is not None else names)]


def run_name(names: Sequence[str], seeds: Sequence[int] = (0,)) -> str:
    """What a run in progress is called, so that another with other seeds can go on beside it.

    Several skills share a run, and so do several seeds. A long name ends in a checksum of itself.
    """
    label = names[0] if len(names) == 1 else "+".join(names) + ".together"
    if [*seeds] != [0]:
        label += ".seed" + "-".join(map(str, seeds))
    if len(label) > MAX_NAME:
        digest = hashlib.sha256(label.encode()).hexdigest()[:8]
        label = f"{label[: MAX_NAME - 9].rstrip('/')}.{digest}"
    return check_name(label)


def stacked_name(base: str, task: Task) -> str:
    """What a stacked skill is called: "locomotion/ant_maze".

    Raises:
        InvalidValue: base and task make no legal name.
    """
    return check_name(f"{base}/{task.label}")
