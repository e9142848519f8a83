"""Versions that are never reused, aliases, a search path, lineage."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from skillkit import registry as module
from skillkit.errors import (
    CorruptSkill,
    InvalidValue,
    RegistryUnavailable,
    RunConflict,
    UnknownName,
)
from skillkit.integrity import write_checksums
from skillkit.registry import Registry, locked, search_path, shipped_folder
from tests.small_skills import mark, references, visible, write


@pytest.fixture
def mine(tmp_path: Path) -> Registry:
    return Registry([tmp_path / "mine"])


@pytest.fixture
def both(tmp_path: Path) -> Registry:
    """push_x@1 and push_y@1 as shipped, nothing of one's own yet."""
    shipped = Registry([tmp_path / "shipped"])
    shipped.publish("push_x", write("push_x", "shipped"))
    shipped.publish("push_y", write("push_y", "shipped"))
    return Registry([tmp_path / "mine", tmp_path / "shipped"])


# --------------------------------------------------------------------------- publish and find


def test_what_is_published_is_found_complete(mine: Registry) -> None:
    entry = mine.publish("push_x", write("push_x", "one"))
    assert (entry.reference, entry.origin, mark(entry)) == ("push_x@1", "yours", "one")
    assert entry.folder == mine.folders[0] / "push_x" / "v1"
    assert mine.find("push_x") == mine.find("push_x@1") == mine.verify("push_x") == entry
    assert entry.manifest.name == "push_x" and len(entry.content_id) == 64
    assert entry.size == sum(p.stat().st_size for p in entry.folder.rglob("*") if p.is_file())


def test_one_folder_is_a_search_path_of_one(tmp_path: Path) -> None:
    for folder in (tmp_path, str(tmp_path)):
        assert Registry(folder).folders == [tmp_path]
    with pytest.raises(InvalidValue, match="a skill is named by text such as 'push_x@3', not by 3"):
        Registry(tmp_path).find(3)  # type: ignore[arg-type]


def test_versions_count_and_latest_is_the_last(mine: Registry) -> None:
    for number in range(1, 12):  # v10 comes after v9
        assert mine.publish("a/b", write("a/b", str(number))).version == number
    assert [entry.version for entry in mine.versions("a/b")] == list(range(1, 12))
    assert mark(mine.find("a/b")) == "11" and mark(mine.find("a/b@2")) == "2"
    assert mine.find("a/b").folder.parent.name == "a--b"


def test_list_has_the_latest_of_each_name(mine: Registry) -> None:
    for name in ("push_y", "a/b", "push_x", "push_x"):
        mine.publish(name, write(name))
    assert references(mine.list()) == ["a/b@1", "push_x@2", "push_y@1"]
    assert references(mine.entries()) == ["a/b@1", "push_x@1", "push_x@2", "push_y@1"]


def test_foreign_things_in_a_registry_are_not_skills(mine: Registry) -> None:
    mine.publish("push_x", write("push_x"))
    home = mine.folders[0]
    (home / "README.md").write_text("")
    for folder in (
        "notes",
        "a b/v1",
        ".git/v1",
        "push_x/v01",
        "push_x/v0",
        "push_x/vx",
        "push_x/v2x",
    ):
        (home / folder).mkdir(parents=True)
    assert references(mine.list()) == ["push_x@1"]
    for name in ("README.md", "notes"):
        with pytest.raises(UnknownName, match=f"no skill is called '{name}'"):
            mine.find(name)
    assert mine.publish("push_x", write("push_x")).version == 2


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a//b", ".x", "x@1", ""])
def test_a_path_is_not_a_name(mine: Registry, tmp_path: Path, name: str) -> None:
    for call in (lambda: mine.publish(name, write("x")), lambda: mine.run_folder(name)):
        with pytest.raises(InvalidValue, match="is not a skill name"):
            call()
    assert not mine.folders[0].exists() and not (tmp_path / "out").exists()


def test_names_are_unique_ignoring_case(both: Registry) -> None:
    for call in (
        lambda: both.publish("Push_X", write("Push_X")),
        lambda: both.run_folder("PUSH_X"),
    ):
        with pytest.raises(InvalidValue, match="differs from 'push_x' only in case"):
            call()
    assert references(both.entries()) == ["push_x@1", "push_y@1"]


def test_unknown_skills_versions_and_aliases_suggest_what_there_is(mine: Registry) -> None:
    with pytest.raises(UnknownName, match=r"there is no skill yet; there is no registry at .*mine"):
        mine.find("push_x")
    mine.publish("push_x", write("push_x"))
    mine.alias("push_x", "best")
    for reference, sentence in {
        "push_z": "no skill is called 'push_z'; did you mean push_x?",
        "push_x@2": "no version of push_x is called '2'; choose from 1",
        "push_x@bets": "no alias of push_x is called 'bets'; did you mean best?",
    }.items():
        with pytest.raises(UnknownName) as caught:
            mine.find(reference)
        assert str(caught.value) == sentence


