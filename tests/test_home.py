"""The folder that is written to: a crash at any moment loses nothing; leftovers and renames."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from skillkit.errors import (
    CorruptSkill,
    InvalidValue,
    RegistryUnavailable,
    SkillkitError,
    UnknownName,
)
from skillkit.home import DAY, Home
from skillkit.integrity import write_checksums
from skillkit.registry import Registry, locked
from tests.small_skills import mark, references, visible, write


@pytest.fixture
def mine(tmp_path: Path) -> Registry:
    """push_x@1, 2 and 3 with an alias and labels, and their child both@1."""
    registry = Registry([tmp_path / "mine"])
    for number in "123":
        registry.publish("push_x", write("push_x", number))
    registry.alias("push_x@2", "best")
    registry.label("push_x@2", {"robot": "arm1"}, "of May")
    registry.remove("push_x@1")
    record = {"name": "push_x", "version": 2, "content_id": registry.find("push_x@2").content_id}
    registry.publish("both", write("both", "b", kind="composed", parents=[record], weights=[1.0]))
    return registry


def marks(registry: Registry) -> set[str]:
    return {mark(entry) for entry in registry.entries()}


def sound(registry: Registry) -> None:
    """Every version is whole, every alias resolves, all labels can be read."""
    for entry in registry.entries():
        registry.verify(entry.reference)
        assert list(registry.stray(entry.name)) == []
        for word in registry.aliases(entry.name):
            assert mark(registry.find(f"{entry.name}@{word}")) == "2"


# ------------------------------------------------------------------------------ a crash anywhere


def packed(folder: Path) -> None:
    """What `unpack` puts into a folder: a skill with its checksums."""
    write("push_x", "4")(folder)
    write_checksums(folder)


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")

OPERATIONS: dict[str, tuple[Callable[[Registry], Any], set[str]]] = {  # and what may go
    "publish": (lambda r: r.publish("push_x", write("push_x", "4")), set()),
    "receive": (lambda r: r.receive("push_x", packed), set()),
    "copy": (lambda r: r.copy("push_x@2", "reach"), set()),
    "copy_back": (lambda r: r.copy("push_x@2", "push_x"), set()),
    "rename": (lambda r: r.rename("push_x", "reach"), set()),
    "alias": (lambda r: r.alias("push_x@2", "paper"), set()),
    "alias_again": (lambda r: r.alias("push_x@2", "best"), set()),
    "label": (lambda r: r.label("push_x@2", {"robot": "arm2"}, "of June"), set()),
    "unalias": (lambda r: r.unalias("push_x", "best"), set()),
    "remove": (lambda r: r.remove("push_x@2"), {"2"}),
    "sweep": (lambda r: r.sweep(0), set()),
}


def die_before_change(number: int, folder: Path, operation: str) -> None:
    """As kill -9 does, just before this process changes the disk for the n-th time."""
    left = number

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES):
            left -= 1
            if left < 0:
                os._exit(9)

    sys.addaudithook(watch)
    OPERATIONS[operation][0](Registry([folder]))
    os._exit(0)


QUICK = ("copy", "rename", "alias_again", "label", "remove")


@pytest.mark.parametrize(
    "operation",
    [pytest.param(op, marks=[] if op in QUICK else pytest.mark.slow) for op in OPERATIONS],
)
def test_a_crash_between_any_two_changes_loses_nothing(
    mine: Registry, tmp_path: Path, operation: str
) -> None:
    action, may_go = OPERATIONS[operation]
    (mine.folders[0] / ".aside/left").write_text("half")
    context = multiprocessing.get_context("forkserver")  # this process may be large by now
    context.set_forkserver_preload([__name__])
    before, crashes = marks(mine), 0
    while True:
        folder = tmp_path / f"crash{crashes}"
        shutil.copytree(mine.folders[0], folder)
        child = context.Process(target=die_before_change, args=(crashes, folder, operation))
        child.start()
        child.join(30)
        after = Registry([folder])
        sound(after)
        assert before - may_go <= marks(after) <= before | {"4"}
        assert after.children(mine.find("push_x@2").content_id) == [after.find("both")]
        said = [after.labels(entry) for entry in after.entries() if mark(entry) == "2"]
        assert operation == "remove" or {"arm1", "arm2"} & {s.tags.get("robot") for s in said}
        if child.exitcode == 0:
            break
        assert child.exitcode == 9
        assert after.publish("push_x", write("push_x")).version > 3  # no number is used again
        sound(after)
        crashes += 1
    assert crashes >= 3  # or the hook saw nothing


def test_a_copy_cut_short_by_a_full_disk_is_no_copy(
    mine: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "copyfile", lambda a, b: Path(b).write_bytes(b""))
    with pytest.raises(CorruptSkill):
        mine.copy("push_x@2", "reach")
    assert "reach" not in mine.families() and not (mine.folders[0] / "reach").exists()


def test_what_is_received_must_be_whole(mine: Registry) -> None:
    def spoiled(folder: Path) -> None:
        packed(folder)
        (folder / "README.md").write_text("other")

    with pytest.raises(CorruptSkill, match=r"README\.md was changed"):
        mine.receive("push_x", spoiled)
    with pytest.raises(CorruptSkill, match="has no SHA256SUMS"):
        mine.receive("push_x", write("push_x", "4"))
    assert references(mine.versions("push_x")) == ["push_x@2", "push_x@3"]
    assert mine.receive("reach", packed).manifest.name == "push_x"  # it may have had another name


# ------------------------------------------------------------------------------- rename and copy


def test_a_rename_takes_versions_aliases_and_labels_along(mine: Registry) -> None:
    entry, child = mine.verify("push_x@2"), mine.verify("both")
    assert references(mine.rename("push_x", "arm/reach")) == ["arm/reach@2", "arm/reach@3"]
    moved = mine.find("arm/reach@best")
    assert moved.content_id == entry.content_id and moved.folder.parent.name == "arm--reach"
    assert entry.manifest.name == "push_x"  # as it was saved, and still in the hands of its user
    assert mine.labels(moved).note == "of May" and mine.children(entry.content_id) == [child]
    found = mine.parent(child.manifest.parents[0])
    assert found is not None and found.reference == "arm/reach@2"
    with pytest.raises(UnknownName, match=r"'push_x'; .*arm/reach.*; push_x was renamed"):
        mine.find("push_x")
    sound(mine)


def test_the_numbers_of_an_old_name_are_not_used_again(mine: Registry) -> None:
    mine.rename("push_x", "reach")
    assert mine.publish("push_x", write("push_x", "new")).version == 4
    assert mine.publish("reach", write("reach", "more")).version == 4
    mine.rename("reach", "arm")
    assert mine.publish("reach", write("reach", "new")).version == 5
    for taken in ("both", "push_x", "reach"):
        with pytest.raises(InvalidValue, match=f"the name '{taken}' is or was another skill's"):
            mine.rename("arm", taken)
    assert references(mine.rename("both", "pair")) == ["pair@1"]
    assert references(mine.rename("pair", "both")) == ["both@1"]  # and back
    assert mine.publish("pair", write("pair")).version == 2
    mine.rename("both", "couple")
    mine.rename("couple", "duo")
    assert mine.publish("both", write("both")).version == 2  # after two renames, too
    sound(mine)


def test_what_cannot_be_renamed(mine: Registry, tmp_path: Path) -> None:
    shipped = Registry([tmp_path / "shipped"])
    shipped.publish("walk", write("walk", "w"))
    shipped.publish("run", write("run", "r"))
    both = Registry([mine.folders[0], tmp_path / "shipped"])
    before = visible(tmp_path)
    with pytest.raises(RegistryUnavailable, match="walk@1 lies in .*shipped, .* to rename it"):
        both.rename("walk", "stroll")
    with pytest.raises(InvalidValue, match="'run' is or was another skill's"):
        both.rename("push_x", "run")
    with pytest.raises(InvalidValue, match="'Both' differs from 'both' only in case"):
        both.rename("push_x", "Both")
    with pytest.raises(InvalidValue, match="'../x' is not a skill name"):
        both.rename("push_x", "../x")
    assert visible(tmp_path) == before
    both.publish("walk", write("walk", "mine"))
    both.alias("walk@1", "theirs")
    with pytest.raises(InvalidValue, match="walk@1 is not in .*mine and keeps its name, but an"):
        both.rename("walk", "stroll")
    both.unalias("walk", "theirs")
    assert references(both.rename("walk", "stroll")) == ["stroll@2"]
    assert references(both.versions("walk")) == ["walk@1"]


def test_a_copy_is_the_same_files_and_one_s_own(mine: Registry) -> None:
    mine.label("push_x@2", {}, "of June")
    copied = mine.copy("push_x@best", "reach")
    source = mine.find("push_x@2")
    assert (copied.reference, copied.content_id) == ("reach@1", source.content_id)
    assert mine.labels(copied) == mine.labels(source) and mine.aliases("reach") == {}
    mine.label("reach", {"robot": ""}, "")
    assert not mine.labels(copied) and mine.labels(source).note == "of June"
    (copied.folder / "README.md").write_text("changed")
    assert mine.verify("push_x@2") and mark(source) == "2"
    with pytest.raises(CorruptSkill, match="was changed after it was saved"):
        mine.copy("reach", "again")
    assert mine.copy("push_x@2", "push_x").version == 4 and mark(mine.find("push_x")) == "2"


def test_a_writer_of_the_old_name_finds_it_free(mine: Registry) -> None:
    """Another process publishes while we rename: it comes to the old name, under a new number."""

    def meanwhile(folder: Path) -> None:
        write("push_x", "late")(folder)
        Registry(mine.folders).rename("push_x", "reach")

    assert mine.publish("push_x", meanwhile).reference == "push_x@4"
    assert references(mine.versions("reach")) == ["reach@2", "reach@3"]


def test_two_who_rename_the_same_skill(mine: Registry) -> None:
    mine.rename("push_x", "reach")
    before = visible(mine.folders[0])
    with pytest.raises(UnknownName, match="'push_x'"):
        Home(mine.folders[0], "yours").rename("push_x", "arm")  # it had seen the old name
    assert visible(mine.folders[0]) == before


# ------------------------------------------------------------------------------ labels, aliases


@pytest.mark.parametrize("word", ["lock", "skill", "text", "aliases", "was"])
def test_a_word_of_the_machinery_is_a_word_like_any(mine: Registry, word: str) -> None:
    mine.alias("push_x@2", word)
    assert mark(mine.find(f"push_x@{word}")) == "2"
    sound(mine)


def test_labels_leave_the_content_alone(mine: Registry) -> None:
    entry = mine.find("push_x@3")
    before = visible(entry.folder), entry.content_id
    assert not mine.labels(entry)
    labels = mine.label("push_x@3", {"robot": "arm1", "site": "Lab 2"}, 'said "well"')
    assert labels == mine.labels(entry)
    assert mine.label("push_x", {"site": "", "speed": "0.5"}).tags == {
        "robot": "arm1",
        "speed": "0.5",
    }
    assert mine.labels(entry).note == 'said "well"'
    assert (visible(entry.folder), mine.verify("push_x@3").content_id) == before
    mine.remove("push_x@3")
    assert not (mine.folders[0] / "push_x/labels/v3.json").exists()


def test_labels_of_something_replaced_are_not_taken_for_its(mine: Registry) -> None:
    entry = mine.find("push_x@2")
    shutil.rmtree(entry.folder)
    shutil.copytree(mine.find("both").folder, entry.folder)
    assert not mine.labels(mine.find("push_x@2"))


@pytest.mark.parametrize(
    "tags", [{"a b": "x"}, {"": "x"}, {"../x": "x"}, {"a": "x\ny"}, {"a": "x" * 1001}]
)
def test_what_cannot_be_a_tag(mine: Registry, tags: dict[str, str]) -> None:
    before = visible(mine.folders[0])
    with pytest.raises(InvalidValue):
        mine.label("push_x", tags)
    with pytest.raises(InvalidValue):
        mine.label("push_x", {}, "\x1b[31m")
    assert visible(mine.folders[0]) == before


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"content_id": "a", "tags": [], "note": ""}', '{"content_id": 1}',
     '{"content_id": "a", "tags": {"x": 1}, "note": ""}', "\xff",
     '{"content_id": "a", "tags": {}, "note": "", "more": 1}',
     '{"content_id": "a", "tags": {"a b": "x"}, "note": ""}',
     '{"content_id": "a", "tags": {}, "note": "\\u001b"}'],
)  # fmt: skip
def test_a_file_that_holds_no_labels_is_named(mine: Registry, text: str) -> None:
    path = mine.folders[0] / "push_x/labels/v2.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CorruptSkill, match=str(path)):
        mine.labels(mine.find("push_x@2"))
    (line,) = mine.stray("push_x")
    assert str(path) in line and mine.verify("push_x@2")


def test_an_alias_is_taken_away_whatever_it_means(mine: Registry) -> None:
    (mine.folders[0] / "push_x/aliases/odd").write_text("nonsense")
    (mine.folders[0] / "push_x/aliases/old").write_text(f"1 {'a' * 64}\n")
    gone, odd = sorted(mine.stray("push_x"))[::-1]
    assert "push_x@old means a version 1 that is gone" in gone and "add --remove" in gone
    assert "aliases/odd is not an alias of a skill; remove that file" in odd
    assert mark(mine.find("push_x@best")) == "2"  # its neighbours do not hide it
    for word in ("odd", "old", "best"):
        mine.unalias("push_x", word)
    assert mine.aliases("push_x") == {} and list(mine.stray("push_x")) == []
    with pytest.raises(UnknownName, match="no alias of push_x in .*mine is called 'best'"):
        mine.unalias("push_x", "best")


# -------------------------------------------------------------------------------------- leftovers


def leave(path: Path, days: float) -> None:
    """A folder of 1 kB that was not touched for so long."""
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"x" * 1000)
    for item in (path / "file", path):
        os.utime(item, (time.time() - days * DAY,) * 2)


def test_a_sweep_takes_what_nobody_needs(mine: Registry) -> None:
    home = mine.folders[0]
    before = visible(home)
    mine.run_folder("warm_up")  # makes .runs
    leave(home / ".aside/half", 0)
    leave(home / ".runs/old", 31)
    leave(home / ".runs/young", 29)
    leave(home / ".runs/held", 99)
    leave(home / "push_x/v1", 5)  # a removal that was cut short
    with locked(home / ".runs/held"):
        os.utime(home / ".runs/held/lock", (0, 0))
        found = mine.leftovers(30)
        assert {(left.what, left.path.name) for left in found} == {
            ("half-written", "half"), ("abandoned run", "old"), ("removed version", "v1"),
        }  # fmt: skip
        assert all(left.size == 1000 for left in found)
        assert {left.path.name: round(left.age) for left in found}["old"] == 31
        assert all(left.path.exists() for left in found)
        assert mine.sweep(30) == found or [left.path for left in mine.leftovers(30)] == []
    assert {path.name for path in (home / ".runs").iterdir()} == {
        ".gitignore", "held", "warm_up", "young",
    }  # fmt: skip
    assert visible(home) == before and mine.leftovers(30) == []
    sound(mine)
    assert mine.publish("push_x", write("push_x", "4")).version == 4


def test_a_link_is_swept_and_not_followed(mine: Registry, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("")
    (mine.folders[0] / ".aside/link").symlink_to(tmp_path / "outside")
    mine.sweep(0)
    assert (tmp_path / "outside/file").exists()
    assert not os.path.lexists(mine.folders[0] / ".aside/link")


def test_what_is_written_at_this_moment_is_no_leftover(mine: Registry) -> None:
    def meanwhile(folder: Path) -> None:
        write("push_x", "4")(folder)
        assert mine.leftovers(0) == [] and mine.sweep(0) == []

    assert mine.publish("push_x", meanwhile).version == 4


def test_a_folder_to_write_in_knows_the_numbers_of_the_others(tmp_path: Path) -> None:
    other = Home(tmp_path / "other", "other")
    other.publish("push_x", write("push_x"))
    assert Home(tmp_path / "mine", "yours", [other]).publish("push_x", write("push_x")).version == 2


# ----------------------------------------------------------------- a stranger's folder to write in

BEHIND_A_LINK: dict[str, Callable[[Registry], object]] = {
    ".aside": lambda r: r.publish("push_x", write("push_x")),
    ".runs": lambda r: r.run_folder("push_x"),
    ".runs/push_x": lambda r: r.run_folder("push_x"),
    "push_x": lambda r: r.publish("push_x", write("push_x")),
    "push_x/aliases": lambda r: r.alias("push_x@2", "paper"),
    "push_x/labels": lambda r: r.label("push_x@2", {"robot": "arm2"}),
}
AT_ALL = {
    "a copy": lambda r: r.copy("push_x@2", "push_x"),
    "an alias less": lambda r: r.unalias("push_x", "best"),
    "a version less": lambda r: r.remove("push_x@3"),
    "a sweep": lambda r: r.sweep(0),
    "another name": lambda r: r.rename("push_x", "reach"),
}


@pytest.mark.parametrize("what", [*AT_ALL, *BEHIND_A_LINK])
@pytest.mark.parametrize("place", BEHIND_A_LINK)
def test_nothing_is_written_or_swept_behind_a_link(
    mine: Registry, tmp_path: Path, place: str, what: str
) -> None:
    outside, link = tmp_path / "outside", mine.folders[0] / place
    if link.is_dir():
        shutil.move(link, outside)
    (outside / "precious/v7").mkdir(parents=True)
    (outside / "v7.removed").touch()
    os.utime(outside / "precious", (0, 0))
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    before = {path: path.lstat().st_mtime for path in (outside, *outside.rglob("*"))}
    if what == place:
        with pytest.raises(RegistryUnavailable, match=f"{place} is a symbolic link, and nothing"):
            BEHIND_A_LINK[what](mine)
    else:
        with suppress(SkillkitError):
            (AT_ALL | BEHIND_A_LINK)[what](mine)
    assert {path: path.lstat().st_mtime for path in (outside, *outside.rglob("*"))} == before
