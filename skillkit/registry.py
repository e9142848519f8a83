"""A search path of skills: find, publish without halves, alias, remove, verify, lineage.

In the folder that is written to, beside the skills (`shelf`):

    .runs/<name>/    a run in progress, locked by the process that works on it
    .aside/          what is being written, and the lock under which names appear and vanish

A version is written aside in the same filesystem, checksummed, flushed and renamed, so readers
need no lock. Whatever a killed process left aside is swept up by the next one that writes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from skillkit import storage
from skillkit.errors import CorruptSkill, InvalidValue, RegistryUnavailable, UnknownName
from skillkit.integrity import verify_checksums, write_checksums
from skillkit.manifest import Manifest, check_name, check_word, folder_name, parse_reference
from skillkit.shelf import ALIASES, Shelf
from skillkit.shelf import Entry as Entry
from skillkit.storage import locked as locked

DEFAULT = ".skillkit"  # made on first save, and ignored by git


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


class Registry:
    """A search path of folders. The first is written to; the first that has a name wins.

    Version numbers count on over the whole path: where push_x@1 is shipped, yours is push_x@2,
    and `push_x` is yours.

    Args:
        folders: the search path; None is that of `search_path`.
    """

    def __init__(self, folders: Sequence[Path | str] | None = None) -> None:
        self.folders = [Path(f).absolute() for f in (search_path() if folders is None else folders)]
        if not self.folders:
            raise InvalidValue("a registry needs at least one folder")
        self._home = self.folders[0]
        self._shelves = [Shelf(folder, self._origin(folder)) for folder in self.folders]

    def list(self) -> Sequence[Entry]:
        """The latest version of each skill, by name; opens no skill.

        Raises:
            RegistryUnavailable: a folder of the search path does not exist or cannot be read.
        """
        if absent := self._absent():
            raise RegistryUnavailable(f"{absent}; name one that exists, or save a skill there")
        return [self._latest(name) for name in self._names()]

    def find(self, reference: str) -> Entry:
        """The version that `name`, `name@3` or `name@word` means.

        Raises:
            UnknownName: no such skill, version or alias.
            InvalidValue: not a reference.
            CorruptSkill: an alias whose version is gone, or is not the one it meant.
        """
        wanted = parse_reference(reference)
        numbers = {str(entry.version): entry for entry in self.versions(wanted.name)}
        if wanted.alias is not None:
            return self._find_alias(wanted.name, wanted.alias)
        if wanted.version is None:
            return self._latest(wanted.name)
        if str(wanted.version) not in numbers:
            raise UnknownName(f"version of {wanted.name}", str(wanted.version), numbers)
        return numbers[str(wanted.version)]

    def versions(self, name: str) -> Sequence[Entry]:
        """All versions of a skill, ascending; of one number the first folder's.

        Raises:
            UnknownName: no skill of this name.
        """
        check_name(name)
        found: dict[int, Entry] = {}
        for shelf in reversed(self._shelves):
            found |= shelf.versions(name)
        if not found:
            raise UnknownName("skill", name, self._names(), self._absent())
        return [found[number] for number in sorted(found)]

    def entries(self) -> Iterator[Entry]:
        """Every version of every skill."""
        for name in self._names():
            yield from self.versions(name)

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version; raises CorruptSkill for a file that is no alias."""
        return {word: version for word, (version, _) in sorted(self._aliases(name).items())}

    def children(self, identity: str) -> Sequence[Entry]:
        """Versions that record this content id as a parent's; damaged ones are passed over."""
        found = []
        for entry in self.entries():
            with suppress(CorruptSkill):
                if identity in [parent["content_id"] for parent in entry.manifest.parents]:
                    found.append(entry)
        return found

    def verify(self, reference: str) -> Entry:
        """Check every file of a version.

        Raises:
            CorruptSkill: a file that is missing, extra, changed, linked or malformed.
        """
        entry = self.find(reference)
        verify_checksums(entry.folder)
        Manifest.load(entry.folder)
        return entry

    def publish(self, name: str, write: Callable[[Path], None]) -> Entry:
        """Make the next version of a skill from the files that `write` puts into a folder.

        Raises:
            InvalidValue: not a name, or one that differs from another only in case.
            RegistryUnavailable: read-only, full or otherwise unwritable; nothing was stored.
        """
        check_name(name)
        with self._writing(), storage.set_aside(self._home) as aside:
            self._refuse_clash(name)
            skill = aside / "skill"
            skill.mkdir()
            write(skill)
            if Manifest.load(skill).name != name:
                raise InvalidValue(f"the skill.json to publish as {name!r} has another name")
            write_checksums(skill)
            storage.flush(skill)
            with self._lock():
                self._refuse_clash(name)
                return self._rename(skill, name)

    def alias(self, reference: str, word: str) -> Entry:
        """Let `name@word` mean this version from now on.

        Raises:
            UnknownName, InvalidValue: as `find`, or not a word for an alias.
            RegistryUnavailable: as `publish`.
        """
        check_word(word)
        self.find(reference)  # so that a typo makes no folder
        with self._writing(), storage.set_aside(self._home) as aside, self._lock():
            entry = self.find(reference)
            (aside / word).write_text(f"{entry.version} {entry.content_id}\n", encoding="ascii")
            storage.flush(aside)
            folder = self._home / folder_name(entry.name) / ALIASES
            folder.mkdir(parents=True, exist_ok=True)
            os.replace(aside / word, folder / word)
            storage.flush_up(folder, self._home)
        return entry

    def remove(self, reference: str) -> Entry:
        """Remove one version and the aliases that mean it; its number is not used again.

        Raises:
            UnknownName, InvalidValue: as `find`.
            RegistryUnavailable: as `publish`, or the version lies in a folder that is only read.
        """
        entry = self.find(reference)
        folder = entry.folder.parent
        if folder.parent != self._home:
            raise RegistryUnavailable(
                f"{entry.reference} lies in {folder.parent}, which is only read here; "
                "name that folder with --registry to remove it"
            )
        with self._writing(), self._lock():
            for word, (version, _) in self._shelves[0].aliases(entry.name).items():
                if version == entry.version:
                    (folder / ALIASES / word).unlink()
            (folder / f"v{entry.version}.removed").touch()
            storage.flush_up(folder, self._home)
            with suppress(FileNotFoundError):  # another process was faster
                os.rename(entry.folder, aside := self._home / storage.ASIDE / storage.token())
                storage.delete(aside)
        return entry

    def run_folder(self, name: str) -> Path:
        """The folder of a run in progress that will become this skill, made if need be.

        Raises:
            InvalidValue, RegistryUnavailable: as `publish`, before any work is done.
        """
        check_name(name)
        with self._writing():
            self._refuse_clash(name)
            folder = storage.private(self._home, ".runs") / folder_name(name)
            folder.mkdir(exist_ok=True)
        return folder

    def _origin(self, folder: Path) -> str:
        if folder.resolve() == shipped_folder():
            return "shipped"
        return "yours" if folder == self._home else str(folder)

    def _absent(self) -> str:
        """Names a folder that does not exist; the default one may, it is made on first save."""
        for folder in self.folders:
            if not folder.is_dir() and (folder.name != DEFAULT or os.path.lexists(folder)):
                return f"there is no registry at {folder}"
        return ""

    def _names(self) -> Sequence[str]:
        """Names that have a version, in order."""
        return sorted({n for s in self._shelves for n in s.names() if s.versions(n)})

    def _latest(self, name: str) -> Entry:
        found = next(found for shelf in self._shelves if (found := shelf.versions(name)))
        return found[max(found)]

    def _aliases(self, name: str) -> dict[str, tuple[int, str]]:
        found: dict[str, tuple[int, str]] = {}
        for shelf in reversed(self._shelves):
            found |= shelf.aliases(name)
        return found

    def _find_alias(self, name: str, word: str) -> Entry:
        aliases = self._aliases(name)
        if word not in aliases:
            raise UnknownName(f"alias of {name}", word, aliases)
        version, identity = aliases[word]
        for entry in (shelf.versions(name).get(version) for shelf in self._shelves):
            if entry is not None and entry.content_id == identity:
                return entry
        raise CorruptSkill(
            f"the alias {name}@{word} means a version {version} that is gone or was replaced; "
            f"set it again with skillkit alias {name}@VERSION {word}"
        )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with storage.writing(self._home):
            storage.make(self._home, ignored=self._home.name == DEFAULT)
            yield

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Held while versions and aliases get or lose their names: for milliseconds."""
        with locked(storage.private(self._home, storage.ASIDE), wait=True):
            yield

    def _refuse_clash(self, name: str) -> None:
        """Names are unique ignoring case, because some filesystems ignore it."""
        for other in (other for shelf in self._shelves for other in shelf.names()):
            if other != name and other.lower() == name.lower():
                raise InvalidValue(
                    f"{name!r} differs from {other!r} only in case; use that name, or another"
                )

    def _rename(self, skill: Path, name: str) -> Entry:
        """Give a complete skill its final name. Call under the registry's lock."""
        shelf = self._shelves[0]
        shelf.home(name).mkdir(exist_ok=True)
        number = 1 + max(shelf.last_number(name) for shelf in self._shelves)
        while True:
            folder = shelf.home(name) / f"v{number}"
            try:
                os.rename(skill, folder)
                break
            except OSError as error:  # on a filesystem whose locks do not hold
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                number += 1
        storage.flush_up(shelf.home(name), self._home)
        return Entry(name, number, folder, shelf.origin)
