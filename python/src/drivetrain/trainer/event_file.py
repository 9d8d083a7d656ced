"""A TensorBoard event file, written in step with the run: one write per row, no thread, no buffer.

TensorBoard's own writer buffers in a thread: a killed run loses its last seconds, and a full disk ends in a traceback
from nowhere. Here a row is in the file when :meth:`EventFile.write` returns, or an error says why not.
"""

from __future__ import annotations

import io
import os
import socket
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drivetrain.run_record import append_bytes


class EventFile:
    """One event file in a run folder; every life of a run begins its own."""

    def __init__(self, folder: Path, *, purge_step: int | None) -> None:
        """Begin a file.

        Args:
            folder: The run folder; the viewer joins all event files in it.
            purge_step: The viewer is to drop what earlier files hold from this step on; None for a new run.

        Raises:
            RunError: The folder cannot be written.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package warns about its own dependencies
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        self._record_writer: Any = RecordWriter
        self._events: Any = event_pb2
        self._summaries: Any = summary_pb2
        now = time.time()
        # The viewer reads files in the order of their names: by time, then by process.
        self._path = folder / f"events.out.tfevents.{now:017.6f}.{socket.gethostname()}.{os.getpid()}"
        step = purge_step or 0
        first = [self._events.Event(wall_time=now, step=step, file_version="brain.Event:2")]
        if purge_step is not None:
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            first.append(self._events.Event(wall_time=now, step=step, session_log=start))
        self._append(first)

    def write(self, values: Mapping[str, float], *, step: int, wall_time: float) -> None:
        """Append scalars by name.

        Raises:
            RunError: The disk is full or the folder is not writable; earlier rows are kept.
        """
        scalars = [self._summaries.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        summary = self._summaries.Summary(value=scalars)
        self._append([self._events.Event(wall_time=wall_time, step=step, summary=summary)])

    def _append(self, events: list[Any]) -> None:
        buffer = io.BytesIO()
        writer = self._record_writer(buffer)
        for event in events:
            writer.write(event.SerializeToString())
        append_bytes(self._path, buffer.getvalue())
