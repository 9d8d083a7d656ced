"""The agents of a message as bytes, many at once: one template per agent, filled by columns.

All agents of a behavior with fixed vector observations take the same number of bytes if nothing is left out, so the
list of them is an array of records; no message object is made per agent or per number.

Source: protobuf's wire format; the fields of ``AgentInfo`` and ``Observation`` (messages.py).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

_ID_BYTES = 5
"""An id is written as a number of five bytes, whatever its size; readers take such numbers as they are."""
_DIMENSION_NONE = 1
"""``dimension_properties`` of a vector: its axis has no special meaning."""


class AgentRecords:
    """Writes ``UnityRLOutput.agentInfos`` of one behavior.

    Args:
        behavior: Its name on the wire, e.g. ``DrivingPlanner?team=0``.
        sizes: Name -> number of values of each vector observation, in order.
    """

    def __init__(self, behavior: str, sizes: Mapping[str, int]) -> None:
        self.behavior = behavior
        self.sizes = dict(sizes)
        fields, template = _layout(sizes)
        body = len(template)
        head = b"\x0a" + varint(body)  # ListAgentInfo.value:1
        shift = len(head)
        names = list(fields)
        self._record = np.dtype(
            {
                "names": names,
                "formats": [fields[name][0] for name in names],
                "offsets": [fields[name][1] + shift for name in names],
                "itemsize": shift + body,
            }
        )
        self._template = np.frombuffer(head + template, dtype=np.uint8)

    @property
    def bytes_per_agent(self) -> int:
        """Size of one agent in a message [byte]."""
        return len(self._template)

    def pack(
        self,
        *,
        ids: NDArray[np.int64],
        reward: NDArray[np.float32],
        done: NDArray[np.bool_],
        interrupted: NDArray[np.bool_],
        observation: NDArray[np.float32],
    ) -> bytes:
        """Return agents as the bytes of a list.

        Args:
            ids: Of the agents, shape [N].
            reward: Since the last decision, shape [N].
            done: The episode is over, shape [N].
            interrupted: It was cut off rather than ended by the task, shape [N].
            observation: All observations side by side in the order of the sizes, shape [N, D].
        """
        raw = np.tile(self._template, (len(ids), 1))
        records = raw.view(self._record)[:, 0]
        records["reward"] = reward
        records["done"] = done
        records["interrupted"] = interrupted
        digits = (ids[:, None] >> (7 * np.arange(_ID_BYTES))) & 0x7F
        digits[:, :-1] |= 0x80
        records["id"] = digits
        at = 0
        for name, size in self.sizes.items():
            records[name] = observation[:, at : at + size]
            at += size
        return raw.tobytes()

    def output(self, agents: bytes) -> bytes:
        """Return a list of agents as the bytes of a UnityMessage that says nothing else; such bytes may be appended."""
        key = self.behavior.encode()
        entry = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(agents)) + agents
        rl_output = b"\x12" + varint(len(entry)) + entry
        output = b"\x0a" + varint(len(rl_output)) + rl_output
        return b"\x12" + varint(len(output)) + output


def varint(number: int) -> bytes:
    """Return a number that is not negative in protobuf's variable length."""
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _layout(sizes: Mapping[str, int]) -> tuple[dict[str, tuple[object, int]], bytes]:
    """Return (format, offset) of what changes, and the bytes of an agent in which all of that is 0."""
    fields: dict[str, tuple[object, int]] = {}
    data = bytearray()

    def add(name: str, form: object, size: int) -> None:
        fields[name] = (form, len(data))
        data.extend(bytes(size))

    data += b"\x3d"  # reward:7
    add("reward", "<f4", 4)
    data += b"\x40"  # done:8
    add("done", "u1", 1)
    data += b"\x48"  # max_step_reached:9
    add("interrupted", "u1", 1)
    data += b"\x50"  # id:10
    add("id", ("u1", (_ID_BYTES,)), _ID_BYTES)
    for name, size in sizes.items():
        floats = b"\x0a" + varint(4 * size)  # FloatData.data:1
        before = b"\x0a" + varint(len(varint(size))) + varint(size)  # shape:1
        before += b"\x22" + varint(len(floats) + 4 * size) + floats  # float_data:4
        label = name.encode()
        after = struct.pack("BBB", 0x32, 1, _DIMENSION_NONE) + b"\x42" + varint(len(label)) + label
        data += b"\x6a" + varint(len(before) + 4 * size + len(after)) + before  # observations:13
        add(name, ("<f4", (size,)), 4 * size)
        data += after
    return fields, bytes(data)
