"""evaluate and plot: the commands that play a skill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from skillkit import console
from skillkit.commands.options import EPISODES, SEED, open_skill, registry_option, tasks_option
from skillkit.errors import InvalidValue, UnknownName

if TYPE_CHECKING:
    from skillkit.envs import Task
    from skillkit.skill import Skill

FIGURE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("skill")
@click.option("--episodes", type=EPISODES, default=100, show_default=True, help="To play.")
@click.option("--task", help="Evaluate in this task instead of the skill's own.")
@click.option("--sample", is_flag=True, help="Sample actions instead of taking the mode.")
@click.option(
    "--seed", type=SEED, default=7, show_default=True, help="Of start states and samples."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@tasks_option
@registry_option
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
    found = evaluated(open_skill(skill, registry), task, episodes, sample, seed)
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


@click.command()
@click.argument("skills", nargs=-1, required=True)
@click.option("-o", "--output", type=FIGURE, help="PNG file to write.")
@click.option("--curve", is_flag=True, help="The learning curve of one skill instead.")
@click.option("--episodes", type=EPISODES, default=100, show_default=True, help="To play.")
@click.option("--task", help="Play all of them in this task instead of each in its own.")
@click.option("--seed", type=SEED, default=7, show_default=True, help="Of the start states.")
@tasks_option
@registry_option
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
    opened = {name: open_skill(name, registry) for name in skills}
    path = output or Path(_file_name(skills) + (".curve.png" if curve else ".png"))
    if path.suffix.lower() != ".png":
        raise InvalidValue(f"{path} is no PNG file; the name of one ends in .png")
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


def _outcome(
    skills: dict[str, Skill], task: str | None, episodes: int, seed: int
) -> tuple[bytes, str]:
    """The picture, and what it says in words if there is more to say."""
    from skillkit.report import plots
    from skillkit.report.picture import draw

    name, *others = skills
    if others:
        played = {n: evaluated(s, task, episodes, False, seed) for n, s in skills.items()}
        return plots.outcome(played), ""
    skill = skills[name]
    wanted = task_of(skill, task)
    with console.Progress("episodes") as progress:
        act = skill.controller()
        return draw(name, wanted, act, lambda: skill.q, episodes, seed, progress=progress.counts)


def task_of(skill: Skill, task: str | None) -> Task:
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
    skill.check_plays(wanted)
    return wanted


def evaluated(skill: Skill, task: str | None, episodes: int, sample: bool, seed: int) -> Any:
    from skillkit.evaluation import evaluate as play

    act = skill.controller(deterministic=not sample)
    noise = act.noise_dim if sample else 0
    wanted = task_of(skill, task)
    with console.Progress("episodes") as progress:
        return play(
            act.batch, wanted, episodes, seed,
            noise_dim=noise, progress=progress.counts, begin=act.reset,
        )  # fmt: skip


def _file_name(skills: tuple[str, ...]) -> str:
    return "_".join(name.replace("/", "--") for name in skills)
