"""Build what planners see from the state of running worlds.

W worlds, N rows (planned vehicles), A agent slots (the largest scene's, rounded up).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivetrain.planners.view import PlanningRows, ScenarioView
from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.scenario import Scenario, VehicleParameters
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    COS,
    HEADING,
    PRESENT,
    SIN,
    SPEED,
    STEERING,
    VELOCITY_X,
    VELOCITY_Y,
    SceneArrays,
    X,
    Y,
)
from drivetrain.sim.scene_bank import SceneBank
from drivetrain.sim.world import WorldState

MAX_STOPS = 16
"""Stop lines ahead that a row holds; planners look at the nearest ones."""
BEHIND = 10.0
"""Stop lines farther behind than this are left out [m]."""


def planning_rows(arrays: SceneArrays, state: WorldState, index: NDArray[np.int64] | None = None) -> PlanningRows:
    """Return what the rows ``index`` see now (None: all). Rows that drive nothing repeat slot 0 of their world."""
    chosen = np.arange(len(state.slot)) if index is None else index
    n = len(chosen)
    world = chosen // (len(state.slot) // len(state.scene))
    slot = np.where(state.has_slot[chosen] > 0, state.slot[chosen], 0).astype(np.int64)
    scene = state.scene[world]
    g = arrays.slot_start[scene] + slot
    own = state.agents[world, :, slot].astype(np.float64)
    axle = arrays.rear_axle_to_center[g].astype(np.float64)
    pose = np.stack([own[:, X] - axle * own[:, COS], own[:, Y] - axle * own[:, SIN], own[:, HEADING]], axis=1)
    agents = np.zeros((n, state.agents.shape[2], 8))
    num_agents = np.zeros(n, dtype=np.int64)
    stop_s = np.zeros((n, MAX_STOPS))
    stop_state = np.zeros((n, MAX_STOPS), dtype=np.uint8)
    num_stops = np.zeros(n, dtype=np.int64)
    _fill_agents(arrays, state, world, slot, agents, num_agents)
    arc_length = state.route_s[chosen].astype(np.float64)
    _fill_stops(arrays, state, world, g, arc_length, stop_s, stop_state, num_stops)
    return PlanningRows(
        pose=pose,
        speed=own[:, SPEED],
        acceleration=own[:, ACCELERATION],
        steering=own[:, STEERING],
        half_size=np.stack([arrays.half_length[g], arrays.half_width[g]], axis=1).astype(np.float64),
        wheelbase=arrays.wheelbase[g].astype(np.float64),
        rear_axle_to_center=axle,
        num_agents=num_agents,
        agents=agents,
        arc_length=arc_length,
        route_first=arrays.route_start[g],
        route_last=arrays.route_start[g + 1],
        route_x=arrays.route_x,
        route_y=arrays.route_y,
        route_cos=arrays.route_cos,
        route_sin=arrays.route_sin,
        route_limit=arrays.route_limit,
        num_stops=num_stops,
        stop_s=stop_s,
        stop_state=stop_state,
    )


@jit
def _fill_agents(arrays, state, world, slot, agents, num_agents):  # noqa: ANN001, ANN202 - numba infers
    """Copy everybody present but the row's own slot, in slot order."""
    for n in range(len(slot)):
        w = world[n]
        scene = state.scene[w]
        count = 0
        for j in range(arrays.num_slots[scene]):
            if j == slot[n] or state.agents[w, PRESENT, j] == 0.0:
                continue
            agents[n, count, 0] = state.agents[w, X, j]
            agents[n, count, 1] = state.agents[w, Y, j]
            agents[n, count, 2] = state.agents[w, COS, j]
            agents[n, count, 3] = state.agents[w, SIN, j]
            agents[n, count, 4] = state.agents[w, VELOCITY_X, j]
            agents[n, count, 5] = state.agents[w, VELOCITY_Y, j]
            agents[n, count, 6] = arrays.half_length[arrays.slot_start[scene] + j]
            agents[n, count, 7] = arrays.half_width[arrays.slot_start[scene] + j]
            count += 1
        num_agents[n] = count


@jit
def _fill_stops(arrays, state, world, g, arc_length, stop_s, stop_state, num_stops):  # noqa: ANN001, ANN202
    """Copy the stop lines that are not far behind, with the light they show in the present frame."""
    for n in range(len(g)):
        scene = state.scene[world[n]]
        lights = arrays.light_start[scene] + state.frame[world[n]] * arrays.num_lights[scene]
        count = 0
        for q in range(arrays.stop_start[g[n]], arrays.stop_start[g[n] + 1]):
            if arrays.stop_s[q] < arc_length[n] - BEHIND or count == stop_s.shape[1]:
                continue
            stop_s[n, count] = arrays.stop_s[q]
            stop_state[n, count] = arrays.light_state[lights + arrays.stop_light[q]]
            count += 1
        num_stops[n] = count


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def scenario_view(
    bank: SceneBank, state: WorldState, rows: PlanningRows, *, at: int, row: int, scenario: Scenario, time_s: float
) -> ScenarioView:
    """Return what row ``row`` sees, cut out of entry ``at`` of :func:`planning_rows` of the same moment."""
    arrays = bank.arrays
    world = row // (len(state.slot) // len(state.scene))
    scene = int(state.scene[world])
    slot = int(state.slot[row])
    g = int(arrays.slot_start[scene]) + slot
    count, stops = int(rows.num_agents[at]), int(rows.num_stops[at])
    agents = rows.agents[at, :count]
    present = np.flatnonzero(state.agents[world, PRESENT, : arrays.num_slots[scene]])
    others = arrays.slot_start[scene] + present[present != slot]
    stretch = slice(int(rows.route_first[at]), int(rows.route_last[at]))
    limit = arrays.route_limit[stretch].astype(np.float64)
    return ScenarioView(
        scenario_id=scenario.scenario_id,
        time_s=time_s,
        pose=_read_only(rows.pose[at].copy()),
        speed=float(rows.speed[at]),
        acceleration=float(rows.acceleration[at]),
        steering=float(rows.steering[at]),
        vehicle=VehicleParameters(
            length=2.0 * float(rows.half_size[at, 0]),
            width=2.0 * float(rows.half_size[at, 1]),
            wheelbase=float(rows.wheelbase[at]),
            rear_axle_to_center=float(rows.rear_axle_to_center[at]),
        ),
        agent_type=_read_only(arrays.slot_type[others]),
        agent_id=_read_only(bank.slot_tokens[others]),
        agent_center=_read_only(agents[:, 0:2].copy()),
        agent_heading=_read_only(np.arctan2(agents[:, 3], agents[:, 2])),
        agent_velocity=_read_only(agents[:, 4:6].copy()),
        agent_size=_read_only(2.0 * agents[:, 6:8]),
        route=_read_only(np.stack([arrays.route_x[stretch], arrays.route_y[stretch]], axis=1).astype(np.float64)),
        route_heading=_read_only(np.arctan2(arrays.route_sin[stretch], arrays.route_cos[stretch]).astype(np.float64)),
        route_speed_limit=_read_only(limit),
        route_speed_limit_known=_read_only(limit > 0.0),
        arc_length=float(rows.arc_length[at]),
        goal_arc_length=float(arrays.told_goal_s[g]),
        stop_line_arc_length=_read_only(rows.stop_s[at, :stops].copy()),
        stop_line_state=_read_only(rows.stop_state[at, :stops].copy()),
        map=scenario.map,
    )
