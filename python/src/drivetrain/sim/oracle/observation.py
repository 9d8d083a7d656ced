"""The canonical observation of one agent, paragraph by paragraph of ``docs/simulator.md``, in plain float64 NumPy.

Slow and direct on purpose: every road segment is looked at, nothing is cached. Each group comes with its
*margin*: by how much (m, or m/s where speeds decide) the closest of its yes/no decisions was taken. Below rounding
error another program may rightly decide the other way.

A slots of the world, K lights, P route points, E road segments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.geometry import closest_approach, rotate_into_frame, wrap_angle
from drivetrain.sim.observation import (
    ACCELERATION_SCALE,
    CANONICAL,
    CURVATURE_SCALE,
    LENGTH_SCALE,
    NUM_AGENTS,
    NUM_ROAD_POINTS,
    POSITION_SCALE,
    ROUTE_DISTANCES_M,
    SPEED_SCALE,
    WIDTH_SCALE,
)
from drivetrain.sim.oracle.scene import Agent, Route, SceneView, Slots
from drivetrain.sim.scenario import AgentType
from drivetrain.sim.scene_arrays import BLOCK_REACH, CELL_SIZE, GRID_MARGIN, SEGMENT_REACH

Float64 = NDArray[np.float64]

AGENT_REACH = 80.0
"""Other agents farther than this are not seen [m]."""
STOP_REACH = 80.0
"""Stop lines farther than this are not seen [m]."""
APPROACH_HORIZON = 5.0
"""Closest approach is looked for within this time [s]."""
CORRIDOR_POINTS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """One feature group of an observation."""

    values: Float64
    """Feature-major, shape [features, count]."""
    margin: float
    """Slack of the closest decision in this group, order aside; infinite where nothing was decided."""
    order_margin: float = np.inf
    """Least difference in distance between neighbours in a list ordered by distance [m]."""


def observe(scene: SceneView, frame: int, slots: Slots, agent: Agent) -> dict[str, Group]:
    """Return the feature groups of what an agent sees at a frame."""
    route = scene.route(agent.slot)
    return {
        "ego": ego_group(agent, route),
        "stop": stop_group(scene, frame, agent, route),
        "route": route_group(agent, route),
        "agents": agents_group(scene, slots, agent, route),
        "road": road_group(scene, agent),
    }


def flatten(groups: dict[str, Group]) -> Float64:
    """Return the observation row, in the schema's order, shape [D]."""
    return np.concatenate([groups[group.name].values.ravel() for group in CANONICAL.groups])


def scaled_position(x: Float64, y: Float64) -> tuple[Float64, Float64]:
    """Scale positions and clip them to [-2, 2]."""
    return np.clip(x / POSITION_SCALE, -2.0, 2.0), np.clip(y / POSITION_SCALE, -2.0, 2.0)


def ego_group(agent: Agent, route: Route) -> Group:
    """Paragraph 'ego'."""
    i = agent.route_index
    curvature = np.tan(agent.steering) / agent.wheelbase
    turn = wrap_angle(agent.heading - np.arctan2(route.sin[i], route.cos[i]))
    s, e = route.place(i, agent.x, agent.y)
    limit = route.limit[i]
    values = [
        agent.speed / SPEED_SCALE,
        agent.acceleration / ACCELERATION_SCALE,
        curvature / CURVATURE_SCALE,
        agent.speed * curvature,
        2.0 * agent.half_length / LENGTH_SCALE,
        2.0 * agent.half_width / WIDTH_SCALE,
        np.clip(e / 5.0, -1.0, 1.0),
        np.cos(turn),
        np.sin(turn),
        limit / SPEED_SCALE if limit > 0 else 0.0,
        float(limit > 0),
        np.clip((route.told_goal_s - s) / 100.0, -1.0, 1.0),
    ]
    return Group(values=np.array(values)[:, None], margin=np.inf)


