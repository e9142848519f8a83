"""Finds tasks: in the shipped task files, in the user's folders, and behind "gym:".

Task files are content, not a package: declarations in Python, loaded by path. A file's tasks and
domains are the `Task` and `Domain` values it binds to names, alone or in a tuple or list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from skillkit.envs.domain import Domain
from skillkit.envs.expression import combine, parse
from skillkit.envs.loader import TaskFile, load
from skillkit.envs.task import Task
from skillkit.errors import InvalidValue, TaskFileError, UnknownName

if TYPE_CHECKING:
    from skillkit.envs.vector import ResumableEnv

GYM = "gym:"
VARIABLE = "SKILLKIT_TASKS"

Found = TypeVar("Found")

_added: list[Path] = []


@dataclass
class Catalog:
    """What the task files declare, in their order."""

    tasks: dict[str, Task] = field(default_factory=dict)
    domains: dict[str, Domain] = field(default_factory=dict)
    broken: list[TaskFile] = field(default_factory=list)
    _owners: dict[tuple[str, str], Path] = field(default_factory=dict)

    def include(self, file: TaskFile) -> None:
        """Take a file in.

        Raises:
            TaskFileError: it defines a name that another file defines already.
        """
        if file.problem:
            self.broken.append(file)
        for domain in file.domains:
            if self.domains.get(domain.name) is not domain:  # else only used there
                self._claim("domain", domain.name, file.path)
                self.domains[domain.name] = domain
        for task in file.tasks:
            self._claim("task", task.name, file.path)
            self.tasks[task.name] = replace(task, file=file.path)

    def _claim(self, kind: str, name: str, path: Path) -> None:
        key = kind, name.lower()  # skills are saved under task names, and those ignore case
        if key in self._owners:
            raise TaskFileError(
                f"two {kind}s are called {name!r}, in {self._owners[key]} and {path}; rename one"
            )
        self._owners[key] = path


def _content() -> Path:
    """The shipped task files: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "tasks"
    return installed if installed.is_dir() else package.parent / "tasks"


def _folders() -> Iterator[Path]:
    """Every folder once, in the order of search."""
    named = [Path(text) for text in os.environ.get(VARIABLE, "").split(os.pathsep) if text]
    for folder in named:
        if not folder.is_dir():
            raise InvalidValue(f"${VARIABLE} names {folder}, which is not a folder")
    yield from dict.fromkeys(path.resolve() for path in (_content(), *named, *_added))


def catalog() -> Catalog:
    """Load what is new and put everything together.

    Raises:
        TaskFileError: two files define one name.
        InvalidValue: $SKILLKIT_TASKS names what is not a folder.
    """
    paths = (path for folder in _folders() for path in sorted(folder.glob("*.py")))
    return _together(*filter(None, map(load, paths)))


@lru_cache(maxsize=1)
def _together(*files: TaskFile) -> Catalog:
    found = Catalog()
    for file in files:
        found.include(file)
    return found


def add_tasks(folder: str | Path) -> None:
    """Search a folder of task files, too; its tasks become Gymnasium ids.

    Raises:
        InvalidValue: it is not a folder.
        TaskFileError: it defines a name that exists already; the folder is not added.
    """
    path = Path(folder).resolve()
    if not path.is_dir():
        raise InvalidValue(f"{folder} is not a folder of task files")
    if path in _added:
        return
    _added.append(path)
    try:
        catalog()
    except TaskFileError:
        _added.remove(path)
        raise
    from skillkit.envs.registration import register

    register()


def task_names() -> list[str]:
    """Every named task, domain by domain."""
    return list(catalog().tasks)


def task(expression: str) -> Task:
    """The task of an expression: "push_x", "push_x+push_y", "0.7*push_x+0.3*push_y", "gym:ID".

    Raises:
        UnknownName: a name that no file defines; files that could not be loaded are named.
        InvalidValue: not an expression, or weights that make no sense.
        IncompatibleSkills: summands that do not belong together.
        TaskFileError: the name is in a file that could not be loaded, or in two.
    """
    parts = parse(expression)
    found = catalog()
    tasks = [_named(name, found) for _, name in parts]
    weights = [weight for weight, _ in parts if weight is not None]
    return combine(tasks, weights or None)


def _named(name: str, found: Catalog) -> Task:
    if name.startswith(GYM):
        from skillkit.envs.gym import gym_task

        return gym_task(name)
    return _lookup("task", name, found.tasks, found.broken)


def _lookup(kind: str, name: str, table: dict[str, Found], broken: list[TaskFile]) -> Found:
    if name in table:
        return table[name]
    for file in broken:
        if name in file.text:
            raise TaskFileError(f"no {kind} is called {name!r} as long as {file.problem}")
    hint = "; ".join(file.problem for file in broken)
    raise UnknownName(kind, name, table, hint)


def domain(name: str) -> Domain:
    """The domain of that name; its methods build reward terms.

    Raises:
        UnknownName: no file defines it.
    """
    if name.startswith(GYM):
        return task(name).on
    found = catalog()
    return _lookup("domain", name, found.domains, found.broken)


def make(task: Task, num_envs: int, seed: int, threads: int = 1) -> ResumableEnv:
    """`num_envs` episodes of a task, stepped together, behind Gymnasium's VectorEnv.

    Nothing resets by itself: reset ended sub-environments with
    `env.reset(options={"reset_mask": terminated | truncated})`. Actions are native.

    Args:
        task: what `skillkit.envs.task(expression)` returns.
        num_envs: E, at least 1.
        seed: of the generators, one per sub-environment.
        threads: on which MuJoCo steps; they change nothing but the speed.

    Raises:
        InvalidValue: num_envs or threads below 1.
    """
    if num_envs < 1 or threads < 1:
        raise InvalidValue(f"num_envs and threads must be at least 1, got {num_envs}, {threads}")
    return task.on.vector_env(task, num_envs, seed, threads)
