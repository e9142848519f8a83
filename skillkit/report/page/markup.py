"""HTML and SVG elements, safe by construction: text is escaped unless it is an element itself.

A skill is a stranger's, so no text of it comes into the page by any other way than `element`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Any

VOID = {"img", "input", "meta"}  # elements without content and without an end


class Html(str):
    """Text that is markup already; any other is escaped where it comes into an element."""


def element(name: str, /, *content: str | Iterable[str], **attributes: Any) -> Html:
    """<name attributes>content</name>, content and values escaped.

    Args:
        content: texts and elements, or iterables of them.
        attributes: None and False are left out, True has no value; `class_` is class, and
            `data_value` is data-value.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(*content)}</{name}>")


def joined(*content: str | Iterable[str]) -> Html:
    """Texts and elements one after another."""
    parts = (part for item in content for part in ([item] if isinstance(item, str) else item))
    return Html("".join(part if isinstance(part, Html) else escaped(part) for part in parts))


def listed(parts: Iterable[str]) -> Html:
    """Texts and elements with commas between."""
    return joined([joined(", " * (i > 0), part) for i, part in enumerate(parts)])


def escaped(text: str) -> Html:
    """What shows as the text; characters that cannot be shown become question marks."""
    if not text.isprintable():
        text = "".join(
            c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
        )
    return Html(html.escape(text))


def clipped(value: object, length: int = 120) -> str:
    """A stranger's text or number of any length, as one of at most so many characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else text[: length - 1] + "…"


def table(
    head: Iterable[str], rows: Iterable[Iterable[str]], caption: str, **attributes: Any
) -> Html:
    """A table whose first column names its rows, scrolling if too wide; nothing without rows."""
    columns = element("tr", [element("th", text, scope="col") for text in head])
    lines = [
        element("tr", element("th", first, scope="row"), [element("td", cell) for cell in cells])
        for first, *cells in rows
    ]
    if not lines:
        return Html("")
    made = element(
        "table", element("caption", caption), element("thead", columns), element("tbody", lines),
        **attributes,
    )  # fmt: skip
    return scrolling(made, caption)


def scrolling(content: Html, label: str) -> Html:
    """A part that may be wider than the page; the keyboard reaches it and scrolls it."""
    return element("div", content, class_="scroll", role="region", aria_label=label, tabindex=0)


def folded(summary: str, *content: str) -> Html:
    """What opens on demand, by mouse and by keyboard, without a script; nothing if empty."""
    return element("details", element("summary", summary), *content) if any(content) else Html("")


def commands(lines: Iterable[str]) -> Html:
    """Lines to copy."""
    text = element("code", "\n".join(lines))
    return element("pre", text, tabindex=0, role="region", aria_label="Commands")


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    name = key.removesuffix("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escaped(str(value))}"'
