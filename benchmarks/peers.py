"""Libraries that the benchmarks compare with, each in a virtual environment and process of its own.

They are pinned, with what constraints.txt pins beside them, and stay in .skillkit/benchmarks/.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import click

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".skillkit" / "benchmarks"
CONSTRAINTS = ROOT / "constraints.txt"
PEERS = {
    "sb3": ("stable-baselines3==2.9.2", "gymnasium[mujoco]"),
    "sbx": ("sbx-rl==0.28.0", "gymnasium[mujoco]"),
}
SHARED = ("gymnasium", "mujoco", "numpy", "torch")  # what is to be the same there as here
READY = ".ready"  # written last: an interrupted installation is taken up again


def home(peer: str) -> Path:
    """Where a peer's environment is, or will be: other pins are another one."""
    ours = [line for line in CONSTRAINTS.read_text().splitlines() if line.split("==")[0] in SHARED]
    pins = "\n".join((*PEERS[peer], *ours, sys.version))
    return FOLDER / f"{peer}-{hashlib.sha256(pins.encode()).hexdigest()[:8]}"


def installed(peer: str) -> bool:
    return (home(peer) / READY).exists()


def python(peer: str) -> str:
    """The interpreter of a peer's environment, which is made if need be.

    Raises:
        ClickException: it cannot be installed here.
    """
    folder = home(peer)
    found = folder / "bin" / "python"
    if not installed(peer):
        click.echo(f"installing {' '.join(PEERS[peer])} into {folder}", err=True)
        venv.create(folder, with_pip=True)
        words = ["-m", "pip", "install", "--quiet", "-c", str(CONSTRAINTS), *PEERS[peer]]
        done = subprocess.run([found, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
            raise click.ClickException(
                f"{PEERS[peer][0]} cannot be installed here ({reason}); leave it out with "
                f"--without {peer}"
            )
        (folder / READY).touch()
    return str(found)


class Worker:
    """A process that measures when it is asked to, and waits in between.

    It reads a line of JSON for each measurement, and answers with one; the first it writes itself,
    once it is ready.
    """

    def __init__(self, command: Sequence[str], threads: int = 1) -> None:
        count = str(threads)
        flags = f"--xla_cpu_multi_thread_eigen={str(threads > 1).lower()}"
        paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        limits = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "XLA_FLAGS": flags}
        limits["PYTHONPATH"] = paths
        self._name = Path(command[1]).stem
        FOLDER.mkdir(parents=True, exist_ok=True)  # where MuJoCo writes its log
        self._process = subprocess.Popen(
            command, env=os.environ | limits, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, cwd=FOLDER,
        )  # fmt: skip
        self.about: dict[str, Any] = self._answer()

    def __call__(self, **what: Any) -> dict[str, Any]:
        """Measure."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # a library may print something, too
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise click.ClickException(f"{self._name} ended without an answer; its error is above")

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
