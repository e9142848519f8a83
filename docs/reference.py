"""Fills commands.md and settings.md with what the code says of itself.

    python docs/reference.py

Between <!-- NAME: written by docs/reference.py --> and <!-- end --> stands the help of a command,
a table of settings with the comments beside its fields, or the recipes of a domain; else prose.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
import tokenize
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from skillkit.algorithms import ALGORITHMS, DistillConfig, ImproveConfig
from skillkit.cli import main
from skillkit.collector import Exploration
from skillkit.envs import Task, task, task_names
from skillkit.envs.planning import PlanConfig
from skillkit.replay import Sampling
from skillkit.workflows.adopt import ImportConfig
from skillkit.workflows.compose import ComposeConfig
from skillkit.workflows.extract import InstantConfig
from skillkit.workflows.loop import TrainConfig
from skillkit.workflows.reuse import ReuseConfig
from skillkit.workflows.stack import StackConfig

FOLDER = Path(__file__).parent
SECTION = re.compile(r"(?s)(<!-- ([\w ]+): written by docs/reference.py -->\n).*?(<!-- end -->)")
SHARED = ("--tasks", "--registry")  # which commands.md explains at its beginning
TABLES: dict[str, type] = {
    "train": TrainConfig,
    "explore": Exploration,
    "replay": Sampling,
    "plan": PlanConfig,
    **{name: config for name, (_, config) in ALGORITHMS.items()},
    "stack": StackConfig,
    "reuse": ReuseConfig,
    "compose": ComposeConfig,
    "distill": DistillConfig,
    "improve": ImproveConfig,
    "instant": InstantConfig,
    "import": ImportConfig,
}
TYPES = {int: "whole number", float: "number", bool: "true or false", str: "word"}


def command(name: str) -> str:
    """How a command is typed, what its help says, and a table of its options."""
    found = main.commands[name]
    above = click.Context(main, info_name="skillkit", **main.context_settings)
    context = click.Context(found, info_name=name, parent=above)
    usage = " ".join([context.command_path, *found.collect_usage_pieces(context)])
    options = [option for option in found.params if isinstance(option, click.Option)]
    own = (o.get_help_record(context) for o in options if o.opts[0] not in SHARED)
    rows = [(f"`{option}`", meaning) for option, meaning in filter(None, own)]
    shared = ", ".join(f"`{o.opts[0]}`" for o in options if o.opts[0] in SHARED)
    rows.append((shared, "[as for all commands](#commands)"))
    about = _escaped(inspect.cleandoc(found.help or ""))
    return f"```text\n{usage}\n```\n\n{about}\n\n{_table(('option', 'meaning'), rows)}"


def settings(name: str) -> str:
    """What `--set` can change in a table; or the recipes of a domain."""
    if name not in TABLES:
        return recipes(name.removeprefix("recipes of "))
    return _table(("setting", "default", "takes", "meaning"), [*_settings(name, TABLES[name])])


def _settings(prefix: str, config: Any) -> Iterator[tuple[str, ...]]:
    """A row for each field of a config, and for those of the configs within it."""
    defaults, comments = config(), meanings(config)
    for name, kind in typing.get_type_hints(config).items():
        if dataclasses.is_dataclass(kind):
            yield from _settings(f"{prefix}.{name}", kind)
        else:
            default = typed(getattr(defaults, name))
            yield f"`{prefix}.{name}`", f"`{default}`", _kind(kind), comments[name]


def meanings(config: type) -> dict[str, str]:
    """The comment beside each field of a dataclass, with the lines that go on below it."""
    source = inspect.getsource(config)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token for token in tokens if token.type == tokenize.COMMENT}
    found = {}
    for field in ast.walk(ast.parse(source)):
        if isinstance(field, ast.AnnAssign):
            line = field.end_lineno or 0
            words = [comments[line].string] if line in comments else []
            while (line := line + 1) in comments and comments[line].line.lstrip()[0] == "#":
                words.append(comments[line].string)
            found[ast.unparse(field.target)] = " ".join(word.lstrip("# ") for word in words)
    return found


def recipes(domain: str) -> str:
    """With which settings the tasks of a domain are trained; those that are alike in a column."""
    alike: dict[str, list[Task]] = {}
    for found in map(task, task_names()):
        if found.domain == domain and found.file and found.file.parent == FOLDER.parent / "tasks":
            alike.setdefault(repr(found.recipe), []).append(found)
    given = [tasks[0].recipe for tasks in alike.values()]
    rows = [("algorithm", *(f"`{algorithm}`" for algorithm, _ in given))]
    keys = dict.fromkeys(key for _, values in given for key in values)
    rows += [(f"`{k}`", *(f"`{typed(v[k])}`" if k in v else "" for _, v in given)) for k in keys]
    return _table(("", *(", ".join(t.name for t in tasks) for tasks in alike.values())), rows)


def typed(value: object) -> str:
    """A setting's value as `--set` takes it."""
    values = value if isinstance(value, tuple | list) else [value]
    return ",".join(str(each).lower() for each in values)  # true, none


def _kind(kind: Any) -> str:
    more = ", or none" if isinstance(kind, types.UnionType) else "s"  # of a tuple
    return TYPES.get(kind) or _kind(typing.get_args(kind)[0]) + more


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    """An asterisk outside of `code` is an asterisk, and a bar does not end a cell."""
    parts = text.replace("|", r"\|").split("`")
    parts[::2] = [part.replace("*", r"\*") for part in parts[::2]]
    return "`".join(parts)


def filled(page: str, text: str) -> str:
    """The text of a page with every section as the code has it now."""
    return SECTION.sub(lambda found: f"{found[1]}\n{PAGES[page](found[2])}\n\n{found[3]}", text)


PAGES = {"commands.md": command, "settings.md": settings}

if __name__ == "__main__":
    for page in PAGES:
        text = (FOLDER / page).read_text(encoding="utf-8")
        (FOLDER / page).write_text(filled(page, text), encoding="utf-8")
