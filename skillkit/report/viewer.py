"""A window in which a skill plays, MuJoCo's own."""

from __future__ import annotations

import time
import warnings

from skillkit.envs import MujocoDomain
from skillkit.errors import InvalidValue
from skillkit.report.film import Shot, moments

NO_WINDOW = "no window can be opened here; write a film with -o FILE.gif"


def view(shot: Shot) -> None:
    """Play in a window, until the episodes are over or the window is closed.

    Raises:
        InvalidValue: the domain is not simulated by MuJoCo, or no window can be opened.
    """
    domain = shot.task.on
    if not isinstance(domain, MujocoDomain):
        shot.check()
        raise InvalidValue(
            f"the domain {domain.name} has no viewer, as MuJoCo does not simulate it; "
            "write a film with -o FILE.gif"
        )
    _check_display()
    from mujoco import viewer

    playing = moments(shot)
    data = domain.posed(next(playing).env)
    try:
        window = viewer.launch_passive(data.model, data)
    except RuntimeError as error:  # macOS wants another Python for it, and says which
        raise InvalidValue(f"{NO_WINDOW} ({' '.join(str(error).split())})") from error
    with window:
        for moment in playing:
            began = time.perf_counter()
            if not window.is_running():
                break
            with window.lock():
                domain.posed(moment.env, data)
            window.sync()
            spent = time.perf_counter() - began
            time.sleep(max(0.0, shot.task.spec.dt / shot.speed - spent))


def _check_display() -> None:
    """Ask for a display before MuJoCo does, which ends the process if there is none.

    Raises:
        InvalidValue: there is none.
    """
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not glfw.init():
            raise InvalidValue(NO_WINDOW)
