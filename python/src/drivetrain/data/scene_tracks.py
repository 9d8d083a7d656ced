"""Road users of one recorded scene: tracks, sizes that are missing, the ego's rear axle, everybody else.

Formats that record boxes only (their centres, ten times a second) share this: a reader fills :class:`Track`, chooses
the ego, and gets the parts of a driving log.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.track_arrays import Boxes, track_table
from drivetrain.sim.scenario import AgentType, EgoTrack, Int64, TrackTable, VehicleParameters

WHEELBASE_SHARE = 0.6
"""Wheel base over length: the files hold boxes only; nuPlan's Pacifica has 0.597."""
REAR_AXLE_TO_CENTER_SHARE = 0.28
"""Rear axle to box centre over length; nuPlan's Pacifica has 0.282."""
TYPICAL_SIZE = {
    AgentType.VEHICLE: (4.8, 2.0),
    AgentType.PEDESTRIAN: (0.8, 0.8),
    AgentType.BICYCLE: (1.8, 0.8),
    AgentType.TRAFFIC_CONE: (0.4, 0.4),
    AgentType.BARRIER: (0.5, 2.0),
    AgentType.CZONE_SIGN: (0.8, 0.8),
    AgentType.GENERIC_OBJECT: (1.0, 1.0),
}
"""Length and width [m] of a type of which a file knows no size at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Track:
    """One usable object of the file."""

    index: int
    """Place among the file's objects."""
    id: int | None
    """The file's own id as a number, see :func:`token_of`; None where it has none."""
    type: AgentType
    length: float
    """[m]."""
    width: float
    """[m]."""
    size_known: bool
    """The file has the size (else it is typical for the type)."""
    position: np.ndarray
    """Box centre in the file's frame [m], shape [T, 2]."""
    velocity: np.ndarray
    """In the file's frame [m/s], shape [T, 2]; NaN where the file does not say."""
    heading: np.ndarray
    """[rad], shape [T]."""
    valid: np.ndarray
    """shape [T]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EgoChoice:
    """Which track is the ego, and why."""

    track: Track
    reason: str
    """One of a few sentences, the same for all files."""
    first: int
    """First frame of the ego's longest unbroken stretch."""
    last: int
    """Last frame of that stretch, inclusive."""


def with_sizes(tracks: dict[int, Track], dropped: dict[str, int]) -> dict[int, Track]:
    """Fill sizes that are not known: the median of the known ones of the type, else what is typical for it."""
    result: dict[int, Track] = {}
    for index, track in tracks.items():
        if not track.size_known:
            same = [(t.length, t.width) for t in tracks.values() if t.size_known and t.type == track.type]
            length, width = np.median(same, axis=0) if same else TYPICAL_SIZE[track.type]
            track = dataclasses.replace(track, length=float(length), width=float(width))
            count(dropped, "object: size is zero (kept with the median size of its type)")
        result[index] = track
    return result


def longest_stretch(valid: np.ndarray) -> tuple[int, int]:
    """Return first and last frame of the longest unbroken run of True (there is at least one)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], valid.astype(np.int8), [0]])))
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest]) - 1


def ego_track(
    choice: EgoChoice, origin: np.ndarray, timestamps_us: Int64, *, vehicle: VehicleParameters | None = None
) -> EgoTrack:
    """Return the ego's rear axle over its stretch.

    Files track box centres. Yaw rate and acceleration are central differences of heading and velocity, and so is
    a velocity that the file does not have.

    Args:
        choice: The ego.
        origin: Of the map frame [m], shape [2].
        timestamps_us: Times of the stretch, shape [T], at least 2.
        vehicle: The recording vehicle; None: the rear axle lies ``0.28 * length`` behind the centre of its box, the
            wheel base is ``0.6 * length``.
    """
    track, frames = choice.track, slice(choice.first, choice.last + 1)
    vehicle = vehicle or VehicleParameters(
        length=track.length,
        width=track.width,
        wheelbase=WHEELBASE_SHARE * track.length,
        rear_axle_to_center=REAR_AXLE_TO_CENTER_SHARE * track.length,
    )
    time = (timestamps_us - timestamps_us[0]) * 1e-6
    heading, position = track.heading[frames], track.position[frames]
    forward = np.column_stack([np.cos(heading), np.sin(heading)])
    left = np.column_stack([-forward[:, 1], forward[:, 0]])
    yaw_rate = np.gradient(np.unwrap(heading), time)
    back = vehicle.rear_axle_to_center
    recorded = track.velocity[frames]
    known = np.isfinite(recorded).all(axis=1, keepdims=True)
    velocity = np.where(known, recorded, np.gradient(position, time, axis=0)) - yaw_rate[:, None] * back * left
    acceleration = np.gradient(velocity, time, axis=0)

    def in_body(vector: np.ndarray) -> np.ndarray:
        return np.column_stack([(vector * forward).sum(axis=1), (vector * left).sum(axis=1)])

    return EgoTrack(
        pose=np.column_stack([position - back * forward - origin, heading]),
        velocity=in_body(velocity),
        acceleration=in_body(acceleration),
        yaw_rate=yaw_rate,
        vehicle=vehicle,
    )


def agent_tracks(tracks: dict[int, Track], choice: EgoChoice, origin: np.ndarray, timestamps_us: Int64) -> TrackTable:
    """Return all tracks but the ego's over the ego's stretch."""
    frames = slice(choice.first, choice.last + 1)
    kind_of: dict[int, int] = {}
    parts: list[Boxes] = []
    for track in tracks.values():
        if track.index == choice.track.index:
            continue
        seen = np.flatnonzero(track.valid[frames])
        identity = track.index if track.id is None else track.id
        if identity < 0 or identity in kind_of:
            identity = (1 << 32) + track.index  # numbers of a file are 32-bit: no clash with a repeated one
        kind_of[identity] = int(track.type)
        parts.append(
            Boxes(
                frame=seen.astype(np.int32),
                track=np.full(len(seen), len(parts), dtype=np.int32),
                position=track.position[frames][seen] - origin,
                heading=track.heading[frames][seen].astype(np.float32),
                velocity=track.velocity[frames][seen].astype(np.float32),
                size=np.tile([track.length, track.width], (len(seen), 1)).astype(np.float32),
            )
        )
    table, _ = track_table(
        Boxes.join(parts),
        token=np.array(list(kind_of), dtype=np.uint64),
        kind=np.array(list(kind_of.values()), dtype=np.uint8),
        timestamps_us=timestamps_us,
    )
    return table


def token_of(identity: str) -> int:
    """Return a track's id as a 64-bit number: of digits and of 16 hexadecimal characters their value, else a hash."""
    if identity.isascii() and identity.isdigit() and len(identity) <= 10 and int(identity) < 1 << 32:
        return int(identity)
    if len(identity) == 16 and all(letter in "0123456789abcdef" for letter in identity):
        return int(identity, 16)
    return int.from_bytes(hashlib.sha256(identity.encode("utf-8", "replace")).digest()[:8], "big")
