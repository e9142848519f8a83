"""The parts of the page: curves, families, pairs, pictures, and the text between."""

from __future__ import annotations

import base64
import io
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from skillkit.envs import task
from skillkit.registry import Registry
from skillkit.report.page import build, curves, family, numbers, pairs, pictures
from skillkit.report.page.found import Broken, Found, Library, collect
from skillkit.report.page.markup import Html, element
from skillkit.shelf import Entry
from skillkit.workflows.result import describe
from tests.pages import SMALL, Page, composed, everything, gif, lines, measured, parent, png, put
from tests.small_skills import manifest


@pytest.fixture
def mine(registry_folder: Path) -> Registry:
    return Registry([registry_folder])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return everything(tmp_path_factory.mktemp("registry"))


# --------------------------------------------------------------------------- markup and numbers


def test_text_is_escaped_and_elements_are_not() -> None:
    made = element("p", "<b>&\"'\x00\ud800", element("b", "x"), data_value='"', hidden=False)
    assert made == (
        '<p data-value="&quot;">&lt;b&gt;&amp;&quot;&#x27;\N{REPLACEMENT CHARACTER}'
        "\N{REPLACEMENT CHARACTER}<b>x</b></p>"
    )
    assert element("img", alt="") == Html('<img alt="">')


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0"), (100.0, "100"), (-98.72, "−98.7"), (0.011829, "0.012"),
     (12345.6, "12,346"), (5e-7, "5e−07"), (2.5e7, "2.5e+07"), (1.0, "1.00")],
)  # fmt: skip
def test_numbers_of_a_column(value: float | None, text: str) -> None:
    assert numbers.decimals(value) == text


def test_settings_are_flat_and_few() -> None:
    assert numbers.flat({"sac": {"lr": 1e-3, "hidden": [8, 9], "a": None}, "b": True}) == {
        "sac.lr": "0.001", "sac.hidden": "8, 9", "sac.a": "none", "b": "yes",
    }  # fmt: skip
    assert len(numbers.flat({str(i): {"a": i, "b": i} for i in range(500)})) <= 201


# ------------------------------------------------------------------------------------- drawings


def test_a_curve_goes_through_its_points() -> None:
    rows = [{"step": s, "return": v} for s, v in ((0.0, -100.0), (50.0, 0.0), (100.0, -50.0))]
    (panel,) = curves.panels(rows)
    left, right = curves.LEFT, curves.WIDTH - curves.RIGHT
    top, bottom = curves.TOP, curves.HEIGHT - curves.BOTTOM
    corners = ((left, bottom), ((left + right) / 2, top), (right, (top + bottom) / 2))
    assert " ".join(f"{x:.1f},{y:.1f}" for x, y in corners) in panel
    assert "from −100 at 0 steps to −50 at 100, between −100 and 0" in panel


def test_a_decade_is_drawn_in_logarithms() -> None:
    rows = [{"step": s, "critic_loss": v} for s, v in ((0.0, 1.0), (1.0, 10.0), (2.0, 100.0))]
    (panel,) = curves.panels(rows)
    assert ">log<" in panel and f",{(curves.TOP + curves.HEIGHT - curves.BOTTOM) / 2:.1f} " in panel
    (panel,) = curves.panels([row | {"critic_loss": row["critic_loss"] + 100} for row in rows])
    assert ">log<" not in panel


def test_of_many_points_the_extremes_stay() -> None:
    rows = [{"step": float(s), "q": float(s == 777)} for s in range(5000)]
    drawn = curves.points(rows, "q")
    assert (777.0, 1.0) in drawn and len(drawn) <= 2 * curves.BUCKETS
    assert drawn == sorted(drawn)


def test_one_point_is_no_curve() -> None:
    assert curves.panels([{"step": 1.0, "return": 2.0}]) == []
    assert curves.spark([]) is None


def test_families_run_from_parents_to_children(registry: Registry) -> None:
    found = family.families(collect(registry))
    names = [[member.name for member in one.members] for one in found]
    assert [sorted(one) for one in names] == [
        ["push_x", "push_x+push_y", "push_y"], ["walk", "walk/maze"],
    ]  # fmt: skip
    edges = {(names[0][a], names[0][b]) for a, b in found[0].edges}
    assert edges == {("push_x", "push_x+push_y"), ("push_y", "push_x+push_y")}
    assert [sorted((names[0][a], names[0][b])) for a, b in found[0].siblings] == [
        ["push_x", "push_y"]
    ]
    drawing = family.draw(found[0])
    assert drawing.count('class="edge"') == 2 and drawing.count('class="run"') == 1


