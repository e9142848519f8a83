"""play: the command that shows a skill at work."""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library
from pathlib import Path

import click

from skillkit import console
from skillkit.commands.options import SEED, open_skill, registry_option, tasks_option
from skillkit.commands.playing import FIGURE, task_of
from skillkit.errors import InvalidValue

PIXELS = console.Whole(160, 4096)


@click.command()
@click.argument("skill")
@click.option("-o", "--output", type=FIGURE, help="Film to write, .gif or .mp4; a viewer without.")
@click.option(
    "--episodes", type=console.Whole(1, 100), default=1, show_default=True, help="To play."
)
@click.option("--task", help="Play in this task instead of the skill's own.")
@click.option("--sample", is_flag=True, help="Sample actions instead of taking the mode.")
@click.option(
    "--seed", type=SEED, default=7, show_default=True, help="Of start states and samples."
)
@click.option("--width", type=PIXELS, default=480, show_default=True, help="In pixels.")
@click.option("--height", type=PIXELS, default=480, show_default=True, help="In pixels.")
@click.option(
    "--fps", type=console.Whole(1, 50), default=20, show_default=True, help="Pictures a second."
)
@click.option(
    "--speed", type=float, default=1.0, show_default=True, help="As a multiple of real time."
)
@tasks_option
@registry_option
def play(
    skill: str,
    output: Path | None,
    episodes: int,
    task: str | None,
    sample: bool,
    seed: int,
    width: int,
    height: int,
    fps: int,
    speed: float,
    registry: str | None,
) -> None:
    """Show SKILL at work: the episodes that `evaluate` measures with the same seed.

    With -o a film is written, for which no display is needed; an mp4 takes the extra [video].
    Without, a window opens where there is a display. What is not simulated by MuJoCo is shown from
    above, in films only.
    """
    if not 0.01 <= speed <= 1000:
        raise InvalidValue(f"--speed is a multiple of real time, .01 to 1000, not {speed:g}")
    draw_without_display()
    from skillkit.report.film import Shot, record

    opened = open_skill(skill, registry)
    act = opened.controller(deterministic=not sample)
    shot = Shot(act, task_of(opened, task), episodes, seed, (height, width), fps, speed)
    if output is None:
        from skillkit.report.viewer import view

        view(shot)
        return
    with console.Progress("steps") as progress:
        record(shot, output, progress.counts)
    click.echo(f"film: {output}, {console.size(output.stat().st_size)}")


def draw_without_display() -> None:
    """Where Linux has no display let MuJoCo draw with EGL, which it decides when it is imported.

    Without the library the import itself would fail.
    """
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform == "linux" and not display and find_library("EGL"):
        os.environ.setdefault("MUJOCO_GL", "egl")