# ------------------------------------------------------------------------- aliases and removal


def test_an_alias_stays_where_it_was_put_and_can_be_moved(mine: Registry) -> None:
    for number in "123":
        mine.publish("push_x", write("push_x", number))
    mine.alias("push_x@2", "best")
    mine.publish("push_x", write("push_x", "4"))
    assert mark(mine.find("push_x@best")) == "2" and mark(mine.find("push_x")) == "4"
    text = (mine.folders[0] / "push_x/aliases/best").read_text()
    assert text == f"2 {mine.find('push_x@2').content_id}\n"
    mine.alias("push_x", "best")
    mine.alias("push_x@best", "paper")
    assert mine.aliases("push_x") == {"best": 4, "paper": 4}


@pytest.mark.parametrize("word", ["3", "v3", "latest", "../x", "", "a b"])
def test_words_that_cannot_be_aliases(mine: Registry, word: str) -> None:
    mine.publish("push_x", write("push_x"))
    with pytest.raises(InvalidValue):
        mine.alias("push_x", word)


def test_numbers_are_never_reused(mine: Registry) -> None:
    for number in "123":
        mine.publish("push_x", write("push_x", number))
    assert mine.remove("push_x").version == 3
    assert (mine.folders[0] / "push_x/v3.removed").read_bytes() == b""
    assert not (mine.folders[0] / "push_x/v3").exists()
    assert len(list((mine.folders[0] / ".aside").iterdir())) == 2  # nothing of it is left there
    assert mine.find("push_x").version == 2
    assert mine.publish("push_x", write("push_x")).version == 4
    for _ in range(3):
        mine.remove("push_x")
    with pytest.raises(UnknownName):
        mine.find("push_x")
    assert mine.list() == [] and list(mine.entries()) == []
    assert mine.publish("push_x", write("push_x")).version == 5


def test_removal_takes_the_aliases_along(mine: Registry) -> None:
    for number in "12":
        mine.publish("push_x", write("push_x", number))
    for word, version in {"best": 2, "worst": 1}.items():
        mine.alias(f"push_x@{version}", word)
    mine.remove("push_x@best")
    assert mine.aliases("push_x") == {"worst": 1}


def test_a_removal_cut_short_is_a_removal(mine: Registry) -> None:
    mine.publish("push_x", write("push_x"))
    (mine.folders[0] / "push_x/v1.removed").touch()
    assert mine.list() == [] and mine.publish("push_x", write("push_x")).version == 2


def test_damaged_skills_can_be_removed(mine: Registry) -> None:
    outside = mine.publish("push_y", write("push_y")).folder
    mine.publish("push_x", write("push_x"))
    (mine.folders[0] / "push_x/v1/SHA256SUMS").unlink()
    (mine.folders[0] / "push_x/v2").symlink_to(outside)
    for _ in range(2):
        mine.remove("push_x")
    assert references(mine.list()) == ["push_y@1"] and mine.verify("push_y")


@pytest.mark.parametrize("text", ["", "1", "1 abc\n", "../../x\n", "\xff" * 100, f"0 {'a' * 64}\n"])
def test_a_malformed_alias_is_named(mine: Registry, text: str) -> None:
    mine.publish("push_x", write("push_x"))
    mine.alias("push_x", "best")
    path = mine.folders[0] / "push_x/aliases/best"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(CorruptSkill, match=str(path)):
        mine.find("push_x@best")
    assert mine.find("push_x").version == 1


def test_an_alias_of_something_replaced_is_refused(mine: Registry) -> None:
    entry = mine.publish("push_x", write("push_x", "one"))
    mine.alias("push_x", "best")
    shutil.rmtree(entry.folder)
    shutil.copytree(mine.publish("push_y", write("push_y")).folder, entry.folder)
    with pytest.raises(
        CorruptSkill, match="alias push_x@best means a version 1 that is gone or was"
    ):
        mine.find("push_x@best")


# --------------------------------------------------------------------------------- search path


def test_the_first_folder_wins_and_numbers_count_on(both: Registry) -> None:
    assert both.find("push_x").origin == str(both.folders[1])
    mine = both.publish("push_x", write("push_x", "mine"))
    assert (mine.reference, mine.origin) == ("push_x@2", "yours")
    assert mark(both.find("push_x")) == "mine" and mark(both.find("push_x@1")) == "shipped"
    assert references(both.list()) == ["push_x@2", "push_y@1"]
    Registry(both.folders[1:]).publish("push_x", write("push_x", "newly shipped"))
    assert [mark(entry) for entry in both.versions("push_x")] == ["shipped", "mine"]
    both.remove("push_x@2")
    assert mark(both.find("push_x")) == "newly shipped"


