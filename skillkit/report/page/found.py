"""What the page is made of: the versions of a registry, read, checked and bounded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from skillkit.errors import CorruptSkill
from skillkit.integrity import checksums, verify_checksums
from skillkit.labels import Labels
from skillkit.lookup import Lookup
from skillkit.manifest import MANIFEST, Manifest, Parent
from skillkit.reading import RESTORE, read_text
from skillkit.report.card import FIGURE
from skillkit.report.page.markup import clipped
from skillkit.report.page.numbers import finite
from skillkit.shelf import Entry

CARD, CURVE = "README.md", "metrics.jsonl"
SHOWN = (MANIFEST, CARD, CURVE, FIGURE)  # the files of a skill that the page shows
OLDER = 20  # versions of one skill beside its latest
WORDS = 24  # aliases and tags of a version
ROWS = 100_000  # of a learning curve

# A card is a stranger's, and people paste what a page offers: nothing but one of ours, of
# characters that mean nothing to a shell.
_COMMAND = re.compile(r"^    (skillkit (?:train|compose|stack)(?: [A-Za-z0-9_.,:=+/@-]+)+)$", re.M)

Row = Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """A version whose shown files are as they were saved."""

    entry: Entry
    manifest: Manifest
    files: frozenset[str] = frozenset()  # of SHOWN, those it has
    aliases: Sequence[str] = ()
    labels: Labels = field(default_factory=lambda: Labels(""))
    complaints: Sequence[str] = ()  # about aliases and labels, which are not the skill's

    @property
    def name(self) -> str:
        return self.entry.name

    @property
    def reference(self) -> str:
        return self.entry.reference

    @property
    def task(self) -> str:
        return str(self.manifest.task["expression"])

    @property
    def domain(self) -> str:
        return str(self.manifest.task["domain"])

    @property
    def made(self) -> str:
        """'trained, sac'."""
        return f"{self.manifest.kind}, {clipped(self.manifest.algorithm, 40)}"

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """Its metrics in its own task; empty if it has none."""
        scores = self.manifest.metrics.get("evaluation")
        return scores if isinstance(scores, dict) else {}

    @property
    def words(self) -> list[str]:
        """Aliases and tags, as they are typed; at most `WORDS`."""
        tags = (f"{tag}={value}" for tag, value in sorted(self.labels.tags.items()))
        return [*(f"@{word}" for word in self.aliases), *tags][:WORDS]

    @cached_property
    def curve(self) -> list[Row]:
        """The finite numbers of each row of metrics.jsonl; raises CorruptSkill."""
        if CURVE not in self.files:
            return []
        path = self.entry.folder / CURVE
        try:
            rows = [json.loads(line) for line in read_text(path).splitlines()[:ROWS]]
            numbers = [{k: finite(v) for k, v in row.items()} for row in rows]
        except (ValueError, AttributeError, RecursionError) as error:
            raise CorruptSkill(f"{path} holds no learning curve; {RESTORE}") from error
        return [{k: v for k, v in row.items() if v is not None} for row in numbers]

    @cached_property
    def card(self) -> str:
        return read_text(self.entry.folder / CARD) if CARD in self.files else ""

    @property
    def summary(self) -> str:
        """The first line of the card below its title: what the task is."""
        lines = (line.strip() for line in self.card.splitlines())
        return clipped(next((line for line in lines if line and line[0] not in "#!<"), ""), 300)

    @property
    def command(self) -> str:
        """What makes it again, as its card says; empty unless it is plainly one of ours."""
        match = _COMMAND.search(self.card)
        return match[1] if match and len(match[1]) < 1000 else ""


@dataclass(frozen=True)
class Broken:
    """A version that cannot be shown, and the one sentence why."""

    entry: Entry
    sentence: str


@dataclass(frozen=True)
class Skill:
    """A skill of the page: its latest version, and the others from new to old."""

    latest: Found | Broken
    older: Sequence[Found | Broken] = ()
    more: int = 0  # that are older still

    @property
    def name(self) -> str:
        return self.latest.entry.name

    @property
    def id(self) -> str:
        """Where it is in the page."""
        return anchor(self.name)


@dataclass(frozen=True)
class Library:
    """Everything that the page shows."""

    skills: Sequence[Skill]

    @cached_property
    def latest(self) -> list[Found]:
        """The latest version of each skill that can be shown."""
        return [skill.latest for skill in self.skills if isinstance(skill.latest, Found)]

    @cached_property
    def versions(self) -> dict[str, Found]:
        """Content id -> the version that has it, a latest one if there is."""
        return {found.entry.content_id: found for found in reversed(list(self._all()))}

    @cached_property
    def children(self) -> dict[str, list[Found]]:
        """Content id -> the versions that record it as a parent's."""
        made: dict[str, list[Found]] = {}
        for found in self._all():
            for identity in {parent["content_id"] for parent in found.manifest.parents}:
                made.setdefault(identity or "", []).append(found)
        return made

    def parent(self, record: Parent) -> Found | None:
        """The version that a child records, whatever it is called now."""
        return self.versions.get(record["content_id"] or "")

    def _all(self) -> Iterator[Found]:
        yield from self.latest
        for skill in self.skills:
            yield from (found for found in skill.older if isinstance(found, Found))


def anchor(name: str) -> str:
    """The id of a skill's part of the page."""
    return f"skill-{name}"


def collect(where: Lookup) -> Library:
    """Read every skill that a search path holds; what is broken takes nothing else with it.

    Raises:
        RegistryUnavailable: a folder of the search path cannot be read.
    """
    skills = []
    for entry in where.list():
        others = [e for e in reversed(where.versions(entry.name)) if e.version != entry.version]
        older = [_read(where, other, (MANIFEST,)) for other in others[:OLDER]]
        skills.append(Skill(_read(where, entry, SHOWN), older, len(others[OLDER:])))
    return Library(skills)


def _read(where: Lookup, entry: Entry, shown: Sequence[str]) -> Found | Broken:
    """One version, with the files to show checked; `skillkit verify` checks all of them."""
    try:
        files = frozenset(shown) & checksums(entry.folder).keys()
        verify_checksums(entry.folder, files | {MANIFEST})
        _ = entry.content_id
        found = Found(entry, entry.manifest, files, **_words(where, entry))
        _ = found.curve, found.card
        return found
    except CorruptSkill as error:
        return Broken(entry, str(error))


def _words(where: Lookup, entry: Entry) -> dict[str, Any]:
    """Aliases, tags and note, as far as they can be read."""
    words: dict[str, Any] = {}
    complaints = []
    try:
        pairs = where.aliases(entry.name).items()
        words["aliases"] = [word for word, version in pairs if version == entry.version]
    except CorruptSkill as error:
        complaints.append(str(error))
    try:
        words["labels"] = where.labels(entry)
    except CorruptSkill as error:
        complaints.append(str(error))
    return words | {"complaints": complaints}
