"""A learner process besides the first: ``python -m drivetrain.trainer.train_worker``, started by a training.

Has no files and no voice: it follows the leader, and ends when the leader does.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from drivetrain.errors import DrivetrainError, LostProcessError


def main() -> int:
    """Join the leader's group and learn as it says; return the exit code."""
    parser = argparse.ArgumentParser(prog="train_worker", description="A learner process; started by a training.")
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--rendezvous", type=Path, required=True)
    parser.add_argument("--leader", type=int, required=True, help="process id of the training")
    parser.add_argument("--no-shared-memory", action="store_true")
    arguments = parser.parse_args()
    # Signals to the whole group are the leader's to answer: it saves, and this process's state with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    leader = arguments.leader
    threading.Thread(target=_end_with, args=(leader,), daemon=True).start()

    def check() -> None:
        if os.getppid() != leader:
            raise LostProcessError("the leading process is gone")

    try:
        _work(arguments, check)
    except DrivetrainError as error:
        if os.getppid() == leader:
            sys.stderr.write(f"learner process {arguments.rank}: {error}\n")
        return error.exit_code
    return 0


def _end_with(leader: int) -> None:
    """End this process when its leader is gone, whatever it is waiting for; nothing here needs saving."""
    while os.getppid() == leader:
        time.sleep(0.5)
    os._exit(1)


def _work(arguments: argparse.Namespace, check: Callable[[], None]) -> None:
    from drivetrain.parallel import ProcessGroup, join_by_file
    from drivetrain.trainer.experiment import learner_of
    from drivetrain.trainer.learner_processes import follow, ready_file

    ready_file(arguments.rendezvous, arguments.rank).touch()
    join_by_file(arguments.rendezvous, rank=arguments.rank, size=arguments.size)
    follow(learner_of, ProcessGroup(check=check, shared=not arguments.no_shared_memory))


if __name__ == "__main__":
    sys.exit(main())
