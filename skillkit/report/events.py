"""TensorBoard: what a workflow reports, as event files; an `on_event` callback.

    <folder>/train              means over the latest batch and the latest episodes
    <folder>/evaluation/<task>  the points of the learning curve; of several seeds <task>.seed<k>
    <folder>/fit                the critics of a stack on what its base had stored

The tags are the names of docs/metrics.md, so that the return of training and that of evaluation
share a chart. Each event is a record at once, without a thread or TensorFlow.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skillkit.errors import RegistryUnavailable

NUMBERED = re.compile(r"(.+)_([1-9][0-9]*)")


class Events:
    """Writes into a folder; a run that is resumed goes on in the folder that it had.

    What an interrupted run wrote after its last checkpoint comes again: every file says from which
    step on those before it no longer count, as TensorBoard has it.
    """

    def __init__(self, folder: Path | str) -> None:
        """
        Raises:
            RegistryUnavailable: the folder cannot be made.
        """
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryUnavailable(
                f"no TensorBoard events can be written to {self.folder}: {error.strerror}; name "
                "another folder"
            ) from error
        self._files: dict[str, Any] = {}
        self._step = 0  # of the latest progress
        self._writing = True

    @staticmethod
    def of_run(top: Path | str, name: str, resume: bool) -> Events:
        """In the next of the folders <top>/<name>_1, <name>_2, …; in the last one to resume."""
        label = name.replace("/", "--")
        paths = Path(top).iterdir() if Path(top).is_dir() else ()
        found = [match for path in paths if (match := NUMBERED.fullmatch(path.name))]
        last = max((int(match[2]) for match in found if match[1] == label), default=0)
        return Events(Path(top, f"{label}_{max(last, 1) if resume else last + 1}"))

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Numbers that come with an event, at its step; an evaluation without one at the latest."""
        kind, where = event["kind"], event.get("task", event.get("skill", ""))
        run = {"progress": "train"}.get(kind, kind)
        if kind == "evaluation":
            seed = f".seed{event['seed']}" if "seed" in event else ""
            run += "/" + re.sub(r"[^\w.+-]", "_", str(where)) + seed
        step = int(event.get("step", event.get("update", self._step)))
        self._step = step if kind == "progress" else self._step
        counts = ("step", "steps", "update", "seed")
        numbers = {k: v for k, v in event.items() if isinstance(v, int | float) and k not in counts}
        if self._writing and numbers:
            try:
                self._write(run, step, numbers)
            except OSError as error:  # a chart is not worth a training
                self._writing = False
                warnings.warn(
                    f"no more TensorBoard events are written to {self.folder}: {error.strerror}",
                    stacklevel=2,
                )

    def _write(self, run: str, step: int, numbers: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary

        if run not in self._files:
            self._files[run] = _opened(self.folder / run)
            self._record(run, Event(wall_time=time.time(), file_version="brain.Event:2"))
            begin = SessionLog(status=SessionLog.START)
            self._record(run, Event(wall_time=time.time(), step=step, session_log=begin))
        values = [Summary.Value(tag=key, simple_value=value) for key, value in numbers.items()]
        summary = Summary(value=values)
        self._record(run, Event(wall_time=time.time(), step=step, summary=summary))

    def _record(self, run: str, event: Any) -> None:
        self._files[run].write(event.SerializeToString())

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def _opened(folder: Path) -> Any:
    """A new file that comes after those that are there, whatever the clock says."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    ends = [path.suffix[1:] for path in folder.glob("events.out.tfevents.*")]
    times = [int(end) for end in ends if end.isdigit()]
    now = max(int(time.time()), *(last + 1 for last in times), 0)
    return RecordWriter((folder / f"events.out.tfevents.{now:010d}").open("xb", buffering=0))
