"""The player: `python -m drivetrain.mlagents_player`, started by the executable that `player-export` writes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from drivetrain.errors import DrivetrainError, RunError

if TYPE_CHECKING:
    from drivetrain.mlagents.player_link import PlayerLink
    from drivetrain.mlagents_player.driving import DrivingAgents

EDITOR_PORT = 5004
"""Where mlagents-learn waits when it is given no --env."""
NAME = "drivetrain"

Say = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the driving task until the trainer has had enough; 0 then, 1 where the player fails."""
    arguments, ignored = _parser().parse_known_args(argv)
    say = _log(arguments.log_file)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    try:
        if ignored:
            say(f"ignored: {' '.join(ignored)}")
        return _serve(arguments, say)
    except DrivetrainError as error:
        say(f"error: {error}")
        sys.stderr.write(f"drivetrain: {error}\n")
        return 1


def _serve(arguments: argparse.Namespace, say: Say) -> int:
    from drivetrain.mlagents.player_link import PlayerLink, end_with_parent

    end_with_parent()
    link = PlayerLink(arguments.port, name=NAME)
    beginning = link.begin()
    if beginning is None:
        return 0
    say(f"connected on port {arguments.port}, protocol {beginning.communication_version}, seed {beginning.seed}")
    from drivetrain.mlagents_player.scenes import agents

    task = agents(
        Path(arguments.data), num_worlds=arguments.worlds, split=arguments.split, seed=beginning.seed, say=say
    )
    try:
        return _converse(link, task, say)
    finally:
        task.close()
        link.close()


def _converse(link: PlayerLink, task: DrivingAgents, say: Say) -> int:
    import numpy as np

    from drivetrain.mlagents.messages import QUIT, RESET
    from drivetrain.mlagents_player.driving import NUM_ACTIONS, WIRE_NAME

    asked = link.exchange()
    steps = 0
    while asked is not None and asked.command != QUIT:
        if asked.command == RESET:
            say(f"reset after {steps:,} steps")
            said = task.reset(asked.side_channel)
        else:
            given = asked.agent_actions[WIRE_NAME].value
            actions = np.array([action.continuous_actions for action in given], dtype=np.float32)
            said = task.step(actions.reshape(len(given), -1 if len(given) else NUM_ACTIONS), asked.side_channel)
            steps += 1
        asked = link.exchange(said)
    say(f"the trainer has hung up after {steps:,} steps")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="player", description=__doc__, allow_abbrev=False)
    parser.add_argument("--mlagents-port", dest="port", type=int, default=EDITOR_PORT, metavar="N")
    parser.add_argument("-logFile", dest="log_file", type=Path, metavar="FILE")
    parser.add_argument("-nographics", action="store_true", help="accepted; there are none")
    parser.add_argument("-batchmode", action="store_true", help="accepted; there is no other mode")
    parser.add_argument("--data", required=True, metavar="DIR", help="scenario store")
    parser.add_argument("--worlds", type=int, required=True, metavar="N", help="agents")
    parser.add_argument("--split", default="train", metavar="NAME", help="split of the store (train)")
    return parser


def _log(path: Path | None) -> Say:
    """Return what writes lines to the log the trainer asked for; without one, to stderr."""
    begun = time.monotonic()

    def say(line: str) -> None:
        text = f"[{time.monotonic() - begun:8.2f} s] {line}\n"
        if path is None:
            sys.stderr.write(text)
            return
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise RunError(f"player: -logFile {path}: cannot write ({error.strerror})") from error

    return say


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)


if __name__ == "__main__":
    # At once: a trainer that stops waits for its players, and there is nothing to tear down in order.
    os._exit(main())
