"""Landscape: what a picture of a task shows, as data in its task file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from skillkit.errors import InvalidValue, UnknownName


@dataclass(frozen=True)
class Landscape:
    """What is drawn in the plane of a task's domain, beside what a skill does there.

    Attributes:
        term: the reward term whose contours are drawn; other observation entries are 0.
        title: what the contours are, with the unit.
        reach: the picture goes from -reach to reach, in the plane's unit.
        marks: name -> point of the plane; a mark that is called like an outcome shows its share.
        states: observations in which the policy's choice of action is drawn.
    """

    term: str
    title: str
    reach: float
    marks: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    states: tuple[tuple[float, ...], ...] = ()

    def check(self, plane: object, entries: int, terms: Collection[str]) -> None:
        """Fail where the task is declared, and not after its training.

        Raises:
            UnknownName: the term is none of the task's.
            InvalidValue: the domain has no plane, or a state has not as many numbers as `entries`.
        """
        if plane is None:
            raise InvalidValue("a landscape needs a domain with a plane; leave it out")
        if self.term not in terms:
            raise UnknownName("reward term", self.term, terms)
        for state in self.states:
            if len(state) != entries:
                raise InvalidValue(
                    f"the landscape's state {state} needs {entries} numbers, one per observation "
                    "entry"
                )
