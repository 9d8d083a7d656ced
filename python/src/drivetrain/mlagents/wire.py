"""A player's message taken apart, and the answer put together, without an object per agent.

n agents, D observation values, M continuous actions, B discrete branches, K mask entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from drivetrain.errors import DataError
from drivetrain.mlagents import messages
from drivetrain.mlagents.wire_kernels import BROKEN, CUT_OFF, DONE, PICTURE, TOO_MANY, read_agents

LARGEST_BRANCH = 1 << 14
"""Choices of a discrete branch that two bytes of a number can hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlayerMessage:
    """What a player said, as far as it concerns everybody."""

    data: bytes
    """All of it."""
    status: int = 0
    """200 while all is well."""
    has_output: bool = False
    """False: the header alone."""
    agents: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Where the agents of each behavior are in ``data``: begin and end."""
    side_channel: bytes = b""
    """See :mod:`drivetrain.mlagents.side_channels`."""
    has_initialization: bool = False
    """It says which behaviors there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentRows:
    """Agents of one behavior in one message; views that the next one overwrites."""

    id: NDArray[np.int64]
    """Shape [n]."""
    reward: NDArray[np.float32]
    """Since the agent's last decision, with its group's, shape [n]."""
    done: NDArray[np.bool_]
    """The episode ended, shape [n]."""
    cut_off: NDArray[np.bool_]
    """It was a time limit that ended it, shape [n]."""
    observation: NDArray[np.float32]
    """All observations, one behind the other, shape [n, D]."""
    forbidden: NDArray[np.uint8]
    """1 where a choice is forbidden, all branches one behind the other, shape [n, K]."""


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, value or begin of the content, end of the field)."""
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 2:
            size, value = _varint(data, at)
            at = value + size
        elif wire in (1, 5):
            value, at = at, at + (4 if wire == 5 else 8)
        else:
            raise IndexError
        if at > end:
            raise IndexError
        yield tag >> 3, value, at


def take_apart(data: bytes) -> PlayerMessage:
    """Return where everything is in a player's UnityMessage.

    Raises:
        DataError: These are not the bytes of such a message.
    """
    try:
        return _take_apart(data)
    except (IndexError, UnicodeDecodeError) as error:
        raise DataError(f"{len(data)} bytes are no message of an ML-Agents player") from error


def _take_apart(data: bytes) -> PlayerMessage:
    status, has_output, side_channel, has_initialization = 0, False, b"", False
    agents: dict[str, tuple[int, int]] = {}
    for number, begin, end in _fields(data, 0, len(data)):
        if number == 1:
            status = next((value for name, value, _ in _fields(data, begin, end) if name == 1), 0)
        if number != 2:
            continue
        has_output = True
        for part, part_begin, part_end in _fields(data, begin, end):
            if part == 2:
                has_initialization = True
            if part != 1:
                continue
            for name, entry_begin, entry_end in _fields(data, part_begin, part_end):
                if name == 2:
                    behavior, where = _entry(data, entry_begin, entry_end)
                    agents[behavior] = where
                elif name == 3:
                    side_channel = data[entry_begin:entry_end]
    return PlayerMessage(
        data=data,
        status=status,
        has_output=has_output,
        agents=agents,
        side_channel=side_channel,
        has_initialization=has_initialization,
    )


def _entry(data: bytes, begin: int, end: int) -> tuple[str, tuple[int, int]]:
    key, where = "", (end, end)
    for number, value, after in _fields(data, begin, end):
        if number == 1:
            key = data[value:after].decode()
        elif number == 2:
            where = (value, after)
    return key, where


class AgentReader:
    """Reads the agents of one behavior into the same arrays again and again."""

    def __init__(self, sizes: tuple[int, ...], *, num_mask: int = 0, most: int = 64) -> None:
        """Make the arrays.

        Args:
            sizes: Values of each observation.
            num_mask: Choices of all discrete branches together (K).
            most: Agents expected in one message; grows where there are more.
        """
        self._sizes = np.array(sizes, np.int64)
        self._num_mask = num_mask
        self._allocate(most)

    def _allocate(self, most: int) -> None:
        self._ids = np.zeros(most, np.int64)
        self._rewards = np.zeros((most, 2), np.float32)
        self._flags = np.zeros(most, np.uint8)
        self._observation = np.zeros((most, int(self._sizes.sum())), np.float32)
        self._mask = np.zeros((most, self._num_mask), np.uint8)

    def read(self, message: PlayerMessage, behavior: str) -> AgentRows:
        """Return the agents of a behavior; none where the message does not name it.

        Raises:
            DataError: The bytes are damaged, an observation is a picture or has another shape than the first one.
        """
        begin, end = message.agents.get(behavior, (0, 0))
        data = np.frombuffer(message.data, np.uint8)
        while True:
            n, agent = read_agents(
                data, begin, end, self._sizes, self._ids, self._rewards.view(np.uint32), self._flags,
                self._observation.view(np.uint32), self._mask,
            )  # fmt: skip
            if n != TOO_MANY:
                break
            self._allocate(2 * len(self._ids))
        if n < 0:
            self._explain(message, behavior, n, agent)
        flags = self._flags[:n]
        return AgentRows(
            id=self._ids[:n],
            reward=self._rewards[:n, 0] + self._rewards[:n, 1],
            done=(flags & DONE) != 0,
            cut_off=(flags & CUT_OFF) != 0,
            observation=self._observation[:n],
            forbidden=self._mask[:n],
        )

    def _explain(self, message: PlayerMessage, behavior: str, code: int, agent: int) -> None:
        begin, end = message.agents[behavior]
        damaged = f"behavior '{behavior}': the bytes of agent {agent} of the message are damaged"
        if code == BROKEN:
            raise DataError(damaged)
        try:
            info = messages.ListAgentInfo.FromString(message.data[begin:end]).value[agent]
        except DecodeError as error:
            raise DataError(damaged) from error
        if code == PICTURE:
            name = next((o.name for o in info.observations if o.compression_type or o.compressed_data), "?")
            raise DataError(f"behavior '{behavior}': observation '{name}' is a compressed picture")
        found = [len(o.float_data.data) for o in info.observations]
        raise DataError(
            f"behavior '{behavior}': agent {info.id} has observations of {found} values, the first one had "
            f"{self._sizes.tolist()}"
        )


def agent_actions(continuous: NDArray[np.float32], discrete: NDArray[np.int64]) -> bytes:
    """Return the bytes of a ListAgentAction.

    All numbers of discrete choices take two bytes, so that every agent's record is equally long.

    Args:
        continuous: In [-1, 1], shape [n, M].
        discrete: The choice in each branch, below ``LARGEST_BRANCH``, shape [n, B].
    """
    pieces: list[bytes | NDArray[np.uint8]] = []
    if continuous.shape[1]:
        pieces += [b"\x32" + varint_bytes(4 * continuous.shape[1]), float_bytes(continuous)]
    if discrete.shape[1]:
        pieces += [b"\x3a" + varint_bytes(2 * discrete.shape[1]), number_bytes(discrete, 2)]
    return records(len(continuous), pieces)


def float_bytes(values: NDArray) -> NDArray[np.uint8]:
    """Return numbers [n, M] as the bytes of float32, shape [n, 4 M]."""
    return np.ascontiguousarray(values, "<f4").view(np.uint8).reshape(len(values), 4 * values.shape[1])


def number_bytes(values: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Return numbers [n, B] as ``width`` bytes each; leading zeros are allowed in this encoding."""
    shifts = 7 * np.arange(width)
    more = np.where(np.arange(width) < width - 1, 128, 0)
    return ((values[..., None] >> shifts & 127) | more).astype(np.uint8).reshape(len(values), -1)


