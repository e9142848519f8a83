"""Films: a skill at play, moment by moment, as a GIF or an mp4; no display is needed.

What is seen are the episodes that `skillkit.evaluation` measures under the same seed. A domain of
MuJoCo is seen through its camera, any other from above, if it has a plane.
"""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Circle

from skillkit.controller import Controller
from skillkit.envs import Domain, Task, make
from skillkit.errors import InvalidValue
from skillkit.evaluation import Progress, action_noise, episode_seeds, evaluate
from skillkit.extras import library
from skillkit.report import above, landscape
from skillkit.types import Array

DPI = 75  # of what is drawn from above
PAUSE = 1.0  # at the end of each episode [s]
COLOURS, SAMPLE = 128, 20  # of a GIF, from so many pictures
Frames = Iterator[Array]  # (height, width, 3) uint8


@dataclass(frozen=True)
class Shot:
    """What of a skill is filmed, and how.

    Attributes:
        act: of the skill; one that samples draws the noise that an evaluation gives it.
        size: height and width [pixels].
        rate: pictures per second, at most.
        speed: of the film, in seconds of the task per second.
    """

    act: Controller
    task: Task
    episodes: int = 1
    seed: int = 0
    size: tuple[int, int] = (480, 480)
    rate: float = 20.0
    speed: float = 1.0

    @property
    def every(self) -> int:
        """Of so many steps one is drawn."""
        return max(1, math.ceil(self.speed / (self.rate * self.task.spec.dt) - 1e-9))

    @property
    def true_rate(self) -> float:
        """Pictures per second, such that the film has its speed."""
        return self.speed / (self.every * self.task.spec.dt)

    @property
    def noise_dim(self) -> int:
        return 0 if self.act.deterministic else self.act.noise_dim

    @property
    def is_drawn(self) -> bool:
        """Whether the domain can draw its robot."""
        return type(self.task.on).draw is not Domain.draw

    def check(self) -> None:
        """Whether there is anything to see.

        Raises:
            InvalidValue: neither can the domain be drawn, nor has it a plane.
        """
        if not self.is_drawn and self.task.on.plane is None:
            raise InvalidValue(
                f"the domain {self.task.domain} cannot be drawn, neither its robot nor a plane; "
                "skillkit plot draws the returns"
            )


