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
_TRAINING = "advance"
"""The method of ML-Agents' TrainerController in which it collects and learns."""
_SAVING = "_save_models"
"""The one in which it writes the last checkpoints."""


class Processes:
    """Signals and workers of this process, which is the trainer.

    Args:
        say: Takes a line for people.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._pid = os.getpid()
        self._main = threading.main_thread().ident or 0
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
        if _is_within(frame, _SAVING):
            self._say("it is at its end already: the last checkpoint is being written")
            return
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
        while not self.is_over and not self.failure:
            self._workers.update(multiprocessing.active_children())
            for worker in list(self._workers):
                code = worker.exitcode
                if code is None:
                    continue
                self._workers.discard(worker)
                if code < 0 and self.signal is None and not self.is_over:
                    self.failure = f"a worker process was killed (signal {-code})"
            time.sleep(_POLL_S)
        if self.failure:
            self._say(f"{self.failure}: saving, then stopping")
        while self.failure and not self.is_over:
            # A trainer that has noticed by itself is saving already: nothing may break that off.
            if self._is_training():
                os.kill(self._pid, signal.SIGINT)
                return
            time.sleep(_POLL_S)

    def _is_training(self) -> bool:
        """Whether the main thread is where ML-Agents collects and learns, and answers an interrupt by saving."""
        return _is_within(sys._current_frames().get(self._main), _TRAINING)


def _is_within(frame: FrameType | None, function: str) -> bool:
    while frame is not None:
        if frame.f_code.co_name == function:
            return True
        frame = frame.f_back
    return False
