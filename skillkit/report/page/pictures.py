"""Figures and clips as data: URIs, each within its share of what the page may weigh."""

from __future__ import annotations

import base64
import io
import os
import struct
from collections.abc import Callable

from PIL import Image

from skillkit.reading import open_regular
from skillkit.report.card import FIGURE
from skillkit.report.page.found import Found
from skillkit.report.page.markup import Html, element
from skillkit.shelf import Entry

PAGE = 24_000_000  # bytes of pictures in a page; as text a third more
LARGE = 64_000  # bytes; a figure of more is made smaller
CLIPS = 1_000_000  # bytes of a clip at most
FILE = 8_000_000  # bytes of a figure that is read to be made smaller
PIXELS = 16_000_000  # that a browser is asked to unpack
WIDTHS = (720, 520, 380, 260)  # pixels, tried in turn; it is shown 416 wide


Film = Callable[[Entry], bytes]  # one episode as a GIF, or nothing


def share(skills: int) -> int:
    """Bytes of pictures for each skill: first its figure, then its clip."""
    return min(LARGE + CLIPS, PAGE // max(skills, 1))


def figure(found: Found, share: int) -> Html | None:
    """The figure of a skill, made smaller if it is large; None where there is none to show."""
    data = _read(found, FIGURE, FILE)
    if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 24:
        width, height = struct.unpack(">II", data[16:24])
        if 0 < width * height <= PIXELS:
            data = data if len(data) <= min(LARGE, share) else _smaller(data, min(LARGE, share))
            return _image(data, "png", f"Figure of {found.name}", width, height)
    return None


def clip(found: Found, film: Film, share: int) -> Html | None:
    """The clip of a skill; None if there is none, or one that does not fit."""
    data = film(found.entry)
    if not 10 < len(data) <= share - LARGE:
        return None
    width, height = struct.unpack("<HH", data[6:10])
    return _image(data, "gif", f"{found.name} acting", width, height)


def _read(found: Found, name: str, limit: int) -> bytes:
    """A file of a skill, or nothing if it has no such, or a larger one."""
    if name not in found.files:
        return b""
    with open_regular(found.entry.folder / name) as file:
        return file.read() if os.fstat(file.fileno()).st_size <= limit else b""


def _smaller(data: bytes, limit: int) -> bytes:
    """The PNG in 64 colours and in the largest of `WIDTHS` that fits; nothing if none does."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            layer = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError):  # what Pillow says of a file that is none
        return b""
    flat = Image.new("RGB", layer.size, "white")
    flat.paste(layer, mask=layer)
    for width in WIDTHS:
        flat.thumbnail((width, 4 * width), reducing_gap=2.0)
        buffer = io.BytesIO()
        flat.quantize(64, Image.Quantize.FASTOCTREE).save(buffer, "PNG")
        if buffer.tell() <= limit:
            return buffer.getvalue()
    return b""


def _image(data: bytes, kind: str, alt: str, width: int, height: int) -> Html | None:
    """Its size is given, so that nothing moves when it appears."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return element("img", src=source, alt=alt, width=width, height=height) if data else None