def record(shot: Shot, path: Path, progress: Progress | None = None) -> None:
    """Film a skill into a file, .gif or .mp4.

    Raises:
        InvalidValue: another kind of file, a domain that cannot be drawn, or no way to draw here.
    """
    if path.suffix.lower() not in WRITERS:
        kinds = " or ".join(WRITERS)
        raise InvalidValue(f"{path} is no film; the name of one ends in {kinds}")
    shot.check()
    frames = (_through_the_camera if shot.is_drawn else _from_above)(shot, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as aside:  # whole, or not there
        made = Path(aside) / path.name
        WRITERS[path.suffix.lower()](made, frames, shot.true_rate)
        os.replace(made, path)


class Moment(NamedTuple):
    """After a reset or a step of the one environment."""

    env: Any
    episode: int
    step: int
    last: bool  # of its episode


def moments(shot: Shot) -> Iterator[Moment]:
    """Play, from one moment to the next."""
    env: Any = make(shot.task, 1, seed=shot.seed)  # ours takes several seeds
    try:
        for episode, seed in enumerate(episode_seeds(shot.seed, shot.episodes)):
            noise = action_noise(seed, shot.noise_dim)
            obs, _ = env.reset(seed=[seed])
            shot.act.reset()
            step, last = 0, False
            yield Moment(env, episode, step, last)
            while not last:
                drawn = next(noise)[None]
                action = shot.act.batch(obs, drawn if drawn.size else None)
                obs, _, terminated, truncated, _ = env.step(action)
                step, last = step + 1, bool(terminated[0] | truncated[0])
                yield Moment(env, episode, step, last)
    finally:
        env.close()


def _through_the_camera(shot: Shot, progress: Progress | None) -> Frames:
    horizon = shot.task.horizon
    for env, episode, step, last in moments(shot):
        if step % shot.every == 0 or last:
            yield from _held(shot, shot.task.on.draw(env, shot.size), last)
        if progress is not None:
            progress(episode * horizon + step, shot.episodes * horizon)


def _held(shot: Shot, frame: Array, last: bool) -> Frames:
    """A picture, which stays for a while if it is the last of an episode."""
    return itertools.repeat(frame, 1 + last * round(PAUSE * shot.true_rate))


def _from_above(shot: Shot, progress: Progress | None) -> Frames:
    def counted(done: int, episodes: int) -> None:
        if progress is not None:
            progress(done * shot.task.horizon, episodes * shot.task.horizon)

    played = evaluate(
        shot.act.batch, shot.task, shot.episodes, shot.seed,
        noise_dim=shot.noise_dim, paths=True, progress=counted, begin=shot.act.reset,
    )  # fmt: skip
    paths = [track[np.isfinite(track).all(-1)] for track in above.tracks(played)]  # (T + 1, 2) each
    axes = _stage(shot, np.concatenate(paths))
    canvas: Any = axes.figure.canvas
    ground = canvas.copy_from_bbox(axes.figure.bbox)
    (line,) = axes.plot([], [], color=above.REACHED, lw=1.5, animated=True, zorder=6)
    (dot,) = axes.plot([], [], "o", color=above.REACHED, ms=10, animated=True, zorder=7)
    for track in paths:
        shown = sorted({*range(0, len(track), shot.every), len(track) - 1})
        for step in shown:
            canvas.restore_region(ground)
            line.set_data(*track[: step + 1].T)
            dot.set_data(*track[step : step + 1].T)
            for artist in (line, dot):
                axes.draw_artist(artist)
            frame = np.array(canvas.buffer_rgba())[..., :3]
            yield from _held(shot, frame, step == shown[-1])


def _stage(shot: Shot, seen: Array) -> Axes:
    """What stands still in the plane, with room for the points (n, 2) that will be drawn."""
    figure, axes = above.plane(shot.task)
    figure.set(dpi=DPI, size_inches=(np.array(shot.size[::-1]) + 0.5) / DPI)
    if disc := above.goal_disc(shot.task):
        axes.add_patch(Circle(disc[:2], disc[2], color=above.GOAL, alpha=0.25, lw=0, zorder=1))
    if shot.task.landscape is not None:
        landscape.ground(axes, shot.task, shot.task.landscape)
        landscape.marks(axes, shot.task.landscape)
    axes.update_datalim(seen)
    axes.margins(0.1)
    axes.autoscale_view()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # nothing moves any more
    return axes


def gif(path: Path, frames: Frames, rate: float) -> None:
    """An endless GIF; its colours are those of the first pictures."""
    from PIL import Image

    begin = list(itertools.islice(frames, SAMPLE))
    palette = Image.fromarray(np.concatenate(begin)).quantize(COLOURS)

    def shown(k: int, frame: Array) -> Any:
        image = Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE)
        ends, begins = round(100 * (k + 1) / rate), round(100 * k / rate)
        image.info["duration"] = 10 * (ends - begins)  # [ms]; a GIF knows whole hundredths only
        return image

    images = (shown(k, frame) for k, frame in enumerate(itertools.chain(begin, frames)))
    next(images).save(path, save_all=True, append_images=images, loop=0)


def mp4(path: Path, frames: Frames, rate: float) -> None:
    """H.264 in an mp4.

    Raises:
        InvalidValue: there is no encoder.
    """
    ffmpeg = library("imageio_ffmpeg", "an .mp4 (unlike a .gif)")
    first = next(frames)
    writer = ffmpeg.write_frames(str(path), first.shape[1::-1], fps=rate, macro_block_size=2)
    writer.send(None)
    for frame in itertools.chain([first], frames):
        writer.send(np.ascontiguousarray(frame))
    writer.close()


WRITERS: dict[str, Callable[[Path, Frames, float], None]] = {".gif": gif, ".mp4": mp4}
