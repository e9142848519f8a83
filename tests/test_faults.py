"""Real processes on a real registry: killed at any moment, out of disk, two at once.

    SKILLKIT_FAULTS=500 pytest -m slow tests/test_faults.py

runs as many rounds of each; the default is a few, for every day.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skillkit.registry import Registry
from skillkit.skill import Skill, load
from tests.point_skills import ROOT

ROUNDS = int(os.environ.get("SKILLKIT_FAULTS", "25"))
GOLDEN = ROOT / "tests/golden/format_1"
FORK = multiprocessing.get_context("fork")  # so that PyTorch is imported once
MAKES = ("save", "compose", "copy")
CROWD = 5  # versions; above it they are removed, so that a look at all of them stays short

pytestmark = pytest.mark.slow


def skills() -> dict[str, Skill]:
    """One trained, one composed and one stacked, in memory."""
    found = {name: load(name, GOLDEN) for name in ("point_x", "point_x+point_y", "point_x/point_y")}
    for skill in found.values():
        _ = skill.policy, skill.q, skill.replay
    return found


# ------------------------------------------------------------------------------- killed anywhere


def work(folder: Path, journal: Path, seed: int, loaded: dict[str, Skill]) -> None:
    """One operation after another until the kill; each is written down before and after."""
    rng, where = random.Random(seed), Registry([folder])
    file = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(phase: str, **facts: object) -> None:
        os.write(file, json.dumps({"phase": phase} | facts).encode() + b"\n")

    def do(action: str, run: Callable[[], Any], **facts: object) -> None:
        note("begin", action=action, **facts)
        entry = run()
        done = {"reference": entry.reference, "content": entry.content_id} if entry else {}
        note("done", action=action, **facts | done)

    while True:
        entries = list(where.entries())
        actions = ["save", "compose"] if len(entries) < CROWD else ["rm", "rm", "rename"]
        action = rng.choice([*actions, *["alias", "tag", "copy"] * bool(entries)])
        if action in ("save", "compose"):
            skill = loaded["point_x+point_y" if action == "compose" else rng.choice([*loaded])]
            name = rng.choice(["one", "two"])
            do(action, lambda s=skill, n=name: s.save(n, where).entry)
            continue
        entry = rng.choice(entries)
        reference, content = entry.reference, entry.content_id
        if action == "rm":
            do("rm", lambda r=reference: where.remove(r) and None, content=content)
        elif action == "rename":
            new = f"{entry.name[:3]}{rng.randrange(10**9)}"
            do("rename", lambda e=entry, n=new: where.rename(e.name, n) and None)
        elif action == "alias":
            do("alias", lambda r=reference: where.alias(r, "best"))
        elif action == "copy":
            do("copy", lambda r=reference: where.copy(r, "kept"))
        else:
            tags = {"seed": str(seed)}
            do("tag", lambda r=reference, t=tags: where.label(r, t) and None, content=content)


def lines(journal: Path) -> Iterator[dict[str, Any]]:
    """What was written down; a kill may cut the last line."""
    for line in journal.read_text().splitlines():
        yield json.loads(line)


def expected(notes: list[dict[str, Any]]) -> Counter[str]:
    """By how many versions of each content what was done must have changed the registry."""
    owed: Counter[str] = Counter()
    for line in notes:
        if line["phase"] == "done" and line["action"] in (*MAKES, "rm"):
            owed[line["content"]] += 1 if line["action"] in MAKES else -1
    return owed


def test_killed_at_any_moment_nothing_is_lost(tmp_path: Path) -> None:
    folder, journal, loaded = tmp_path / "mine", tmp_path / "journal", skills()
    rng, killed = random.Random(0), Counter[str]()
    folder.mkdir()
    kept: Counter[str] = Counter()
    for number in range(ROUNDS):
        journal.write_text("")
        worker = FORK.Process(target=work, args=(folder, journal, number, loaded))
        worker.start()
        time.sleep(rng.uniform(0.02, 0.3))
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
        assert worker.exitcode == -signal.SIGKILL, "it failed before it was killed"

        notes = list(lines(journal))
        owed = expected(notes)
        there = Registry([folder])
        found: Counter[str] = Counter()
        for entry in there.entries():
            there.verify(entry.reference)
            found[entry.content_id] += 1
            assert list(there.stray(entry.name)) == []
            for word in there.aliases(entry.name):
                there.find(f"{entry.name}@{word}")
        more = {c: found[c] - kept[c] - owed[c] for c in {*found, *kept, *owed}}
        cut = notes[-1] if notes and notes[-1]["phase"] == "begin" else {"action": "nothing"}
        killed[cut["action"]] += 1
        lost = {content for content, number in more.items() if number < 0}
        assert lost <= ({cut["content"]} if cut["action"] == "rm" else set()), f"lost by {cut}"
        assert sum(map(abs, more.values())) <= (cut["action"] in MAKES or cut["action"] == "rm")
        kept = found
    for entry in Registry([folder]).entries():
        assert load(entry.reference, folder).q is not None
    assert killed["nothing"] < ROUNDS / 2, killed
    print(f"\n{ROUNDS} kills: {dict(killed)}; {kept.total()} versions at the end, all whole")


# ---------------------------------------------------------------------------- a disk that is full

FULL = """
import io, random, subprocess, sys
from pathlib import Path
from skillkit.errors import RegistryUnavailable
from skillkit.packs import pack, unpack
from skillkit.registry import Registry
from skillkit.skill import load

