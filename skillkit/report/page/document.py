"""The whole page: head, overview, and the parts about pairs, families and each skill."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from skillkit import __version__
from skillkit.lookup import Lookup
from skillkit.manifest import now
from skillkit.report.page import curves, family, matrix, pictures
from skillkit.report.page.article import article
from skillkit.report.page.found import Broken, Found, Library, Skill, collect
from skillkit.report.page.markup import Html, clipped, element, scrolling
from skillkit.report.page.numbers import decimals, shown, statistic

HEAD = {  # column of the overview -> how it sorts
    "skill": "text", "return": "number", "distance": "number", "success": "number", "curve": None,
    "alpha": "number", "made by": "text", "task": "text", "domain": "text",
}  # fmt: skip


def build(
    where: Lookup,
    options: str = "",
    progress: Callable[[int, int], None] | None = None,
    film: pictures.Film = lambda entry: b"",
) -> str:
    """One HTML page about every skill of a search path, which needs nothing beside it.

    Args:
        options: for the commands that the page offers, such as " --registry DIR".
        progress: called with how many skills were done, and of how many.
        film: makes the clip of a version, or nothing.

    Raises:
        RegistryUnavailable: a folder of the search path cannot be read.
    """
    library = collect(where)
    return _page(library, list(_articles(library, film, options, progress)), options)


def _page(library: Library, articles: Sequence[Html], options: str) -> str:
    """The page of what was collected."""
    style, script = _beside("page.css"), _beside("page.js")
    count = f"{len(library.skills)} skill{'s' * (len(library.skills) != 1)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{count}, skillkit"),
        element("style", Html(style)),
    )
    body = element(
        "body",
        element("a", "To the skills", href="#skills", class_="skip"),
        element(
            "header",
            element("h1", "Skills"),
            element("p", f"{count}{_damaged(library)}, {_when()}, skillkit {__version__}"),
            _contents(),
        ),
        element(
            "main",
            _overview(library),
            matrix.section(library, options),
            family.section(library),
            element(
                "section",
                element("h2", "Each skill", id="skills"),
                articles,
                aria_labelledby="skills",
            ),
        ),
        element("script", Html(script)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _articles(
    library: Library,
    film: pictures.Film,
    options: str,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Html]:
    """One a skill; filming is what takes the time, and making figures smaller."""
    total = len(library.skills)
    share = pictures.share(total)
    for done, skill in enumerate(library.skills, start=1):
        yield article(skill, library, film, share, options)
        if progress is not None:
            progress(done, total)


def _policy(style: str, script: str) -> str:
    """What a browser may do with the page: this style, this script and embedded pictures."""
    style_, script_ = (
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src {style_}; script-src {script_}; "
        "base-uri 'none'; form-action 'none'"
    )


def _contents() -> Html:
    parts = {"overview": "Overview", "composition": "Composition", "family": "Family",
             "skills": "Each skill"}  # fmt: skip
    links = [element("li", element("a", text, href=f"#{id}")) for id, text in parts.items()]
    return element("nav", element("ul", links), aria_label="Parts of the page")


def _overview(library: Library) -> Html:
    """A line a skill, where people compare."""
    head = [element("th", text, scope="col", data_sort=sort) for text, sort in HEAD.items()]
    table = element(
        "table",
        element("caption", "The latest version of each skill", class_="unseen"),
        element("thead", element("tr", head)),
        element("tbody", [_row(skill) for skill in library.skills]),
        id="table",
    )
    return element(
        "section",
        element("h2", "Overview", id="overview"),
        element(
            "p",
            element("label", "Filter ", element("input", type="search", id="filter")),
            element("output", id="filtered", for_="filter"),
            hidden=True,
            id="tools",
        ),
        scrolling(table, "Overview"),
        aria_labelledby="overview",
    )


def _row(skill: Skill) -> Html:
    latest = skill.latest
    link = element("a", skill.name, href=f"#{skill.id}")
    if isinstance(latest, Broken):
        cells: Sequence[Html] = [element("td", "damaged", class_="damaged", colspan=len(HEAD) - 1)]
        return element("tr", element("th", link, scope="row"), cells)
    words = element("small", " ", clipped(", ".join(latest.words), 60)) if latest.words else ""
    name = element("th", link, words, scope="row")
    return element("tr", name, _cells(latest))


def _cells(found: Found) -> list[Html]:
    texts = (found.made, clipped(found.task, 60), clipped(found.domain, 40))
    scores = [statistic(found.evaluation, k) for k in ("return", "final_distance", "success")]
    return [
        *[element("td", decimals(v), class_="n", data_value=v) for v in scores],
        element("td", curves.spark(found.curve) or ""),
        element("td", shown(found.manifest.alpha), class_="n", data_value=found.manifest.alpha),
        *[element("td", text) for text in texts],
    ]


def _when() -> str:
    return now()[:16].replace("T", " ") + " UTC"


def _damaged(library: Library) -> str:
    damaged = len(library.skills) - len(library.latest)
    return f", {damaged} of them damaged" if damaged else ""


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
