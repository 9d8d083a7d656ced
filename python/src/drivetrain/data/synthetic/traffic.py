"""Who takes part in a world: the ego, other drivers, cyclists, parked cars and pedestrians, and where they start."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.synthetic.kernels import columns as kernel
from drivetrain.data.synthetic.layouts import Layout
from drivetrain.data.synthetic.routes import Route, crosswalk_spans
from drivetrain.sim.scenario import AgentType, VehicleParameters

EGO = VehicleParameters()


@dataclass(kw_only=True, slots=True)
class Cast:
    """Everybody in a world before it starts."""

    parameters: list[NDArray[np.float64]] = field(default_factory=list)
    """Rows for ``kernels.columns.drive``, columns as named there."""
    states: list[NDArray[np.float64]] = field(default_factory=list)
    types: list[AgentType] = field(default_factory=list)
    routes: list[int] = field(default_factory=list)
    """Route number of each driver."""
    pedestrians: list[tuple[float, ...]] = field(default_factory=list)
    """x0, y0, x1, y1, speed, earliest start [s], crosswalk (-1: sidewalk), signal group (-1: none)."""


def _driver(
    rng: np.random.Generator, length: float, width: float, wheelbase: float, rear: float
) -> NDArray[np.float64]:
    row = np.zeros(kernel.NUM_PARAMETERS)
    row[[kernel.LENGTH, kernel.WIDTH, kernel.WHEELBASE, kernel.REAR]] = length, width, wheelbase, rear
    row[kernel.SPEED] = rng.uniform(0.75, 1.0)
    row[kernel.HEADWAY] = rng.uniform(1.0, 1.7)
    row[kernel.ACCEL], row[kernel.BRAKE] = rng.uniform(1.2, 1.8), rng.uniform(1.6, 2.2)
    row[kernel.GAP] = rng.uniform(1.8, 3.0)
    row[kernel.STOP_AT] = row[kernel.GO_AT] = 1e9
    return row


def ego_driver(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the parameters of the ego."""
    row = _driver(rng, EGO.length, EGO.width, EGO.wheelbase, EGO.rear_axle_to_center)
    row[kernel.SPEED] = rng.uniform(0.9, 0.99)
    row[kernel.ACCEL] = rng.uniform(1.4, 1.7)
    return row


def random_driver(rng: np.random.Generator, *, heavy: bool) -> NDArray[np.float64]:
    """Return the parameters of a car, or of a truck or bus (``heavy``)."""
    if heavy:
        length = float(rng.uniform(7.5, 12.0))
        return _driver(rng, length, float(rng.uniform(2.3, 2.55)), 0.55 * length, 0.28 * length)
    length = float(rng.uniform(3.8, 5.2))
    return _driver(rng, length, float(rng.uniform(1.7, 2.05)), 0.59 * length, 0.28 * length)


def cyclist(rng: np.random.Generator, limit: float, lane_width: float) -> NDArray[np.float64]:
    """Return the parameters of a cyclist near the right border of the lane."""
    row = _driver(rng, 1.8, 0.7, 1.1, 0.55)
    row[kernel.SPEED] = rng.uniform(3.0, 5.0) / limit
    row[kernel.HOME] = -(lane_width / 2.0 - 0.55)
    row[kernel.PASSABLE] = 1.0
    return row


def state_on(route: Route, s: float, d: float, v: float) -> NDArray[np.float64]:
    """Return the starting state at arc length ``s`` [m], offset ``d`` [m], speed ``v`` [m/s]."""
    k = min(int(s), len(route.points) - 2)
    u = s - k
    x, y, h = (route.points[k, c] * (1.0 - u) + route.points[k + 1, c] * u for c in range(3))
    row = np.zeros(kernel.NUM_STATES)
    row[kernel.X], row[kernel.Y], row[kernel.H] = x - d * math.sin(h), y + d * math.cos(h), h
    row[[kernel.V, kernel.S, kernel.D, kernel.D_REF, kernel.ACTIVE]] = v, s, d, d, 1.0
    return row


def fits(cast: Cast, parameters: NDArray[np.float64], state: NDArray[np.float64]) -> bool:
    """Return whether nobody is too near for the speeds driven (standing still: 1.5 m ahead and behind)."""
    if not cast.states:
        return True
    others, sizes = np.array(cast.states), np.array(cast.parameters)
    c, s = math.cos(state[kernel.H]), math.sin(state[kernel.H])
    reach = parameters[kernel.REAR]
    dx = others[:, kernel.X] + sizes[:, kernel.REAR] * np.cos(others[:, kernel.H]) - state[kernel.X] - reach * c
    dy = others[:, kernel.Y] + sizes[:, kernel.REAR] * np.sin(others[:, kernel.H]) - state[kernel.Y] - reach * s
    along, across = dx * c + dy * s, dy * c - dx * s
    turned = np.abs(np.sin(others[:, kernel.H] - state[kernel.H]))
    half = (sizes[:, kernel.LENGTH] + parameters[kernel.LENGTH]) / 2.0
    side = (sizes[:, kernel.WIDTH] + parameters[kernel.WIDTH]) / 2.0 + 0.5 + turned * half
    with_us = np.cos(others[:, kernel.H] - state[kernel.H]) * others[:, kernel.V]
    behind = np.where(along > 0, state[kernel.V], with_us)
    front = np.where(along > 0, with_us, state[kernel.V])
    need = half + 2.0 + 0.9 * np.maximum(behind, 0.0)
    need += np.maximum(0.0, behind**2 - np.sign(front) * front**2) / 4.5
    return bool(np.all((np.abs(across) > side) | (np.abs(along) > need)))


