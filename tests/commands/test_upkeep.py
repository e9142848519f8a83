"""Words for versions, other names, removal, checks and sweeping, as a person types them."""

from __future__ import annotations

import os
import re
import shlex
import time
from pathlib import Path

import pytest

from skillkit.registry import Registry, locked
from tests.point_skills import good, snapshot
from tests.point_skills import skillkit as answer
from tests.small_skills import mark, write


@pytest.fixture
def mine(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """push_x@1 and @2, push_y@1, and both@1, a child of push_x@1; nothing is shipped."""
    monkeypatch.setattr("skillkit.registry.shipped_folder", lambda: registry_folder / "nothing")
    registry = Registry([registry_folder])
    for number in "12":
        registry.publish("push_x", write("push_x", number))
    registry.publish("push_y", write("push_y", "y"))
    record = {"name": "push_x", "version": 1, "content_id": registry.find("push_x@1").content_id}
    registry.publish("both", write("both", kind="composed", parents=[record], weights=[1.0]))
    return registry


def test_an_alias_is_set_moved_and_taken_away(mine: Registry) -> None:
    assert good("alias", "push_x@1", "best") == "push_x@best is version 1\n"
    assert good("alias", "push_x", "best") == "push_x@best is version 2\n"
    assert good("alias", "push_x", "best", "--remove") == "push_x@best means nothing any more\n"
    assert "no alias of push_x is called 'best'" in answer("show", "push_x@best").sentence


def test_tags_and_a_note_are_set_told_and_taken_away(mine: Registry) -> None:
    files = snapshot(mine.find("push_x").folder)
    assert good("tag", "push_x") == "push_x@2: no tags, no note\n"
    text = good("tag", "push_x@2", "robot=arm1", "site=Lab 2", "--note", "slow but sure")
    assert text == "push_x@2: robot=arm1, site=Lab 2; note: slow but sure\n"
    assert good("tag", "push_x", "site=") == "push_x@2: robot=arm1; note: slow but sure\n"
    assert good("tag", "push_x", "--note", "") == "push_x@2: robot=arm1\n"
    assert good("tag", "push_x", "a=b=c") == "push_x@2: a=b=c, robot=arm1\n"
    assert good("tag", "push_x@1") == "push_x@1: no tags, no note\n"
    assert snapshot(mine.find("push_x").folder) == files and mine.verify("push_x")


def test_rename_and_copy(mine: Registry) -> None:
    good("alias", "push_x@1", "best")
    good("tag", "push_x@1", "robot=arm1")
    assert good("copy", "push_x@best", "kept") == "copied push_x@1 to kept@1\n"
    assert good("rename", "push_x", "arm/push") == "push_x is arm/push now, 2 versions\n"
    assert (
        good("tag", "arm/push@best")
        == "arm/push@1: robot=arm1\n"
        == good("tag", "kept").replace("kept", "arm/push")
    )
    assert good("copy", "arm/push@1", "arm/push") == "copied arm/push@1 to arm/push@3\n"
    assert mark(mine.find("arm/push")) == "1"
    assert "did you mean arm/push?; push_x was renamed" in answer("show", "push_x").sentence


def test_a_rename_says_what_the_old_name_means_now(
    mine: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shipped = tmp_path / "shipped"
    Registry([shipped]).publish("push_y", write("push_y", "shipped"))
    monkeypatch.setattr("skillkit.registry.shipped_folder", lambda: shipped)
    assert good("rename", "push_y", "mine") == (
        f"push_y is mine now, 1 version\npush_y means push_y@1 in {shipped} from now on\n"
    )


def test_rm_names_the_children_or_a_twin(mine: Registry) -> None:
    good("copy", "push_x@1", "kept")
    assert good("rm", "push_x@1") == (
        "removed push_x, version 1\nthe same files are still there as kept@1\n"
    )
    assert good("rm", "kept") == (
        "removed kept, version 1\nit was a parent of both@1, which still work without it\n"
    )
    assert good("rm", "push_y") == "removed push_y, version 1\n"


def test_verify_has_a_sentence_for_every_file(mine: Registry) -> None:
    good("alias", "push_y", "best")
    assert good("verify") == "4 versions are as they were saved\n"
    one, two = mine.find("push_x@1").folder, mine.find("push_x@2").folder
    (one / "README.md").write_text("better now")
    (one / "replay/00000.safetensors").unlink()
    (one / "more").write_text("")
    (two / "SHA256SUMS").unlink()
    (mine.folders[0] / "push_y/aliases/odd").write_text("")
    found = answer("verify")
    lines = found.out.splitlines()
    assert len(lines) == 5
    for line, piece in zip(
        lines,
        (
            f"push_x@1: {one}/README.md was changed after it was saved; restore the skill from",
            f"push_x@1: {one}/replay/00000.safetensors is missing; restore the skill from a copy,",
            f"push_x@1: {one}/more does not belong to the skill; remove that file",
            f"push_x@2: {two} has no SHA256SUMS: it is incomplete or no skill; restore",
            f"{mine.folders[0]}/push_y/aliases/odd is not an alias of a skill; remove that file",
        ),
        strict=True,
    ):
        assert line.startswith(piece)
    assert found.sentence == "of 4 versions these are damaged: push_x@1, push_x@2"
    for reference in ("push_x@1", "push_x@2"):
        good("rm", reference)
    assert answer("verify").sentence == (
        "the versions are as they were saved, but 1 alias or label is of no use"
    )
    good("alias", "push_y", "odd", "--remove")
    assert good("verify", "push_y@best", "both") == "2 versions are as they were saved\n"


def test_gc_says_what_goes_and_how_much(mine: Registry) -> None:
    assert good("gc") == "there is nothing to sweep\n"
    old = mine.run_folder("push_z")
    (old / "checkpoint").write_bytes(b"x" * 250_000)
    for path in (old / "checkpoint", old):
        os.utime(path, (time.time() - 40 * 86_400,) * 2)
    (mine.run_folder("push_w") / "checkpoint").write_text("")
    before = snapshot(mine.folders[0])
    planned = good("gc", "--dry-run")
    assert "abandoned run   .runs/push_z   40.0 days       0.2 MB" in planned
    assert planned.endswith("0.2 MB can be swept away\n") and old.exists()
    with locked(old):
        assert good("gc") == "there is nothing to sweep\n"
    os.unlink(old / "lock")
    os.utime(old, (time.time() - 40 * 86_400,) * 2)
    assert "push_w" not in good("gc") and not old.exists()
    assert ".runs/push_w" in good("gc", "--days", 0)
    assert snapshot(mine.folders[0]) == before


def test_gc_takes_the_films_of_skills_that_are_gone(mine: Registry) -> None:
    films = mine.folders[0] / ".clips"
    films.mkdir()
    for reference in ("push_x@1", "push_x@2", "push_y"):
        (films / f"{mine.find(reference).content_id}.gif").write_bytes(b"GIF89a")
    good("alias", "push_x@1", "best")
    assert good("gc") == "there is nothing to sweep\n"
    mine.remove("push_x@2")
    (mine.find("push_y").folder / "SHA256SUMS").unlink()  # damaged: its film can be made again
    assert "clip of no skill   .clips/" in good("gc")
    assert [path.stem for path in films.iterdir()] == [mine.find("push_x@1").content_id]


BAD = [
    ("alias push_x", "missing argument 'WORD'"),
    ("alias push_x worst --remove", "no alias of push_x in", "is called 'worst'"),
    ("alias push_z best --remove", "no skill is called 'push_z'"),
    ("tag push_x robot", "a tag is KEY=VALUE, or KEY= to take it away, not 'robot'"),
    ("tag push_x 'a b=c'", "'a b' cannot be a tag; use letters"),
    ("tag push_x =c", "'' cannot be a tag"),
    ("tag push_z a=b", "no skill is called 'push_z'"),
    ("tag push_x@9 a=b", "no version of push_x is called '9'; choose from 1, 2"),
    ("rename push_x@1 new", "takes a skill with all its versions, not push_x@1", "skillkit copy"),
    ("rename push_z other", "no skill is called 'push_z'"),
    ("rename push_x push_y", "the name 'push_y' is or was another skill's; choose one that is new"),
    ("rename push_x push_x", "push_x is its name already"),
    ("rename push_x PUSH_Y", "differs from 'push_y' only in case"),
    ("rename push_x a--b", "'a--b' is not a skill name; use"),
    ("copy push_x@3 other", "no version of push_x is called '3'"),
    ("copy push_x ../x", "'../x' is not a skill name; use"),
    ("copy push_x Push_Y", "differs from 'push_y' only in case"),
    ("copy push_x other --registry file", "no skill is called 'push_x'", "file is no folder"),
    ("gc --days -1", "'--days': -1.0 is not in the range x>=0"),
    ("gc --days nan", "'--days': nan is not finite"),
    ("report --film-for nan", "'--film-for': nan is not finite"),
    ("gc --days few", "'few' is not a valid number"),
    ("gc --registry nowhere", "there is no registry at", "nowhere"),
]  # fmt: skip


@pytest.mark.parametrize("row", BAD, ids=lambda row: row[0])
def test_what_is_wrong_is_one_sentence(
    mine: Registry, row: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    before = snapshot(tmp_path)
    found = answer(*shlex.split(row[0]))
    assert all(piece in found.sentence for piece in row[1:]), found.sentence
    assert found.out == "" and snapshot(tmp_path) == before


@pytest.mark.parametrize("moved", ["v9.json", "v1.json"])
def test_labels_of_nothing_are_found(mine: Registry, registry_folder: Path, moved: str) -> None:
    """Of a version that was never there, or of other contents than it has."""
    good("tag", "push_y@1", "robot=arm1")
    folder = registry_folder / "push_y" / "labels"
    text = (folder / "v1.json").read_text()
    if moved == "v1.json":
        text = re.sub("[0-9a-f]{64}", 64 * "0", text)
    (folder / moved).write_text(text)
    found = answer("verify", "push_y")
    assert found.code != 0 and f"{moved} says something about a version" in found.out


def test_what_is_removed_is_what_was_looked_at(
    mine: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training may save the next version meanwhile."""
    children = Registry.children

    def late(registry: Registry, identity: str) -> object:
        mine.publish("push_x", write("push_x", "3"))
        return children(registry, identity)

    monkeypatch.setattr(Registry, "children", late)
    assert good("rm", "push_x") == "removed push_x, version 2\n"
    assert mine.find("push_x").version == 3
