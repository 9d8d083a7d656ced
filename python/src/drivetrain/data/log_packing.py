"""A driving log as compact arrays, cut into blocks of 64 frames, so that a window touches only its own blocks.

T frames, B blocks, A tracks, S segments, N stored boxes, K lights.

======================  ================  ============================================================================
array                   type              content
======================  ================  ============================================================================
``time``                i2|i4|i8 [T]      microseconds after ``first_us + frame * step_us`` (both in the meta part)
``origin``              f8 [2]            a point near the drive [m]; positions are counted from it
``ego.position``        i4 [T, 2]         multiples of 2**-16 m
``ego.heading``         f4 [T]
``ego.motion``          i2 [T, 5]         velocity and acceleration (x, y), yaw rate: multiples of 2**``ego.exponent``
``ego.exponent``        i1 [B, 5]         per block and column
``track.token``         u8 [A]
``track.type``          u1 [A]
``track.size``          f4 [A, 2]
``block``               u4 [B + 1, 2]     first segment and first box of each block; then the numbers of both
``segment.track``       u2|u4 [S]         ascending within a block
``segment.form``        u1 [S, 5]         first frame within the block; number of (consecutive) frames; number of boxes:
                                          one per frame, or one for all if nothing changes; shift; exponent + 16
``segment.anchor``      i4 [S, 2]         multiples of 2**-16 m
``box``                 i2 [N, 5]         x, y: multiples of 2**(shift - 16) m from the anchor; heading: of pi / 32766;
                                          velocity x, y: of 2**exponent m/s
``light.lane``          i4 [K]
``light.stop_point``    f8 [K, 2]
``light.event``         u4 [K + 1]        changes of light k are ``light.event[k]`` to ``light.event[k + 1]``
``light.frame``         u4                frame of each change; the first is frame 0
``light.state``         u1                state from then on
======================  ================  ============================================================================

Errors are at most 0.5 mm for positions of boxes (a segment spans at most 64 m, else it is cut; slow ones are far more
exact), 8 micrometres for the ego's, 4.8e-5 rad for headings of boxes, and 1/65,534 of a segment's or block's largest
value for velocities and accelerations (1 mm/s up to 64 m/s), at least 2**-17.
"""

from __future__ import annotations

import numpy as np

from drivetrain.data.fixed_point import (
    FINEST_EXPONENT,
    LARGEST,
    POSITION_STEP,
    REACH,
    exponents,
    heading_steps,
    position_steps,
    steps,
)
from drivetrain.errors import DataError
from drivetrain.sim.scenario import EgoTrack, Float64, Int64, Lights, TrackTable

BLOCK = 64
"""Frames of a block; also the longest segment."""
WIDEST_SHIFT = 6
"""Positions within a segment are multiples of 2**(6 - 16) m or finer."""

Arrays = dict[str, np.ndarray]


def pack_time(timestamps_us: Int64) -> tuple[Arrays, dict[str, int]]:
    """Return times as their distance from even spacing, and what that spacing is."""
    first = int(timestamps_us[0])
    step = round((int(timestamps_us[-1]) - first) / max(1, len(timestamps_us) - 1))
    rest = timestamps_us - first - step * np.arange(len(timestamps_us), dtype=np.int64)
    fits = [kind for kind in (np.int16, np.int32) if np.abs(rest).max() <= np.iinfo(kind).max]
    return {"time": rest.astype(fits[0] if fits else np.int64)}, {"first_us": first, "step_us": step}


