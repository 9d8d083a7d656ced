"""Road users of a Waymo scene in JSON: tracks, and which of them is the ego."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.json_values import INVALID_FILL, PartError, field_of, flags, member, numbers, size, vectors
from drivetrain.data.scene_tracks import EgoChoice, Track, longest_stretch, with_sizes
from drivetrain.errors import DataError
from drivetrain.sim.scenario import AgentType

_TYPES = {
    "vehicle": AgentType.VEHICLE,
    "pedestrian": AgentType.PEDESTRIAN,
    "cyclist": AgentType.BICYCLE,
    "other": AgentType.GENERIC_OBJECT,
    "unset": AgentType.GENERIC_OBJECT,
}


def read_tracks(
    objects: Any, *, in_degrees: bool, dropped: dict[str, int]
) -> tuple[dict[int, Track], dict[int, PartError], int]:
    """Return the usable tracks by place, what is wrong with the others, and the number of steps.

    Raises:
        PartError: ``objects`` is no list of objects with steps.
    """
    if not isinstance(objects, list) or not objects:
        raise PartError("objects", "must be a list of at least one road user", objects)
    lengths = Counter(
        len(o["valid"]) for o in objects if isinstance(o, dict) and isinstance(o.get("valid"), list) and o["valid"]
    )
    if not lengths:
        raise PartError("objects[0].valid", "is missing or empty in every object")
    steps = lengths.most_common(1)[0][0]
    tracks: dict[int, Track] = {}
    wrong: dict[int, PartError] = {}
    for index, part in enumerate(objects):
        try:
            tracks[index] = _track(part, index, steps, in_degrees, dropped)
        except PartError as error:
            wrong[index] = error
            count(dropped, f"object: {field_of(error, f'objects[{index}]')} {error.what}")
    return with_sizes(tracks, dropped), wrong, steps


def _track(part: Any, index: int, steps: int, in_degrees: bool, dropped: dict[str, int]) -> Track:
    where = f"objects[{index}]"
    valid = flags(member(part, "valid", where), f"{where}.valid", steps)
    position = vectors(member(part, "position", where), f"{where}.position", steps)
    velocity = vectors(member(part, "velocity", where), f"{where}.velocity", steps)
    heading = numbers(member(part, "heading", where), f"{where}.heading", steps)
    filled = valid & ((position == INVALID_FILL).any(axis=1) | (heading == INVALID_FILL))
    if filled.any():
        count(dropped, f"object: frames marked valid but filled with {INVALID_FILL:g}", int(filled.sum()))
        valid = valid & ~filled
    for name, values in (("position", position), ("velocity", velocity), ("heading", heading[:, None])):
        bad = valid & ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise PartError(f"{where}.{name}[{int(np.flatnonzero(bad)[0])}]", "is NaN or missing where valid is true")
    if not valid.any():
        raise PartError(f"{where}.valid", "is never true")
    kind = str(member(part, "type", where)).lower()
    if kind not in _TYPES:
        count(dropped, f"object: type '{kind}' is unknown (kept as generic object)")
    angle = np.radians(heading) if in_degrees else heading
    identity = part.get("id")
    length, width = (size(member(part, name, where), f"{where}.{name}") for name in ("length", "width"))
    return Track(
        index=index,
        id=identity if isinstance(identity, int) and not isinstance(identity, bool) else None,
        type=_TYPES.get(kind, AgentType.GENERIC_OBJECT),
        length=length,
        width=width,
        size_known=length > 0 and width > 0,
        position=position,
        velocity=velocity,
        heading=(angle + math.pi) % (2 * math.pi) - math.pi,
        valid=valid,
    )


def choose_ego(
    path: object, tracks: dict[int, Track], wrong: dict[int, PartError], metadata: Any, asked: str | int | None
) -> EgoChoice:
    """Return the ego: the one asked for, else the recording vehicle by metadata, else the vehicle that drives farthest.

    Args:
        path: The file, for messages.
        tracks: Usable tracks by place.
        wrong: What is wrong with the others.
        metadata: The file's ``metadata`` (None where it has none).
        asked: ``id:N``, ``index:N``, or a number (an id in files that have ids, else an index).

    Raises:
        DataError: The ego asked for or named by metadata is not usable, or there is none.
    """
    if asked is not None:
        index, reason = _asked_index(path, tracks, wrong, str(asked)), "ego as asked for"
        where = f"ego '{asked}' (objects[{index}])"
    elif isinstance(metadata, dict) and isinstance(metadata.get("sdc_track_index"), int):
        index, reason = metadata["sdc_track_index"], "ego by metadata.sdc_track_index"
        where = f"metadata.sdc_track_index {index}"
    else:
        return _farthest(path, tracks, wrong)
    if index in wrong:
        raise DataError(f"{path}: {wrong[index]}, and this object is the ego; choose another with --ego index:N")
    if index not in tracks:
        last = max([*tracks, *wrong])
        raise DataError(f"{path}: {where} is no object, there are 0 to {last}; choose one with --ego index:N")
    track = tracks[index]
    if track.type != AgentType.VEHICLE:
        raise DataError(f"{path}: {where} is a {track.type.name.lower()}, the ego is a vehicle; choose one with --ego")
    first, last = longest_stretch(track.valid)
    if last == first:
        raise DataError(f"{path}: {where} is valid for a single step, at least 2 are needed; choose one with --ego")
    return EgoChoice(track=track, reason=reason, first=first, last=last)


def _asked_index(path: object, tracks: dict[int, Track], wrong: dict[int, PartError], asked: str) -> int:
    kind, _, text = asked.rpartition(":")
    if kind not in ("", "id", "index") or not text.lstrip("-").isdigit():
        raise DataError(f"{path}: --ego '{asked}' is not understood; write id:N, index:N or a number")
    number = int(text)
    has_ids = any(track.id is not None for track in tracks.values())
    if kind == "index" or (kind == "" and not has_ids):
        return number
    found = [track.index for track in tracks.values() if track.id == number]
    if not found:
        ids = [track.id for track in tracks.values() if track.id is not None and track.type == AgentType.VEHICLE]
        near = min(ids, key=lambda known: abs(known - number)) if ids else "none"
        raise DataError(f"{path}: no usable object has the id {number} that --ego asks for; nearest vehicle: {near}")
    return found[0]


def _farthest(path: object, tracks: dict[int, Track], wrong: dict[int, PartError]) -> EgoChoice:
    best: tuple[tuple[bool, float], EgoChoice] | None = None
    for track in tracks.values():
        first, last = longest_stretch(track.valid)
        if track.type != AgentType.VEHICLE or last == first:
            continue
        length = float(np.linalg.norm(np.diff(track.position[first : last + 1], axis=0), axis=1).sum())
        if best is None or (track.size_known, length) > best[0]:
            reason = "ego is the vehicle that drives farthest (no metadata, none asked for)"
            best = (track.size_known, length), EgoChoice(track=track, reason=reason, first=first, last=last)
    if best is None:
        first_wrong = f" (first problem: {next(iter(wrong.values()))})" if wrong else ""
        raise DataError(
            f"{path}: no valid ego: no vehicle among {len(tracks) + len(wrong)} objects is valid for two steps in a row"
            f"{first_wrong}; leave this file out"
        )
    return best[1]
