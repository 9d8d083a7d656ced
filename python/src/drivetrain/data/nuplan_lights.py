"""The traffic lights of a nuPlan log: the state of every lane connector that has one, frame by frame."""

from __future__ import annotations

import numpy as np

from drivetrain.data.drop_counts import count
from drivetrain.data.nuplan_columns import TokenRows, numbers, tokens
from drivetrain.data.sqlite_file import SqliteFile
from drivetrain.data.stop_points import stop_point
from drivetrain.sim.scenario import LaneKind, Lights, LightState, RoadMap

_LIGHTS = "SELECT lidar_pc_token, lane_connector_id, status FROM traffic_light_status"
_STATES = {"green": LightState.GREEN, "yellow": LightState.YELLOW, "red": LightState.RED}


def read_lights(
    database: SqliteFile, frames: TokenRows, road_map: RoadMap, num_frames: int, dropped: dict[str, int]
) -> tuple[Lights, bool]:
    """Return the lights and whether the log has any status at all.

    Raises:
        DataError: The file is damaged, or a column is missing.
    """
    connectors = np.flatnonzero(road_map.lanes.kind == LaneKind.CONNECTOR)
    rows_of = TokenRows(road_map.lanes.source_id[connectors])
    # Columns of ``state`` are given to connectors as they appear.
    column_of = np.full(len(connectors), -1, dtype=np.int64)
    found: list[int] = []
    state = np.full((num_frames, 16), LightState.UNKNOWN, dtype=np.uint8)
    any_status = False
    for rows in database.pieces(_LIGHTS):
        any_status = True
        frame_token, connector, status = zip(*rows, strict=True)
        number, held = tokens(frame_token)
        fid = numbers(connector)
        whole = np.isfinite(fid) & (np.abs(fid) < 2**53)
        count(
            dropped, "light status without a frame token of 8 bytes or a lane connector", int((~(held & whole)).sum())
        )
        frame = frames.find(number)
        here = held & whole & (frame >= 0)
        row = rows_of.find(np.where(whole, fid, -1).astype(np.int64))
        count(dropped, "light status of a lane connector that the map does not have", int((here & (row < 0)).sum()))
        keep = np.flatnonzero(here & (row >= 0))
        for new in np.unique(row[keep][column_of[row[keep]] < 0]).tolist():
            column_of[new] = len(found)
            found.append(new)
        while len(found) > state.shape[1]:
            state = np.concatenate([state, np.full_like(state, LightState.UNKNOWN)], axis=1)
        state[frame[keep], column_of[row[keep]]] = _states(status)[keep]
    order = np.sort(np.array(found, dtype=np.int64))
    lanes = connectors[order]
    lights = Lights(
        lane=lanes.astype(np.int32),
        stop_point=np.array([stop_point(road_map, int(lane)) for lane in lanes]).reshape(len(lanes), 2),
        state=state[:, column_of[order]],
    )
    return lights, any_status


def _states(status: tuple[object, ...]) -> np.ndarray:
    known = {text: _STATES.get(str(text).lower(), LightState.UNKNOWN) for text in set(status)}
    return np.array([known[text] for text in status], dtype=np.uint8)