def test_a_parent_of_another_version_is_drawn_too(mine: Registry) -> None:
    old, other = put(mine, "a", seed=1), put(mine, "b")
    put(mine, "a", seed=2)
    composed(mine, "a+b", old, other)
    (found,) = family.families(collect(mine))
    assert sorted(m.reference for m in found.members) == ["a+b@1", "a@1", "b@1"]


def test_a_forged_circle_of_parents_ends(mine: Registry) -> None:
    a, b = put(mine, "a"), put(mine, "b")
    circle = {"a": [parent(b)], "b": [parent(a)]}
    made = [Found(e, manifest(e.name, parents=circle[e.name])) for e in (a, b)]
    library = Library([])
    library.__dict__["latest"] = made
    (found,) = family.families(library)
    assert len(found.edges) == 2 and family.draw(found).count("<rect") == 2


# -------------------------------------------------------------------------- who composes with whom


def test_pairs_are_what_compositions_measured(mine: Registry) -> None:
    a, b, c = (put(mine, name) for name in "abc")
    rows = measured(("a, b", 0.5), ("a, c", 0.25), ("b, c", 0.125))
    composed(mine, "all", a, b, c, metrics=rows, created="2026-01-01T00:00:00+00:00")
    newer = measured(("a, b", 0.75))
    composed(mine, "a+b", a, b, metrics=newer, created="2026-01-02T00:00:00+00:00")
    found = pairs.measured(collect(mine))
    means = {key: row.mean for key, row in found.items()}
    ids = {name: entry.content_id for name, entry in zip("abc", (a, b, c), strict=True)}
    assert means == {
        frozenset((ids["a"], ids["b"])): 0.75,  # the newest
        frozenset((ids["a"], ids["c"])): 0.25,
        frozenset((ids["b"], ids["c"])): 0.125,
    }
    page = Page(build(mine))
    assert [td.strip() for td in page.inside["td"]].count("0.7501.50") == 2  # mean, quantile
    untried = next(code for code in page.inside["code"] if "compose" in code)
    assert untried.splitlines()[0] == "skillkit compose a a+b"
    assert len(untried.splitlines()) == 10 - 3  # pairs of five skills, without those measured


def test_two_versions_of_one_name_are_told_apart(mine: Registry) -> None:
    one, two = put(mine, "a", seed=1), put(mine, "a", seed=2)
    composed(mine, "both", one, two, metrics=measured(("a@1, a@2", 0.5)))
    assert {*pairs.measured(collect(mine))} == {frozenset((one.content_id, two.content_id))}
    text = Page(build(mine)).text
    assert "1 more measured pair" in text and "a@1 and a@2" in text  # a@1 is in no matrix


def test_the_rules_say_who_may(registry: Registry) -> None:
    library = collect(registry)
    found = pairs.groups(library)
    names = [sorted(member.name for member in group) for group in found.together]
    assert names[0] == ["push_x", "push_x+push_y", "push_y"] and ["slow"] in names
    assert sorted(skill.name for skill, _ in found.never) == ["greedy", "walk/maze"]
    text = Page(build(registry)).text
    assert "their gamma differs, 0.99 against 0.9; train them with the same gamma" in text
    assert "judges latents" in text and "must be positive" in text


def test_what_ends_otherwise_is_not_offered(mine: Registry) -> None:
    """No manifest says when a task ends; the tasks do."""
    spec = task("point_x").spec
    for name in ("point_x", "point_y", "point_goal"):
        put(mine, name, task=describe(task(name)), spec=spec)
    found = pairs.groups(collect(mine)).together
    assert [sorted(each.name for each in group) for group in found] == [
        ["point_x", "point_y"],
        ["point_goal"],
    ]
    assert "they differ in termination" in Page(build(mine)).text
    for name in ("aim", "zoo"):  # of tasks that are not here: nobody can say
        put(mine, name, task=describe(task("point_x")) | {"expression": name}, spec=spec)
    found = pairs.groups(collect(mine)).together
    assert sorted(sorted(each.name for each in group) for group in found) == [
        ["aim", "zoo"],
        ["point_goal"],
        ["point_x", "point_y"],
    ]


