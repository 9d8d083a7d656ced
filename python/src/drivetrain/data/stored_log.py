"""A log of a store: windows of it, or all of it, from the packed arrays of its record."""

from __future__ import annotations

from typing import Any

import numpy as np

from drivetrain.data.fixed_point import FINEST_EXPONENT, HEADING_STEP, POSITION_STEP
from drivetrain.data.log_packing import BLOCK
from drivetrain.data.shards import REMEDY, Record
from drivetrain.data.window_kernels import (
    DAMAGED,
    fill_ego,
    fill_lights,
    fill_tracks,
    known_lights,
    place_tracks,
)
from drivetrain.errors import DataError
from drivetrain.sim.scenario import (
    AgentTracks,
    DrivingLog,
    EgoTrack,
    Float64,
    Int64,
    Knowledge,
    Lights,
    LightState,
    Ragged,
    TrackTable,
    VehicleParameters,
)


class StoredLog:
    """A log, opened: what is asked for is read, checked and decoded then."""

    def __init__(self, record: Record) -> None:
        self._record = record
        meta: dict[str, Any] = record.meta
        self.name: str = meta["name"]
        self.source: str = meta["source"]
        self.num_frames: int = len(record.arrays["time"])
        self.knowledge = Knowledge(**meta["knowledge"])
        self._vehicle = VehicleParameters(**meta["vehicle"])
        self._first_us, self._step_us = int(meta["first_us"]), int(meta["step_us"])
        self._origin: Float64 = record.whole("origin")

    def timestamps_us(self, frames: Int64) -> Int64:
        """Return the times of some frames."""
        rest = self._record.rows("time", int(frames[0]), int(frames[-1]) + 1)
        return self._first_us + self._step_us * frames + rest[frames]

    def ego(self, frames: Int64) -> EgoTrack:
        """Return the ego over some (ascending) frames."""
        first, last = int(frames[0]), int(frames[-1])
        position, heading, motion = (
            self._record.rows(f"ego.{name}", first, last + 1) for name in ("position", "heading", "motion")
        )
        exponent = self._record.rows("ego.exponent", first // BLOCK, last // BLOCK + 1)
        n = len(frames)
        pose, velocity, acceleration, yaw_rate = np.empty((n, 3)), np.empty((n, 2)), np.empty((n, 2)), np.empty(n)
        fill_ego(frames, self._origin, position, heading, motion, exponent, pose, velocity, acceleration, yaw_rate)
        return EgoTrack(
            pose=pose, velocity=velocity, acceleration=acceleration, yaw_rate=yaw_rate, vehicle=self._vehicle
        )

    def agents(self, frames: Int64) -> AgentTracks:
        """Return the agents seen in some (ascending) frames, in the log's order.

        Raises:
            DataError: The tables of the log contradict each other.
        """
        record, first, last = self._record, int(frames[0]), int(frames[-1])
        row_of = np.full(last - first + 1, -1, dtype=np.int32)
        row_of[frames - first] = np.arange(len(frames), dtype=np.int32)
        block = record.rows("block", first // BLOCK, last // BLOCK + 2)
        (begin, first_box), (end, last_box) = block[first // BLOCK].tolist(), block[last // BLOCK + 1].tolist()
        track, form, anchor = (record.rows(f"segment.{name}", begin, end) for name in ("track", "form", "anchor"))
        boxes, token = record.rows("box", first_box, last_box), record.whole("track.token")
        column = np.empty(len(token), dtype=np.int32)
        count = place_tracks(row_of, first, block, track, form, len(boxes), column)
        if count == DAMAGED:
            raise DataError(f"log '{self.name}': its segments contradict each other; {REMEDY}")
        shape = (len(frames), count)
        position, velocity = np.zeros((*shape, 2)), np.zeros((*shape, 2), dtype=np.float32)
        heading, valid = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.bool_)
        fill_tracks(
            row_of, first, self._origin, block, track, form, anchor, boxes, column, position, heading, velocity, valid
        )
        seen = np.flatnonzero(column >= 0)
        return AgentTracks(
            token=token[seen],
            type=record.whole("track.type")[seen],
            size=record.whole("track.size")[seen],
            position=position,
            heading=heading,
            velocity=velocity,
            valid=valid,
        )

    def lights(self, frames: Int64) -> Lights:
        """Return the lights whose state is known at some of the (ascending) frames; the others would say nothing."""
        record = self._record
        event, frame, state = (record.whole(f"light.{name}") for name in ("event", "frame", "state"))
        lane = record.whole("light.lane")
        known = np.empty(len(lane), dtype=np.bool_)
        if not known_lights(frames, event, frame, state, int(LightState.UNKNOWN), known):
            raise DataError(f"log '{self.name}': the changes of its lights contradict each other; {REMEDY}")
        rows = np.flatnonzero(known)
        out = np.empty((len(frames), len(rows)), dtype=np.uint8)
        fill_lights(frames, rows, event, frame, state, out)
        return Lights(lane=lane[rows], stop_point=record.whole("light.stop_point")[rows], state=out)

    def route(self, frame: int) -> tuple[np.ndarray, Float64, bool]:
        """Return route rows, goal pose and whether the goal is known, of the scene a frame belongs to."""
        record = self._record
        scene = int(np.searchsorted(record.whole("scene_first_frame"), frame, side="right")) - 1
        if scene < 0:
            return np.zeros(0, dtype=np.int32), np.zeros(3), False
        offsets = record.whole("scene_route.offsets")
        route = record.whole("scene_route.values")[offsets[scene] : offsets[scene + 1]]
        goal, known = record.whole("scene_goal")[scene], record.whole("scene_goal_known")[scene]
        return route.astype(np.int32), goal.copy(), bool(known)

    def whole(self) -> DrivingLog:
        """Return all of the log."""
        record, frames = self._record, np.arange(self.num_frames)
        lane = record.whole("light.lane")
        state = np.empty((self.num_frames, len(lane)), dtype=np.uint8)
        event, frame, states = (record.whole(f"light.{name}") for name in ("event", "frame", "state"))
        fill_lights(frames, np.arange(len(lane)), event, frame, states, state)
        kinds: list[str] = record.meta["tag_types"]
        return DrivingLog(
            name=self.name,
            map_name=record.meta["map_name"],
            source=self.source,
            timestamps_us=self.timestamps_us(frames),
            ego=self.ego(frames),
            tracks=self.tracks(),
            lights=Lights(lane=lane, stop_point=record.whole("light.stop_point"), state=state),
            scene_first_frame=record.whole("scene_first_frame"),
            scene_route=Ragged(values=record.whole("scene_route.values"), offsets=record.whole("scene_route.offsets")),
            scene_goal=record.whole("scene_goal"),
            scene_goal_known=record.whole("scene_goal_known"),
            tag_frame=record.whole("tag_frame").astype(np.int64),
            tag_type=tuple(kinds[i] for i in record.whole("tag_type").tolist()),
            knowledge=self.knowledge,
        )

    def tracks(self) -> TrackTable:
        """Return all tracks of the log."""
        whole = self._record.whole
        first_segment = whole("block")[:, 0].astype(np.int64)
        block = np.repeat(np.arange(len(first_segment) - 1), np.diff(first_segment))
        begin, count, boxes, shift, exponent = whole("segment.form").astype(np.int64).T
        segment = np.repeat(np.arange(len(count)), count)
        within = np.arange(len(segment)) - np.repeat(np.cumsum(count) - count, count)
        box = (np.cumsum(boxes) - boxes)[segment] + np.where(boxes[segment] > 1, within, 0)
        order = np.argsort(whole("segment.track")[segment], kind="stable")  # blocks come in the order of time
        segment, values = segment[order], whole("box")[box[order]].astype(np.int64)
        steps = whole("segment.anchor")[segment] + (values[:, :2] << shift[segment, None])
        track = whole("segment.track")[segment]
        return TrackTable(
            token=whole("track.token"),
            type=whole("track.type"),
            size=whole("track.size"),
            offsets=np.searchsorted(track, np.arange(len(whole("track.token")) + 1)).astype(np.int64),
            frame=(block[segment] * BLOCK + begin[segment] + within[order]).astype(np.int32),
            position=self._origin + steps * POSITION_STEP,
            heading=(values[:, 2] * HEADING_STEP).astype(np.float32),
            velocity=(values[:, 3:] * np.exp2(exponent[segment, None] + float(FINEST_EXPONENT))).astype(np.float32),
        )
