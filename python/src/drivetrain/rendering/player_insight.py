"""What a policy saw and considered, for the HTML player: in the ego's frame, in whole decimetres and per mille.

S frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.rendering.recording import Insight
from drivetrain.sim.observation import CANONICAL, LENGTH_SCALE, POSITION_SCALE, WIDTH_SCALE

DECIMETRES = 10.0
_STOP_SCALE = 50.0
"""Of the distance to the next stop line in an observation [m]."""


def insight_document(insight: Insight) -> dict[str, Any]:
    """Return what the player draws of an insight, frame by frame."""
    rows = insight.observation
    document: dict[str, Any] = {
        "agents": _agents(rows),
        "route": _route(rows),
        "road": _road(rows),
        "stop": _stop(rows),
        "action": _per_mille(insight.action).tolist(),
    }
    if insight.category.shape[1]:
        document |= {
            "grid": _per_mille(insight.category_values).tolist(),
            "category": insight.category.tolist(),
            "probability": _per_mille(insight.probability).tolist(),
            "allowed": ["".join("01"[int(yes)] for yes in row) for row in insight.allowed],
        }
        if not np.isnan(insight.risk).any():
            document["risk"] = _per_mille(insight.risk).tolist()
            document["epsilon"] = None if insight.epsilon is None else round(1000 * insight.epsilon)
    return document


def _group(rows: NDArray[np.float32], name: str) -> dict[str, NDArray[np.float32]]:
    """Return the features of a group by name, each of shape [S, count]."""
    group, start = CANONICAL.group(name), CANONICAL.start(name)
    block = rows[:, start : start + group.size].reshape(len(rows), len(group.features), group.count)
    return {feature: block[:, at] for at, feature in enumerate(group.features)}


def _whole(values: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.round(np.asarray(values, dtype=np.float64)).astype(np.int64)


def _per_mille(values: NDArray[np.floating]) -> NDArray[np.int64]:
    return _whole(np.asarray(values, dtype=np.float64) * 1000)


def _angle(group: dict[str, NDArray[np.float32]]) -> NDArray[np.int64]:
    """Return headings relative to the ego's [0.01 rad]."""
    return _whole(100 * np.arctan2(group["sin"], group["cos"]))


def _present(columns: list[NDArray[np.int64]], present: NDArray[np.bool_]) -> list[list[int]]:
    """Return the columns of what is present one after the other, for each frame."""
    table = np.stack(columns, axis=2)
    return [table[frame][here].ravel().tolist() for frame, here in enumerate(present)]


def _agents(rows: NDArray[np.float32]) -> list[list[int]]:
    """Return x, y, heading, length, width of every observed agent."""
    group = _group(rows, "agents")
    place = [_whole(group[axis] * POSITION_SCALE * DECIMETRES) for axis in "xy"]
    size = [
        _whole(group["length"] * LENGTH_SCALE * DECIMETRES),
        _whole(group["width"] * WIDTH_SCALE * DECIMETRES),
    ]
    return _present([*place, _angle(group), *size], group["length"] != 0)


def _route(rows: NDArray[np.float32]) -> list[list[int]]:
    """Return x, y of every point of the route ahead."""
    group = _group(rows, "route")
    place = [_whole(group[axis] * POSITION_SCALE * DECIMETRES) for axis in "xy"]
    return _present(place, np.ones(group["x"].shape, dtype=np.bool_))


def _road(rows: NDArray[np.float32]) -> list[list[int]]:
    """Return x, y, heading, half length and whether it is an edge of every observed piece of road."""
    group = _group(rows, "road")
    place = [_whole(group[axis] * POSITION_SCALE * DECIMETRES) for axis in "xy"]
    half = _whole(group["half_length"] * LENGTH_SCALE * DECIMETRES)
    edge = (group["is_edge"] > 0.5).astype(np.int64)
    return _present([*place, _angle(group), half, edge], group["half_length"] != 0)


def _stop(rows: NDArray[np.float32]) -> list[list[int]]:
    """Return the distance to the next stop line and its state (0 green, 1 yellow, 2 red, 3 unknown); empty: none."""
    group = _group(rows, "stop")
    exists = group["exists"][:, 0] > 0.5
    states = np.stack([group[name][:, 0] for name in ("green", "yellow", "red", "unknown")], axis=1).argmax(axis=1)
    distance = _whole(group["distance"][:, 0] * _STOP_SCALE * DECIMETRES)
    return [
        [near, state] if here else []
        for near, state, here in zip(distance.tolist(), states.tolist(), exists.tolist(), strict=True)
    ]
