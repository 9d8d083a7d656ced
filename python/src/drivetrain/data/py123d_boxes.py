"""The boxes of a py123d log as a table of tracks."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.nuplan_boxes import MAX_DISTANCE_M, MAX_SPEED_MPS
from drivetrain.data.py123d_files import BOXES, LogTables, integers, lists, vectors
from drivetrain.data.py123d_labels import agent_types
from drivetrain.data.record_codec import LARGEST
from drivetrain.data.track_arrays import Boxes, track_table
from drivetrain.errors import DataError
from drivetrain.sim.scenario import AgentType, Float64, Int64, TrackTable

_NOT_UNIT = 0.05
"""A quaternion's squared length may differ this much from 1."""


def read_tracks(
    tables: LogTables, box_row: Int64, time: Int64, ego: Float64, origin: Float64, dropped: dict[str, int]
) -> TrackTable:
    """Return everybody but the ego.

    Args:
        tables: The log.
        box_row: Row of the boxes of every frame, shape [T].
        time: Times of the frames, shape [T].
        ego: Positions of the ego [m] (map frame), shape [T, 2].
        origin: Global position of the map frame's origin [m].
        dropped: What is left out is counted here.

    Raises:
        DataError: A column is missing or of another type, or the labels are of an unknown class.
    """
    file = tables.file(BOXES)
    types = agent_types(tables.metadata(BOXES).get("box_detection_label_class"))
    entries, row = _entries(tables)
    frame_of_row = np.full(len(tables.tables[BOXES]), -1, dtype=np.int64)
    frame_of_row[box_row] = np.arange(len(box_row))
    frame = frame_of_row[row]
    box = vectors(entries["bounding_box_se3"], 10, f"{file}: boxes")
    velocity = vectors(entries["velocity_3d"], 3, f"{file}: velocities")[:, :2]
    label = integers(entries["label"], f"{file}: labels", missing=len(types))
    kind = np.array([*types, AgentType.GENERIC_OBJECT], dtype=np.uint8)[np.minimum(label, len(types))]
    place, heading, size = box[:, :2] - origin, heading_of(box[:, 3:7]), box[:, 7:9]
    keep = frame >= 0
    # Comparisons with NaN are False.
    whole = np.isfinite(place).all(axis=1) & np.isfinite(heading)
    whole &= (size.min(axis=1, initial=math.inf) > 0) & (size.max(axis=1, initial=0) < LARGEST)
    away = np.abs(place - ego[np.maximum(frame, 0)]).max(axis=1, initial=0.0) > MAX_DISTANCE_M
    for reason, bad in (
        ("box with NaN or without a size", ~whole),
        ("box with a label that its class does not have", label >= len(types)),
        ("box of the ego itself", kind == AgentType.EGO),
        (f"box more than {MAX_DISTANCE_M:g} m from the ego", away),
    ):
        count(dropped, reason, int((keep & bad).sum()))
        keep &= ~bad
    kept = np.flatnonzero(keep)
    velocity = velocity[kept]
    velocity[~(np.abs(velocity) <= MAX_SPEED_MPS).all(axis=1)] = np.nan
    token, track, first = _tokens(entries["track_token"], kept)
    found, repeated = track_table(
        Boxes(
            frame=frame[kept].astype(np.int32),
            track=track.astype(np.int32),
            position=place[kept],
            heading=heading[kept].astype(np.float32),
            velocity=velocity.astype(np.float32),
            size=size[kept].astype(np.float32),
        ),
        token=token,
        kind=kind[kept][first],
        timestamps_us=time,
        as_listed=tables.folder.dataset == "nuplan",
    )
    count(dropped, "box of a track that has another box in the same frame", repeated)
    return found


def heading_of(quaternion: Float64) -> Float64:
    """Return the heading [rad] of unit quaternions w, x, y, z, shape [n, 4]; NaN for what is no rotation."""
    # The first condition also keeps the squares of the second from overflowing.
    small = np.where(np.abs(quaternion).max(axis=1, initial=0.0, keepdims=True) < 2.0, quaternion, np.nan)
    is_unit = np.abs((small**2).sum(axis=1) - 1.0) < _NOT_UNIT
    w, x, y, z = np.where(is_unit[:, None], small, np.nan).T
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def _entries(tables: LogTables) -> tuple[dict[str, Any], Int64]:
    """Return the columns of all boxes, and the row of the table each box is in."""
    file = tables.file(BOXES)
    entries: dict[str, Any] = {}
    row = np.zeros(0, dtype=np.int64)
    for name in ("bounding_box_se3", "track_token", "label", "velocity_3d"):
        entries[name], place = lists(tables.column(BOXES, f"{BOXES}.{name}"), f"{file}: '{BOXES}.{name}'")
        if name != "bounding_box_se3" and not np.array_equal(place, row):
            raise DataError(f"{file}: '{BOXES}.{name}' has other numbers of entries than the boxes; write it again")
        row = place
    return entries, row


def _tokens(words: Any, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 64-bit tokens of the tracks, the track of each box kept, and the first box of each track.

    A token of 16 hexadecimal characters is its own number (nuPlan's are), any other is hashed.
    """
    import pyarrow as pa

    coded = words.cast(pa.string()).fill_null("").take(pa.array(keep)).dictionary_encode()
    track = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    token = np.array([_number(word) for word in coded.dictionary.to_pylist()], dtype=np.uint64)
    _, first = np.unique(track, return_index=True)
    return token, track, first


def _number(word: str) -> int:
    if len(word) == 16:
        try:
            return int(word, 16)
        except ValueError:
            pass
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
