"""A process of its own for what a stranger may have made: whatever it should not do is told."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATIENCE = 5  # seconds for each
MEMORY = 1 << 30  # bytes more than before
FORK = multiprocessing.get_context("fork")  # so that PyTorch is imported once
CHANGES = ("os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.chmod",
           "os.chown", "shutil.rmtree", "shutil.copyfile")  # fmt: skip
CODE = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen",
        "pickle.find_class", "socket.", "ctypes.dlopen", "webbrowser.open")  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass
class Outcome:
    """What came of many numbers."""

    counts: Counter[str] = field(default_factory=Counter)  # of what each step came to
    wrong: dict[int, str] = field(default_factory=dict)  # by number
    seconds: float = 0.0  # the slowest took
    memory: int = 0  # more than before [bytes]


class Worker:
    """A process that works numbers off one by one, and is watched.

    What it writes outside its folder, executes or imports is wrong. One number that takes too long
    or too much memory ends it, and the next process goes on after that.
    """

    def __init__(self, job: Callable[[int, Path], dict[str, str]], folder: Path) -> None:
        self.job, self.folder = job, folder
        self.log = folder / "log"
        self.at = FORK.Value("q", -1)

    def run(self, numbers: Iterable[int]) -> Outcome:
        outcome, left = Outcome(), list(numbers)
        while left:
            reader, writer = FORK.Pipe(duplex=False)
            process = FORK.Process(target=self._work, args=(left, writer))
            process.start()
            writer.close()
            with suppress(EOFError):
                while True:
                    number, found, problem, seconds, memory = reader.recv()
                    outcome.counts.update(f"{step}: {came}" for step, came in found.items())
                    outcome.wrong |= {number: problem} if problem else {}
                    outcome.seconds = max(outcome.seconds, seconds)
                    outcome.memory = max(outcome.memory, memory)
            process.join()
            if process.exitcode == 0:
                break
            ended, said = self.at.value, self.log.read_text()[:2000]
            outcome.wrong.setdefault(ended, f"exit code {process.exitcode}\n{said}")
            left = left[left.index(ended) + 1 :]
        return outcome

    def _work(self, numbers: list[int], writer: Any) -> None:
        log = self.log.open("w")
        faulthandler.enable(log)
        events = watch(self.folder)
        before = peak()
        for number in numbers:
            self.at.value = number
            place = Path(tempfile.mkdtemp(prefix=f"{number}-", dir=self.folder))
            faulthandler.dump_traceback_later(PATIENCE, exit=True, file=log)
            began = time.monotonic()
            found: dict[str, str] = {}
            problem = ""
            try:
                found = self.job(number, place)
            except BaseException as error:
                problem = "".join(traceback.format_exception(error)[-6:])
            seconds, more = time.monotonic() - began, peak() - before
            problem += "".join(f"\n{event}" for event in events)
            problem += f"\n{more >> 20} MiB more" * (more > MEMORY)
            os.chdir(self.folder)
            shutil.rmtree(place, ignore_errors=True)
            events.clear()
            writer.send((number, found, problem, seconds, more))
            if more > MEMORY:
                os._exit(1)  # a peak stays the peak
        os._exit(0)


def peak() -> int:
    """The largest memory that this process ever had [bytes]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def watch(folder: Path) -> list[str]:
    """A list to which this process adds, from now on, whatever it should not do."""
    found: list[str] = []
    inside = os.path.realpath(folder)

    def allowed(path: Any, directory: Any = -1) -> bool:
        if isinstance(path, int) or path in ("/dev/null", b"/dev/null"):
            return True
        opened = type(directory) is int and directory >= 0
        base = os.readlink(f"/proc/self/fd/{directory}") if opened else ""
        real = os.path.join(base, os.fsdecode(path))
        with suppress(OSError):  # too long
            real = os.path.realpath(real)
        return real == inside or real.startswith(f"{inside}/")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if (arguments[2] or 0) & WRITES and not allowed(arguments[0]):
                found.append(f"wrote {arguments[0]}")
        elif event == "import":
            package = arguments[0].partition(".")[0]
            if package not in sys.modules and package not in sys.stdlib_module_names:
                found.append(f"imported {arguments[0]}")
        elif event in CHANGES:
            paths = [a for a in arguments if isinstance(a, str | bytes | os.PathLike)]
            paths = paths[event == "os.symlink" :]  # where it leads to, it may
            if not all(allowed(path, arguments[-1]) for path in paths):
                found.append(f"{event} {arguments}")
        elif event.startswith(CODE):
            found.append(f"{event} {arguments}")

    sys.addaudithook(hook)
    return found
