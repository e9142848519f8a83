"""Writing into a folder that several processes share: locks, flushes, and a place aside.

A file or folder is written aside in the same filesystem, flushed, and renamed to its place, and
then the folders above are flushed: readers see all of it or nothing, after a power cut too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from skillkit.errors import RegistryUnavailable, RunConflict

ASIDE = ".aside"
LOCK = "lock"
IGNORE = ".gitignore"


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a folder against other processes and threads; a killed process lets go by itself.

    Args:
        folder: made if need be; the lock is its file "lock".
        wait: for the holder to let go, instead of raising.

    Raises:
        RunConflict: another holds it, named by its process id.
        RegistryUnavailable: the lock cannot be written.
    """
    with writing(folder):
        file = _acquire(folder / LOCK, wait)
    try:
        yield
    finally:
        os.close(file)


def in_use(folder: Path) -> bool:
    """Whether a process holds a folder at this moment; changes nothing in it."""
    try:
        file = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _acquire(path: Path, wait: bool) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_at(file, path):  # or the holder before us deleted it with its folder
                if not wait:  # only then someone may want to know who it is
                    os.ftruncate(file, 0)
                    os.write(file, str(os.getpid()).encode())
                return file
        except BlockingIOError:
            holder = os.read(file, 20).decode(errors="replace")
            os.close(file)
            raise RunConflict(
                f"{path.parent} is in use by process {holder or 'unknown'}; wait for it, stop it, "
                "or choose another name"
            ) from None
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one sentence.

    Raises:
        RegistryUnavailable: for any OSError within.
    """
    try:
        yield
    except OSError as error:
        reason = f"{error.strerror or error};"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full, nothing was stored; free some space or"
        raise RegistryUnavailable(
            f"cannot write to {folder}: {reason} name another registry with --registry DIR"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that is called `path` once it is complete, and deleted if it never is.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    aside = path.parent / f".{token()}{path.suffix[:9]}"
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with suppress(OSError):
            aside.unlink()


def private(home: Path, name: str) -> Path:
    """A folder of ours in a registry, made if need be, and out of git's sight."""
    folder = home / name
    unlinked(folder)
    make(folder, ignored=True)
    return folder


def unlinked(*folders: Path) -> None:
    """Refuse to write where the folder of a stranger would lead us.

    Raises:
        RegistryUnavailable: one of them is a symbolic link.
    """
    for folder in folders:
        if folder.is_symlink():
            raise RegistryUnavailable(
                f"{folder} is a symbolic link, and nothing is written behind one; put the folder "
                "itself in its place"
            )


def make(folder: Path, ignored: bool) -> None:
    """Make a folder and its parents, if it does not exist; only then let git ignore it."""
    with suppress(FileExistsError):
        folder.mkdir(parents=True)
        if ignored:
            (folder / IGNORE).write_text("*\n", encoding="ascii")
        flush_up(folder, folder.parent)


@contextmanager
def set_aside(home: Path) -> Iterator[Path]:
    """An empty folder in the registry's filesystem that is gone afterwards, whatever happens."""
    with ExitStack() as stack:
        with locked(private(home, ASIDE), wait=True):
            _sweep(home / ASIDE)
            folder = home / ASIDE / token()
            stack.enter_context(locked(folder))
            stack.callback(delete, folder)
        yield folder


def _sweep(aside: Path) -> None:
    """Delete what killed processes left: their locks are free. Call under the registry's lock."""
    for path in aside.iterdir():
        if path.name in (LOCK, IGNORE):
            continue
        with suppress(RunConflict, RegistryUnavailable):
            if path.is_dir() and not path.is_symlink():
                with locked(path):
                    delete(path)
            else:
                delete(path)


def token() -> str:
    return os.urandom(8).hex()


def delete(path: Path) -> None:
    """Delete a folder with all that is in it, or a link or a file; what resists stays aside."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def flush(folder: Path) -> None:
    """Have all files and folders below on the disk, and then the folder itself."""
    for path, _, files in os.walk(folder, topdown=False):
        for name in (*files, "."):
            _fsync(Path(path, name))


def flush_up(folder: Path, top: Path) -> None:
    """Have the entries of a folder and of those above it on the disk, up to `top`."""
    _fsync(folder)
    if folder != top:
        flush_up(folder.parent, top)


def _fsync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
