"""What a command shows: tables on standard output, progress and errors on standard error.

Whatever goes wrong is one sentence and a non-zero exit status; a traceback is a defect of skillkit.
"""

from __future__ import annotations

import errno
import math
import statistics
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.tree import Tree

from skillkit import columns
from skillkit.errors import SkillkitError, UnknownName

if TYPE_CHECKING:
    from skillkit.manifest import Manifest
    from skillkit.registry import Registry
    from skillkit.skill import Skill

PIPE_WIDTH = 160  # columns where the output is no terminal
WAYS_OUT = {  # of what the operating system refuses
    errno.ENOENT: "check how it is written",
    errno.EISDIR: "name a file in it",
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "free some space, or choose another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class Commands(click.Group):
    """A group whose errors are one sentence, and which knows what a mistyped command meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UnknownName("command", args[0], self.commands)
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _in_a_sentence():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _plain_warnings(), _in_a_sentence():
            return super().invoke(ctx)


class Whole(click.IntRange):
    """A whole number between bounds, as an option takes it."""

    name = "whole number"


class Amount(click.FloatRange):
    """A number within bounds, as an option takes it; never NaN or infinite."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not finite", param, ctx)
        return number


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """Turn what a user can meet into click's exceptions, which print one line."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        raise click.UsageError(_usage(error)) from error  # without context: no usage above it
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except SkillkitError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt as error:
        raise click.ClickException("stopped; nothing was saved") from error
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe left: nobody to tell
        raise SystemExit(1) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        way_out = WAYS_OUT.get(error.errno or 0, "choose another file or folder")
        raise click.ClickException(f"{where}{error.strerror or error}; {way_out}") from error
    except Exception as error:
        raise click.ClickException(_blamed(error)) from error


def _usage(error: click.UsageError) -> str:
    """What was wrong with the command line, and where to look."""
    context = error.ctx
    command = context.command_path if context else "skillkit"
    if isinstance(error, click.NoSuchOption) and context:
        options = [name for p in context.command.get_params(context) for name in p.opts]
        return str(UnknownName(f"option of {command}", error.option_name, options))
    text = error.format_message().rstrip(".")
    return f"{text[:1].lower()}{text[1:]}; see {command} --help"


def _blamed(error: Exception) -> str:
    """The sentence for an exception of somebody else's making; raises it again if it is ours."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, MemoryError) or "can't allocate memory" in reason:  # NumPy; PyTorch
        return "there is not enough memory for this; choose smaller settings"
    if where := _task_file(error):
        return f"{where} failed ({reason}); correct that task file"
    if isinstance(error, ImportError) and not str(error.name).startswith("skillkit"):
        return f"a library that this needs cannot be imported ({error}); install the requirements"
    raise error


def _task_file(error: Exception) -> str:
    """FILE:LINE of the innermost line of a task file that was running; "" for none."""
    from skillkit.envs.catalog import catalog

    try:
        files = {str(task.file) for task in catalog().tasks.values()}
    except SkillkitError:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    found = [f"{frame.filename}:{frame.lineno}" for frame in frames if frame.filename in files]
    return found[-1] if found else ""


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show warnings as lines without source code, once the command is done.

    A command that fails says only why it does.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", module="skillkit")
        yield
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        click.echo("Warning: " + " ".join(click.unstyle(text).split()), err=True)


class Progress:
    """A progress bar on a terminal, one line every tenth elsewhere; an `on_event` callback."""

    SHOWN = ("return", "entropy", "kl", "alpha", "distillation_loss")

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.console = Console(stderr=True)
        columns = (
            TextColumn("{task.completed:>9,.0f}/{task.total:,.0f} " + unit),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]} {task.fields[numbers]}"),
        )
        self.bar = Bar(*columns, console=self.console, transient=True)
        self.row = self.bar.add_task("", total=None, visible=False, speed="", numbers="")
        self.tenth = 0

    def __enter__(self) -> Progress:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def counts(self, done: int, total: int) -> None:
        """The same for what only counts."""
        self({"kind": "progress", "step": done, "steps": total})

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["kind"] == "search":
            self.bar.update(self.row, numbers=f"looking ahead, {event['done']:.0%}")
        if event["kind"] != "progress":
            return
        done, total = event["step"], event["steps"]
        numbers = "  ".join(f"{key} {event[key]:.4g}" for key in self.SHOWN if key in event)
        speed = self.bar.tasks[0].speed
        rate = f"{speed:.0f}/s" if speed else ""
        self.bar.update(
            self.row, completed=done, total=total, visible=True, speed=rate, numbers=numbers
        )
        if not self.console.is_terminal and self.unit != "episodes":
            tenth = 10 * done // total
            if tenth > self.tenth:
                self.tenth = tenth
                click.echo(f"{done:,}/{total:,} {self.unit}  {rate}  {numbers}", err=True)