def test_the_second_folder_is_only_read(both: Registry) -> None:
    before = visible(both.folders[1])
    with pytest.raises(
        RegistryUnavailable, match=r"push_x@1 lies in .*shipped, which is only read"
    ):
        both.remove("push_x")
    both.alias("push_x", "best")  # one's own word for it
    both.publish("push_x", write("push_x", "mine"))
    assert mark(both.find("push_x@best")) == "shipped"
    assert visible(both.folders[1]) == before
    Registry(both.folders[1:]).alias("push_y", "mine")
    both.publish("push_y", write("push_y", "mine"))
    both.alias("push_y", "mine")
    assert mark(both.find("push_y@mine")) == "mine" and both.aliases("push_y") == {"mine": 2}


def test_the_search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    monkeypatch.setattr(module, "shipped_folder", lambda: shipped)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SKILLKIT_REGISTRY", "elsewhere")
    assert Registry().folders == [tmp_path / "elsewhere", shipped]
    assert search_path("named") == [Path("named"), shipped]
    assert search_path("shipped") == [Path("shipped")]  # to ship: written to, and named so
    assert Registry(["shipped"]).publish("a", write("a")).origin == "shipped"
    monkeypatch.delenv("SKILLKIT_REGISTRY")
    assert Registry().folders == [tmp_path / ".skillkit", shipped]
    assert references(Registry().list()) == ["a@1"] and not (tmp_path / ".skillkit").exists()
    shutil.rmtree(shipped)
    assert search_path() == [Path(".skillkit")]


def test_the_shipped_skills_lie_in_the_package_or_the_checkout() -> None:
    package = Path(module.__file__).parent
    assert shipped_folder() in (package / "skills", package.parent / "skills")


def test_only_the_default_folder_is_ignored_by_git(tmp_path: Path) -> None:
    for name, ignored in ((".skillkit", True), ("library", False)):
        Registry([tmp_path / name]).publish("a", write("a"))
        assert (tmp_path / name / ".gitignore").exists() == ignored
        assert [*visible(tmp_path / name)][-1].startswith("a/v1/")
    assert (tmp_path / ".skillkit/.gitignore").read_text() == "*\n"


def test_a_typo_makes_no_folder(tmp_path: Path) -> None:
    registry = Registry([tmp_path / "mine"])
    for call in (registry.find, registry.remove, registry.versions, registry.verify):
        with pytest.raises(UnknownName):
            call("push_x")
    with pytest.raises(UnknownName):
        registry.alias("push_x", "best")
    with pytest.raises(RegistryUnavailable, match=r"there is no registry at .*mine"):
        registry.list()
    assert not (tmp_path / "mine").exists()


# ------------------------------------------------------------------- verify, lineage, runs, speed


def test_verify_names_the_damage(mine: Registry) -> None:
    entry = mine.publish("push_x", write("push_x", "x" * 100))
    os.truncate(entry.folder / "replay/00000.safetensors", 50)
    with pytest.raises(CorruptSkill, match=r"v1/replay/00000\.safetensors was changed"):
        mine.verify("push_x")
    shutil.rmtree(entry.folder)
    entry.folder.mkdir()
    with pytest.raises(CorruptSkill, match="v1 has no SHA256SUMS"):
        mine.verify("push_x")
    assert references(mine.list()) == ["push_x@1"]  # listing opens nothing
    (entry.folder / "skill.json").write_text("{}")
    write_checksums(entry.folder)  # a stranger's, consistent in itself
    with pytest.raises(CorruptSkill, match=r"skill\.json is not a skill's manifest"):
        mine.verify("push_x")


def test_children_record_the_content_of_their_parents(both: Registry) -> None:
    parent, other = both.find("push_x"), both.find("push_y")
    record = {"name": "push_x", "version": 1, "content_id": parent.content_id}
    kind = {"kind": "composed", "parents": [record], "weights": [1.0]}
    both.publish("child", write("child", **kind))
    both.publish("damaged", write("damaged", **kind)).folder.joinpath("skill.json").write_text("{")
    assert references(both.children(parent.content_id)) == ["child@1"]
    assert both.children(other.content_id) == []


def test_a_run_has_a_folder_of_its_own_and_a_lock(mine: Registry) -> None:
    folder = mine.run_folder("a/b")
    assert folder == mine.folders[0] / ".runs" / "a--b" and folder.is_dir()
    assert mine.run_folder("a/b") == folder and mine.list() == []
    with locked(folder), pytest.raises(RunConflict, match=f"in use by process {os.getpid()}"):
        locked(folder).__enter__()
    assert mine.publish("a/b", write("a/b")).version == 1


def test_listing_a_hundred_skills_takes_a_moment(tmp_path: Path) -> None:
    for number in range(100):
        for version in range(1, 4):
            (tmp_path / f"skill_{number}" / f"v{version}").mkdir(parents=True)
    started = time.process_time()
    assert len(Registry([tmp_path]).list()) == 100
    assert time.process_time() - started < 0.1
