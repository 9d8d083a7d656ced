"""The agents of a player's message, read from its bytes straight into arrays.

n agents, D observation values, K mask entries.

A protobuf object per agent and a Python number per value would cost more than everything else that a step takes.
Fields are read in any order, defaults may be left out, unknown fields are skipped.

Source: the protobuf encoding, https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import numpy as np

from drivetrain.sim.kernel_cache import kernel

BROKEN = -1
"""The bytes end within a field, or hold a wire type that there is not."""
TOO_MANY = -2
"""There are more agents than rows to read them into."""
OTHER_SHAPE = -3
"""An agent has another number of observations, or of values in one of them."""
PICTURE = -4
"""An observation is a compressed picture."""

DONE = np.uint8(1)
"""Flag: the episode ended."""
CUT_OFF = np.uint8(2)
"""Flag: it ended by its time limit."""
MASKED = np.uint8(4)
"""Flag: the agent came with an action mask."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


@kernel
def _varint(data, at, end):
    """Return (value, place after it); place -1 where the bytes end early."""
    value = np.uint64(0)
    for i in range(10):
        if at + i >= end:
            return np.int64(0), np.int64(-1)
        byte = np.uint64(data[at + i])
        value |= (byte & np.uint64(127)) << np.uint64(7 * i)
        if byte < 128:
            return np.int64(value), np.int64(at + i + 1)
    return np.int64(0), np.int64(-1)


@kernel
def _word(data, at):
    """Return four bytes as one little-endian number."""
    low = np.uint32(data[at]) | (np.uint32(data[at + 1]) << np.uint32(8))
    high = (np.uint32(data[at + 2]) << np.uint32(16)) | (np.uint32(data[at + 3]) << np.uint32(24))
    return low | high


@kernel
def _field(data, at, end):
    """Return (number, wire type, value or begin of the content, place after the field); place -1 where broken."""
    tag, at = _varint(data, at, end)
    number, wire = tag >> 3, tag & 7
    value = np.int64(0)
    after = np.int64(-1)
    if at < 0:
        return number, wire, value, after
    if wire == _VARINT:
        value, after = _varint(data, at, end)
    elif wire == _BYTES:
        size, begin = _varint(data, at, end)
        if begin >= 0 and 0 <= size <= end - begin:
            value, after = begin, begin + size
    elif wire == _FOUR_BYTES or wire == _EIGHT_BYTES:
        size = 4 if wire == _FOUR_BYTES else 8
        if size <= end - at:
            value, after = at, at + size
    return number, wire, value, after


@kernel
def _floats(data, at, end, out, start, size):
    """Read a FloatData into ``out`` from ``start``; return a count of values, or BROKEN, or OTHER_SHAPE."""
    count = 0
    while at < end:
        number, wire, value, after = _field(data, at, end)
        if after < 0:
            return BROKEN
        if number == 1 and (wire == _BYTES or wire == _FOUR_BYTES):
            length = after - value
            if length % 4 != 0:
                return BROKEN
            if count + length // 4 > size:
                return OTHER_SHAPE
            for i in range(length // 4):
                out[start + count + i] = _word(data, value + 4 * i)
            count += length // 4
        at = after
    return count


@kernel
def _observation(data, at, end, out, start, size):
    """Read an Observation into ``out``; return 0 or what is wrong."""
    count = 0
    while at < end:
        number, wire, value, after = _field(data, at, end)
        if after < 0:
            return BROKEN
        if (number == 3 and wire == _BYTES and after > value) or (number == 2 and wire == _VARINT and value != 0):
            return PICTURE
        if number == 4 and wire == _BYTES:
            count = _floats(data, value, after, out, start, size)
            if count < 0:
                return count
        at = after
    return 0 if count == size else OTHER_SHAPE


@kernel
def _mask(data, wire, at, after, out, filled):
    """Read mask entries, packed or one by one, from place ``filled``; return how many are read then, or BROKEN."""
    if wire == _VARINT:
        if filled < len(out):
            out[filled] = 1 if at != 0 else 0  # here ``at`` is the value itself
        return filled + 1
    while at < after:
        value, at = _varint(data, at, after)
        if at < 0:
            return BROKEN
        if filled < len(out):
            out[filled] = 1 if value != 0 else 0
        filled += 1
    return filled


@kernel
def _agent(data, at, end, sizes, row, ids, rewards, flags, observation, mask):
    """Read one AgentInfo into row ``row``; return 0 or what is wrong."""
    ids[row], flags[row] = 0, 0
    rewards[row, 0], rewards[row, 1] = 0, 0
    mask[row, :] = 0
    num_observations, start, masked = 0, 0, 0
    while at < end:
        number, wire, value, after = _field(data, at, end)
        if after < 0:
            return BROKEN
        if number == 13 and wire == _BYTES:
            if num_observations == len(sizes):
                return OTHER_SHAPE
            size = sizes[num_observations]
            wrong = _observation(data, value, after, observation[row], start, size)
            if wrong != 0:
                return wrong
            start += size
            num_observations += 1
        elif number == 7 and wire == _FOUR_BYTES:
            rewards[row, 0] = _word(data, value)
        elif number == 15 and wire == _FOUR_BYTES:
            rewards[row, 1] = _word(data, value)
        elif number == 8 and wire == _VARINT and value != 0:
            flags[row] |= DONE
        elif number == 9 and wire == _VARINT and value != 0:
            flags[row] |= CUT_OFF
        elif number == 10 and wire == _VARINT:
            ids[row] = value
        elif number == 11 and (wire == _VARINT or wire == _BYTES):
            masked = _mask(data, wire, value, after, mask[row], masked)
            if masked < 0:
                return BROKEN
        at = after
    if masked != 0 and masked == mask.shape[1]:
        flags[row] |= MASKED
    else:
        mask[row, :] = 0  # a mask of another length means nothing
    return 0 if num_observations == len(sizes) else OTHER_SHAPE


@kernel
def read_agents(data, at, end, sizes, ids, rewards, flags, observation, mask):
    """Read a ListAgentInfo; return the number of agents and, where something is wrong, what and with which agent.

    Args:
        data: The message, uint8.
        at: Begin of the list in it.
        end: Its end.
        sizes: Values of each observation, int64.
        ids: Out: agent ids, int64 [n].
        rewards: Out: reward and group reward, the bits of float32 as uint32 [n, 2].
        flags: Out: DONE, CUT_OFF, MASKED, uint8 [n].
        observation: Out: all observations one behind the other, the bits of float32 as uint32 [n, D].
        mask: Out: 1 where an action is forbidden, uint8 [n, K].
    """
    count = 0
    while at < end:
        number, wire, value, after = _field(data, at, end)
        if after < 0:
            return BROKEN, count
        if number == 1 and wire == _BYTES:
            if count == len(ids):
                return TOO_MANY, count
            wrong = _agent(data, value, after, sizes, count, ids, rewards, flags, observation, mask)
            if wrong != 0:
                return wrong, count
            count += 1
        at = after
    return count, -1
