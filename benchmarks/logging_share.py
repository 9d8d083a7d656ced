"""What logging takes of a real training: ``python benchmarks/logging_share.py CONFIG [--set KEY=VALUE ...]``.

Trains by the ordinary launcher in this process, with a clock around every call that writes rows, states and events, and
adds up the processor time of the processes beside it (side-car, MLflow mirror) until they have left. The run is made
below a temporary root and thrown away. Nothing is stored.
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

RUN_ID = "logging_share"
POLL_S = 0.2
PATIENCE_S = 60.0
"""How long the processes beside the training may take to leave [s]."""


class Clock:
    """Adds up the wall time of calls; one that is made within another counts once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0
        self._depth = 0

    def around(self, owner: Any, name: str) -> None:
        """Put the clock around a method of a class."""
        call: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(call)
        def timed(*arguments: Any, **options: Any) -> Any:
            begun, self._depth = time.perf_counter(), self._depth + 1
            try:
                return call(*arguments, **options)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.perf_counter() - begun
                    self.calls += 1

        setattr(owner, name, timed)


class Beside:
    """Processor time of the processes that stand beside a run, by what they are."""

    def __init__(self, folder: Path) -> None:
        self.seconds: dict[str, float] = {}
        self._folder = str(folder)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Wait until they have left."""
        deadline = time.monotonic() + PATIENCE_S
        while self._look() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(POLL_S):
            self._look()

    def _look(self) -> bool:
        is_any = False
        for process in psutil.process_iter(["cmdline", "cpu_times"]):
            words = process.info["cmdline"] or []
            kind = next((word.rpartition(".")[2] for word in words if word.startswith("drivetrain.runs.")), None)
            if kind is None or self._folder not in words or process.info["cpu_times"] is None:
                continue
            times = process.info["cpu_times"]
            self.seconds[kind] = max(self.seconds.get(kind, 0.0), times.user + times.system)
            is_any = True
        return is_any


def main() -> None:
    """Train, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--kind", default="rl", choices=("rl", "bc", "gail"), help="which launcher (default: rl)")
    parser.add_argument("--data", help="scenes to train on")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    config = options.config.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DRIVETRAIN_ROOT"] = folder
        from drivetrain.run_record import RunPaths, RunRecord
        from drivetrain.trainer.command import main as train
        from drivetrain.trainer.metric_log import MetricLog

        clock = Clock()
        for owner, name in ((MetricLog, "write"), (MetricLog, "flush"), (RunRecord, "update"), (RunRecord, "event")):
            clock.around(owner, name)
        beside = Beside(RunPaths(root=Path(folder), run_id=RUN_ID).folder)
        changes = [word for change in options.set for word in ("--set", change)]
        data = ["--data", str(Path(options.data).resolve())] if options.data else []
        begun, processor = time.perf_counter(), time.process_time()
        code = train(options.kind, ["--config", str(config), "--run-id", RUN_ID, *data, *changes])
        wall, processor = time.perf_counter() - begun, time.process_time() - processor
        beside.end()
    print(f"exit code {code}, {wall:.1f} s of wall time, {processor:.1f} s of processor time in the trainer")
    print(f"in the trainer: {clock.calls} calls, {clock.seconds:.3f} s, {clock.seconds / wall:.2%} of the wall time")
    for kind, seconds in beside.seconds.items():
        print(
            f"beside it, {kind}: {seconds:.2f} s of processor time, {seconds / wall:.2%} of the wall time of one core"
        )


if __name__ == "__main__":
    main()
