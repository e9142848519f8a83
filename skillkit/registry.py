"""A search path of skills: find (`lookup`), publish, alias, label, copy, rename, remove, sweep."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from skillkit.errors import InvalidValue, RegistryUnavailable, UnknownName
from skillkit.home import Home
from skillkit.home import Leftover as Leftover
from skillkit.labels import Labels
from skillkit.lookup import Lookup
from skillkit.names import check_name, check_word
from skillkit.shelf import ALIASES, DEFAULT, Shelf, labels_file
from skillkit.shelf import Entry as Entry
from skillkit.storage import locked as locked


def shipped_folder() -> Path:
    """The skills that come with skillkit: packaged, or else those of the checkout."""
    package = Path(__file__).resolve().parent
    packaged = package / "skills"
    return packaged if packaged.is_dir() else package.parent / "skills"


def search_path(user: Path | str | None = None) -> list[Path]:
    """Where skills are looked for: the user's folder, then the shipped skills.

    Args:
        user: the user's folder; None takes $SKILLKIT_REGISTRY, else ./.skillkit.
    """
    first = Path(user or os.environ.get("SKILLKIT_REGISTRY") or DEFAULT).expanduser()
    shipped = shipped_folder()
    return [first] if first.resolve() == shipped or not shipped.is_dir() else [first, shipped]


class Registry(Lookup):
    """A search path of folders. The first is written to; the first that has a name wins.

    Version numbers count on over the whole path: where push_x@1 is shipped, yours is push_x@2,
    and `push_x` is yours.

    Args:
        folders: the search path, or the one folder; None is that of `search_path`.
    """

    def __init__(self, folders: Sequence[Path | str] | Path | str | None = None) -> None:
        given = [folders] if isinstance(folders, Path | str) else folders
        self.folders = [Path(f).absolute() for f in (search_path() if given is None else given)]
        if not self.folders:
            raise InvalidValue("a registry needs at least one folder")
        others = [Shelf(folder, self._origin(folder)) for folder in self.folders[1:]]
        self._home = Home(self.folders[0], self._origin(self.folders[0]), others)
        super().__init__([self._home, *others])

    def publish(self, name: str, write: Callable[[Path], None]) -> Entry:
        """Make the next version of a skill from the files that `write` puts into a folder.

        Raises:
            InvalidValue: not a name, or one that differs from another only in case.
            RegistryUnavailable: read-only, full or otherwise unwritable; nothing was stored.
        """
        return self._home.publish(check_name(name), write)

    def receive(self, name: str, write: Callable[[Path], None]) -> Entry:
        """Make the next version of a skill from the files that `write` puts into a folder.

        SHA256SUMS is one of them, so that the skill keeps its content id, and skill.json may have
        another name.

        Raises:
            CorruptSkill: they are not whole, or no skill.
            InvalidValue, RegistryUnavailable: as `publish`.
        """
        return self._home.receive(check_name(name), write)

    def copy(self, reference: str, name: str) -> Entry:
        """Make the next version of `name` of the very files of a version, and of its labels.

        The content id stays, so children of the one are children of the other.

        Raises:
            UnknownName, CorruptSkill: as `find` and `verify`.
            InvalidValue, RegistryUnavailable: as `publish`.
        """
        check_name(name)
        entry = self.verify(reference)
        labels = self.labels(entry)
        return self._home.copy(entry, name, labels.to_json() if labels else "")

    def rename(self, old: str, new: str) -> Sequence[Entry]:
        """Give a skill, all its versions, aliases and labels, another name.

        Its files stay as they are, so children find it; its old numbers are not used again.

        Raises:
            UnknownName: no such skill.
            InvalidValue: not a name, a name in use, or an alias or labels that cannot go along.
            RegistryUnavailable: as `remove`.
        """
        check_name(new)
        if not self._home.versions(old):
            self._own(self.versions(old)[-1], "rename")
        self._home.rename(old, new)
        return self.versions(new)

    def alias(self, reference: str, word: str) -> Entry:
        """Let `name@word` mean this version from now on.

        Raises:
            UnknownName, InvalidValue: as `find`, or not a word for an alias.
            RegistryUnavailable: as `publish`.
        """
        check_word(word)
        self.find(reference)  # so that a typo makes no folder
        with self._home.changing() as put:
            entry = self.find(reference)
            put(entry.name, f"{ALIASES}/{word}", f"{entry.version} {entry.content_id}\n")
        return entry

    def unalias(self, name: str, word: str) -> None:
        """Take an alias away, whether or not its version is still there.

        Raises:
            UnknownName: no such skill or alias.
            RegistryUnavailable: as `remove`.
        """
        self.versions(name)
        if word not in (words := self._home.words(name)):
            raise UnknownName(f"alias of {name} in {self._home.folder}", word, words)
        self._home.unalias(name, word)

    def label(self, reference: str, tags: Mapping[str, str], note: str | None = None) -> Labels:
        """Set tags, or take them away by an empty value, and the note unless it is None.

        Raises:
            UnknownName, CorruptSkill, InvalidValue: as `find`, or no word for a tag.
            RegistryUnavailable: as `publish`.
        """
        self.labels(self.find(reference)).changed(tags, note)  # so that a typo makes no folder
        with self._home.changing() as put:
            entry = self.find(reference)
            labels = self.labels(entry).changed(tags, note)
            put(entry.name, labels_file(entry.version), labels.to_json())
        return labels

    def remove(self, reference: str) -> Entry:
        """Remove one version, its labels and the aliases that mean it; its number stays used.

        Raises:
            UnknownName, InvalidValue: as `find`.
            RegistryUnavailable: as `publish`, or the version lies in a folder that is only read.
        """
        self._home.remove(entry := self._own(self.find(reference), "remove"))
        return entry

    def leftovers(self, days: float) -> Sequence[Leftover]:
        """What `sweep` would delete."""
        return self._home.leftovers(days)

    def sweep(self, days: float) -> Sequence[Leftover]:
        """Delete what killed processes left, and runs in which nothing changed for `days`.

        Raises:
            RegistryUnavailable: as `publish`.
        """
        return self._home.sweep(days)

    def run_folder(self, name: str) -> Path:
        """The folder of a run in progress that will become this skill, made if need be.

        Raises:
            InvalidValue, RegistryUnavailable: as `publish`, before any work is done.
        """
        return self._home.run_folder(check_name(name))

    def _origin(self, folder: Path) -> str:
        if folder.resolve() == shipped_folder():
            return "shipped"
        return "yours" if folder == self.folders[0] else str(folder)

    def _own(self, entry: Entry, what: str) -> Entry:
        """The entry, if it lies in the folder that is written to."""
        if entry.folder.parent.parent != self._home.folder:
            raise RegistryUnavailable(
                f"{entry.reference} lies in {entry.folder.parent.parent}, which is only read here; "
                f"name that folder with --registry to {what} it"
            )
        return entry
