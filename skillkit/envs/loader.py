"""Runs one task file and collects what it declares; a failure stays within the file."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from skillkit.envs.domain import Domain
from skillkit.envs.task import Task


@dataclass(frozen=True, eq=False)  # each is itself alone
class TaskFile:
    """A task file as it was when loaded.

    Attributes:
        path: the file.
        text: its content; a name asked for and not found may be in it.
        tasks: what it declares (values from the catalogue that it only uses left out).
        domains: likewise, except that domains it only uses are among them.
        problem: "FILE:LINE could not be loaded (…)", or "".
    """

    path: Path
    text: str
    tasks: tuple[Task, ...] = ()
    domains: tuple[Domain, ...] = ()
    problem: str = ""


_loaded: dict[Path, TaskFile] = {}
_loading: set[Path] = set()


def load(path: Path) -> TaskFile | None:
    """The file's declarations, run once per process; None while it is being run."""
    if path in _loading:  # it asked for a domain or a task of another file
        return None
    if path not in _loaded:
        _loading.add(path)
        try:
            _loaded[path] = _run(path)
        finally:
            _loading.discard(path)
        if problem := _loaded[path].problem:
            warnings.warn(f"{problem}; its tasks are left out", stacklevel=2)
    return _loaded[path]


def _run(path: Path) -> TaskFile:
    text = path.read_text(encoding="utf-8", errors="replace")
    name = f"_skillkit_tasks_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader  # a .py path always has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and inspect look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        return TaskFile(path, text, problem=_problem(path, error))
    return TaskFile(path, text, *_declared(module))


def _declared(module: ModuleType) -> tuple[tuple[Task, ...], tuple[Domain, ...]]:
    values: list[object] = []
    for value in vars(module).values():
        values.extend(value if isinstance(value, tuple | list) else (value,))
    once = list({id(value): value for value in values}.values())
    tasks = tuple(v for v in once if isinstance(v, Task) and v.file is None and not v.parts)
    return tasks, tuple(value for value in once if isinstance(value, Domain))


def _problem(path: Path, error: BaseException) -> str:
    """Where in the file it went wrong, and why, on one line."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line, reason = error.lineno, error.msg
    else:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        line, reason = (lines[-1] if lines else 1), " ".join(str(error).split())
    return f"{path}:{line} could not be loaded ({type(error).__name__}: {reason})"