def test_a_large_group_keeps_to_its_bounds(mine: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skillkit.report.page.matrix.COLUMNS", 2)
    a, b, c, d = (put(mine, name) for name in "abcd")
    composed(mine, "c+d", c, d, metrics=measured(("c, d", 0.5)))
    composed(mine, "a+c+d", a, c, d, metrics=measured(("a, c", 0.25), ("a, d", 0.125)))
    page = Page(build(mine))
    assert len(page.all("table")) and "4 more that compose with these" in page.text
    assert "2 more measured pairs" in page.text


# -------------------------------------------------------------------------------------- pictures


def shown(registry: Registry, make: Callable[[Found, int], Html | None], share: int) -> bytes:
    image = make(collect(registry).latest[0], share)
    if image is None:
        return b""
    return base64.b64decode(image.partition("base64,")[2].partition('"')[0])


def test_a_small_figure_stays_as_it_is(mine: Registry) -> None:
    put(mine, "a", {"figure.png": SMALL})
    assert shown(mine, pictures.figure, pictures.share(1)) == SMALL


@pytest.mark.parametrize("skills", [1, 200, 2000])
def test_a_large_figure_keeps_to_its_share(mine: Registry, skills: int) -> None:
    large = png(400, 300, noise=True)
    put(mine, "a", {"figure.png": large})
    found = shown(mine, pictures.figure, pictures.share(skills))
    assert len(large) > pictures.LARGE and len(found) <= min(pictures.LARGE, pictures.PAGE / skills)
    if skills < 2000:
        assert Image.open(io.BytesIO(found)).size[0] in (*pictures.WIDTHS, 400)


def bomb() -> bytes:
    """A small file that asks for gigabytes."""
    head = SMALL.index(b"IHDR")
    chunk = SMALL[head : head + 4] + (60_000).to_bytes(4, "big") * 2 + SMALL[head + 12 : head + 17]
    return SMALL[:head] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + SMALL[head + 21 :]


NO_PICTURES = (b"", b"\x89PNG", gif(), b"<svg onload=alert(1)>", bomb(), bomb() + bytes(90_000),
               SMALL + bytes(9_000_000), SMALL[:40] + bytes(90_000))  # fmt: skip


@pytest.mark.parametrize("data", NO_PICTURES, ids=range(len(NO_PICTURES)))
def test_what_is_no_picture_is_not_shown(mine: Registry, data: bytes) -> None:
    put(mine, "a", {"figure.png": data})
    assert shown(mine, pictures.figure, 10**6) == b""
    assert "too large for this page, or damaged: " in Page(build(mine)).text


def test_a_clip_is_folded(mine: Registry) -> None:
    put(mine, "a")

    def film(entry: Entry) -> bytes:
        return gif() if entry.name == "a" else b""

    assert "Clip" in Page(build(mine, film=film)).text
    assert "Clip" not in Page(build(mine)).text
    (found,) = collect(mine).latest
    assert pictures.clip(found, film, pictures.share(1)) is not None
    assert pictures.clip(found, film, pictures.LARGE) is None  # the figure comes first


def test_a_linked_figure_is_damage(mine: Registry, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(SMALL)
    entry = put(mine, "a", {"figure.png": SMALL})
    (entry.folder / "figure.png").unlink()
    (entry.folder / "figure.png").symlink_to(tmp_path / "secret.png")
    (skill,) = collect(mine).skills
    assert isinstance(skill.latest, Broken) and "symbolic link" in skill.latest.sentence


@pytest.mark.slow
def test_two_hundred_skills_take_four_times_what_fifty_take(mine: Registry) -> None:
    """Of the processor's time, on the same machine; at most twice that."""
    large, curve = png(1000, 1000, noise=True), lines(*range(200))
    entries: list[Entry] = []
    took = []
    for parts, sums in ((45, 5), (135, 15)):
        entries += [
            put(mine, f"s{len(entries) + i}", {"figure.png": large, "metrics.jsonl": curve})
            for i in range(parts)
        ]
        for i in range(sums):
            composed(mine, f"c{len(entries)}_{i}", *entries[i : i + 3])
        began = time.process_time()
        text = build(mine)
        took.append(time.process_time() - began)
    assert took[1] < 8 * took[0]
    assert text.count("<article") == 200 and len(text) < pictures.PAGE * 4 / 3 + 200 * 30_000
