"""The benchmarks of speed in small: what they say is what they measured, and nothing is kept else.

Those that measure, or take other libraries, are slow; the latter skip themselves where these are
not installed, which the benchmark itself does.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from skillkit.envs.task import Term
from skillkit.envs.terms import Effort

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("learner", "training", "physics", "composer", "controller", "startup")
Get = Callable[[str], ModuleType]


@pytest.fixture
def get(monkeypatch: pytest.MonkeyPatch) -> Get:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def run(module: ModuleType, folder: Path, words: str) -> Result:
    catch = CliRunner(catch_exceptions=False)
    return catch.invoke(module.main, [*words.split(), "--results", str(folder)])


def rows(folder: Path, name: str) -> dict[str, Any]:
    found = [json.loads(path.read_text()) for path in (folder / name).glob("*.json")]
    assert all(row["versions"]["numpy"] and row["host"]["processor"] for row in found)
    return {row["row"]: row for row in found}


def test_contestants_take_turns(get: Get) -> None:
    speed, order = get("speed"), []

    def contestant(name: str, values: list[float]) -> Callable[[], dict[str, float]]:
        def measure() -> dict[str, float]:
            order.append(name)
            return {"rate": values.pop(0)}

        return measure

    a, b = contestant("a", [1, 8, 3]), contestant("b", [2, 2, 2])
    found = speed.in_turn({"a": a, "b": b}, 3)
    assert order == ["a", "b"] * 3
    assert found == {"a": {"rate": [1, 8, 3]}, "b": {"rate": [2, 2, 2]}}
    assert speed.cell(found["a"]["rate"]) == "3.0 (1.0 to 8.0)" and speed.cell([2.5]) == "2.5"
    assert speed.ratio([1, 8, 9], [2, 2, 9]) == 1  # of .5, 4 and 1, and not 8 of 2


def test_the_page_is_what_was_measured(get: Get, tmp_path: Path) -> None:
    speed = get("speed")
    text = speed.PAGE.read_text()
    assert speed.filled(text, speed.RESULTS) == text
    for name in NAMES:
        assert speed.MARK.format(name) in text and f"python benchmarks/{name}.py" in text
    (tmp_path / "physics.md").write_text("\n| new |\n")
    page = speed.filled(text, tmp_path)
    assert "-->\n\n| new |\n<!-- end -->" in page and page.count(speed.END) == text.count(speed.END)
    assert speed.filled(page, tmp_path) == page


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_is_one_sentence(get: Get, name: str, tmp_path: Path) -> None:
    module, folder = get(name), tmp_path / "results"
    for words, sentence in {
        "--rows none": "no row is called 'none'",
        "--repeats 0": "'--repeats'",
        "--show": f"nothing was measured yet in {folder / name}",
    }.items():
        found = run(module, folder, words)
        assert found.exit_code and sentence in found.stderr
    assert not folder.exists()


@pytest.mark.slow
def test_a_controller_is_timed(get: Get, tmp_path: Path) -> None:
    words = "--calls 20 --seconds .02 --repeats 2 --without sb3"
    made = run(get("controller"), tmp_path, words)
    found = rows(tmp_path, "controller")
    for kind in ("gaussian", "real_nvp", "stacked"):
        figures = found[kind]["figures"]
        assert {"skillkit", "skillkit, sampled", "products alone"} <= figures.keys()
        for each in figures.values():
            assert all(0 < a <= b for a, b in zip(each["p50"], each["worst"], strict=True))
    loops = found["loop"]["figures"]
    assert loops.keys() == {
        "gaussian",
        "real_nvp",
        "stacked",
        "empty loop",
        get("controller").SPINNING,
        get("controller").PRODUCTS,
    }
    assert all(each["periods"] == [20] for each in loops.values())
    assert found["growth"]["figures"]["stacked"]["calls"] == 400
    assert made.stdout == run(get("controller"), tmp_path, "--show").stdout
    assert made.stdout == (tmp_path / "controller.md").read_text().strip() + "\n"


def test_what_a_loop_misses(get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    controller, now = get("controller"), 0.0
    took = iter([0, 0.0025, 0, 0, 0.0012, *[0] * 20])

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    def clock() -> float:
        passes(1e-5)
        return now

    monkeypatch.setattr(controller.time, "perf_counter", clock)
    monkeypatch.setattr(controller.time, "sleep", passes)
    found = controller.loop(lambda obs: passes(next(took)), 0.02)
    assert found["missed"] == 3  # two in the call of 2.5 ms, one in that of 1.2 ms
    assert found["latest"] == pytest.approx(2500, abs=30)


@pytest.mark.slow
def test_starting_is_timed(get: Get, tmp_path: Path) -> None:
    words = "--rows commands --repeats 1 --most 1"
    made = run(get("startup"), tmp_path, words)
    assert "| skillkit list, 1 skill |" in made.stdout and "100 skills" not in made.stdout
    figures = rows(tmp_path, "startup")["commands"]["figures"]
    assert figures["skillkit --help"]["seconds"] > figures["python -c pass"]["seconds"]


def test_a_list_of_many_is_what_a_list_shows(get: Get, tmp_path: Path) -> None:
    from skillkit.registry import Registry

    folder = get("startup").library(12, tmp_path)
    found = Registry([folder]).list()
    assert len(found) == 12 and found[0].manifest.kind == "trained"


@pytest.mark.slow
def test_physics_is_counted(get: Get, tmp_path: Path) -> None:
    words = "--rows pusher,ant --sizes 1,2 --steps 700 --threads 2 --repeats 1"
    made = run(get("physics"), tmp_path, words)
    assert made.exit_code == 0
    figures = rows(tmp_path, "physics")["pusher"]["figures"]
    assert list(figures["1"]) == ["skillkit 1", "raw 1", "SyncVectorEnv"]
    assert list(figures["2"]) == ["skillkit 1", "raw 1", "skillkit 2", "raw 2", "SyncVectorEnv"]
    assert "ant" in made.stdout and "| pusher | 2 | 2 |" in made.stdout


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5"])
@pytest.mark.filterwarnings("ignore:compiler attribute")
def test_their_domains_are_theirs(get: Get, name: str) -> None:
    physics = get("physics")
    ours, single = physics.ROWS[name].task(), physics.ROWS[name].single()
    physics.compare(ours, single)
    dearer = replace(ours, terms=(*ours.terms, Term("more", Effort(), -1e-3)))
    with pytest.raises(physics.click.ClickException, match="is not Gymnasium's at step 0"):
        physics.compare(dearer, single)
    if ours.ends is not None:
        with pytest.raises(physics.click.ClickException, match="is not Gymnasium's at step"):
            physics.compare(replace(ours, ends=None), single)


@pytest.mark.slow
def test_training_is_taken_apart(get: Get, tmp_path: Path) -> None:
    words = "--rows point_roam --steps 64 --warmup 256 --repeats 2"
    made = run(get("training"), tmp_path, words)
    assert made.exit_code == 0
    row = rows(tmp_path, "training")["point_roam"]
    whole, alone = row["figures"]["whole"], row["figures"]["updates"]
    assert whole["steps"] == [64, 64] and whole["updates"] == alone["updates"]
    at = {"seconds": [2.0], "updates": [10]}
    row["figures"] = {
        "whole": {"seconds": [3.0], "updates": [10]},
        "updates": at,
        "evaluation": {"seconds": [4.0]},
        "checkpoint": {"seconds": [0.6]},
    }
    row |= {"per_update": {"evaluations": 0.025}, "checkpoint_every": 60.0}
    (found,) = get("training").costs(row)
    assert found == pytest.approx(
        {"alone": 0.2, "collecting": 0.1, "played": 0.1, "saved": 0.6 * 0.4 / 60}
    )


@pytest.mark.slow
def test_learners_take_turns(get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "--steps 4 --warmup 256 --products 1 --repeats 2 --without sb3 --without sbx"
    made = run(get("learner"), tmp_path, f"--rows training.1 --ways bfloat16 {words}")
    assert made.exit_code == 0
    made = run(get("learner"), tmp_path, f"--rows updates.1 --ways float32 {words}")
    assert made.exit_code == 0
    found = rows(tmp_path, "learner")
    assert list(found["training.1"]["about"]) == ["skillkit, bfloat16"]
    learners = ["SAC, Gaussian", "SAC, flow", "soft Q-learning"]
    assert list(found["updates.1"]["about"]) == [f"{name}, float32" for name in learners]
    work = found["updates.1"]["about"]["SAC, Gaussian, float32"]["flops"]
    assert 0.4e9 < work < 0.9e9  # about twelve passes of 256 rows through two layers of 256
    monkeypatch.setattr(get("learner"), "SIZES", (1, 2))
    made = run(get("learner"), tmp_path, f"--rows population {words}")
    assert made.exit_code == 0 and "| 2 threads | real_nvp | 2 | at once |" in made.stdout
    wrong = run(get("learner"), tmp_path, "--ways float16")
    assert "no way is called 'float16'" in wrong.stderr


@pytest.mark.slow
def test_composing_is_timed(get: Get, tmp_path: Path) -> None:
    words = "--kinds gaussian --counts 2,4 --updates 20 --brief 10 --episodes 2"
    made = run(get("composer"), tmp_path, f"{words} --products 1 --repeats 1 --threads 1")
    assert made.exit_code == 0
    found = rows(tmp_path, "composer")
    assert found["quality"]["figures"]["gaussian 2"]["distance"][0] > 0
    assert list(found["growth"]["figures"]) == ["gaussian 2", "gaussian 4"]
    wrong = run(get("composer"), tmp_path, "--counts 2,3")
    assert "--counts takes even numbers of skills, not 3" in wrong.stderr
    wrong = run(get("composer"), tmp_path, "--kinds mixture")
    assert "no kind of policy is called 'mixture'" in wrong.stderr


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["sb3", "sbx"])
def test_peers_take_turns(get: Get, peer: str, tmp_path: Path) -> None:
    if not get("peers").installed(peer):
        pytest.skip(f"{peer} is not installed; python benchmarks/learner.py does that")
    other = {"sb3": "sbx", "sbx": "sb3"}[peer]
    words = "--rows training.1 --steps 4 --warmup 256 --products 1 --repeats 1 --ways float32"
    made = run(get("learner"), tmp_path, f"{words} --without {other}")
    assert made.exit_code == 0
    assert get("learner").NAMES[peer] in rows(tmp_path, "learner")["training.1"]["about"]
    if peer == "sb3":
        words = "--rows gaussian --calls 5 --repeats 1"
        run(get("controller"), tmp_path, words)
        assert "SB3 predict" in rows(tmp_path, "controller")["gaussian"]["figures"]


def test_a_peer_that_cannot_be_installed(
    get: Get, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peers = get("peers")
    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    monkeypatch.setattr(peers, "PEERS", {"sb3": (str(tmp_path / "none.whl"),)})
    monkeypatch.setattr(peers.venv, "create", lambda folder, with_pip: _link(folder))
    with pytest.raises(peers.click.ClickException, match="cannot be installed here .*--without"):
        peers.python("sb3")
    assert not peers.installed("sb3")


def _link(folder: Path) -> None:
    import sys

    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
