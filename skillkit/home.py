"""The folder of skills that is written to: nothing appears by halves, no number is used twice.

Beside the skills (`shelf`):

    .runs/<name>/    a run in progress, locked by the process that works on it
    .clips/<content id>.gif    a film for the report, which can be made again
    .aside/          what is being written, and the lock under which names appear and vanish

A version is written aside in the same filesystem, checksummed, flushed and renamed, so readers
need no lock. Whatever a killed process left aside is swept up by the next one that writes.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from skillkit import storage
from skillkit.errors import CorruptSkill, InvalidValue, RunConflict, UnknownName
from skillkit.integrity import verify_checksums, write_checksums
from skillkit.manifest import Manifest
from skillkit.names import folder_name
from skillkit.shelf import ALIASES, DEFAULT, LABELS, WAS, Entry, Shelf, labels_file
from skillkit.storage import locked

RUNS, CLIPS = ".runs", ".clips"
DAY = 86_400.0  # [s]

Put = Callable[[str, str, str], None]  # a skill's name, a path below its folder, and the text


@dataclass(frozen=True)
class Leftover:
    """What nobody needs any more: a half, an abandoned run, files or film of a removed version."""

    what: str
    path: Path
    size: int  # [bytes]
    age: float  # since anything in it changed [days]


@dataclass(frozen=True)
class Home(Shelf):
    """A shelf to write in.

    Args:
        others: folders that are only read; their names and numbers count, too.
    """

    others: Sequence[Shelf] = ()

    @property
    def _all(self) -> tuple[Shelf, ...]:
        return (self, *self.others)

    def publish(self, name: str, write: Callable[[Path], None]) -> Entry:
        """Make the next version of a skill from the files that `write` puts into a folder."""

        def fill(skill: Path) -> None:
            skill.mkdir()
            write(skill)
            if Manifest.load(skill).name != name:
                raise InvalidValue(f"the skill.json to publish as {name!r} has another name")
            write_checksums(skill)

        return self._appear(name, fill)

    def receive(self, name: str, write: Callable[[Path], None]) -> Entry:
        """Make the next version of a skill from files that have their checksums already."""

        def fill(skill: Path) -> None:
            skill.mkdir()
            write(skill)
            verify_checksums(skill)
            Manifest.load(skill)

        return self._appear(name, fill)

    def copy(self, entry: Entry, name: str, labels: str) -> Entry:
        """Make the next version of `name` of the very files of another version, and its labels."""

        def fill(skill: Path) -> None:
            for path in (entry.folder, *sorted(entry.folder.rglob("*"))):
                to = skill / path.relative_to(entry.folder)
                to.mkdir() if path.is_dir() else shutil.copyfile(path, to)
            verify_checksums(skill)

        return self._appear(name, fill, labels)

    def rename(self, old: str, new: str) -> None:
        """Give all versions of a skill another name; the numbers of the old one stay used.

        One rename moves everything, and what says so is written before it.
        """
        with self.changing() as put:
            if not self.versions(old):  # another process was faster
                raise UnknownName("skill", old, self.names())
            if new == old:
                raise InvalidValue(f"{old} is its name already; choose another one")
            self._refuse_clash(new)
            self._refuse_numbers(old, new)
            self._refuse_to_leave(old)
            before = {was: number for was, number, name in self.renamed() if name == old}
            before[old] = self.last_number(old)
            put(old, WAS, "".join(f"{name} {number}\n" for name, number in before.items()))
            os.rename(self.home(old), self.home(new))
            storage.flush_up(self.folder, self.folder)

    def unalias(self, name: str, word: str) -> None:
        """Take an alias away."""
        with self.changing():
            self._refuse_links(name)
            path = self.home(name) / ALIASES / word
            path.unlink(missing_ok=True)  # another process was faster
            storage.flush_up(path.parent, self.folder)

    def remove(self, entry: Entry) -> None:
        """Remove one version, the aliases that mean it, and its labels."""
        folder = entry.folder.parent
        with self.writing(), self._lock():
            self._refuse_links(entry.name)
            for word in self.words(entry.name):
                with suppress(CorruptSkill):  # a damaged alias is verify's business
                    if self.alias(entry.name, word)[0] == entry.version:
                        (folder / ALIASES / word).unlink()
            (folder / labels_file(entry.version)).unlink(missing_ok=True)
            (folder / f"v{entry.version}.removed").touch()
            storage.flush_up(folder, self.folder)
            with suppress(FileNotFoundError):  # another process was faster
                os.rename(entry.folder, aside := self.folder / storage.ASIDE / storage.token())
                storage.delete(aside)

    def run_folder(self, name: str) -> Path:
        """The folder of a run in progress that will become this skill, made if need be."""
        with self.writing():
            self._refuse_clash(name)
            folder = storage.private(self.folder, RUNS) / folder_name(name)
            storage.unlinked(folder)
            folder.mkdir(exist_ok=True)
        return folder

    def leftovers(self, days: float) -> list[Leftover]:
        """What a sweep takes: nothing that a living process holds.

        Args:
            days: a run in which nothing changed for so long is abandoned.
        """
        halves = [_leftover("half-written", p) for p in _below(self.folder / storage.ASIDE)]
        runs = [_leftover("abandoned run", p) for p in _below(self.folder / RUNS)]
        names = (name for name in self.names() if not self.home(name).is_symlink())
        removed = [self.home(n) / f"v{number}" for n in names for number in self.removed(n)]
        found = halves + [run for run in runs if run.age >= days]
        found += [_leftover("removed version", path) for path in removed if path.is_dir()]
        if clips := _below(self.folder / CLIPS):
            known = set(self._content_ids())
            found += [_leftover("clip of no skill", p) for p in clips if p.stem not in known]
        return [leftover for leftover in found if not storage.in_use(leftover.path)]

    def _content_ids(self) -> Iterator[str]:
        """Of all versions that can be read."""
        for shelf in self._all:
            for name in shelf.names():
                for entry in shelf.versions(name).values():
                    with suppress(CorruptSkill):
                        yield entry.content_id

    def sweep(self, days: float) -> list[Leftover]:
        """Delete the leftovers; returns those that are gone."""
        with self.writing(), self._lock():
            found = self.leftovers(days)
            for leftover in found:
                if leftover.path.is_dir() and not leftover.path.is_symlink():
                    with suppress(RunConflict), locked(leftover.path):  # or someone came back
                        storage.delete(leftover.path)
                else:
                    storage.delete(leftover.path)
            return [leftover for leftover in found if not os.path.lexists(leftover.path)]

    @contextmanager
    def changing(self) -> Iterator[Put]:
        """Hold the lock, and write small files whole: all of one or nothing of it.

        Raises:
            RegistryUnavailable: the folder cannot be written.
        """
        with self.writing(), storage.set_aside(self.folder) as aside, self._lock():
            yield lambda name, file, text: self._put(aside, name, file, text)

    @contextmanager
    def writing(self) -> Iterator[None]:
        with storage.writing(self.folder):
            storage.make(self.folder, ignored=self.folder.name == DEFAULT)
            yield

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Held while versions and aliases get or lose their names: for milliseconds."""
        with locked(storage.private(self.folder, storage.ASIDE), wait=True):
            yield

    def _put(self, aside: Path, name: str, file: str, text: str) -> None:
        self._refuse_links(name)
        path = self.home(name) / file
        (aside / "text").write_text(text, encoding="ascii")
        storage.flush(aside)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside / "text", path)
        storage.flush_up(path.parent, self.folder)

    def _appear(self, name: str, fill: Callable[[Path], None], labels: str = "") -> Entry:
        """Publish the folder that `fill` makes, complete with its checksums.

        Its labels come first: without their version they mean nothing, and it is not without them.
        Those of a copy that was killed in between give way.
        """
        with self.writing(), storage.set_aside(self.folder) as aside:
            self._refuse_clash(name)
            skill = aside / "skill"
            fill(skill)
            storage.flush(skill)
            with self._lock():
                self._refuse_links(name)
                self._refuse_clash(name)
                number = 1 + max(shelf.last_number(name) for shelf in self._all)
                (self.home(name) / labels_file(number)).unlink(missing_ok=True)
                if labels:
                    self._put(aside, name, labels_file(number), labels)
                return self._rename(skill, name, number)

    def _rename(self, skill: Path, name: str, number: int) -> Entry:
        """Give a complete skill its final name. Call under the lock."""
        self.home(name).mkdir(exist_ok=True)
        while True:
            folder = self.home(name) / f"v{number}"
            try:
                os.rename(skill, folder)
                break
            except OSError as error:  # on a filesystem whose locks do not hold
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                number += 1
        storage.flush_up(self.home(name), self.folder)
        return Entry(name, number, folder, self.origin)

    def _refuse_links(self, name: str) -> None:
        home = self.home(name)
        storage.unlinked(home, home / ALIASES, home / LABELS)

    def _refuse_clash(self, name: str) -> None:
        """Names are unique ignoring case, because some filesystems ignore it."""
        for other in (other for shelf in self._all for other in shelf.names()):
            if other != name and other.lower() == name.lower():
                raise InvalidValue(
                    f"{name!r} differs from {other!r} only in case; use that name, or another"
                )

    def _refuse_numbers(self, old: str, new: str) -> None:
        """A number that was used under the new name must not mean another version from now on."""
        last = [shelf.last_number(new) for shelf in self.others]
        last += [number for was, number, now in self.renamed() if was == new and now != old]
        if any(last) or os.path.lexists(self.home(new)):
            raise InvalidValue(
                f"the name {new!r} is or was another skill's; choose one that is new, or put a "
                f"version there with skillkit copy {old}@VERSION {new}"
            )

    def _refuse_to_leave(self, old: str) -> None:
        """Aliases and labels go along with a name, so the versions that they mean have to."""
        meant = {self.alias(old, word)[0] for word in self.words(old)} | {*self.labelled(old)}
        theirs = {number for shelf in self.others for number in shelf.versions(old)}
        if staying := sorted(meant & theirs - self.versions(old).keys()):
            raise InvalidValue(
                f"{old}@{staying[0]} is not in {self.folder} and keeps its name, but an alias or "
                f"tags in {self.home(old)} mean it; take those away first"
            )


def _below(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name not in (storage.LOCK, storage.IGNORE))


def _leftover(what: str, path: Path) -> Leftover:
    """Measure it; what vanishes meanwhile counts nothing."""
    sizes, changed = [0], [0.0]
    walk = os.walk(path) if not path.is_symlink() else ()
    for item in (path, *(Path(folder, file) for folder, _, files in walk for file in files)):
        with suppress(FileNotFoundError):
            found = item.lstat()
            sizes.append(found.st_size if stat.S_ISREG(found.st_mode) else 0)
            changed.append(found.st_mtime)
    return Leftover(what, path, sum(sizes), (time.time() - max(changed)) / DAY)
