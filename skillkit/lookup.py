"""What a search path of shelves holds; of one name or number the first shelf's counts."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from skillkit.errors import CorruptSkill, RegistryUnavailable, SkillkitError, UnknownName
from skillkit.integrity import damage, verify_checksums
from skillkit.labels import Labels
from skillkit.manifest import Manifest, Parent
from skillkit.names import check_name, parse_reference
from skillkit.shelf import DEFAULT, Entry, Shelf, labels_file


class Lookup:
    """Finds skills, their relatives and their damage; changes nothing and needs no lock."""

    def __init__(self, shelves: Sequence[Shelf]) -> None:
        self._shelves = shelves

    def list(self) -> Sequence[Entry]:
        """The latest version of each skill, by name; opens no skill.

        Raises:
            RegistryUnavailable: a folder of the search path does not exist or cannot be read.
        """
        if absent := self._absent():
            raise RegistryUnavailable(absent)
        found: dict[str, Entry] = {}
        for shelf in self._shelves:
            for name in shelf.names():
                if name not in found and (versions := shelf.versions(name)):
                    found[name] = versions[max(versions)]
        return [found[name] for name in sorted(found)]

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
            now = [new for shelf in self._shelves for was, _, new in shelf.renamed() if was == name]
            if now:
                raise UnknownName("skill", name, now, f"{name} was renamed")
            raise UnknownName("skill", name, self._names(), self._absent())
        return [found[number] for number in sorted(found)]

    def entries(self) -> Iterator[Entry]:
        """Every version of every skill."""
        for name in self._names():
            yield from self.versions(name)

    def aliases(self, name: str) -> dict[str, int]:
        """Alias -> version; raises CorruptSkill for a file that is no alias."""
        found: dict[str, tuple[int, str]] = {}
        for shelf in reversed(self._shelves):
            found |= shelf.aliases(name)
        return {word: version for word, (version, _) in sorted(found.items())}

    def children(self, identity: str) -> Sequence[Entry]:
        """Versions that record this content id as a parent's; damaged ones are passed over."""
        return self.families().get(identity, [])

    def families(self) -> dict[str, builtins.list[Entry]]:
        """The children of every content id that is recorded as a parent's."""
        found: dict[str, builtins.list[Entry]] = {}
        for entry in self.entries():
            with suppress(CorruptSkill):
                for identity in {parent["content_id"] for parent in entry.manifest.parents}:
                    if identity is not None:
                        found.setdefault(identity, []).append(entry)
        return found

    def parent(self, record: Parent) -> Entry | None:
        """The stored version that a child records: by content id, whatever it is called now."""
        if record["content_id"] is None:
            return None
        with suppress(SkillkitError):
            entry = self.find(f"{record['name']}@{record['version']}")
            if entry.content_id == record["content_id"]:
                return entry
        return self.holder(record["content_id"])

    def holder(self, identity: str) -> Entry | None:
        """The first version with this content id; several have it if one was copied."""
        for entry in self.entries():
            with suppress(CorruptSkill):
                if entry.content_id == identity:
                    return entry
        return None

    def labels(self, entry: Entry) -> Labels:
        """Tags and note of a version; raises CorruptSkill for a file that is no such."""
        found = self._labels(entry)
        return Labels(entry.content_id) if found is None else found

    def tags(self, entry: Entry) -> dict[str, str]:
        """Those of `labels`; where there are none no file of the version is read."""
        found = self._labels(entry)
        return {} if found is None else found.tags

    def _labels(self, entry: Entry) -> Labels | None:
        for shelf in self._shelves:
            found = shelf.labels(entry.name, entry.version)
            if found is not None and found.content_id == entry.content_id:
                return found
        return None

    def verify(self, reference: str) -> Entry:
        """Check every file of a version.

        Raises:
            CorruptSkill: a file that is missing, extra, changed, linked or malformed.
        """
        entry = self.find(reference)
        verify_checksums(entry.folder)
        # Read now and kept: who uses it can name it as a parent even if it is renamed meanwhile.
        _ = entry.manifest, entry.content_id
        return entry

    def damage(self, entry: Entry) -> Iterator[str]:
        """A sentence for each file of a version that is not as it was saved."""
        yield from damage(entry.folder)
        yield from _complaint(Manifest.load, entry.folder)

    def stray(self, name: str) -> Iterator[str]:
        """A sentence for each alias and each file of labels of a skill that is of no use."""
        for word in sorted(self._words(name)):
            yield from _complaint(self._find_alias, name, word)
        coming = 1 + max(shelf.last_number(name) for shelf in self._shelves)
        for shelf in self._shelves:  # labels of a version to come are those of a copy cut short
            for version in (number for number in shelf.labelled(name) if number != coming):
                yield from _complaint(self._find_labelled, shelf, name, version)

    def _find_labelled(self, shelf: Shelf, name: str, version: int) -> Entry:
        """The version that labels are of.

        Raises:
            CorruptSkill: the labels are malformed, or of no version that is there.
        """
        labels = shelf.labels(name, version)
        for entry in (found for s in self._shelves if (found := s.versions(name).get(version))):
            try:
                if labels is None or entry.content_id == labels.content_id:
                    return entry
            except CorruptSkill:  # a damaged version has a sentence of its own
                return entry
        raise CorruptSkill(
            f"{shelf.home(name) / labels_file(version)} says something about a version that is not "
            "there; remove that file"
        )

    def _absent(self) -> str:
        """Names a folder that does not exist; the default one may, it is made on first save."""
        for folder in (shelf.folder for shelf in self._shelves):
            if folder.is_dir():
                continue
            if os.path.lexists(folder):
                return f"{folder} is no folder, as a registry is; name another with --registry DIR"
            if folder.name != DEFAULT:
                way_out = "name one that exists, or save a skill there"
                return f"there is no registry at {folder}; {way_out}"
        return ""

    def _names(self) -> Sequence[str]:
        """Names that have a version, in order."""
        return sorted({n for s in self._shelves for n in s.names() if s.versions(n)})

    def _latest(self, name: str) -> Entry:
        found = next(found for shelf in self._shelves if (found := shelf.versions(name)))
        return found[max(found)]

    def _words(self, name: str) -> dict[str, Shelf]:
        """The aliases of a skill, and the first shelf that has each."""
        return {word: shelf for shelf in reversed(self._shelves) for word in shelf.words(name)}

    def _find_alias(self, name: str, word: str) -> Entry:
        shelves = self._words(name)
        if word not in shelves:
            raise UnknownName(f"alias of {name}", word, shelves)
        version, identity = shelves[word].alias(name, word)
        for entry in (shelf.versions(name).get(version) for shelf in self._shelves):
            if entry is not None and entry.content_id == identity:
                return entry
        raise CorruptSkill(
            f"the alias {name}@{word} means a version {version} that is gone or was replaced; "
            f"set it again with skillkit alias {name}@VERSION {word}, or add --remove"
        )


def _complaint(check: Callable[..., object], *arguments: object) -> Iterator[str]:
    try:
        check(*arguments)
    except CorruptSkill as error:
        yield str(error)
