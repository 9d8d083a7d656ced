"""One ML-Agents player at work: its process, its server, and what it said of itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from drivetrain.errors import DataError, RunError
from drivetrain.mlagents import messages
from drivetrain.mlagents.player_process import PlayerProcess
from drivetrain.mlagents.server import PlayerServer
from drivetrain.mlagents.side_channels import (
    ENGINE,
    ENVIRONMENT_PARAMETERS,
    EngineSetting,
    EnvironmentParameter,
    engine_content,
    pack,
    parameter_content,
)
from drivetrain.mlagents.wire import PlayerMessage, answer, take_apart

_LOOK_S = 0.2
"""How often a silent player is looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObservationSpec:
    """One observation of a behavior."""

    name: str
    """As the sensor is called."""
    shape: tuple[int, ...]
    """Rank 1: a vector; 2: entities; 3: channels, height, width."""
    is_picture: bool
    """It comes as compressed pictures."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Behavior:
    """What the agents of one behavior see and do."""

    name: str
    """As on the wire: ``Name?team=0``."""
    observations: tuple[ObservationSpec, ...]
    """In the order in which they come."""
    num_continuous: int
    """Continuous actions (M)."""
    branches: tuple[int, ...]
    """Choices of each discrete branch (B of them)."""

    @property
    def short_name(self) -> str:
        """The name without the team, as in a trainer's config."""
        return self.name.partition("?")[0]


class Player:
    """A player that was started by us and speaks to nobody else."""

    def __init__(
        self,
        executable: Path,
        *,
        index: int = 0,
        seed: int = 0,
        arguments: Sequence[str] = (),
        graphics: bool = False,
        time_scale: float = 20.0,
        parameters: Mapping[str, float] | None = None,
        num_areas: int = 1,
        timeout_s: float = 60.0,
        log: Path,
    ) -> None:
        """Start it; :meth:`connect` waits for it.

        Args:
            executable: The build.
            index: Which of several it is, for messages.
            seed: What it draws its random numbers from.
            arguments: Appended to its command line.
            graphics: False: it shows no window.
            time_scale: Simulated seconds per second that a Unity build aims at.
            parameters: Environment parameters by name.
            num_areas: Training areas that it shall create.
            timeout_s: It may stay silent this long [s].
            log: Where its output goes; Unity's own log is put beside it.
        """
        self.behaviors: dict[str, Behavior] = {}
        self._index, self._seed, self._num_areas, self._timeout_s = index, seed, num_areas, timeout_s
        self._executable = executable
        self._actions: dict[str, Any] = {}
        self._first_words = pack(
            [
                (ENGINE, engine_content(EngineSetting(kind="time_scale", values=(time_scale,)))),
                *(
                    (ENVIRONMENT_PARAMETERS, parameter_content(EnvironmentParameter(key=key, value=value)))
                    for key, value in (parameters or {}).items()
                ),
            ]
        )
        self._is_ready = False
        self._server = PlayerServer()
        unity_log = [] if "-logFile" in arguments else ["-logFile", str(log.with_suffix(".unity.log"))]
        command = [
            str(executable),
            *([] if graphics else ["-nographics", "-batchmode"]),
            "--mlagents-port",
            str(self._server.port),
            *unity_log,
            *arguments,
        ]
        try:
            self._process = PlayerProcess(command, log=log)
        except BaseException:
            self._server.close()
            raise

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def connect(self) -> None:
        """Wait until the player has said who it is, and answer.

        Raises:
            RunError: It ends, stays silent, or speaks another version.
        """
        hello = self._next()
        said = _parsed(hello).unity_output.rl_initialization_output
        ours, theirs = messages.COMMUNICATION_VERSION, said.communication_version
        if theirs.partition(".")[0] != ours.partition(".")[0]:
            raise RunError(
                f"{self._label}: it speaks communication version {theirs or 'unknown'}, this program {ours}; "
                "use a build with the Unity package com.unity.ml-agents 2 to 4"
            )
        message = messages.UnityMessage()
        message.header.status = messages.OK
        told = message.unity_input.rl_initialization_input
        told.seed, told.num_areas = self._seed, self._num_areas
        told.communication_version, told.package_version = ours, messages.PACKAGE_VERSION
        messages.set_capabilities(told.capabilities)
        self._server.answer(message.SerializeToString())
        self._next()
        self._is_ready = True

    def reset(self) -> PlayerMessage:
        """Start every episode anew; return the first message with agents to come from it."""
        self._server.answer(answer(command=messages.RESET, side_channel=self._first_words))
        return self.receive()

    def send(self, actions: Mapping[str, bytes]) -> None:
        """Advance by one step: a ListAgentAction for each behavior in which agents wait."""
        self._server.answer(answer(actions=actions))

    def receive(self) -> PlayerMessage:
        """Return the player's next message.

        Raises:
            RunError: It ends, stays silent, or sends something else.
        """
        message = self._next()
        if message.has_initialization:
            self._learn_behaviors(message)
        return message

    def hang_up(self) -> None:
        """Tell the player to end; :meth:`close` waits for it."""
        self._server.close()

    def close(self) -> None:
        """End the player."""
        self.hang_up()
        self._process.end()

    @property
    def _label(self) -> str:
        return f"player {self._index} ({self._executable}, pid {self._process.pid})"

    def _next(self) -> PlayerMessage:
        deadline = time.monotonic() + self._timeout_s
        while (data := self._server.receive(timeout_s=_LOOK_S)) is None:
            ending = self._process.ending()
            if ending is not None:
                before = "" if self._is_ready else " before it said anything"
                raise RunError(f"{self._label} {ending.replace(';', before + ';', 1)}")
            if time.monotonic() > deadline:
                raise RunError(
                    f"{self._label} has said nothing for {self._timeout_s:g} s; {self._process.last_lines()}; "
                    "if it only needs longer, raise environment.timeout_s"
                )
        try:
            message = take_apart(data)
        except DataError as error:
            raise RunError(f"{self._label}: {error}") from error
        if message.status != messages.OK:
            raise RunError(f"{self._label} stops with status {message.status}; {self._process.last_lines()}")
        return message

    def _learn_behaviors(self, message: PlayerMessage) -> None:
        output = _parsed(message).unity_output
        for brain in output.rl_initialization_output.brain_parameters:
            self._actions[brain.brain_name] = brain.action_spec
        # What is observed is known from the first agent only.
        for name, agents in output.rl_output.agentInfos.items():
            if name in self._actions and agents.value and name not in self.behaviors:
                self.behaviors[name] = _behavior(name, self._actions[name], agents.value[0])

    def fail(self, text: str) -> RunError:
        """Return the error that something is wrong with what this player says."""
        return RunError(f"{self._label}: {text}")


def _parsed(message: PlayerMessage) -> Any:
    """Return the message as an object; an empty one where its bytes are damaged."""
    with contextlib.suppress(DecodeError):
        return messages.UnityMessage.FromString(message.data)
    return messages.UnityMessage()


def _behavior(name: str, action_spec: Any, agent: Any) -> Behavior:
    return Behavior(
        name=name,
        observations=tuple(
            ObservationSpec(
                name=observation.name or f"obs_{i}",
                shape=tuple(observation.shape),
                is_picture=observation.WhichOneof("observation_data") == "compressed_data",
            )
            for i, observation in enumerate(agent.observations)
        ),
        num_continuous=action_spec.num_continuous_actions,
        branches=tuple(action_spec.discrete_branch_sizes),
    )
