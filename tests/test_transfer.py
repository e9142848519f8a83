"""Packs that travel: to a folder, to memory, from a web server; whole or not at all."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from skillkit import transfer
from skillkit.errors import CorruptSkill, InvalidValue, RegistryUnavailable, SkillkitError
from skillkit.packs import pack
from skillkit.registry import Entry, Registry
from skillkit.transfer import pull, push
from tests.point_skills import good, snapshot
from tests.point_skills import skillkit as answer

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
GOLDEN = Registry([Path(__file__).parent / "golden/format_1"])
NAME = "point_x"


@pytest.fixture
def mine(tmp_path: Path) -> Registry:
    return Registry([tmp_path / "mine"])


@pytest.fixture
def entry() -> Entry:
    return GOLDEN.find(NAME)


@pytest.fixture
def memory() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()


def packed(entry: Entry) -> bytes:
    file = io.BytesIO()
    pack(entry, file)
    return file.getvalue()


# --------------------------------------------------------------------------------- there and back


@pytest.mark.parametrize("scheme", ["{}", "file://{}", "memory://{}"])
def test_what_was_pushed_is_pulled(
    scheme: str, entry: Entry, mine: Registry, tmp_path: Path, memory: Any
) -> None:
    (tmp_path / "shared").mkdir()
    url = scheme.format(tmp_path / "shared" / "x.skill")
    assert push(entry, url) == url
    with fsspec.open(url) as file:
        assert file.read() == packed(entry)
    found = pull(url, mine)
    assert (found.reference, found.content_id) == (f"{NAME}@1", entry.content_id)
    assert snapshot(found.folder) == snapshot(entry.folder)
    assert pull(url, mine).reference == f"{NAME}@1"  # the same once more is found
    assert pull(url, mine, "theirs/x").reference == "theirs/x@1"


def test_a_folder_names_the_file(entry: Entry, memory: Any) -> None:
    assert push(entry, "memory://skills/") == f"memory://skills/{NAME}-v1.skill"
    assert list(memory.store) == [f"/skills/{NAME}-v1.skill"]


def test_commands(
    registry_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Entry
) -> None:
    (tmp_path / "shared").mkdir()
    monkeypatch.chdir(tmp_path)
    said = good("push", NAME, "shared/", "--registry", GOLDEN.folders[0])
    assert said == f"shared/{NAME}-v1.skill: {NAME}@1\ncontent id {entry.content_id}\n"
    said = good("pull", f"shared/{NAME}-v1.skill", "--as", "theirs")
    assert said == f"shared/{NAME}-v1.skill is theirs@1\ncontent id {entry.content_id}\n"
    good("verify")
    assert answer("pull", "shared/y.skill").sentence == (
        "there is no pack at shared/y.skill; correct the URL"
    )


# ------------------------------------------------------------------------------------- by halves


class Full(OSError):
    """As a disk says it."""


@pytest.mark.parametrize("scheme", ["{}", "memory://{}"])
@pytest.mark.parametrize("what", [Full("no space"), KeyboardInterrupt()])
def test_an_interrupted_push_leaves_nothing(
    what: BaseException,
    scheme: str,
    entry: Entry,
    tmp_path: Path,
    memory: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "shared").mkdir()

    def stops(entry: Entry, to: Any) -> None:
        to.write(packed(entry)[:5000])
        raise what

    monkeypatch.setattr(transfer, "pack", stops)
    wanted = RegistryUnavailable if isinstance(what, Full) else KeyboardInterrupt
    with pytest.raises(wanted):
        push(entry, scheme.format(tmp_path / "shared" / "x.skill"))
    assert not [*(tmp_path / "shared").iterdir()] and not memory.store


def test_a_killed_push_leaves_nothing_under_the_final_name(
    entry: Entry, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tidies up: what is left has another name."""
    monkeypatch.setattr(memory, "mv", lambda *names: sys.exit(1))
    monkeypatch.setattr(memory, "rm", lambda *names: None)
    with pytest.raises(SystemExit):
        push(entry, "memory://x.skill")
    (left,) = memory.store
    assert left.startswith("/x.skill.") and left.endswith(".part")


def test_nothing_is_written_over(entry: Entry, memory: Any) -> None:
    memory.pipe("/x.skill", b"somebody's")
    with pytest.raises(InvalidValue, match="memory://x.skill is there already; push under another"):
        push(entry, "memory://x.skill")
    assert memory.cat("/x.skill") == b"somebody's"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_half_a_pack_is_none(share: float, entry: Entry, mine: Registry, memory: Any) -> None:
    data = packed(entry)
    memory.pipe("/x.skill", data[: int(share * len(data))])
    with pytest.raises(CorruptSkill, match="^memory://x.skill: the pack (is cut|does not end)"):
        pull("memory://x.skill", mine)
    assert not [*mine.entries()]


# ---------------------------------------------------------------------------------- a web server


SILENCE = 8.0  # seconds
ASKED: list[str] = []  # of all servers
Answers = Callable[[BaseHTTPRequestHandler, bytes], None]


def whole(server: BaseHTTPRequestHandler, data: bytes) -> None:
    server.send_response(200)
    server.send_header("Content-Length", str(len(data)))
    server.end_headers()
    server.wfile.write(data)


