"""The processes of a `mlagents-learn`: one way to stop that saves, and nobody left behind.

ML-Agents' trainer saves on SIGINT only, and its worker processes do not notice when it is killed. Here SIGTERM means
the same as SIGINT, a second signal does not break off the saving, a worker ends with its trainer, and the trainer ends
with a worker that was killed (it would wait for it for ever).
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5


class Processes:
    """Signals and workers of this process, which is the trainer.

    Args:
        say: Takes a line for people.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._pid = os.getpid()
        self._workers: set[BaseProcess] = set()
        self.signal: int | None = None
        """The first signal that asked for a stop; None: none did."""
        self.failure = ""
        """Which worker was killed; empty: none."""
        self.is_over = False
        """The training has ended: nothing is watched any more."""

    def take_over(self) -> None:
        """Answer signals from now on, and tie workers to this process."""
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGTERM, self._stop)
        os.register_at_fork(after_in_child=self._begin_worker)
        threading.Thread(target=self._watch, name="worker watch", daemon=True).start()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            self._say("it is stopping already: the last checkpoint is being written")
            return
        self.signal = number
        raise KeyboardInterrupt

    def _begin_worker(self) -> None:
        """Give a forked worker its plain signals back, and let the kernel end it when its trainer is gone."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if sys.platform == "linux":
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._pid:
            os._exit(1)

    def _watch(self) -> None:
        while not self.is_over:
            self._workers.update(multiprocessing.active_children())
            for worker in list(self._workers):
                code = worker.exitcode
                if code is None:
                    continue
                self._workers.discard(worker)
                if code < 0 and self.signal is None and not self.failure and not self.is_over:
                    self.failure = f"a worker process was killed (signal {-code})"
                    self._say(f"{self.failure}: saving, then stopping")
                    os.kill(self._pid, signal.SIGINT)
            time.sleep(_POLL_S)