rng, rounds, golden = random.Random(1), int(sys.argv[1]), sys.argv[2]
skill = load("point_x+point_y", golden)
pack(skill.entry, packed := io.BytesIO())
refused = 0
disk = Path("disk")
disk.mkdir()
for number in range(rounds):
    size = rng.randrange(60, 220)  # kB; a version takes 50
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", disk], check=True)
    where, saved = Registry([disk]), []
    for step in range(8):
        actions = ["save", "unpack", "copy", "alias", "tag"] if saved else ["save"]
        action = rng.choice(actions)
        try:
            if action == "save":
                saved.append(skill.save("one", where).entry.content_id)
            elif action == "unpack":
                packed.seek(0)
                saved.append(unpack(packed, where, f"of{step}").content_id)
            elif action == "copy":
                saved.append(where.copy("one", "two").content_id)
            elif action == "alias":
                where.alias("one", f"word{step}")
            else:
                where.label("one", {"step": str(step)})
        except RegistryUnavailable as error:
            assert "the disk is full, nothing was stored" in str(error), error
            refused += 1
    there = sorted(entry.content_id for entry in where.entries())
    assert there == sorted(saved), (there, saved)
    for entry in list(where.entries()):
        where.verify(entry.reference)
        assert list(where.stray(entry.name)) == []
    for entry in list(where.entries()):
        where.remove(entry.reference)  # is what one does about it
    skill.save("one", where)
    subprocess.run(["umount", disk], check=True)
print(refused)
"""


def test_a_full_disk_loses_nothing_and_can_be_emptied(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no private mounts on this machine")
    result = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", FULL, str(ROUNDS), str(GOLDEN)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > ROUNDS
    print(f"\n{ROUNDS} full disks, {result.stdout.strip()} operations refused")


# ------------------------------------------------------------------------------------ two at once


def save_often(folder: Path, who: int, skill: Skill) -> None:
    for number in range(ROUNDS):
        marked = Skill(
            skill.manifest, policy=skill.policy, q=skill.q, replay=skill.replay,
            card=f"{who} {number}",
        )  # fmt: skip
        marked.save("both", folder)


def test_two_processes_save_the_same_name(tmp_path: Path) -> None:
    folder, skill = tmp_path / "mine", skills()["point_x"]
    workers = [FORK.Process(target=save_often, args=(folder, who, skill)) for who in range(2)]
    for worker in workers:
        worker.start()
    seen = 0
    while any(worker.is_alive() for worker in workers):  # readers see whole versions only
        with_some = folder.is_dir() and list(Registry([folder]).entries())
        for entry in with_some or ():
            Registry([folder]).verify(entry.reference)
            seen += 1
    assert [worker.exitcode for worker in workers] == [0, 0] and seen
    registry = Registry([folder])
    entries = registry.versions("both")
    assert [entry.version for entry in entries] == list(range(1, 2 * ROUNDS + 1))
    folders = [registry.verify(entry.reference).folder for entry in entries]
    cards = {(folder / "README.md").read_text() for folder in folders}
    assert cards == {f"{who} {number}" for who in range(2) for number in range(ROUNDS)}
    print(f"\n{len(entries)} versions, none lost, none mixed")
