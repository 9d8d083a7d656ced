"""A player's side of the wire, fast enough to load a server: all records of a list are equally long."""

from drivetrain.mlagents import messages
from drivetrain.mlagents.wire import content, float_bytes, number_bytes, records, varint_bytes


def agent_infos(*, id, reward, done, cut_off, observations, forbidden=None) -> bytes:
    """Return the bytes of a ListAgentInfo, for a player of our own.

    Args:
        id: From 0, shape [n].
        reward: Since the last decision, shape [n].
        done: The episode ended, shape [n].
        cut_off: By its time limit, shape [n].
        observations: Name and values [n, D] of each vector observation.
        forbidden: True where a choice is forbidden, all branches one behind the other, shape [n, K]; None: no mask.
    """
    pieces = [b"\x3d", float_bytes(reward[:, None])]
    pieces += [b"\x40", done[:, None].astype("u1"), b"\x48", cut_off[:, None].astype("u1")]
    pieces += [b"\x50", number_bytes(id[:, None], 5)]
    if forbidden is not None:
        pieces += [b"\x5a" + varint_bytes(forbidden.shape[1]), forbidden.astype("u1")]
    for name, values in observations:
        size = values.shape[1]
        data_head = b"\x0a" + varint_bytes(4 * size)
        head = content(b"\x0a", varint_bytes(size)) + content(b"\x42", name.encode())
        head += b"\x22" + varint_bytes(len(data_head) + 4 * size) + data_head
        pieces += [b"\x6a" + varint_bytes(len(head) + 4 * size) + head, float_bytes(values)]
    return records(len(id), pieces)


def player_message(*, agents, side_channel=b"", initialization=b"") -> bytes:
    """Return the bytes of a UnityMessage of a player of our own.

    Args:
        agents: A ListAgentInfo by behavior.
        side_channel: For the trainer's side channels.
        initialization: A UnityRLInitializationOutput, where there is something to say of behaviors.
    """
    inner = b"".join(
        content(b"\x12", content(b"\x0a", behavior.encode()) + content(b"\x12", data))
        for behavior, data in agents.items()
    )
    inner += content(b"\x1a", side_channel) if side_channel else b""
    output = content(b"\x0a", inner) + (content(b"\x12", initialization) if initialization else b"")
    header = b"\x08" + varint_bytes(messages.OK)
    return content(b"\x0a", header) + content(b"\x12", output)
