"""Make scenarios ready for simulation: logs at the simulator's rate, routes, stop lines, lights, road grids.

S scenes, G slots of all scenes, A slots of one scene, T frames, K lights.

Maps are shared: scenes near each other on one map use one grid. What cannot be simulated is dropped, counted and named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import DataError
from drivetrain.sim.geometry import box_box_gap, wrap_angle
from drivetrain.sim.road_grid import RoadGrid, build_grid
from drivetrain.sim.route import PATH_LEAD_OUT, Route, find_route, logged_path, resample, stop_lines
from drivetrain.sim.scenario import AgentType, Knowledge, RoadMap, Scenario
from drivetrain.sim.scene_arrays import LOG_PADDING, STATE_ROWS, SceneArrays

DT = 0.1
"""Time step [s]."""
MIN_FRAMES = 10
"""A shorter log is no episode."""
MIN_SHOWN_FRAMES = 2
"""As few as nuPlan's closed loop simulates."""
GOAL_SLACK = 0.5
"""The goal lies this far before the logged end [m], so that replaying the log reaches it."""
MIN_CONTROLLED_DISTANCE = 5.0
"""Traffic that drives less than this in its log is never controlled [m]."""
MIN_REACTIVE_DISTANCE = 2.0
"""Traffic that drives less than this in its log stays parked [m]."""
MIN_DESIRED_SPEED = 5.0
"""Lowest IDM desired speed of reactive traffic [m/s]."""
PLAIN_DRIVER = (1.5, 1.0, 1.0, 2.0)
"""IDM headway [s], least gap [m], acceleration, comfortable braking [m/s^2] of reactive traffic (nuPlan's)."""
MAP_MARGIN = 100.0
"""Road farther than this from every route of a map's scenes is left out [m]."""

