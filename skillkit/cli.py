"""The command line. Torch is loaded inside the commands that need it, never for listing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from skillkit import __version__, console
from skillkit.errors import CorruptSkill, InvalidValue, SkillkitError, UnknownName

if TYPE_CHECKING:
    from skillkit.envs import Task
    from skillkit.registry import Registry
    from skillkit.skill import Skill

Command = TypeVar("Command", bound=Callable[..., Any])

EPISODES = console.Whole(1, 10_000)  # more say nothing new, and their intervals take gigabytes
SEED = console.Whole(min=0)
FIGURE = click.Path(dir_okay=False, path_type=Path)


def _registry_option(command: Command) -> Command:
    text = "Folder of your skills; default $SKILLKIT_REGISTRY, else ./.skillkit."
    return click.option("--registry", metavar="DIR", help=text)(command)


def _tasks_option(command: Command) -> Command:
    def add(ctx: click.Context, parameter: click.Parameter, folder: str | None) -> None:
        if folder is not None:
            from skillkit.envs import add_tasks

            add_tasks(folder)

    text = "Folder of your own task files, beside those in $SKILLKIT_TASKS."
    return click.option(
        "--tasks", metavar="DIR", callback=add, expose_value=False, is_eager=True, help=text
    )(command)


def _set_option(command: Command) -> Command:
    text = "Override a setting, e.g. sac.alpha=0.1; repeatable."
    return click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help=text)(command)


@click.group(cls=console.Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="skillkit %(version)s")
def main() -> None:
    """Teach robots skills, and compose them: every command makes a skill, and takes skills.

    \b
    skillkit train push_x
    skillkit train push_y
    skillkit compose push_x push_y
    """


# ------------------------------------------------------------------------------- making skills


def _training_options(command: Command) -> Command:
    """What every command that learns from interaction takes."""
    for option in reversed(
        (
            click.option("--name", help="Name of the skill; made of the arguments by default."),
            click.option("--algorithm", help="Learning algorithm; the recipe's by default."),
            click.option(
                "--seed",
                type=SEED,
                default=0,
                show_default=True,
                help="The one source of randomness.",
            ),
            click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
            click.option("--resume", is_flag=True, help="Continue the run that was interrupted."),
            click.option("--checkpoint-every", default=60.0, show_default=True, help="Seconds."),
            _set_option,
            _tasks_option,
            _registry_option,
        )
    ):
        command = option(command)
    return command


@main.command()
@click.argument("expressions", metavar="TASKS...", nargs=-1, required=True)
@_training_options
def train(
    expressions: tuple[str, ...],
    name: str | None,
    resume: bool,
    checkpoint_every: float,
    pairs: tuple[str, ...],
    registry: str | None,
    **options: Any,
) -> None:
    """Learn TASKS: for each a maximum-entropy policy and its soft Q-function.

    A task is a name from `skillkit tasks`, a sum such as push_x+push_y or 0.7*push_x+0.3*push_y, or
    any Gymnasium id with continuous actions, gym:HalfCheetah-v5. Several tasks of one domain are
    trained together: each learns from what all of them collect.
    """
    from skillkit.envs import task as find_task
    from skillkit.workflows import train as workflow
    from skillkit.workflows.settings import assignments

    wanted = [find_task(expression) for expression in expressions]
    where = _open(registry)
    label = workflow.run_name(workflow.check_names(wanted, name))
    settings = assignments(pairs)

    def learn(**run: Any) -> list[Skill]:
        return [*workflow.train_together(wanted, settings=settings, name=name, **options, **run)]

    _learned(where, label, resume, checkpoint_every, learn)


@main.command()
@click.argument("base")
@click.option("--task", "expression", metavar="TASK", required=True, help="What the layer learns.")
@_training_options
def stack(
    base: str,
    expression: str,
    name: str | None,
    resume: bool,
    checkpoint_every: float,
    pairs: tuple[str, ...],
    registry: str | None,
    **options: Any,
) -> None:
    """Learn a new layer for TASK on top of BASE, a skill that stays as it is.

    BASE becomes part of the environment: the new layer acts by its latents. The result holds all
    its layers, and can be a base itself.
    """
    from skillkit.envs import task as find_task
    from skillkit.skill import load
    from skillkit.workflows import stack as workflow
    from skillkit.workflows.settings import assignments

    where = _open(registry)
    below, task = load(base, where), find_task(expression)
    label = workflow.default_name(below.name, task) if name is None else name
    settings = assignments(pairs)

    def learn(**run: Any) -> list[Skill]:
        return [workflow.stack(below, task, settings=settings, name=name, **options, **run)]

    _learned(where, label, resume, checkpoint_every, learn)


@main.command()
@click.argument("skills", nargs=-1, required=True)
@click.option("--weights", help="One per skill, comma-separated; 1/N each by default.")
@click.option("--temperature", type=float, help="Of the result; sum of weight times alpha.")
@click.option("--instant", is_flag=True, help="Train nothing: resample the skills' actions.")
@click.option("--name", help="Name of the skill; push_x+push_y by default.")
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="The one source of randomness."
)
@_set_option
@_tasks_option
@_registry_option
def compose(
    skills: tuple[str, ...],
    weights: str | None,
    temperature: float | None,
    instant: bool,
    name: str | None,
    seed: int,
    pairs: tuple[str, ...],
    registry: str | None,
) -> None:
    """Add the Q-functions of SKILLS; distil a policy for the sum from their replay."""
    from skillkit.skill import load
    from skillkit.workflows import compose as workflow
    from skillkit.workflows.settings import assignments

    where = _open(registry)
    parts = [load(reference, where) for reference in skills]
    _check_target(where, parts[0].name if name is None else name)
    with console.Progress("updates") as progress:
        skill = workflow.compose(
            parts,
            weights=_numbers("--weights", weights),
            temperature=temperature,
            instant=instant,
            settings=assignments(pairs),
            name=name,
            seed=seed,
            on_event=progress,
        )
        saved = skill.save(registry=where)
    console.composition(saved, where)
    console.announce(saved)


# ------------------------------------------------------------------------------ looking at them


@main.command()
@_tasks_option
def tasks() -> None:
    """What can be trained, by domain."""
    from skillkit.envs import task, task_names

    table = console.table("domain", "task", "what it is")
    last = ""
    for name in task_names():
        found = task(name)
        table.add_row("" if found.domain == last else found.domain, name, found.summary)
        last = found.domain
    console.show(table)
    click.echo("also: sums such as push_x+push_y, and gym:ID for any continuous Gymnasium task")


@main.command("list")
@_registry_option
def list_(registry: str | None) -> None:
    """The skills in the registry and those shipped with skillkit."""
    table = console.table(
        "skill", "version", "task", "made by", "alpha", "return", "distance", "origin"
    )
    entries = _open(registry).list()
    if not entries:
        click.echo("there are no skills yet; skillkit train TASK makes one")
        return
    for entry in entries:
        try:
            found = entry.manifest
        except SkillkitError as error:
            table.add_row(entry.name, str(entry.version), "damaged: " + str(error))
            continue
        scores = found.metrics.get("evaluation", {})
        row = (console.mean(scores, "return", ".1f"), console.mean(scores, "final_distance", ".2f"))
        made = f"{found.kind}, {found.algorithm}"
        expression = str(found.task["expression"])
        numbers = (f"{found.alpha:g}", *row, entry.origin)
        table.add_row(entry.name, str(entry.version), expression, made, *numbers)
    console.show(table)


@main.command()
@click.argument("skill")
@_registry_option
def show(skill: str, registry: str | None) -> None:
    """Everything recorded about SKILL: a name, name@3 or name@word."""
    where = _open(registry)
    entry = where.verify(skill)
    found = entry.manifest
    table = console.table("", "")
    weights = [f"{weight:g} x " for weight in found.weights] or [""] * len(found.parents)
    parents = [
        f"{weight}{parent['name']}@{parent['version'] or '?'}"
        for weight, parent in zip(weights, found.parents, strict=False)
    ]
    rows: dict[str, object] = {
        "skill": f"{entry.name}, version {entry.version} of {len(where.versions(entry.name))}",
        "task": f"{found.task['expression']}, domain {found.task['domain']}",
        "made by": f"{found.kind}, {found.algorithm}, seed {found.seed}, {found.created}",
        "parents": " + ".join(parents),
        "trained with": ", ".join(found.siblings),
        **console.layers(found),
        "alpha": f"{found.alpha:g} r/nat",
        "gamma": f"{found.gamma:g} per {found.spec.dt:g} s",
        "replay": f"{found.replay['transitions']:,} transitions in "
        f"{found.replay['episodes']} episodes",
        "size": f"{entry.size / 1e6:.1f} MB",
        "origin": f"{entry.origin}, {entry.folder}",
        "aliases": ", ".join(w for w, v in where.aliases(entry.name).items() if v == entry.version),
    }
    for key, value in (rows | console.rows(found.metrics) | console.rows(found.timing)).items():
        if value != "":
            table.add_row(key, str(value))
    console.show(table)


@main.command()
@click.argument("skill")
@click.option("--episodes", type=EPISODES, default=100, show_default=True)
@click.option("--task", help="Evaluate in this task instead of the skill's own.")
@click.option("--sample", is_flag=True, help="Sample actions instead of taking the mode.")
@click.option(
    "--seed", type=SEED, default=7, show_default=True, help="Of start states and samples."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_tasks_option
@_registry_option
def evaluate(
    skill: str,
    episodes: int,
    task: str | None,
    sample: bool,
    seed: int,
    as_json: bool,
    registry: str | None,
) -> None:
    """Play SKILL and report each metric with its 95 % interval."""
    found = _evaluate(_load(skill, registry), task, episodes, sample, seed)
    rows = found.summary()
    if as_json:
        head = {"task": found.task.name, "skill": skill, "episodes": episodes, "seed": seed}
        click.echo(json.dumps(head | rows))
        return
    table = console.table("metric", "mean", "std", "95 % interval of the mean")
    for metric, row in rows.items():
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        table.add_row(metric, f"{row['mean']:.3f}", f"{row['std']:.3f}", interval)
    click.echo(f"{skill} in {found.task.name}, {episodes} episodes, seed {seed}")
    console.show(table)


@main.command()
@click.argument("skills", nargs=-1, required=True)
@click.option("--output", type=FIGURE, help="PNG file to write.")
@click.option("--curve", is_flag=True, help="The learning curve of one skill instead.")
@click.option("--episodes", type=EPISODES, default=100, show_default=True)
@click.option("--task", help="Play all of them in this task instead of each in its own.")
@click.option("--seed", type=SEED, default=7, show_default=True, help="Of the start states.")
@_tasks_option
@_registry_option
def plot(
    skills: tuple[str, ...],
    output: Path | None,
    curve: bool,
    episodes: int,
    task: str | None,
    seed: int,
    registry: str | None,
) -> None:
    """Draw where the episodes of SKILLS end (thesis figure 6.1), or how one of them learned.

    One skill alone is drawn as it suits its task. With a landscape, as multigoal: sampled paths
    over contours of the reward, and the soft Q-function with sampled actions (thesis chapter 3).
    With a goal to come to, as ant_maze: the paths from above. With none, as locomotion: where each
    of EPISODES fixed latents leads (thesis chapter 7).
    """
    from skillkit.report import plots

    if curve and len(skills) != 1:
        raise InvalidValue("--curve draws one skill at a time; name one")
    opened = {name: _load(name, registry) for name in skills}
    path = output or Path(_file_name(skills) + (".curve.png" if curve else ".png"))
    path.parent.mkdir(parents=True, exist_ok=True)  # before the work, in case it cannot be
    if curve:
        (skill,) = opened.values()
        picture, words = plots.learning_curve(skill.curve, skill.name), ""
    else:
        picture, words = _outcome(opened, task, episodes, seed)
    path.write_bytes(picture)
    if words:
        click.echo(words)
    click.echo(f"figure: {path}")


# ------------------------------------------------------------------------------------- upkeep


@main.command()
@click.argument("skill")
@click.argument("word")
@_registry_option
def alias(skill: str, word: str, registry: str | None) -> None:
    """Let NAME@WORD mean this version of SKILL from now on."""
    entry = _open(registry).alias(skill, word)
    click.echo(f"{entry.name}@{word} is version {entry.version}")


@main.command()
@click.argument("skill")
@_registry_option
def rm(skill: str, registry: str | None) -> None:
    """Remove one version, NAME@3; its number is never used again."""
    where = _open(registry)
    children: list[str] = []
    with suppress(SkillkitError):  # a damaged skill has no content id, and can still be removed
        children = [child.name for child in where.children(where.find(skill).content_id)]
    entry = where.remove(skill)
    click.echo(f"removed {entry.name}, version {entry.version}")
    if children:
        click.echo(f"it was a parent of {', '.join(children)}, which still work without it")


@main.command()
@click.argument("skills", nargs=-1)
@_registry_option
def verify(skills: tuple[str, ...], registry: str | None) -> None:
    """Check every file of SKILLS, or of all, against its checksum."""
    where = _open(registry)
    where.list()  # a registry that is not there has no damage to report
    wanted = skills or tuple(entry.reference for entry in where.entries())
    damaged = []
    for reference in wanted:
        try:
            where.verify(reference)
        except CorruptSkill as error:
            damaged.append(reference)
            click.echo(f"{reference}: {error}")
    if damaged:
        raise CorruptSkill(f"of {len(wanted)} versions these are damaged: {', '.join(damaged)}")
    click.echo(f"{len(wanted)} versions are as they were saved")


# ------------------------------------------------------------------------------------ helpers


def _open(folder: str | None) -> Registry:
    from skillkit.registry import Registry, search_path

    return Registry(search_path(folder))


def _learned(
    where: Registry,
    label: str,
    resume: bool,
    checkpoint_every: float,
    learn: Callable[..., Sequence[Skill]],
) -> None:
    """Learn under checkpoints, save and announce: what train and stack share.

    Args:
        label: of the run in progress.
        learn: makes the skills, given on_event, checkpoint and resume.
    """
    from skillkit.registry import locked
    from skillkit.workflows.checkpoints import Checkpoints

    folder = where.run_folder(label)
    checkpoints = Checkpoints(folder, checkpoint_every)
    with locked(folder), checkpoints.listening(), console.Progress("environment steps") as progress:
        if resume and checkpoints.latest is None:
            raise InvalidValue(f"there is no interrupted run of {label}; leave out --resume")
        if checkpoints.latest is not None and not resume:
            click.echo(
                f"this begins {label} anew; --resume continues the interrupted run", err=True
            )
        latest = checkpoints.latest if resume else None
        skills = learn(on_event=progress, checkpoint=checkpoints, resume=latest)
        saved = [skill.save(registry=where) for skill in skills]
        checkpoints.clear()
    for skill in saved:
        console.announce(skill)


def _check_target(where: Registry, name: str) -> None:
    """Fail before the work and not after it: a name that is none, a registry that is read-only."""
    folder = where.run_folder(name)
    with suppress(OSError):
        folder.rmdir()  # unless an interrupted training has this name


def _load(reference: str, folder: str | None) -> Skill:
    from skillkit.skill import load

    return load(reference, _open(folder))


def _outcome(
    skills: dict[str, Skill], task: str | None, episodes: int, seed: int
) -> tuple[bytes, str]:
    """The picture, and what it says in words if there is more to say."""
    from skillkit.report import plots
    from skillkit.report.picture import draw

    name, *others = skills
    if others:
        played = {n: _evaluate(s, task, episodes, False, seed) for n, s in skills.items()}
        return plots.outcome(played), ""
    skill = skills[name]
    wanted = _task(skill, task)
    with console.Progress("episodes") as progress:
        act = skill.controller()
        return draw(name, wanted, act, lambda: skill.q, episodes, seed, progress=progress.counts)


def _task(skill: Skill, task: str | None) -> Task:
    """The task that a skill is to play, its own by default."""
    from skillkit.envs import task as find_task

    try:
        wanted = find_task(skill.task if task is None else task)
    except UnknownName as error:
        if task is not None or error.kind != "task":
            raise
        raise InvalidValue(
            f"no task file here declares {error.name}, which {skill.name} was made for; "
            "name its folder with --tasks DIR, or another task with --task"
        ) from error
    if wanted.spec != skill.spec:
        raise InvalidValue(
            f"{skill.name} cannot play {wanted.name}: it was trained in the domain "
            f"{skill.manifest.task['domain']}; choose a task of that domain"
        )
    return wanted


def _evaluate(skill: Skill, task: str | None, episodes: int, sample: bool, seed: int) -> Any:
    from skillkit.evaluation import evaluate as play

    act = skill.controller(deterministic=not sample)
    noise = act.noise_dim if sample else 0
    wanted = _task(skill, task)
    with console.Progress("episodes") as progress:
        return play(
            act.batch, wanted, episodes, seed,
            noise_dim=noise, progress=progress.counts, begin=act.reset,
        )  # fmt: skip


def _numbers(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InvalidValue(f"{option} takes comma-separated numbers, not {text!r}") from None


def _file_name(skills: tuple[str, ...]) -> str:
    return "_".join(name.replace("/", "--") for name in skills)
