"""The player's end of the line to a trainer: it calls, the trainer answers.

The trainer is whoever listens: the real `mlagents-learn`, `mlagents_envs`, or our own server. A line that breaks, a
trainer that says goodbye and a parent process that is gone all mean the same: the player's work is done.

Source: Unity ML-Agents 1.1.0 (Apache-2.0), ``mlagents_envs.environment`` and ``rpc_communicator``.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import grpc

from drivetrain.errors import RunError
from drivetrain.mlagents.messages import (
    COMMUNICATION_VERSION,
    EXCHANGE,
    OK,
    PACKAGE_VERSION,
    UnityMessage,
    set_capabilities,
)

CONNECT_TIMEOUT_S = 60.0
"""Longest wait for somebody to listen [s]."""
_PARENT_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """What the trainer says first."""

    seed: int
    """Of everything random in the player."""
    communication_version: str
    """Of the trainer's protocol."""
    num_areas: int
    """How many copies of its scene a player should make."""


class PlayerLink:
    """A connection to a trainer on this machine.

    Args:
        port: Where it listens.
        name: What the player calls itself.
        connect_timeout_s: Longest wait for it [s].
    """

    def __init__(self, port: int, *, name: str, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self._port, self._name, self._connect_timeout_s = port, name, connect_timeout_s
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        # Bytes both ways: who sends many agents writes them faster than protobuf would.
        self._call = self._channel.unary_unary(EXCHANGE)

    def begin(self) -> Beginning | None:
        """Introduce the player; None: the trainer does not want it.

        Raises:
            RunError: Nobody listens, or the trainer speaks another major version.
        """
        message = UnityMessage()
        message.header.status = OK
        introduction = message.unity_output.rl_initialization_output
        introduction.name = self._name
        introduction.communication_version = COMMUNICATION_VERSION
        introduction.package_version = PACKAGE_VERSION
        set_capabilities(introduction.capabilities)
        try:
            data = self._call(message.SerializeToString(), wait_for_ready=True, timeout=self._connect_timeout_s)
        except grpc.RpcError as error:
            raise RunError(
                f"player: no trainer on port {self._port} within {self._connect_timeout_s:.0f} s "
                f"({_reason(error)}); start it with mlagents-learn CONFIG --env THIS_FILE"
            ) from error
        answer = UnityMessage.FromString(data)
        if answer.header.status != OK:
            return None
        given = answer.unity_input.rl_initialization_input
        if given.communication_version.split(".")[0] != COMMUNICATION_VERSION.split(".")[0]:
            raise RunError(
                f"player: the trainer speaks version {given.communication_version or '?'} of the protocol, this player "
                f"{COMMUNICATION_VERSION}; use mlagents {PACKAGE_VERSION}"
            )
        return Beginning(seed=given.seed, communication_version=given.communication_version, num_areas=given.num_areas)

    def exchange(self, data: bytes = b"") -> Any:
        """Send the bytes of a message and return the trainer's ``UnityRLInput``; None: it is over.

        Args:
            data: Of a UnityMessage without its header; empty: the header alone, which is answered by the first reset.

        Raises:
            RunError: The message is larger than the trainer takes.
        """
        try:
            answer = UnityMessage.FromString(self._call(_HEADER + data))
        except grpc.RpcError as error:
            if _reason(error) == "resource exhausted":
                raise RunError(
                    f"player: a message of {len(data):,} bytes is more than the trainer takes (mlagents-learn: 4 MB); "
                    "serve fewer agents, and more players with --num-envs"
                ) from error
            return None
        return answer.unity_input.rl_input if answer.header.status == OK else None

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


def end_with_parent() -> None:
    """End this process, with exit code 0, as soon as the one that started it is gone.

    A trainer that is killed leaves the line open in a worker that waits for ever; its player must not wait with it.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL_S)
        os._exit(0)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def _reason(error: Any) -> str:
    code = getattr(error, "code", lambda: None)()
    return code.name.lower().replace("_", " ") if code is not None else type(error).__name__


_HEADER = UnityMessage(header={"status": OK}).SerializeToString()
