"""Counts environment steps where a method promises to take none (thesis ch. 6: offline)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from skillkit.errors import InteractionForbidden


@dataclass
class Interaction:
    """How many environment steps were asked for."""

    steps: int = 0


_guard: ContextVar[Interaction | None] = ContextVar("skillkit_interaction", default=None)


@contextmanager
def forbid_interaction() -> Iterator[Interaction]:
    """Within the block every step of every skillkit environment is counted and refused."""
    interaction = Interaction()
    token = _guard.set(interaction)
    try:
        yield interaction
    finally:
        _guard.reset(token)


def interact(steps: int) -> None:
    """Environments call this before they step.

    Raises:
        InteractionForbidden: within `forbid_interaction`.
    """
    interaction = _guard.get()
    if interaction is not None:
        interaction.steps += steps
        raise InteractionForbidden(
            "an environment was stepped where only stored experience may be used; "
            "evaluate before or after composing"
        )
