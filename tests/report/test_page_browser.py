"""The page in a real browser: quiet, as wide as the screen, and usable without a mouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skillkit.registry import Registry, shipped_folder
from skillkit.report.page import build
from tests.browser import Tab, browser, chromium
from tests.pages import gif
from tests.small_skills import write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="there is no Chromium here"),
]
EVIL = (
    "</style><script>document.title = 'evil'</script><img src=x onerror=\"document.title='evil'\">"
)


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    program = chromium()
    assert program
    with browser(program) as made:
        yield made


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped skills, one that is up to no good, and one that does not fit."""
    folder = tmp_path_factory.mktemp("page")
    mine = Registry([folder / "registry", shipped_folder()])
    mine.publish("evil", write("evil", f"# evil\n\n{EVIL}", algorithm=EVIL, config={EVIL: EVIL}))
    mine.label("evil", {"tag": EVIL}, EVIL)
    long = "w" * 100  # as long as a name can be, and nowhere to break it
    mine.publish(long, write(long))
    mine.label(long, {}, "w" * 1000)
    file = folder / "skills.html"
    file.write_text(build(mine, film=lambda entry: gif()), encoding="utf-8")
    return file


SHIPPED = len(Registry([shipped_folder()]).list())  # each with its figure
ALL = SHIPPED + 2
SHAPES = [(width, dark) for width in (360, 1440) for dark in (False, True)]


@pytest.mark.parametrize(("width", "dark"), SHAPES)
def test_it_loads_in_silence_and_fits(tab: Tab, path: Path, width: int, dark: bool) -> None:
    tab.open(path, width, dark)
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run("document.title") == f"{ALL} skills, skillkit"
    assert not tab.of("Runtime.consoleAPICalled") and not tab.of("Runtime.exceptionThrown")
    assert not tab.of("Log.entryAdded"), "no error, and nothing that the policy had to stop"
    urls = {request["request"]["url"] for request in tab.of("Network.requestWillBeSent")}
    assert {url for url in urls if not url.startswith("data:image/")} == {path.as_uri()}
    broken = "[...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
    assert tab.run("document.images.length") == SHIPPED + ALL and tab.run(broken) == 0


CONTRAST = """
(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || parent.closest("script, .unseen, title")) continue;
    const style = getComputedStyle(parent);
    const text = rgb(parent.closest("svg") ? style.fill : style.color);
    const on = parent.closest("svg.family") ?
      rgb(getComputedStyle(parent.parentElement.querySelector("rect")).fill) : ground(parent);
    const [a, b] = [light(text), light(on)].sort((x, y) => x - y);
    const ratio = (b + 0.05) / (a + 0.05);
    if (ratio < 4.5) found.push(`${walker.currentNode.data.trim()}: ${ratio}`);
  }
  return found;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out(tab: Tab, path: Path, dark: bool) -> None:
    tab.open(path, 1440, dark)
    tab.run("for (const part of document.querySelectorAll('details')) part.open = true")
    assert tab.run(CONTRAST) == []


def test_the_keyboard_reaches_everything(tab: Tab, path: Path) -> None:
    tab.open(path, 1440, False)
    kinds = "'a[href], summary, button, input, [tabindex=\"0\"]'"
    wanted = tab.run(
        f"window.all = [...document.querySelectorAll({kinds})].filter((e) => e.checkVisibility());"
        "all.length"
    )
    reached = []
    for _ in range(wanted):
        tab.press("Tab", 9)
        reached.append(
            tab.run(
                "(({outlineStyle}, {left}) => "
                "[all.indexOf(document.activeElement), outlineStyle, left >= 0])"
                "(getComputedStyle(document.activeElement), "
                "document.activeElement.getBoundingClientRect())"
            )
        )
    assert reached == [[place, "solid", True] for place in range(wanted)]
    tab.run("document.querySelector('summary').focus()")
    tab.press("Enter", 13, "\r")
    assert tab.run("document.querySelector('details').open")


def test_filter_and_sort(tab: Tab, path: Path) -> None:
    tab.open(path, 360, False)
    tab.run("document.getElementById('filter').focus()")
    for key in "mid":
        tab.press(key, ord(key.upper()), key)
    shown = "[...document.querySelectorAll('#table tbody tr')].filter((row) => !row.hidden)"
    names = f"{shown}.map((row) => row.cells[0].textContent)"
    both = ["push_x_middle", "push_x_middle+push_y"]
    assert (
        tab.run(names) == both
        and tab.run("document.querySelector('output').value") == f"2 of {ALL}"
    )
    parts = "[...document.querySelectorAll('article')].filter((part) => !part.hidden).length"
    assert tab.run(parts) == 2
    button = (
        "[...document.querySelectorAll('#table button')].find((b) => b.textContent == 'return')"
    )
    for order, wanted in (("ascending", both), ("descending", both[::-1])):
        tab.run(f"{button}.click()")
        assert tab.run(names) == wanted
        assert tab.run("document.querySelector('[aria-sort]').ariaSort") == order


def test_it_is_whole_without_scripts(tab: Tab, path: Path) -> None:
    tab.open(path, 1440, False, script=False)
    try:
        tab("DOM.enable")
        root = tab("DOM.getDocument")["root"]["nodeId"]
        count = {
            what: len(tab("DOM.querySelectorAll", nodeId=root, selector=what)["nodeIds"])
            for what in ("article", "#table tbody tr", "#tools[hidden]", "button")
        }
        assert count == {"article": ALL, "#table tbody tr": ALL, "#tools[hidden]": 1, "button": 0}
    finally:
        tab("Emulation.setScriptExecutionDisabled", value=False)
