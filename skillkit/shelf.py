"""One folder of skills, to read: which names, versions, aliases and labels it has.

    <folder>/<name>/v3/              a version, complete from the moment it has this name
    <folder>/<name>/v3.removed       a version that was removed; its number is not used again
    <folder>/<name>/aliases/best     "3 <content id>"
    <folder>/<name>/labels/v3.json   tags and a note for that content id
    <folder>/<name>/was              "push_x 3": a former name, and the last number used under it

Looking opens no skill, so a folder of thousands is listed in a moment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from skillkit.errors import CorruptSkill, RegistryUnavailable
from skillkit.integrity import content_id
from skillkit.labels import Labels
from skillkit.manifest import Manifest
from skillkit.names import folder_name, name_of_folder
from skillkit.reading import read_text
from skillkit.summary import Summary

DEFAULT = ".skillkit"  # made on first save, and ignored by git
ALIASES, LABELS, WAS = "aliases", "labels", "was"
_VERSION = re.compile(r"v([1-9][0-9]{0,17})(\.removed)?")
_ALIAS = re.compile(r"([1-9][0-9]{0,17}) ([0-9a-f]{64})\n")
_WAS = re.compile(r"^(\S+) ([1-9][0-9]{0,17})$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One version of a skill and where it lies; its files are read when asked for."""

    name: str
    version: int
    folder: Path
    origin: str  # "yours", "shipped" or a path

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def manifest(self) -> Manifest:
        """skill.json, without its checksum; raises CorruptSkill."""
        return Manifest.load(self.folder)

    @cached_property
    def summary(self) -> Summary:
        """Some of the manifest, in a tenth of the time; raises CorruptSkill."""
        return Summary.load(self.folder)

    @cached_property
    def content_id(self) -> str:
        """sha256 of SHA256SUMS; raises CorruptSkill."""
        return content_id(self.folder)

    @property
    def size(self) -> int:
        """Of all files together [bytes]."""
        return sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Shelf:
    """A folder of skills; one that does not exist is empty.

    Raises:
        RegistryUnavailable: by every method, for a folder that cannot be read.
    """

    folder: Path
    origin: str

    def names(self) -> Iterator[str]:
        """Names that a folder here stands for, whether or not it holds a version."""
        return filter(None, map(name_of_folder, _listing(self.folder)))

    def home(self, name: str) -> Path:
        """Where the versions of a skill lie."""
        return self.folder / folder_name(name)

    def versions(self, name: str) -> dict[int, Entry]:
        """The versions of a skill by number, in no order, without those removed."""
        live = [number for number, removed in self._numbers(name).items() if not removed]
        return {n: Entry(name, n, self.home(name) / f"v{n}", self.origin) for n in live}

    def removed(self, name: str) -> list[int]:
        """The versions that were removed, ascending."""
        return sorted(number for number, removed in self._numbers(name).items() if removed)

    def last_number(self, name: str) -> int:
        """The highest version number ever used here, 0 for none; also before a rename."""
        before = (number for was, number, _ in self.renamed() if was == name)
        return max([*self._numbers(name), *before], default=0)

    def words(self, name: str) -> list[str]:
        """The aliases of a skill, in order, whether or not they can be read."""
        return sorted(_listing(self._below(name, ALIASES)))

    def alias(self, name: str, word: str) -> tuple[int, str]:
        """The version and content id that an alias means; raises CorruptSkill for no alias."""
        path = self.home(name) / ALIASES / word
        match = _ALIAS.fullmatch(read_text(path))
        if match is None:
            raise CorruptSkill(f"{path} is not an alias of a skill; remove that file")
        return int(match[1]), match[2]

    def aliases(self, name: str) -> dict[str, tuple[int, str]]:
        """Alias -> version and content id; raises CorruptSkill for a file that is no alias."""
        return {word: self.alias(name, word) for word in self.words(name)}

    def labels(self, name: str, version: int) -> Labels | None:
        """What people say about a version here; raises CorruptSkill for a file that is no such."""
        path = self._below(name, labels_file(version))
        return Labels.load(Path(path)) if os.path.lexists(path) else None

    def labelled(self, name: str) -> list[int]:
        """The versions that have a file of labels here, also of another folder's versions."""
        files = _listing(self._below(name, LABELS))
        matches = (_VERSION.fullmatch(file.removesuffix(".json")) for file in files)
        return sorted(int(match[1]) for match in matches if match)

    def renamed(self) -> Iterator[tuple[str, int, str]]:
        """Former name, the last number used under it, and the name now."""
        for name in self.names():
            path = self.home(name) / WAS
            if os.path.lexists(path):
                with suppress(CorruptSkill):  # a stranger's file must not stop us from saving
                    for match in _WAS.finditer(read_text(path)):
                        yield match[1], int(match[2]), name

    def _numbers(self, name: str) -> dict[int, bool]:
        """The version numbers used for a skill, and whether that version was removed."""
        matches = [m for item in _listing(self._below(name)) if (m := _VERSION.fullmatch(item))]
        removed = {int(match[1]) for match in matches if match[2]}
        return {int(match[1]): int(match[1]) in removed for match in matches}

    def _below(self, name: str, *parts: str) -> str:
        """A path in the folder of a skill; as text, because thousands are asked for at once."""
        return os.path.join(self.folder, folder_name(name), *parts)


def labels_file(version: int) -> str:
    """Where the labels of a version lie, below the folder of its name."""
    return f"{LABELS}/v{version}.json"


def _listing(folder: Path | str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RegistryUnavailable(
            f"cannot read {folder}: {error.strerror}; name another registry with --registry DIR"
        ) from error