FindRoute = Callable[[Scenario], tuple[Route, float] | None]
"""Returns the ego's route, and the arc length on it of the goal that its driver is told of [m]; None: as logged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneBank:
    """Scenes as flat arrays, with what is known about each."""

    arrays: SceneArrays
    scenario_ids: tuple[str, ...]
    scenario_types: tuple[str, ...]
    knowledge: tuple[Knowledge, ...]
    slot_tokens: NDArray[np.uint64]
    """The source's track id of every slot (0 for egos), shape [G]."""
    dropped: dict[str, str] = field(default_factory=dict)
    """Scenario id -> reason, for scenarios that cannot be simulated."""

    def __len__(self) -> int:
        return len(self.scenario_ids)

    def log_of(self, scene: int) -> NDArray[np.float32]:
        """Return the logged states of a scene, shape [T, STATE_ROWS, A]."""
        a = self.arrays
        shape = (int(a.num_frames[scene]), STATE_ROWS, int(a.num_slots[scene]))
        start = int(a.log_start[scene])
        return a.log[start : start + int(np.prod(shape))].reshape(shape)

    def route_of(self, scene: int, slot: int = 0) -> NDArray[np.float32]:
        """Return a slot's route: x, y, cos, sin, speed limit (0 unknown), shape [P, 5]."""
        a = self.arrays
        g = int(a.slot_start[scene]) + slot
        at = slice(int(a.route_start[g]), int(a.route_start[g + 1]))
        return np.stack([a.route_x[at], a.route_y[at], a.route_cos[at], a.route_sin[at], a.route_limit[at]], axis=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scene:
    """One scene before all are joined."""

    scenario: Scenario
    log: NDArray[np.float32]
    types: NDArray[np.uint8]
    half_size: NDArray[np.float32]
    wheelbase: NDArray[np.float32]
    rear_axle: NDArray[np.float32]
    tokens: NDArray[np.uint64]
    routes: list[Route | None]
    goal_s: list[float]
    told_goal_s: list[float]
    stops: list[list[tuple[float, int]]]
    paths: list[NDArray[np.float64] | None]
    path_stops: list[list[tuple[float, int]]]
    desired_speed: list[float]


def _rate(values: NDArray[np.float64], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Central difference over frames [1/s], 0 where a neighbour is missing; shape [T, A]."""
    rate = np.zeros_like(values)
    if len(values) > 2:
        both = valid[2:] & valid[:-2] & valid[1:-1]
        rate[1:-1] = np.where(both, (values[2:] - values[:-2]) / (2 * DT), 0.0)
    return rate


def _log_states(scenario: Scenario, kept: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return logged states [T, STATE_ROWS, A]: the ego first, then the kept agents."""
    ego, agents = scenario.ego, scenario.agents
    frames = len(scenario.timestamps_us)
    heading = np.hstack([ego.pose[:, 2:3], agents.heading[:, kept].astype(np.float64)])
    valid = np.hstack([np.ones((frames, 1), dtype=bool), agents.valid[:, kept]])
    c, s = np.cos(heading), np.sin(heading)
    offset = ego.vehicle.rear_axle_to_center
    centre = np.stack([ego.pose[:, 0] + offset * c[:, 0], ego.pose[:, 1] + offset * s[:, 0]], axis=1)
    position = np.concatenate([centre[:, None], agents.position[:, kept]], axis=1)
    ego_velocity = np.stack([ego.velocity[:, 0] * c[:, 0], ego.velocity[:, 0] * s[:, 0]], axis=1)
    velocity = np.concatenate([ego_velocity[:, None], agents.velocity[:, kept].astype(np.float64)], axis=1)
    speed = velocity[..., 0] * c + velocity[..., 1] * s
    acceleration = _rate(speed, valid)
    acceleration[:, 0] = ego.acceleration[:, 0]
    unwrapped = np.unwrap(np.where(valid, heading, 0.0), axis=0)
    yaw_rate = _rate(unwrapped, valid)
    yaw_rate[:, 0] = ego.yaw_rate
    wheelbase = np.concatenate([[ego.vehicle.wheelbase], 0.6 * agents.size[kept, 0]])
    moving = np.abs(speed) > 0.5
    steering = np.where(moving, np.arctan(wheelbase * yaw_rate / np.where(moving, speed, 1.0)), 0.0).clip(-0.6, 0.6)
    rows = [position[..., 0], position[..., 1], c, s, speed, wrap_angle(heading), acceleration, steering,
            velocity[..., 0], velocity[..., 1], np.ones_like(speed)]  # fmt: skip
    log = np.stack(rows, axis=1)
    return (log * valid[:, None, :]).astype(np.float32)


def _follow(route: Route, position: NDArray[np.float64]) -> float:
    """Return the arc length of the last logged position on a route, following it frame by frame [m]."""
    points = route.points
    index = int(np.argmin(np.hypot(*(points[:, :2] - position[0]).T)))
    for p in position:
        low, high = max(index - 4, 0), min(index + 9, len(points))
        offset = points[low:high, :2] - p
        index = low + int(np.argmin((offset**2).sum(axis=1)))
    along = float((position[-1] - points[index, :2]) @ points[index, 2:4])
    return index + float(np.clip(along, -1.0, 1.0))


def _compile_scene(
    scenario: Scenario, *, all_controllable: bool, any_start: bool, route_of: FindRoute | None, spare_slots: int
) -> _Scene:
    kept = np.flatnonzero(scenario.agents.valid.any(axis=0))
    log = _log_states(scenario, kept)
    agents, vehicle = scenario.agents, scenario.ego.vehicle
    types = np.concatenate([[AgentType.EGO], agents.type[kept]]).astype(np.uint8)
    size = np.vstack([[vehicle.length, vehicle.width], agents.size[kept]])
    present = log[:, 10, :] > 0
    _check_log(log, MIN_SHOWN_FRAMES if any_start else MIN_FRAMES)
    if not any_start:
        _check_start(log, size)
    routes: list[Route | None] = []
    goals: list[float] = []
    told_goals: list[float] = []
    paths: list[NDArray[np.float64] | None] = []
    speeds: list[float] = []
    road = scenario.map
    for a in range(len(types)):
        frames = np.flatnonzero(present[:, a])
        position = log[frames, 0:2, a].astype(np.float64)
        heading = log[frames, 5, a].astype(np.float64)
        moved = float(np.hypot(*np.diff(position, axis=0).T).sum()) if len(frames) > 1 else 0.0
        whole = len(frames) == frames[-1] - frames[0] + 1
        drives = types[a] == AgentType.VEHICLE and whole and moved > MIN_REACTIVE_DISTANCE and size[a, 0] >= 3.0
        known = route_of(scenario) if a == 0 and route_of is not None else None
        route, told = (None, None) if known is None else known
        if route is None and (a == 0 or (all_controllable and drives and moved > MIN_CONTROLLED_DISTANCE)):
            route = find_route(road, position, heading, scenario.route if a == 0 else None)
        routes.append(route)
        # The drive is complete where the log ended, whatever its driver is told.
        goals.append(0.0 if route is None else _follow(route, position) - GOAL_SLACK)
        told_goals.append(goals[-1] if told is None else told)
        if drives:
            paths.append(resample(logged_path(position, heading, lead_out=PATH_LEAD_OUT)))
        else:
            paths.append(None)
        speeds.append(max(float(log[frames, 4, a].max()), MIN_DESIRED_SPEED))
    as_route = [None if p is None else Route(points=p, speed_limit=np.zeros(len(p)), lanes=()) for p in paths]
    spare = (0, spare_slots)
    return _Scene(
        scenario=scenario,
        log=np.pad(log, ((0, 0), (0, 0), spare)),
        types=np.pad(types, spare),
        half_size=np.pad((size / 2).astype(np.float32), (spare, (0, 0))),
        wheelbase=np.pad(np.append(vehicle.wheelbase, 0.6 * agents.size[kept, 0]).astype(np.float32), spare),
        rear_axle=np.pad(np.append(vehicle.rear_axle_to_center, 0.28 * agents.size[kept, 0]).astype(np.float32), spare),
        tokens=np.pad(np.append(np.uint64(0), agents.token[kept].astype(np.uint64)), spare),
        routes=[*routes, *[None] * spare_slots],
        goal_s=[*goals, *[0.0] * spare_slots],
        told_goal_s=[*told_goals, *[0.0] * spare_slots],
        stops=[[] if r is None else stop_lines(road, scenario.lights, r) for r in routes] + [[]] * spare_slots,
        paths=[*paths, *[None] * spare_slots],
        path_stops=[[] if r is None else stop_lines(road, scenario.lights, r) for r in as_route] + [[]] * spare_slots,
        desired_speed=[*speeds, *[MIN_DESIRED_SPEED] * spare_slots],
    )


def _check_log(log: NDArray[np.float32], least: int) -> None:
    """Refuse a scene whose states are undefined or too few.

    Raises:
        DataError: with the reason (the caller names the scenario).
    """
    if not np.isfinite(log).all():
        raise DataError("a logged state is not a number")
    if len(log) < least:
        raise DataError(f"only {len(log)} frames (at least {least} are needed)")


def _check_start(log: NDArray[np.float32], size: NDArray[np.floating]) -> None:
    """Refuse a scene whose ego already touches somebody.

    Raises:
        DataError: with the reason (the caller names the scenario).
    """
    first = log[0].astype(np.float64)
    others = np.flatnonzero(first[10, 1:] > 0) + 1
    if len(others):
        dx, dy = first[0, others] - first[0, 0], first[1, others] - first[1, 0]
        c, s = first[2, 0], first[3, 0]
        relative = first[5, others] - first[5, 0]
        gap = box_box_gap(
            dx=dx * c + dy * s,
            dy=dy * c - dx * s,
            cos=np.cos(relative),
            sin=np.sin(relative),
            half_size=(size[0, 0] / 2, size[0, 1] / 2),
            other_half_size=(size[others, 0] / 2, size[others, 1] / 2),
        )
        if (gap <= 0).any():
            raise DataError("the ego touches another agent in the first frame")


class NothingToSimulateError(DataError):
    """No scenario can be simulated."""

    def __init__(self, dropped: dict[str, str]) -> None:
        """Say what most scenarios lack."""
        reasons = Counter(dropped.values()).most_common(1)
        why = f": {reasons[0][0]} ({reasons[0][1]} of {len(dropped)})" if reasons else " was given"
        super().__init__(f"no scenario can be simulated{why}; look at the data with 'drivetrain data inspect'")
        self.dropped = dropped
        """Scenario id -> reason."""


def build_bank(
    scenarios: Sequence[Scenario],
    *,
    all_controllable: bool = False,
    any_start: bool = False,
    route_of: FindRoute | None = None,
    spare_slots: int = 0,
    progress: Callable[[int], None] | None = None,
) -> SceneBank:
    """Compile scenarios for simulation.

    Args:
        scenarios: What to compile; those that cannot be simulated are dropped and named in ``SceneBank.dropped``.
        all_controllable: Also find routes for every moving vehicle, so that a policy may drive it (self-play).
        any_start: Also take scenarios that are very short or begin with a contact, to be shown, not played.
        route_of: Finds the egos' routes and goals as their drivers know them; None: from their logged drives.
        spare_slots: Slots of every scene that nobody has in the log, for objects that appear.
        progress: Called with the number of scenes compiled so far.

    Raises:
        NothingToSimulateError: If no scenario can be simulated.
    """
    scenes: list[_Scene] = []
    dropped: dict[str, str] = {}
    for i, scenario in enumerate(scenarios):
        try:
            scenes.append(
                _compile_scene(
                    scenario,
                    all_controllable=all_controllable,
                    any_start=any_start,
                    route_of=route_of,
                    spare_slots=spare_slots,
                )
            )
        except DataError as error:
            dropped[scenario.scenario_id] = str(error)
        if progress is not None:
            progress(i + 1)
    if not scenes:
        raise NothingToSimulateError(dropped)
    return _join(scenes, dropped)


def _parts_of_maps(
    scenes: list[_Scene],
) -> tuple[list[tuple[RoadMap, NDArray[np.float64]]], NDArray[np.int32]]:
    """Return the parts of maps that scenes lie in, apart from each other, and the part of each scene, shape [S].

    A part is its map and boxes [B, 2, 2] around the routes and logged positions of its scenes. Cities are large, and
    scenes lie here and there: what is between them is not compiled.
    """
    import shapely  # only compiling scenes needs it; compiled ones are kept on disk

    scenes_of_map: dict[int, list[int]] = {}
    for number, scene in enumerate(scenes):
        scenes_of_map.setdefault(id(scene.scenario.map), []).append(number)
    parts: list[tuple[RoadMap, NDArray[np.float64]]] = []
    part_of = np.zeros(len(scenes), dtype=np.int32)
    for numbers in scenes_of_map.values():
        boxes = np.stack([_box(scenes[number]) for number in numbers])
        areas = shapely.get_parts(shapely.union_all(shapely.box(*boxes[:, 0].T, *boxes[:, 1].T)))
        middles = shapely.points(boxes.mean(axis=1))
        at, area = shapely.STRtree(areas).query(middles, predicate="within")
        for one in range(len(areas)):
            inside = at[area == one]
            part_of[np.array(numbers)[inside]] = len(parts)
            parts.append((scenes[numbers[0]].scenario.map, boxes[inside]))
    return parts, part_of


def _box(scene: _Scene) -> NDArray[np.float64]:
    """Return the lower and the upper corner of where a scene may take place, shape [2, 2]."""
    points = [r.points[:, :2] for r in scene.routes if r is not None] + [scene.log[:, 0:2, 0].astype(np.float64)]
    stacked = np.vstack(points)
    return np.stack([stacked.min(axis=0) - MAP_MARGIN, stacked.max(axis=0) + MAP_MARGIN])


def _offsets(counts: Sequence[int]) -> NDArray[np.int64]:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _light_ages(state: NDArray[np.uint8]) -> NDArray[np.int16]:
    age = np.zeros(state.shape, dtype=np.int16)
    for t in range(1, len(state)):
        age[t] = np.where(state[t] == state[t - 1], age[t - 1] + 1, 0)
    return age


def _polyline_columns(lines: list[NDArray[np.float64] | None]) -> tuple[NDArray[np.int64], list[NDArray[np.float32]]]:
    """Join polylines [P, 4] into offsets and four columns."""
    empty = np.zeros((0, 4))
    joined = np.vstack([empty if line is None else line for line in lines]).astype(np.float32)
    return _offsets([0 if line is None else len(line) for line in lines]), [
        np.ascontiguousarray(joined[:, k]) for k in range(4)
    ]


def _stop_columns(
    stops: list[list[tuple[float, int]]],
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int32]]:
    flat = [stop for per_slot in stops for stop in per_slot]
    return (
        _offsets([len(per_slot) for per_slot in stops]),
        np.array([s for s, _ in flat], dtype=np.float32),
        np.array([k for _, k in flat], dtype=np.int32),
    )


def _join(scenes: list[_Scene], dropped: dict[str, str]) -> SceneBank:
    slots = [len(scene.types) for scene in scenes]
    half = np.vstack([scene.half_size for scene in scenes])
    routes = [route for scene in scenes for route in scene.routes]
    paths = [path for scene in scenes for path in scene.paths]
    controllable = np.array([route is not None for route in routes], dtype=np.uint8)
    diagonal = float(np.hypot(half[:, 0], half[:, 1])[controllable > 0].max())
    parts, part_of = _parts_of_maps(scenes)
    with ThreadPoolExecutor() as pool:  # most of the work is in kernels that release the GIL
        grids = list(pool.map(lambda part: build_grid(part[0], part[1], diagonal), parts))
    route_start, route = _polyline_columns([None if r is None else r.points for r in routes])
    path_start, path = _polyline_columns(paths)
    stop_start, stop_s, stop_light = _stop_columns([s for scene in scenes for s in scene.stops])
    path_stop_start, path_stop_s, path_stop_light = _stop_columns([s for scene in scenes for s in scene.path_stops])
    present = [scene.log[:, 10, :] > 0 for scene in scenes]
    limits = [r.speed_limit for r in routes if r is not None]
    arrays = SceneArrays(
        num_frames=np.array([len(scene.log) for scene in scenes], dtype=np.int32),
        num_slots=np.array(slots, dtype=np.int32),
        slot_start=_offsets(slots)[:-1].copy(),
        log_start=_offsets([scene.log.size for scene in scenes])[:-1].copy(),
        log=np.concatenate([*(scene.log.ravel() for scene in scenes), np.zeros(LOG_PADDING, dtype=np.float32)]),
        map_row=part_of,
        num_lights=np.array([len(scene.scenario.lights.lane) for scene in scenes], dtype=np.int32),
        light_start=_offsets([scene.scenario.lights.state.size for scene in scenes])[:-1].copy(),
        light_state=np.concatenate([scene.scenario.lights.state.ravel() for scene in scenes]).astype(np.uint8),
        light_age=np.concatenate([_light_ages(scene.scenario.lights.state).ravel() for scene in scenes]),
        slot_type=np.concatenate([scene.types for scene in scenes]),
        half_length=np.ascontiguousarray(half[:, 0]),
        half_width=np.ascontiguousarray(half[:, 1]),
        wheelbase=np.concatenate([scene.wheelbase for scene in scenes]),
        rear_axle_to_center=np.concatenate([scene.rear_axle for scene in scenes]),
        controllable=controllable,
        reactive=np.array([p is not None for p in paths], dtype=np.uint8),
        first_frame=np.concatenate([p.argmax(axis=0) for p in present]).astype(np.int32),
        last_frame=np.concatenate([len(p) - 1 - p[::-1].argmax(axis=0) for p in present]).astype(np.int32),
        route_start=route_start,
        route_x=route[0],
        route_y=route[1],
        route_cos=route[2],
        route_sin=route[3],
        route_limit=np.concatenate(limits).astype(np.float32),
        goal_s=np.array([s for scene in scenes for s in scene.goal_s], dtype=np.float32),
        told_goal_s=np.array([s for scene in scenes for s in scene.told_goal_s], dtype=np.float32),
        stop_start=stop_start,
        stop_s=stop_s,
        stop_light=stop_light,
        path_start=path_start,
        path_x=path[0],
        path_y=path[1],
        path_cos=path[2],
        path_sin=path[3],
        desired_speed=np.array([v for scene in scenes for v in scene.desired_speed], dtype=np.float32),
        driver=np.tile(np.array(PLAIN_DRIVER), (len(controllable), 1)),
        path_stop_start=path_stop_start,
        path_stop_s=path_stop_s,
        path_stop_light=path_stop_light,
        **_join_grids(grids),
    )
    return SceneBank(
        arrays=arrays,
        scenario_ids=tuple(scene.scenario.scenario_id for scene in scenes),
        scenario_types=tuple(scene.scenario.scenario_type for scene in scenes),
        knowledge=tuple(scene.scenario.knowledge for scene in scenes),
        slot_tokens=np.concatenate([scene.tokens for scene in scenes]),
        dropped=dropped,
    )


def _join_grids(grids: list[RoadGrid]) -> dict[str, NDArray]:
    """Join the grids of all maps, shifting what refers to rows of joined arrays."""
    segments = np.hstack([grid.segments for grid in grids])
    segment_start = _offsets([grid.segments.shape[1] for grid in grids])
    block_start = _offsets([len(grid.block) for grid in grids])
    edge_start = _offsets([len(grid.cell_edge) for grid in grids])
    cell_block = [np.where(g.cell_block > 0, g.cell_block + block_start[m], 0) for m, g in enumerate(grids)]
    cell_edge = [grid.cell_edge + segment_start[m] for m, grid in enumerate(grids)]
    starts = [grid.cell_edge_start[:-1] + edge_start[m] for m, grid in enumerate(grids)]
    return {
        "segment_start": segment_start,
        "segment_x": np.ascontiguousarray(segments[0]),
        "segment_y": np.ascontiguousarray(segments[1]),
        "segment_cos": np.ascontiguousarray(segments[2]),
        "segment_sin": np.ascontiguousarray(segments[3]),
        "segment_half": np.ascontiguousarray(segments[4]),
        "segment_edge": np.concatenate([grid.is_edge for grid in grids]),
        "grid_x": np.array([grid.x for grid in grids], dtype=np.float32),
        "grid_y": np.array([grid.y for grid in grids], dtype=np.float32),
        "grid_columns": np.array([grid.columns for grid in grids], dtype=np.int32),
        "grid_rows": np.array([grid.rows for grid in grids], dtype=np.int32),
        "cell_start": _offsets([len(grid.cell_block) for grid in grids]),
        "cell_block": np.concatenate(cell_block).astype(np.int32),
        "block": np.concatenate([grid.block for grid in grids]),
        "block_count": np.concatenate([grid.block_count for grid in grids]),
        "cell_edge_start": np.concatenate([*starts, edge_start[-1:]]).astype(np.int64),
        "cell_edge": np.concatenate(cell_edge).astype(np.int32),
    }
