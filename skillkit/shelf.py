"""One folder of skills, to read: which names, versions and aliases it has.

    <folder>/<name>/v3/            a version, complete from the moment it has this name
    <folder>/<name>/v3.removed     a version that was removed; its number is not used again
    <folder>/<name>/aliases/best   "3 <content id>"

Looking opens no skill, so a folder of thousands is listed in a moment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from skillkit.errors import CorruptSkill, RegistryUnavailable
from skillkit.integrity import content_id, read_text
from skillkit.manifest import Manifest, folder_name, name_of_folder

ALIASES = "aliases"
_VERSION = re.compile(r"v([1-9][0-9]{0,17})(\.removed)?")
_ALIAS = re.compile(r"([1-9][0-9]{0,17}) ([0-9a-f]{64})\n")


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
        home = self.home(name)
        live = (number for number, removed in self._numbers(name).items() if not removed)
        return {n: Entry(name, n, home / f"v{n}", self.origin) for n in live}

    def last_number(self, name: str) -> int:
        """The highest version number ever used here, 0 for none."""
        return max(self._numbers(name), default=0)

    def aliases(self, name: str) -> dict[str, tuple[int, str]]:
        """Alias -> version and content id; raises CorruptSkill for a file that is no alias."""
        found = {}
        for word in _listing(self.home(name) / ALIASES):
            path = self.home(name) / ALIASES / word
            if not (match := _ALIAS.fullmatch(read_text(path))):
                raise CorruptSkill(f"{path} is not an alias of a skill; remove that file")
            found[word] = int(match[1]), match[2]
        return found

    def _numbers(self, name: str) -> dict[int, bool]:
        """The version numbers used for a skill, and whether that version was removed."""
        matches = [m for item in _listing(self.home(name)) if (m := _VERSION.fullmatch(item))]
        removed = {int(match[1]) for match in matches if match[2]}
        return {int(match[1]): int(match[1]) in removed for match in matches}


def _listing(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RegistryUnavailable(
            f"cannot read {folder}: {error.strerror}; name another registry with --registry DIR"
        ) from error
