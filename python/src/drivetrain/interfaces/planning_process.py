"""``python -m drivetrain.interfaces.planning_process``: plans for a program in another environment, over pipes.

Questions come on stdin, answers go to stdout, each a message of ``drivetrain_planner.py``: eight bytes of length and an
``.npz`` archive whose array ``words`` is JSON. The process ends when nobody can ask any more. It is started by an
exported adapter (``drivetrain export``), not by people.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from numpy.typing import NDArray

from drivetrain import __version__
from drivetrain.errors import DrivetrainError, one_line

PROTOCOL = 1
_WATCH_S = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Serve questions until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m drivetrain.interfaces.planning_process", description=__doc__)
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("--planner")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parent", type=int, help="process id; this process ends when that one does")
    arguments = parser.parse_args(argv)
    if (arguments.checkpoint is None) == (arguments.planner is None):
        parser.error("give either a checkpoint or --planner")
    # What a library prints must not get between the messages.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if arguments.parent is not None:
        threading.Thread(target=_watch, args=(arguments.parent,), daemon=True).start()
    try:
        from drivetrain.trainer.planning_service import PlanningService, named_team, policy_team_of

        team = (
            named_team(arguments.planner)
            if arguments.planner is not None
            else policy_team_of(arguments.checkpoint, device=arguments.device)
        )
    except DrivetrainError as error:
        _write(answers, {"error": str(error)}, {})
        return error.exit_code
    _write(answers, {"protocol": PROTOCOL, "version": __version__}, {})
    service = PlanningService(team)
    while (message := _read(sys.stdin.buffer)) is not None:
        words, arrays = message
        for drive in words["forgotten"]:
            service.forget(drive)
        try:
            if words["do"] == "begin":
                service.begin(words)
                _write(answers, {}, {})
            else:
                _write(answers, {}, {"poses": service.plan(words, arrays)})
        except Exception as error:  # it ends this drive only; the others go on
            _write(answers, {"error": one_line(error)}, {})
    return 0


def _watch(parent: int) -> None:
    """End when the parent is gone: a fork of it may still hold our pipe."""
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)


def _write(stream: BinaryIO, words: dict[str, Any], arrays: dict[str, NDArray]) -> None:
    import numpy as np

    packed = io.BytesIO()
    contents: dict[str, Any] = {"words": np.frombuffer(json.dumps(words).encode(), dtype=np.uint8), **arrays}
    np.savez(packed, **contents)
    content = packed.getvalue()
    stream.write(struct.pack("<Q", len(content)) + content)
    stream.flush()


def _read(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, NDArray]] | None:
    """Return a question; None where nobody asks any more."""
    import numpy as np

    head = stream.read(8)
    if len(head) < 8:
        return None
    (size,) = struct.unpack("<Q", head)
    content = stream.read(size)
    if len(content) < size:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop("words").tobytes()), arrays


if __name__ == "__main__":
    sys.exit(main())