def table(*columns: str, title: str | None = None) -> Table:
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(table: Table | Tree) -> None:
    """Print a table or a tree as it is: what people named is not markup."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console = Console(markup=False, emoji=False, highlight=False, width=PIPE_WIDTH)
    console.print(table)


def show_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of any length; as `show`."""
    console = Console()
    width = console.width if console.is_terminal else PIPE_WIDTH
    first, *rest = columns.lines(head, rows, width)
    click.echo("\n".join(["", click.style(first, bold=True), *rest, ""]))


def composition(skill: Skill, where: Registry) -> None:
    """The table of `compose`: every skill in the composed task, and what the sum costs."""
    from skillkit.envs import task as find_task
    from skillkit.report.card import ESTIMATED, costs

    scores = dict(skill.metrics["parents"])
    scores[skill.name] = skill.metrics["evaluation"]
    direct = f"{find_task(skill.task).label}.direct"
    with suppress(SkillkitError):  # nobody trained it
        found = where.find(direct).manifest
        if found.task["expression"] == skill.task:
            scores[direct] = found.metrics.get("evaluation")
    made = table("skill", "distance", "return", title=f"in {skill.task}")
    for name, row in scores.items():
        made.add_row(name, mean(row, "final_distance", ".3f"), mean(row, "return", ".1f"))
    show(made)
    m, timing = skill.metrics, skill.manifest.timing
    if "seconds_per_action" in timing:
        click.echo(f"an action takes {1e3 * timing['seconds_per_action']:.2f} ms")
    click.echo(
        f"{timing['updates']:,} updates in {timing['seconds']:.1f} s, "
        f"{m['interactions']} environment steps\n"
        f"disagreement of the skills: {m['disagreement_mean']:.2f} r on average, "
        f"{m['disagreement_q95']:.2f} r at the 95 % quantile\n"
        f"candidates that count: {m['effective_sample_size']:.0f} of {m['candidates']:.0f}"
    )
    if "replay_coverage" in m:
        click.echo(f"visited states that the replay covers: {m['replay_coverage']:.0%}")
    if rows := costs(skill.manifest):
        made = table("[r]", "mean", "95 %", title=ESTIMATED[0].lower() + ESTIMATED[1:])
        for row in rows:
            made.add_row(*row)
        show(made)
    if not m["covered"]:
        click.echo("at this temperature the sum is not an upper bound of the optimal Q-function")


def announce(skill: Skill) -> None:
    """Where a new skill is, and how good."""
    scores = skill.metrics["evaluation"]
    shown = [mean(scores, "return", ".1f"), mean(scores, "final_distance", ".3f")]
    numbers = [f"{k} {v}" for k, v in zip(("return", "distance"), shown, strict=True) if v != "-"]
    click.echo(f"saved {skill.reference}: {', '.join(numbers)}")
    click.echo(f"card and figure: {skill.folder}")


def spread(skills: Sequence[Skill]) -> None:
    """Mean and standard deviation over the seeds, of each name that was learned with several."""
    found: dict[str, list[float]] = {}
    for skill in skills:
        returns = found.setdefault(skill.name, [])
        returns.append(skill.metrics["evaluation"]["return"]["mean"])
    for name, values in found.items():
        if len(values) > 1:
            middle, apart = statistics.mean(values), statistics.stdev(values)
            numbers = f"return {middle:.1f}, standard deviation {apart:.1f}"
            click.echo(f"{name} over {len(values)} seeds: {numbers}")


def layers(found: Manifest) -> dict[str, str]:
    """The layers of a stack as rows, from the bottom up."""
    from skillkit.report.card import layers as described

    return {f"layer {index}": text for index, text in enumerate(described(found))}


def mean(scores: Any, metric: str, form: str) -> str:
    """The mean of a metric as a table shows it."""
    try:
        return format(scores[metric]["mean"], form)
    except (KeyError, TypeError, ValueError):  # not measured; a stranger's may be anything
        return "-"


def size(number: int) -> str:
    """Bytes as people read them."""
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"


def tags(found: Mapping[str, str]) -> str:
    """Tags as they are typed."""
    return ", ".join(f"{tag}={value}" for tag, value in sorted(found.items()))


def rows(values: Any, prefix: str = "") -> dict[str, object]:
    """Nested metrics as rows; an evaluation's metric as 'mean ± std'."""
    found: dict[str, object] = {}
    for key, value in values.items():
        label = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict) and value.keys() >= {"mean", "std"}:
            found[label] = f"{_short(value['mean'])} ± {_short(value['std'])}"
        elif isinstance(value, dict):
            found |= rows(value, f"{label}, ")
        else:
            found[label] = _short(value)
    return found


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