def pack_ego(ego: EgoTrack, origin: Float64, what: str) -> Arrays:
    """Return the ego's arrays.

    Raises:
        DataError: It drives too far; ``what`` names the log.
    """
    _check_reach(ego.pose[:, :2], origin, f"{what}: the ego")
    motion = np.column_stack([ego.velocity, ego.acceleration, ego.yaw_rate])
    starts = np.arange(0, len(motion), BLOCK)
    exponent = exponents(np.maximum.reduceat(np.abs(motion), starts, axis=0))
    return {
        "ego.position": position_steps(ego.pose[:, :2], origin).astype(np.int32),
        "ego.heading": ego.pose[:, 2].astype(np.float32),
        "ego.motion": steps(motion, exponent[np.arange(len(motion)) // BLOCK]),
        "ego.exponent": exponent,
    }


def pack_tracks(tracks: TrackTable, num_frames: int, origin: Float64, what: str) -> Arrays:
    """Return the arrays of all tracks: static columns, blocks, segments, boxes.

    Raises:
        DataError: A track lies too far away; ``what`` names the log.
    """
    _check_reach(tracks.position, origin, f"{what}: a box of its tracks")
    kind = np.uint16 if len(tracks) <= 1 << 16 else np.uint32
    track = np.repeat(np.arange(len(tracks), dtype=kind), np.diff(tracks.offsets))
    order = np.argsort((tracks.frame // BLOCK).astype(np.uint16), kind="stable")
    track, frame = track[order], tracks.frame[order]
    place = position_steps(tracks.position, origin).astype(np.int32)[order]
    starts = _segment_starts(track, frame, place)
    ends = np.append(starts[1:], len(frame))
    count = ends - starts
    anchor, shift = _anchors(place, starts)
    segment = np.repeat(np.arange(len(starts)), count)
    velocity = tracks.velocity[order]
    exponent = exponents(_reduce(np.maximum, np.abs(velocity).max(axis=1, initial=0.0), starts))
    box = np.empty((len(frame), 5), dtype=np.int16)
    away = place - anchor[segment]
    half = (1 << shift.astype(np.int32)) >> 1
    box[:, :2] = np.minimum((away + half[segment, None]) >> shift[segment, None], LARGEST)
    box[:, 2] = heading_steps(tracks.heading[order])
    box[:, 3:] = steps(velocity, exponent[segment, None])
    still = ~_reduce(np.logical_or, (box != box[starts[segment]]).any(axis=1), starts)
    kept = ~still[segment]
    kept[starts] = True
    boxes = np.where(still, 1, count)
    block = np.zeros((-(-num_frames // BLOCK) + 1, 2), dtype=np.uint32)
    block[:, 0] = np.searchsorted(frame[starts] // BLOCK, np.arange(len(block)))
    block[:, 1] = np.append(0, np.cumsum(boxes))[block[:, 0]]
    form = (frame[starts] % BLOCK, count, boxes, shift, exponent.astype(np.int64) - FINEST_EXPONENT)
    return {
        "track.token": tracks.token,
        "track.type": tracks.type,
        "track.size": tracks.size.astype(np.float32),
        "block": block,
        "segment.track": track[starts],
        "segment.form": np.column_stack(form).astype(np.uint8),
        "segment.anchor": anchor,
        "box": box[kept],
    }


def pack_lights(lights: Lights, frames: Int64) -> Arrays:
    """Return the lights' arrays: their changes over the given frames of a log."""
    state = lights.state[frames].T
    changes = np.ones(state.shape, dtype=np.bool_)
    changes[:, 1:] = state[:, 1:] != state[:, :-1]
    light, frame = np.nonzero(changes)
    return {
        "light.lane": lights.lane,
        "light.stop_point": lights.stop_point,
        "light.event": np.searchsorted(light, np.arange(len(state) + 1)).astype(np.uint32),
        "light.frame": frame.astype(np.uint32),
        "light.state": state[light, frame],
    }


def _check_reach(position: Float64, origin: Float64, what: str) -> None:
    if len(position) and (farthest := float(np.abs(position - origin).max())) > REACH:
        raise DataError(
            f"{what} lies {farthest / 1000:.0f} km from the middle of the drive, a store holds {REACH / 1000:.0f} km;"
            " drop it at the source or cut the log"
        )


def _reduce(operation: np.ufunc, values: np.ndarray, starts: Int64) -> np.ndarray:
    return operation.reduceat(values, starts, axis=0) if len(starts) else values[:0]


def _segment_starts(track: np.ndarray, frame: np.ndarray, place: np.ndarray) -> Int64:
    """Return where segments begin: at another block or track, after a gap, and where one would span too much."""
    begins = np.ones(len(frame), dtype=np.bool_)
    begins[1:] = (track[1:] != track[:-1]) | (frame[1:] != frame[:-1] + 1) | (frame[1:] % BLOCK == 0)
    starts = np.flatnonzero(begins)
    limit = 2 * (LARGEST << WIDEST_SHIFT)
    while len(starts):
        extent = _reduce(np.maximum, place, starts).astype(np.int64) - _reduce(np.minimum, place, starts)
        wide = np.flatnonzero((extent > limit).any(axis=1))
        if not len(wide):
            break
        ends = np.append(starts[1:], len(frame))
        starts = np.union1d(starts, (starts[wide] + ends[wide]) // 2)
    return starts


def _anchors(place: np.ndarray, starts: Int64) -> tuple[np.ndarray, np.ndarray]:
    """Return the middle of each segment and how far its positions are shifted to fit 16 bits."""
    low = _reduce(np.minimum, place, starts).astype(np.int64)
    high = _reduce(np.maximum, place, starts).astype(np.int64)
    anchor = (low + high) // 2
    away = np.maximum(high - anchor, anchor - low).max(axis=1, initial=0)
    shift = exponents(away.astype(np.float64) * POSITION_STEP) - FINEST_EXPONENT
    return anchor.astype(np.int32), shift.astype(np.int8)