def add(
    cast: Cast,
    parameters: NDArray[np.float64],
    state: NDArray[np.float64],
    route: int,
    kind: AgentType = AgentType.VEHICLE,
) -> bool:
    """Add a driver if there is room for it; return whether there was."""
    if not fits(cast, parameters, state):
        return False
    state = state.copy()
    state[kernel.TARGET] = parameters[kernel.HOME]
    cast.parameters.append(parameters)
    cast.states.append(state)
    cast.routes.append(route)
    cast.types.append(kind)
    return True


def safe_speed(layout: Layout, route: Route, s: float, wanted: float) -> float:
    """Return the speed at which a driver at ``s`` can still stop before the next connector and take the bends."""
    for _, first, last in route.connectors(layout):
        if s < last and layout.name != "corridor":
            wanted = min(wanted, math.sqrt(max(0.0, 2.0 * 1.7 * (first - s - 8.0))))
            break
    k = int(s)
    ahead = np.arange(min(60, len(route.points) - k))
    bends = np.sqrt(route.points[k : k + 60, kernel.PV] ** 2 + 2.0 * 1.2 * ahead)
    return float(min(wanted, bends.min()))


def park(rng: np.random.Generator, cast: Cast, layout: Layout, route_number: int, route: Route, s: float) -> bool:
    """Try to park a car half in the rightmost lane of a route near arc length ``s``; return whether it fits."""
    index = int(np.searchsorted(route.starts, s, side="right")) - 1
    lane = layout.network.lanes[route.lanes[index]]
    clear = s - route.starts[index] > 18.0 and route.starts[index + 1] - s > 26.0
    if lane.is_connector or lane.right >= 0 or lane.turn == "ring" or not clear:
        return False
    if lane.room_left + lane.room_oncoming < 1.0:
        return False
    row = random_driver(rng, heavy=rng.random() < 0.1)
    intrusion = float(rng.uniform(0.3, 1.9))
    d = -lane.width / 2.0 + intrusion - row[kernel.WIDTH] / 2.0
    row[kernel.PARKED] = row[kernel.PASSABLE] = 1.0
    state = state_on(route, s, d, 0.0)
    for other, size in zip(cast.states, cast.parameters, strict=True):
        # Cars parked on opposite sides would leave no way through.
        opposite = math.cos(other[kernel.H] - state[kernel.H]) < 0.5
        if size[kernel.PARKED] and opposite and math.hypot(*(other[:2] - state[:2])) < 45.0:
            return False
    return add(cast, row, state, route_number)


def add_pedestrians(rng: np.random.Generator, cast: Cast, layout: Layout, own: Route) -> None:
    """Add people on crosswalks, many of them when the ego arrives, and on sidewalks."""
    ego = cast.states[0]
    spans = {crosswalk: first for first, _, crosswalk in crosswalk_spans(layout, own)}
    for k, line in enumerate(layout.network.crosswalk_lines):
        met = k in spans and rng.random() < 0.5
        if not met and (k in spans or rng.random() < 0.55):
            continue
        first = float(rng.uniform(0.0, 9.0))
        if met:
            first = (spans[k] - ego[kernel.S]) / max(ego[kernel.V], 4.0) - float(rng.uniform(2.5, 5.5))
        way = line[::-1] if rng.random() < 0.5 else line
        for n in range(int(rng.integers(1, 4))):
            side = (n - 1) * 0.9
            u = (way[1] - way[0]) / np.hypot(*(way[1] - way[0]))
            shift = side * np.array([-u[1], u[0]])
            speed, start = float(rng.uniform(1.1, 1.6)), first + float(rng.uniform(0.0, 1.5))
            group = layout.crosswalk_group[k]
            cast.pedestrians.append((*(way[0] + shift), *(way[1] + shift), speed, start, float(k), float(group)))
    for line in layout.walkways:
        if rng.random() < 0.3 and len(line) > 12:
            k = int(rng.integers(0, len(line) - 11))
            piece = line[[k, k + 10]] if rng.random() < 0.5 else line[[k + 10, k]]
            cast.pedestrians.append((*piece[0], *piece[1], float(rng.uniform(0.9, 1.5)), 0.0, -1.0, -1.0))
