"""Every error a user can meet: one sentence that names the culprit and the way out.

Only these are shown without a traceback; anything else is a defect of skillkit.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SkillkitError(Exception):
    """Base of all errors with a message written for the person at the keyboard."""


class UnknownName(SkillkitError):
    """A task, skill, option or other name that does not exist; suggests the nearest."""

    def __init__(self, kind: str, name: str, choices: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.choices = kind, name, sorted(choices)
        near = difflib.get_close_matches(name, self.choices, n=3, cutoff=0.5)
        if near:
            way_out = f"did you mean {' or '.join(near)}?"
        elif self.choices:
            shown = ", ".join(self.choices[:12]) + (", …" if len(self.choices) > 12 else "")
            way_out = f"choose from {shown}"
        else:
            way_out = f"there is no {kind} yet"
        super().__init__(f"no {kind} is called {name!r}; {way_out}{hint and '; ' + hint}")


class InvalidValue(SkillkitError):
    """A right name with a wrong content: a weight, a shape, a skill name, an option."""


class IncompatibleSkills(SkillkitError):
    """Skills that cannot be composed or stacked, and why (THEORY 5, preconditions)."""


class CorruptSkill(SkillkitError):
    """A skill directory that is incomplete, altered or not ours."""


class RegistryUnavailable(SkillkitError):
    """A registry that cannot be read or written."""


class TaskFileError(SkillkitError):
    """A task file that could not be loaded; names the file and the line."""


class NonFinite(SkillkitError):
    """A NaN or an infinity where a number was needed: an observation, a reward, a loss."""


class InteractionForbidden(SkillkitError):
    """An environment step where none is allowed: composition is offline."""


class RunConflict(SkillkitError):
    """A run that is locked by another process, or that cannot be resumed as asked."""
