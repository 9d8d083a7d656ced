"""Side channels: what player and trainer say to each other beside observations and actions.

Bytes repeat: a channel's id (16 bytes, little-endian form), the length of its content (int32), the content. Numbers are
little-endian; a string is its length (int32) and its ASCII bytes, a list its length and float32 values.

Source: Unity ML-Agents 1.1.0 (Apache-2.0), ``mlagents_envs.side_channel``.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from drivetrain.errors import DataError

ENGINE: Final = uuid.UUID("e951342c-4f7e-11ea-b238-784f4387d1f7")
"""To the player: picture size, quality, time scale, frame rates."""
ENVIRONMENT_PARAMETERS: Final = uuid.UUID("534c891e-810f-11ea-a9d0-822485860400")
"""To the player: named numbers and samplers."""
STATS: Final = uuid.UUID("a1d8f7b7-cec8-50f9-b78b-d3e165a78520")
"""To the trainer: named numbers with the way they are to be averaged."""
TRAINING_ANALYTICS: Final = uuid.UUID("b664a4a9-d86f-5a5f-95cb-e8353a7e8356")
"""To the player: what the trainer is; of no use here."""

Aggregation = Literal["average", "most_recent", "sum", "histogram"]
_AGGREGATIONS: tuple[Aggregation, ...] = ("average", "most_recent", "sum", "histogram")
"""In the order of their numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat:
    """A number that a player reports."""

    key: str
    """Its name, with slashes as in TensorBoard."""
    value: float
    """Its value."""
    aggregation: Aggregation = "average"
    """How several reports become one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineSetting:
    """A setting of Unity's engine."""

    kind: Literal["resolution", "quality_level", "time_scale", "target_frame_rate", "capture_frame_rate"]
    """What is set."""
    values: tuple[float, ...]
    """Width and height [pixel], or the one number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvironmentParameter:
    """A named number of the environment, or how the player shall draw it."""

    key: str
    """Its name."""
    value: float | None = None
    """The number; None: it is drawn."""
    sampler: Literal["uniform", "gaussian", "multirangeuniform"] | None = None
    """How it is drawn; None: it is ``value``."""
    sampler_parameters: tuple[float, ...] = ()
    """Lowest and highest; mean and standard deviation; or lowest, highest of each range in turn."""
    seed: int = 0
    """Of the drawing."""


_ENGINE_KINDS = ("resolution", "quality_level", "time_scale", "target_frame_rate", "capture_frame_rate")
_SAMPLERS = ("uniform", "gaussian", "multirangeuniform")
_MULTI_RANGE = 2


class _Content:
    """Reads the numbers and strings of a content, one after the other."""

    def __init__(self, content: bytes, channel: str) -> None:
        self._content, self._channel, self._at = content, channel, 0

    def take(self, form: str) -> tuple:
        size = struct.calcsize("<" + form)
        self._need(size)
        self._at += size
        return struct.unpack_from("<" + form, self._content, self._at - size)

    def text(self) -> str:
        (size,) = self.take("i")
        self._need(size)
        self._at += size
        return self._content[self._at - size : self._at].decode("ascii", errors="replace")

    def floats(self) -> tuple[float, ...]:
        (count,) = self.take("i")
        self._need(4 * count)
        return self.take(f"{count}f")

    def _need(self, size: int) -> None:
        if not 0 <= size <= len(self._content) - self._at:
            raise DataError(
                f"side channel '{self._channel}': {len(self._content)} bytes end where {size} more are announced "
                f"at byte {self._at}"
            )


def pack(messages: Iterable[tuple[uuid.UUID, bytes]]) -> bytes:
    """Return the bytes of (channel, content) pairs."""
    return b"".join(channel.bytes_le + struct.pack("<i", len(content)) + content for channel, content in messages)


def unpack(data: bytes) -> list[tuple[uuid.UUID, bytes]]:
    """Return the (channel, content) pairs of the bytes, unknown channels included.

    Raises:
        DataError: The bytes end within a message.
    """
    found, at = [], 0
    while at < len(data):
        size = struct.unpack_from("<i", data, at + 16)[0] if at + 20 <= len(data) else -1
        if size < 0 or at + 20 + size > len(data):
            raise DataError(f"side channels: the message at byte {at} does not end within the {len(data)} bytes")
        found.append((uuid.UUID(bytes_le=data[at : at + 16]), data[at + 20 : at + 20 + size]))
        at += 20 + size
    return found


def _text(text: str) -> bytes:
    data = text.encode("ascii", errors="replace")
    return struct.pack("<i", len(data)) + data


def stat_content(stat: Stat) -> bytes:
    """Return what the channel STATS carries for one number."""
    return _text(stat.key) + struct.pack("<fi", stat.value, _AGGREGATIONS.index(stat.aggregation))


def read_stat(content: bytes) -> Stat:
    """Return the number that a content of the channel STATS reports.

    Raises:
        DataError: The content ends early or names no way of averaging.
    """
    reader = _Content(content, "stats")
    key = reader.text()
    value, number = reader.take("fi")
    if not 0 <= number < len(_AGGREGATIONS):
        raise DataError(f"side channel 'stats': aggregation {number} of '{key}' is none of 0 to 3")
    return Stat(key=key, value=value, aggregation=_AGGREGATIONS[number])


def engine_content(setting: EngineSetting) -> bytes:
    """Return what the channel ENGINE carries for one setting."""
    number = _ENGINE_KINDS.index(setting.kind)
    if setting.kind == "time_scale":
        return struct.pack("<if", number, setting.values[0])
    return struct.pack(f"<i{len(setting.values)}i", number, *(int(v) for v in setting.values))


def read_engine(content: bytes) -> EngineSetting:
    """Return the setting that a content of the channel ENGINE carries.

    Raises:
        DataError: The content ends early or is of no known kind.
    """
    reader = _Content(content, "engine")
    (number,) = reader.take("i")
    if not 0 <= number < len(_ENGINE_KINDS):
        raise DataError(f"side channel 'engine': kind {number} is none of 0 to 4")
    kind = _ENGINE_KINDS[number]
    form = {"resolution": "2i", "time_scale": "f"}.get(kind, "i")
    return EngineSetting(kind=kind, values=tuple(float(v) for v in reader.take(form)))


def parameter_content(parameter: EnvironmentParameter) -> bytes:
    """Return what the channel ENVIRONMENT_PARAMETERS carries for one parameter."""
    if parameter.sampler is None:
        return _text(parameter.key) + struct.pack("<if", 0, parameter.value or 0.0)
    number = _SAMPLERS.index(parameter.sampler)
    values = struct.pack(f"<{len(parameter.sampler_parameters)}f", *parameter.sampler_parameters)
    count = struct.pack("<i", len(parameter.sampler_parameters)) if number == _MULTI_RANGE else b""
    return _text(parameter.key) + struct.pack("<iii", 1, parameter.seed, number) + count + values


def read_parameter(content: bytes) -> EnvironmentParameter:
    """Return the parameter that a content of the channel ENVIRONMENT_PARAMETERS carries.

    Raises:
        DataError: The content ends early or names no known way of drawing.
    """
    reader = _Content(content, "environment parameters")
    key = reader.text()
    (kind,) = reader.take("i")
    if kind == 0:
        return EnvironmentParameter(key=key, value=reader.take("f")[0])
    seed, number = reader.take("ii")
    if kind != 1 or not 0 <= number < len(_SAMPLERS):
        raise DataError(f"side channel 'environment parameters': '{key}' has kind {kind} and sampler {number}")
    values = reader.floats() if number == _MULTI_RANGE else reader.take("ff")
    return EnvironmentParameter(key=key, sampler=_SAMPLERS[number], sampler_parameters=values, seed=seed)


def read_stats(data: bytes) -> list[Stat]:
    """Return every number that a player reports in its side-channel bytes.

    Raises:
        DataError: The bytes or a content end early.
    """
    return [read_stat(content) for channel, content in unpack(data) if channel == STATS]


def stats_bytes(stats: Sequence[Stat]) -> bytes:
    """Return the side-channel bytes that report these numbers."""
    return pack((STATS, stat_content(stat)) for stat in stats)
