"""Small skills that a page is made of, and a page as it is read."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from skillkit.registry import Entry, Registry
from skillkit.types import Entry as Number
from skillkit.types import Spec
from tests.small_skills import manifest, stacked

EVIL = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(1)>"
VOID = {"img", "input", "meta"}


def png(width: int, height: int, noise: bool = False) -> bytes:
    values = np.zeros((height, width, 3), np.uint8)
    if noise:
        values = np.random.default_rng(0).integers(0, 256, values.shape, np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


SMALL = png(4, 3)


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (4, 3)).save(buffer, "GIF")
    return buffer.getvalue()


def put(
    registry: Registry, name: str, files: dict[str, str | bytes] | None = None, **changes: Any
) -> Entry:
    """Publish a small skill with these files beside skill.json."""

    def fill(folder: Path) -> None:
        manifest(name, **changes).save(folder)
        for file, content in (files or {}).items():
            data = content.encode() if isinstance(content, str) else content
            (folder / file).write_bytes(data)

    return registry.publish(name, fill)


def parent(entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "version": entry.version, "content_id": entry.content_id}


def lines(*values: float, key: str = "return") -> str:
    rows = ({"step": 1000.0 * step, key: value} for step, value in enumerate(values, start=1))
    return "".join(json.dumps(row) + "\n" for row in rows)


def composed(registry: Registry, name: str, *parents: Entry, **changes: Any) -> Entry:
    share = [1 / len(parents)] * len(parents)
    kind = {"kind": "composed", "algorithm": "distill", "weights": share}
    return put(registry, name, parents=[parent(p) for p in parents], **(kind | changes))


def measured(*rows: tuple[str, float]) -> dict[str, Any]:
    return {"pairwise_disagreement": {key: {"mean": mean, "q95": 2 * mean} for key, mean in rows}}


def everything(folder: Path) -> Registry:
    """A registry with every kind of skill, a damaged one, and one that is up to no good."""
    registry = Registry([folder])
    score = {"mean": -20.5, "std": 1.0, "low": -21.0, "high": -20.0}
    put(registry, "push_x", seed=7)
    scores = {"evaluation": {"episodes": 100, "return": score}, "steps": 5000}
    card = "# push_x\n\npush the puck to the left\n\n## How\n\n    skillkit train push_x --seed 0\n"
    files = {"metrics.jsonl": lines(-90, -30, -20), "figure.png": SMALL, "README.md": card}
    x = put(registry, "push_x", files, metrics=scores, siblings=["push_y"])
    y = put(registry, "push_y", siblings=["push_x"])
    composed(registry, "push_x+push_y", x, y, metrics=measured(("push_x, push_y", 0.25)))
    put(registry, "slow", gamma=0.9)
    put(registry, "greedy", alpha=0.0)
    walk = put(registry, "walk", task={**manifest("walk").task, "domain": "ant"})
    fields = {key: getattr(stacked(), key) for key in ("kind", "layers", "policy")}
    put(registry, "walk/maze", **fields, parents=[parent(walk)])
    broken = put(registry, "broken")
    (broken.folder / "skill.json").write_text("{")
    registry.alias("push_x@2", "best")
    registry.label("push_x", {"robot": "arm1"}, EVIL)
    put(
        registry, "evil",
        {"README.md": f"# evil\n\n{EVIL}\n\n    skillkit train x; rm -rf ~\n\n![a](http://evil/x)"},
        task={"expression": EVIL, "domain": EVIL, "scene": EVIL, "source_hash": ""},
        algorithm="</style>" + EVIL, config={EVIL: {EVIL: EVIL}}, versions={EVIL: EVIL},
        metrics={EVIL: 1.5, "evaluation": {EVIL: score}, "parents": {EVIL: {"return": score}}},
        timing={EVIL: EVIL}, host={"processor": EVIL},
        spec=Spec((Number(EVIL, EVIL),), (Number("u" + EVIL, EVIL, -1, 1),), 0.05),
    )  # fmt: skip
    return registry


class Page(HTMLParser):
    """Every element of a page, checked to be closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "code": [], "td": []}
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), tag
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
            if tag in self.inside:
                self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        for tag in {*self._open} & self.inside.keys():
            self.inside[tag][-1] += data

    def all(self, *tags: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    def values(self, key: str) -> list[str]:
        return [attributes[key] for _, attributes in self.elements if key in attributes]

    @property
    def text(self) -> str:
        return " ".join(self.texts)
