"""The page about a registry: whole, safe to open whatever a skill says, and readable by anyone."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skillkit.registry import Registry
from skillkit.report.page import build, document
from skillkit.report.page.found import Broken, collect
from tests.pages import EVIL, Page, composed, everything, gif, put

CSS = Path(document.__file__).with_name("page.css").read_text()


@pytest.fixture
def mine(registry_folder: Path) -> Registry:
    return Registry([registry_folder])


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return everything(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
def page(registry: Registry) -> Page:
    return Page(build(registry, film=lambda entry: gif()))


# ------------------------------------------------------------------------------------ the whole


def test_ids_are_unique_and_every_link_arrives(page: Page) -> None:
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    links = page.values("href")
    assert links and {link[0] for link in links} == {"#"} and {link[1:] for link in links} <= {*ids}
    for key in ("aria-labelledby", "for"):
        assert page.values(key) and {*page.values(key)} <= {*ids}


def test_it_needs_nothing_beside_itself(page: Page) -> None:
    assert {source.partition(",")[0] for source in page.values("src")} == {
        "data:image/png;base64", "data:image/gif;base64",
    }  # fmt: skip
    known = {"html", "head", "meta", "title", "style", "script", "body", "img"}
    assert not page.all("link", "iframe", "object", "embed", "base", "form", "video", "audio")
    assert known <= {tag for tag, _ in page.elements}
    assert "url(" not in CSS and "@import" not in CSS
    for key in ("srcset", "poster", "background", "action", "formaction", "ping", "style"):
        assert not page.values(key)


def test_nothing_that_a_skill_says_is_executed(page: Page) -> None:
    assert len(page.inside["script"]) == len(page.inside["style"]) == 1
    assert EVIL not in page.inside["script"][0] + page.inside["style"][0]
    assert not [key for _, found in page.elements for key in found if key.startswith("on")]
    assert EVIL in page.text  # the note, whole; what is longer than its place is clipped
    assert "rm -rf" not in "".join(page.inside["code"])  # a card offers no command but ours
    assert "skillkit train push_x --seed 0" in "".join(page.inside["code"])


def test_a_browser_is_told_to_run_this_script_only(page: Page) -> None:
    policy = next(m["content"] for m in page.all("meta") if "http-equiv" in m)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    for rule, tag in (("style-src", "style"), ("script-src", "script")):
        digest = hashlib.sha256(page.inside[tag][0].encode()).digest()
        assert rules[rule] == f"'sha256-{base64.b64encode(digest).decode()}'"


def test_who_cannot_see_or_has_no_mouse_finds_the_way(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert page.all("a")[0]["class"] == "skip"
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(below <= above + 1 for above, below in zip(headings, headings[1:], strict=False))
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(image["alt"] and image["width"] for image in page.all("img"))
    assert all(svg["role"] in ("img", "group") and svg["aria-label"] for svg in page.all("svg"))
    regions = [found for _, found in page.elements if found.get("class") == "scroll"]
    assert all(r["tabindex"] == "0" and r["aria-label"] and r["role"] == "region" for r in regions)
    assert len(page.all("details")) == len(page.all("summary")) > 5
    hidden = [found.get("id") for _, found in page.elements if "hidden" in found]
    assert hidden == ["tools"]  # what only the script can do


def test_every_skill_has_its_part(page: Page) -> None:
    names = {"push_x", "push_y", "push_x+push_y", "slow", "greedy", "walk", "walk/maze", "broken",
             "evil"}  # fmt: skip
    assert {article["id"] for article in page.all("article")} == {f"skill-{n}" for n in names}
    for words in ("push the puck to the left", "@best", "robot=arm1", "1 older version",
                  "5,000 steps", "9 skills, 1 of them damaged", "−20.5"):  # fmt: skip
        assert words in page.text, words


def test_a_damaged_skill_is_told_in_its_sentence(registry: Registry) -> None:
    (broken,) = [s.latest for s in collect(registry).skills if isinstance(s.latest, Broken)]
    assert broken.sentence in Page(build(registry)).text
    assert "broken/v1/skill.json was changed after it was saved" in broken.sentence


def test_an_empty_registry_has_a_page(mine: Registry) -> None:
    assert "0 skills" in Page(build(mine)).text


DEEP: Any = 1
for _ in range(40):
    DEEP = [DEEP, {"deep": DEEP}] if _ < 3 else [DEEP]
ODD = [
    None,
    [],
    [1],
    DEEP,
    {"return": DEEP},
    "x",
    3,
    {},
    {"return": 3},
    {"return": {"mean": "high"}},
    {"a, b": None},
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_metrics_of_any_shape_do_no_harm(mine: Registry, odd: Any) -> None:
    x, y = put(mine, "a"), put(mine, "b")
    keys = ("evaluation", "parents", "pairwise_disagreement", "estimated", "steps", "exponents")
    composed(
        mine,
        "a+b",
        x,
        y,
        metrics=dict.fromkeys(keys, odd),
        timing={"seconds": odd},
        config={"distill": odd},
    )
    assert "a+b" in Page(build(mine)).text


@pytest.mark.parametrize("curve", ["{", "[1]", "3", "[" * 9999, '{"step": 1' + "0" * 9999 + "}"])
def test_a_curve_that_is_none_is_damage(mine: Registry, curve: str) -> None:
    put(mine, "a", {"metrics.jsonl": curve})
    (skill,) = collect(mine).skills
    assert isinstance(skill.latest, Broken) and "holds no learning curve" in skill.latest.sentence


def test_what_is_not_a_number_is_no_point_of_a_curve(mine: Registry) -> None:
    rows = '{"step": 1, "return": NaN, "x": "y"}\n{"step": 2, "return": 1e999}\n{"step": 3, "q": 1}'
    put(mine, "a", {"metrics.jsonl": rows})
    assert collect(mine).latest[0].curve == [{"step": 1}, {"step": 2}, {"step": 3, "q": 1}]


def test_labels_that_cannot_be_read_leave_the_skill(mine: Registry) -> None:
    entry = put(mine, "a")
    mine.alias("a", "best")
    (entry.folder.parent / "aliases" / "best").write_text("?")
    text = Page(build(mine)).text
    assert "aliases/best is not an alias of a skill" in text and "Settings" in text


def test_commands_name_the_registry_that_was_named(mine: Registry) -> None:
    put(mine, "a"), put(mine, "b")
    code = Page(build(mine, " --registry 'my skills'")).inside["code"]
    assert code and all("--registry 'my skills'" in block for block in code)


def test_progress_counts_the_skills(mine: Registry) -> None:
    put(mine, "a"), put(mine, "b")
    told: list[tuple[int, int]] = []
    build(mine, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


# -------------------------------------------------------------------------------------- contrast


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    rgb = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one: str, two: str) -> float:
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def schemes() -> Sequence[dict[str, str]]:
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = [dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]+);", block)) for block in blocks]
    return [found[0] | block for block in found]


@pytest.mark.parametrize("scheme", schemes(), ids=["light", "dark", "print"])
def test_text_stands_out(scheme: dict[str, str]) -> None:
    grounds = ("page", "wash")
    pairs = [(text, on) for text in ("ink", "quiet", "accent", "alarm") for on in grounds]
    pairs += [("ink", f"shade-{n}") for n in range(1, 6)]
    for text, on in pairs:
        assert contrast(scheme[text], scheme[on]) >= 4.5, (text, on)
    assert contrast("#000", "#fff") == pytest.approx(21)


def test_colours_are_those_of_the_schemes() -> None:
    rest = re.sub(r":root \{.*?\}", "", CSS, flags=re.DOTALL)
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", rest)) <= {"#fff"}  # below figures