def records(n: int, pieces: Sequence[bytes | NDArray[np.uint8]]) -> bytes:
    """Return n records of field 1, equally long: what is the same for all, and a row each of what is not."""
    widths = [len(piece) if isinstance(piece, bytes) else piece.shape[1] for piece in pieces]
    start = b"\x0a" + varint_bytes(sum(widths))
    rows = np.empty((n, len(start) + sum(widths)), np.uint8)
    at = 0
    for piece, width in zip([start, *pieces], [len(start), *widths], strict=True):
        rows[:, at : at + width] = np.frombuffer(piece, np.uint8) if isinstance(piece, bytes) else piece
        at += width
    return rows.tobytes()


def varint_bytes(value: int) -> bytes:
    """Return a number that is not negative in protobuf's variable length."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def content(tag: bytes, data: bytes) -> bytes:
    """Return a field that holds bytes, a text or a message."""
    return tag + varint_bytes(len(data)) + data


def answer(
    *, command: int = messages.STEP, actions: Mapping[str, bytes] | None = None, side_channel: bytes = b""
) -> bytes:
    """Return the bytes of a UnityMessage that tells a player what to do.

    Args:
        command: STEP or RESET.
        actions: A ListAgentAction by behavior.
        side_channel: For the player's side channels.
    """
    inner = b"".join(
        content(b"\x0a", content(b"\x0a", behavior.encode()) + content(b"\x12", data))
        for behavior, data in (actions or {}).items()
    )
    inner += b"\x20" + varint_bytes(command) if command else b""
    inner += content(b"\x2a", side_channel) if side_channel else b""
    header = b"\x08" + varint_bytes(messages.OK)
    return content(b"\x0a", header) + content(b"\x1a", content(b"\x0a", inner))


def quit_answer() -> bytes:
    """Return the bytes of a UnityMessage that ends a player."""
    return content(b"\x0a", b"\x08" + varint_bytes(messages.QUIT_STATUS))
