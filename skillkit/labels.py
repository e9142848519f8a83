"""What people say about a stored version: tags and a note.

They lie beside the version and not in it, so that its content id stays as it is, and name that
content id, so that they are never taken for another's.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skillkit.errors import CorruptSkill, InvalidValue
from skillkit.names import MAX_NAME
from skillkit.reading import fits, plain, read_json

MAX_TEXT = 1000  # characters of a note or of a tag's value

_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class Labels:
    """Tags and a note, checked when built.

    Raises:
        InvalidValue: a tag that is no word, or a text that is too long or not printable.
    """

    content_id: str
    tags: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        for tag in self.tags:
            if len(tag) > MAX_NAME or not _KEY.fullmatch(tag):
                raise InvalidValue(
                    f"{reprlib.repr(tag)} cannot be a tag; use letters, digits and _ . - + after a "
                    "letter"
                )
        for text in (self.note, *self.tags.values()):
            if len(text) > MAX_TEXT or not text.isprintable():
                raise InvalidValue(
                    f"a note or a tag is one line of up to {MAX_TEXT} printable characters, "
                    f"not {reprlib.repr(text)}"
                )

    def changed(self, tags: Mapping[str, str], note: str | None) -> Labels:
        """With these tags set, or taken away by an empty value, and the note unless it is None."""
        kept = {tag: value for tag, value in (self.tags | dict(tags)).items() if value}
        return Labels(self.content_id, kept, self.note if note is None else note)

    def __bool__(self) -> bool:
        return bool(self.tags or self.note)

    def to_json(self) -> str:
        data = {"content_id": self.content_id, "tags": self.tags, "note": self.note}
        return json.dumps(data, indent=2) + "\n"

    @staticmethod
    def load(path: Path) -> Labels:
        """Read a file of labels.

        Raises:
            CorruptSkill: it is none.
        """
        data = read_json(path)
        try:
            if not fits(plain(data), _SHAPE) or len(data) != len(_SHAPE):  # type: ignore[arg-type]
                raise InvalidValue("a field is missing, unknown or of the wrong type")
            return Labels(**data)  # type: ignore[arg-type]
        except (InvalidValue, ValueError, TypeError) as error:
            raise CorruptSkill(f"{path} holds no labels: {error}; remove that file") from error


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


_SHAPE = {"content_id": _text, "tags": _texts, "note": _text}