def stop_group(scene: SceneView, frame: int, agent: Agent, route: Route) -> Group:
    """Paragraph 'stop': the first stop line that is not yet a metre behind the front."""
    s, _ = route.place(agent.route_index, agent.x, agent.y)
    distance = route.stop_s - (s + agent.half_length)
    margin = float(np.min(np.abs(np.concatenate([distance + 1.0, distance - STOP_REACH])), initial=np.inf))
    ahead = np.flatnonzero((distance > -1.0) & (distance < STOP_REACH))
    if not len(ahead):
        return Group(values=np.zeros((8, 1)), margin=margin)
    d, light = distance[ahead[0]], route.stop_light[ahead[0]]
    state, age = scene.lights(frame)
    one_hot = (np.arange(4) == state[light]).astype(np.float64)
    braking = np.clip(agent.speed**2 / (2.0 * max(d, 0.5)) / 4.0, 0.0, 1.0)
    values = [1.0, np.clip(d / 50.0, -1.0, 1.0), *one_hot, min(age[light], 50) / 50.0, braking]
    return Group(values=np.array(values)[:, None], margin=margin)


def route_group(agent: Agent, route: Route) -> Group:
    """Paragraph 'route': points ahead of the projection, in the agent's frame."""
    index = np.minimum(agent.route_index + np.array(ROUTE_DISTANCES_M, dtype=np.int64), len(route.x) - 1)
    x, y = rotate_into_frame(route.x[index] - agent.x, route.y[index] - agent.y, agent.cos, agent.sin)
    cos, sin = rotate_into_frame(route.cos[index], route.sin[index], agent.cos, agent.sin)
    return Group(values=np.array([*scaled_position(x, y), cos, sin]), margin=np.inf)


def agents_group(scene: SceneView, slots: Slots, agent: Agent, route: Route) -> Group:
    """Paragraph 'agents': the nearest present slots, nearest first."""
    others = slots.others(agent.slot)
    distance = np.hypot(slots.x[others] - agent.x, slots.y[others] - agent.y)
    order = np.lexsort((others, distance))
    margin, order_margin = _selection_margins(distance[order], NUM_AGENTS, AGENT_REACH)
    chosen = others[order][distance[order] <= AGENT_REACH][:NUM_AGENTS]
    values = np.zeros((13, NUM_AGENTS))
    for column, j in enumerate(chosen):
        values[:, column], slack = _agent_features(scene, slots, agent, route, int(j))
        margin = min(margin, slack)
    return Group(values=values, margin=margin, order_margin=order_margin)


def _agent_features(scene: SceneView, slots: Slots, agent: Agent, route: Route, j: int) -> tuple[list[float], float]:
    """The thirteen features of one seen slot, and the slack of the corridor's decisions."""
    dx, dy = slots.x[j] - agent.x, slots.y[j] - agent.y
    x, y = rotate_into_frame(dx, dy, agent.cos, agent.sin)
    turn = slots.heading[j] - agent.heading
    velocity = rotate_into_frame(slots.velocity_x[j], slots.velocity_y[j], agent.cos, agent.sin)
    own = slots.velocity_x[agent.slot], slots.velocity_y[agent.slot]
    time, miss = closest_approach(
        dx, dy, slots.velocity_x[j] - own[0], slots.velocity_y[j] - own[1], horizon=APPROACH_HORIZON
    )
    inside, gap, slack = corridor(agent, route, slots, j)
    vulnerable = slots.type[j] in (AgentType.PEDESTRIAN, AgentType.BICYCLE)
    return [
        *(float(value) for value in scaled_position(x, y)),
        float(np.cos(turn)),
        float(np.sin(turn)),
        float(velocity[0]) / SPEED_SCALE,
        float(velocity[1]) / SPEED_SCALE,
        2.0 * slots.half_length[j] / LENGTH_SCALE,
        2.0 * slots.half_width[j] / WIDTH_SCALE,
        float(time) / APPROACH_HORIZON,
        min(float(miss), 20.0) / 20.0,
        inside,
        gap,
        float(vulnerable),
    ], slack


def corridor(agent: Agent, route: Route, slots: Slots, j: int) -> tuple[float, float, float]:
    """How much a slot is in the way (0..1), the gap to it along the route (scaled), and the decisions' slack."""
    index = np.clip(agent.route_index - 4 + 2 * np.arange(CORRIDOR_POINTS), 0, len(route.x) - 1)
    distance = np.hypot(slots.x[j] - route.x[index], slots.y[j] - route.y[index])
    nearest = int(index[np.argmin(distance)])
    inside, gap, slack = _beside(agent, route, slots, j, nearest)
    rivals = np.where(index == nearest, np.inf, distance)
    if np.isfinite(rivals).any():
        rival_inside, rival_gap, _ = _beside(agent, route, slots, j, int(index[np.argmin(rivals)]))
        if max(abs(rival_inside - inside), abs(rival_gap - gap)) > 1e-6:  # else it does not matter which is nearest
            slack = min(slack, float(rivals.min() - distance.min()))
    return inside, gap, slack