def without_a_length(server: BaseHTTPRequestHandler, data: bytes) -> None:
    server.send_response(200)
    server.end_headers()
    server.wfile.write(data)


def truncated(server: BaseHTTPRequestHandler, data: bytes) -> None:
    server.send_response(200)
    server.send_header("Content-Length", str(len(data)))
    server.end_headers()
    server.wfile.write(data[: len(data) // 2])


def truncated_without_a_length(server: BaseHTTPRequestHandler, data: bytes) -> None:
    without_a_length(server, data[: len(data) // 2])


def silent(server: BaseHTTPRequestHandler, data: bytes) -> None:
    truncated(server, data)
    server.wfile.flush()
    threading.Event().wait(SILENCE)


def changed(server: BaseHTTPRequestHandler, data: bytes) -> None:
    whole(server, data[:9000] + bytes([data[9000] ^ 1]) + data[9001:])


def page(server: BaseHTTPRequestHandler, data: bytes) -> None:
    whole(server, b"<html>" * 1000)


def absent(server: BaseHTTPRequestHandler, data: bytes) -> None:
    server.send_error(404)


def broken(server: BaseHTTPRequestHandler, data: bytes) -> None:
    server.send_error(503)


def elsewhere(server: BaseHTTPRequestHandler, data: bytes) -> None:
    if server.path == "/moved":
        return whole(server, data)
    server.send_response(302)
    server.send_header("Location", "/moved")
    server.end_headers()


@pytest.fixture
def serve(entry: Entry) -> Iterator[Callable[[Answers], str]]:
    """A server on this machine that answers every request in one way; gives the URL of a pack."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    data, servers = packed(entry), []

    def start(answers: Answers) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ASKED.append(self.path)
                with suppress(ConnectionError):
                    answers(self, data)

            def do_HEAD(self) -> None:
                self.send_error(501)

            def log_message(self, *words: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/x.skill"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("answers", [whole, without_a_length, elsewhere])
def test_a_web_server_has_it(
    answers: Answers, serve: Callable[[Answers], str], entry: Entry, mine: Registry
) -> None:
    before = len(ASKED)
    found = pull(serve(answers), mine)
    assert len(ASKED) - before == 1 + (answers is elsewhere)  # it comes in one go
    assert (found.reference, found.content_id) == (f"{NAME}@1", entry.content_id)
    assert snapshot(found.folder) == snapshot(entry.folder)


REFUSED: dict[Answers, str] = {
    truncated: "x.skill: the pack is cut short|the pack cannot be read: ",
    truncated_without_a_length: "x.skill: the pack is cut short",
    silent: "the pack cannot be read: |x.skill: the pack is cut short",
    changed: "x.skill: the pack is damaged|is not what was packed",
    page: "x.skill: this is no packed skill",
    absent: "there is no pack at http://127.0.0.1:.*/x.skill; correct the URL",
    broken: "x.skill cannot be read: 503",
}


@pytest.mark.parametrize("answers", REFUSED, ids=lambda answers: answers.__name__)
def test_what_does_not_arrive_whole(
    answers: Answers,
    serve: Callable[[Answers], str],
    mine: Registry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "PATIENCE", 0.3)
    began = time.monotonic()
    with pytest.raises(SkillkitError, match=REFUSED[answers]) as found:
        pull(serve(answers), mine)
    assert "\n" not in str(found.value)
    assert not [*mine.entries()]
    assert time.monotonic() - began < SILENCE / 2


def test_nobody_is_there(mine: Registry) -> None:
    with pytest.raises(RegistryUnavailable, match=r"http://127.0.0.1:9/x cannot be read: Cannot c"):
        pull("http://127.0.0.1:9/x", mine)


def test_a_web_server_is_not_written_to(entry: Entry, serve: Callable[[Answers], str]) -> None:
    with pytest.raises(InvalidValue, match="x.skill cannot be written, only the other way round"):
        push(entry, serve(absent))


# ------------------------------------------------------------------------------------ wrong places


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nowhere://x.skill", "nowhere://x.skill cannot be read: Protocol not known: nowhere"),
        ("gdrive://x.skill", "gdrive://x.skill cannot be reached: .*; install that, or choose"),
        ("/no/such/folder/x.skill", "there is no pack at /no/such/folder/x.skill; correct the URL"),
        ("ftp://me:secret@127.0.0.1:9/x", "^ftp://…@127.0.0.1:9/x cannot be read: "),
    ],
)
def test_a_wrong_url(url: str, sentence: str, mine: Registry) -> None:
    with pytest.raises(SkillkitError, match=sentence) as found:
        pull(url, mine)
    assert "secret" not in str(found.value)


def test_a_folder_that_is_not_there(entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"there is no folder for it at .*no/x.skill; correct"):
        push(entry, str(tmp_path / "no" / "x.skill"))


@pytest.mark.parametrize("library", ["fsspec", "aiohttp"])
def test_a_library_that_is_missing(
    library: str, mine: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InvalidValue, match=rf"{library}, which .* '.\[share\]' installs it"):
        pull("http://127.0.0.1:9/x", mine)
