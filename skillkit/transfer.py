"""Packs to and from any place that fsspec reaches: a folder, an object store, a web server.

What is pushed has its name only when it is complete; what is pulled is checked as `packs.unpack`
checks a file, while it arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any, cast

from skillkit.errors import CorruptSkill, InvalidValue, RegistryUnavailable, SkillkitError
from skillkit.extras import library
from skillkit.names import folder_name
from skillkit.packs import SUFFIX, pack, unpack
from skillkit.registry import Entry, Registry
from skillkit.storage import token

PATIENCE = 60.0  # seconds without a byte from a web server


def push(entry: Entry, url: str) -> str:
    """Write a version where the URL says; under NAME-vN.skill if that ends with a slash.

    Returns:
        Where it is.

    Raises:
        InvalidValue: the URL names nothing that can be written, or something that is there.
        CorruptSkill: a file of the version is damaged.
        RegistryUnavailable: the place refuses.
    """
    if url.endswith("/"):
        url += f"{folder_name(entry.name)}-v{entry.version}{SUFFIX}"
    with _reaching(url, "written"):
        files, path = _place(url)
        if files.exists(path):
            raise InvalidValue(f"{shown(url)} is there already; push under another name")
        aside = f"{path}.{token()}.part"
        try:
            with files.open(aside, "wb") as to:
                pack(entry, to)
            files.mv(aside, path)
        except BaseException:
            with suppress(Exception):  # why it failed is the news
                files.rm(aside)
            raise
    return url


def pull(url: str, registry: Registry, name: str | None = None) -> Entry:
    """Save the pack at a URL as the next version of its name, or of another.

    Raises:
        CorruptSkill: it is no pack, or damaged, or does not arrive whole.
        InvalidValue: the URL names nothing that can be read, or a name is none.
        RegistryUnavailable: the place refuses or falls silent, or the registry cannot be written.
    """
    with _reaching(url, "read"):
        files, path = _place(url)
        # From a web server in one go: not each knows ranges, or says beforehand how much it is.
        streamed = {"block_size": 0, "size": 1} if _is_web(url) else {}
        with files.open(path, "rb", **streamed) as source:
            return unpack(cast("IO[bytes]", _Arriving(source)), registry, name)


def shown(url: str) -> str:
    """The URL without a password in it."""
    return re.sub(r"//[^/@]*@", "//…@", url)


class _Arriving:
    """A stream whose failures are OSErrors, whatever the protocol calls them."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._source.read(size))
        except OSError:
            raise
        except Exception as error:
            raise OSError(_reason(error)) from error


def _place(url: str) -> tuple[Any, str]:
    """A filesystem, and the path in it."""
    fsspec = library("fsspec", "a place outside the registry")
    options: dict[str, Any] = {}
    if _is_web(url):
        aiohttp = library("aiohttp", "a web server")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=PATIENCE, sock_read=PATIENCE)
        options = {"client_kwargs": {"timeout": timeout}}  # by itself it gives up after 5 minutes
    files, path = fsspec.url_to_fs(url, **options)
    return files, str(path)


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


@contextmanager
def _reaching(url: str, what: str) -> Iterator[None]:
    """Turn what a protocol refuses into one sentence."""
    place = shown(url)
    try:
        yield
    except CorruptSkill as error:
        raise CorruptSkill(f"{place}: {error}") from error
    except SkillkitError:
        raise
    except ImportError as error:
        raise InvalidValue(
            f"{place} cannot be reached: {_reason(error)}; install that, or choose another place"
        ) from error
    except FileNotFoundError as error:
        missing = "no pack" if what == "read" else "no folder for it"
        raise InvalidValue(f"there is {missing} at {place}; correct the URL") from error
    except NotImplementedError as error:
        raise InvalidValue(f"{place} cannot be {what}, only the other way round") from error
    except ValueError as error:
        raise InvalidValue(f"{place} cannot be {what}: {_reason(error)}") from error
    except Exception as error:
        raise RegistryUnavailable(f"{place} cannot be {what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return shown(" ".join(str(error).split())[:200].rstrip(".") or type(error).__name__)