def _beside(agent: Agent, route: Route, slots: Slots, j: int, i: int) -> tuple[float, float, float]:
    """The same for a slot that lies beside route point ``i``."""
    dx, dy = slots.x[j] - route.x[i], slots.y[j] - route.y[i]
    along, lateral = (float(value) for value in rotate_into_frame(dx, dy, route.cos[i], route.sin[i]))
    free = abs(lateral) - float(slots.half_width[j]) - agent.half_width
    inside = float(np.clip(1.0 - max(free, 0.0) / 2.0, 0.0, 1.0)) * float(abs(along) <= 3.0)
    s, _ = route.place(agent.route_index, agent.x, agent.y)
    gap = float(np.clip((i + along - s - agent.half_length - slots.half_length[j]) / 50.0, -1.0, 1.0))
    at_the_end = abs(abs(along) - 3.0) if free < 2.0 else np.inf
    at_the_side = abs(free - 2.0) if abs(along) < 3.1 else np.inf
    return inside, gap * float(inside > 0.0), min(at_the_end, at_the_side)


def road_group(scene: SceneView, agent: Agent) -> Group:
    """Paragraph 'road': the segments nearest to the centre of the agent's cell, exact (not quantised)."""
    road = scene.road
    values = np.zeros((6, NUM_ROAD_POINTS))
    if not len(road.x):
        return Group(values=values, margin=np.inf)
    low = CELL_SIZE * np.floor((np.array([road.x.min(), road.y.min()]) - GRID_MARGIN) / CELL_SIZE)
    high = np.array([road.x.max(), road.y.max()]) + GRID_MARGIN
    place = np.array([agent.x, agent.y])
    cell = np.floor((place - low) / CELL_SIZE)
    margin = float(np.min(np.abs((place - low) / CELL_SIZE - np.round((place - low) / CELL_SIZE)))) * CELL_SIZE
    if (cell < 0).any() or (cell >= np.ceil((high - low) / CELL_SIZE)).any():
        return Group(values=values, margin=margin)
    centre = low + (cell + 0.5) * CELL_SIZE
    distance = np.hypot(road.x - centre[0], road.y - centre[1])
    order = np.argsort(distance, kind="stable")
    if distance[order[0]] > BLOCK_REACH:
        return Group(values=values, margin=min(margin, float(distance[order[0]]) - BLOCK_REACH))
    margin = min(margin, abs(float(distance[order[0]]) - BLOCK_REACH))
    chosen = order[distance[order] <= SEGMENT_REACH][:NUM_ROAD_POINTS]
    n = len(chosen)
    x, y = rotate_into_frame(road.x[chosen] - agent.x, road.y[chosen] - agent.y, agent.cos, agent.sin)
    values[0, :n], values[1, :n] = scaled_position(x, y)
    values[2, :n], values[3, :n] = rotate_into_frame(road.cos[chosen], road.sin[chosen], agent.cos, agent.sin)
    values[4, :n] = road.half_length[chosen] / LENGTH_SCALE
    values[5, :n] = road.is_edge[chosen]
    selection_margin, order_margin = _selection_margins(distance[order], NUM_ROAD_POINTS, SEGMENT_REACH)
    return Group(values=values, margin=min(margin, selection_margin), order_margin=order_margin)


def _selection_margins(ascending: Float64, count: int, reach: float) -> tuple[float, float]:
    """Return by how much the ``count`` nearest within ``reach`` are chosen, and by how much they are ordered [m]."""
    seen = ascending[ascending <= reach]
    steps = np.diff(seen[: count + 1])
    last = float(steps[count - 1]) if len(seen) > count else np.inf
    to_reach = float(np.min(np.abs(ascending[: count + 1] - reach), initial=np.inf))
    return min(last, to_reach), float(np.min(steps[: count - 1], initial=np.inf))
