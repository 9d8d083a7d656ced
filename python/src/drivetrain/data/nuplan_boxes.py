"""The boxes of a nuPlan log as a table of tracks: millions of rows, read in pieces, never one by one."""

from __future__ import annotations

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.nuplan_columns import TokenRows, numbers, tokens
from drivetrain.data.record_codec import LARGEST
from drivetrain.data.sqlite_file import SqliteFile
from drivetrain.data.track_arrays import Boxes, track_table
from drivetrain.sim.scenario import AgentType, Float64, Int64, TrackTable

_BOXES = "SELECT lidar_pc_token, track_token, x, y, yaw, vx, vy, length, width FROM lidar_box"
_TRACKS = "SELECT t.token, c.name FROM track t JOIN category c ON c.token = t.category_token"
_TYPES = {
    "vehicle": AgentType.VEHICLE,
    "pedestrian": AgentType.PEDESTRIAN,
    "bicycle": AgentType.BICYCLE,
    "traffic_cone": AgentType.TRAFFIC_CONE,
    "barrier": AgentType.BARRIER,
    "czone_sign": AgentType.CZONE_SIGN,
    "generic_object": AgentType.GENERIC_OBJECT,
}
MAX_DISTANCE_M = 1_000.0
"""A box farther than this from the ego cannot have been seen [m]."""
MAX_SPEED_MPS = 1_000.0
"""A velocity beyond this is none, and is recomputed from the positions [m/s]."""


def read_tracks(
    database: SqliteFile, frames: TokenRows, time_us: Int64, ego: Float64, origin: Float64, dropped: dict[str, int]
) -> TrackTable:
    """Return all tracks of a log.

    Args:
        database: The log.
        frames: Its frames, by their tokens.
        time_us: Their times, shape [T].
        ego: Positions of the ego [m] (map frame), shape [T, 2].
        origin: Global position of the map frame's origin [m].
        dropped: What is left out is counted here.

    Raises:
        DataError: The file is damaged, or a column is missing.
    """
    token, kind = _read_kinds(database, dropped)
    tracks = TokenRows(token)
    parts = []
    for rows in database.pieces(_BOXES):
        frame_token, track_token, *values = zip(*rows, strict=True)
        part = _usable(frames, tracks, frame_token, track_token, values, origin, dropped)
        away = np.abs(part.position - ego[part.frame]).max(axis=1, initial=0.0) > MAX_DISTANCE_M
        if away.any():
            count(dropped, f"box more than {MAX_DISTANCE_M:g} m from the ego", int(away.sum()))
            part = _kept(part, ~away)
        parts.append(part)
    table, repeated = track_table(Boxes.join(parts), token=token, kind=kind, timestamps_us=time_us, as_listed=True)
    count(dropped, "box of a track that has another box in the same frame", repeated)
    return table


def _read_kinds(database: SqliteFile, dropped: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return token and type of every track; of two with one token the first counts."""
    rows = database.rows(_TRACKS)
    token, held = tokens([row[0] for row in rows])
    kind = np.full(len(rows), AgentType.GENERIC_OBJECT, dtype=np.uint8)
    for i, (_, name) in enumerate(rows):
        if name in _TYPES:
            kind[i] = _TYPES[name]
        else:
            count(dropped, f"track of unknown category '{name}' (kept as generic_object)")
    count(dropped, "track whose token is not 8 bytes", int((~held).sum()))
    token, kind = token[held], kind[held]
    _, first = np.unique(token, return_index=True)
    count(dropped, "track with the token of another", len(token) - len(first))
    first.sort()
    return token[first], kind[first]


def _usable(
    frames: TokenRows,
    tracks: TokenRows,
    frame_token: tuple[object, ...],
    track_token: tuple[object, ...],
    values: list[tuple[object, ...]],
    origin: Float64,
    dropped: dict[str, int],
) -> Boxes:
    """Return the boxes of some rows that can be used; what belongs to other lidars' frames is not counted."""
    frame_number, frame_held = tokens(frame_token)
    track_number, track_held = tokens(track_token)
    count(dropped, "box without a frame or track token of 8 bytes", int((~(frame_held & track_held)).sum()))
    frame, track = frames.find(frame_number), tracks.find(track_number)
    here = frame_held & track_held & (frame >= 0)
    count(dropped, "box of a track that table 'track' does not have", int((here & (track < 0)).sum()))
    x, y, heading, vx, vy, length, width = (numbers(column) for column in values)
    here &= track >= 0
    place = np.column_stack([x, y])
    whole = np.isfinite(place).all(axis=1) & np.isfinite(heading)
    # Comparisons with NaN are False.
    whole &= (np.minimum(length, width) > 0) & (np.maximum(length, width) < LARGEST) & (np.abs(heading) < LARGEST)
    count(dropped, "box with NaN, without a size, or beyond anything measured", int((here & ~whole).sum()))
    keep = np.flatnonzero(here & whole)
    velocity = np.column_stack([vx, vy])[keep]
    velocity[np.abs(velocity) > MAX_SPEED_MPS] = np.nan
    return Boxes(
        frame=frame[keep].astype(np.int32),
        track=track[keep].astype(np.int32),
        position=place[keep] - origin,
        heading=heading[keep].astype(np.float32),
        velocity=velocity.astype(np.float32),
        size=np.column_stack([length, width])[keep].astype(np.float32),
    )


def _kept(boxes: Boxes, keep: np.ndarray) -> Boxes:
    return Boxes(
        frame=boxes.frame[keep],
        track=boxes.track[keep],
        position=boxes.position[keep],
        heading=boxes.heading[keep],
        velocity=boxes.velocity[keep],
        size=boxes.size[keep],
    )
