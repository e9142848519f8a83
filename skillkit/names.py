"""What a skill is called: names, folders, aliases, and references as a person types them."""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from typing import Any

from skillkit.errors import InvalidValue

MAX_NAME = 100  # characters

_PART = r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*"  # not empty, does not begin with '.' or '-'
_NAME = re.compile(rf"(?!.*--){_PART}(?:/{_PART})*")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")
_WORD = re.compile(r"(?!latest$|[vV][0-9]+$)[A-Za-z][A-Za-z0-9_.+-]*")  # not like a version


def is_name(value: Any) -> bool:
    """Whether it is a legal skill name, whatever it is."""
    return isinstance(value, str) and len(value) <= MAX_NAME and bool(_NAME.fullmatch(value))


def check_name(name: str) -> str:
    """The name itself, if it is legal (DESIGN, Names).

    Raises:
        InvalidValue: a path, a forbidden character, an empty part, or too long.
    """
    if not is_name(name):
        raise InvalidValue(
            f"{reprlib.repr(name)} is not a skill name; use up to {MAX_NAME} letters, digits and "
            "_ . - + /, no '--', and no part that is empty or begins with '.' or '-'"
        )
    return name


def folder_name(name: str) -> str:
    """'locomotion/ant_maze' -> 'locomotion--ant_maze'; raises InvalidValue as `check_name`."""
    return check_name(name).replace("/", "--")


def name_of_folder(folder: str) -> str | None:
    """Inverse of `folder_name`, None for a foreign folder. 'a---b' is 'a-/b'."""
    name = re.sub("--(?!-)", "/", folder)
    return name if is_name(name) and "/" not in folder else None


def check_word(word: str) -> str:
    """The alias itself, if it is legal.

    Raises:
        InvalidValue: forbidden characters, too long, or it reads like a version.
    """
    if len(word) > MAX_NAME or not _WORD.fullmatch(word):
        raise InvalidValue(
            f"{reprlib.repr(word)} is neither a version nor an alias; write name@3, or name@WORD "
            "with letters, digits and _ . - + after a letter ('latest' and 'v3' are taken)"
        )
    return word


@dataclass(frozen=True)
class Reference:
    """A skill as a person types it: `name` (the latest), `name@3` or `name@word`."""

    name: str
    version: int | None = None
    alias: str | None = None


def parse_reference(text: str) -> Reference:
    """'push_x@3' -> Reference('push_x', version=3); 'push_x@latest' is 'push_x'.

    Raises:
        InvalidValue: neither a name, nor a name with a version or an alias.
    """
    if not isinstance(text, str):
        raise InvalidValue(f"a skill is named by text such as 'push_x@3', not by {text!r}")
    name, at, rest = text.partition("@")
    check_name(name)
    if not at or rest == "latest":
        return Reference(name)
    if _VERSION.fullmatch(rest):
        return Reference(name, version=int(rest))
    return Reference(name, alias=check_word(rest))
