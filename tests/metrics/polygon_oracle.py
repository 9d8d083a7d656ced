"""nuPlan's box metrics written down literally with shapely polygons: the slow truth that the kernels are held to."""

import numpy as np
import shapely

from drivetrain.metrics.ego_states import EgoStates
from drivetrain.sim.scenario import AgentTracks

STATIC = (3, 4, 5, 6)


def box_polygon(x: float, y: float, heading: float, length: float, width: float) -> shapely.Polygon:
    c, s = np.cos(heading), np.sin(heading)
    corners = [(length / 2, width / 2), (-length / 2, width / 2), (-length / 2, -width / 2), (length / 2, -width / 2)]
    return shapely.Polygon([(x + a * c - b * s, y + a * s + b * c) for a, b in corners])


def ego_polygon(ego: EgoStates, frame: int, ahead: float = 0.0) -> shapely.Polygon:
    x, y, heading = ego.pose[frame]
    d = ego.vehicle.rear_axle_to_center + ahead
    return box_polygon(x + d * np.cos(heading), y + d * np.sin(heading), heading, ego.vehicle.length, ego.vehicle.width)


def agent_polygon(agents: AgentTracks, frame: int, agent: int, ahead: float = 0.0) -> shapely.Polygon:
    x, y = agents.position[frame, agent]
    heading = float(agents.heading[frame, agent])
    length, width = agents.size[agent].astype(np.float64)
    return box_polygon(x + ahead * np.cos(heading), y + ahead * np.sin(heading), heading, length, width)


def bearing(ego: EgoStates, agents: AgentTracks, frame: int, agent: int) -> float:
    """Angle between the ego's heading and the way from its rear axle to the agent's centre [degrees]."""
    x, y, heading = ego.pose[frame]
    way = agents.position[frame, agent] - [x, y]
    cosine = np.dot([np.cos(heading), np.sin(heading)], way) / np.linalg.norm(way)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def speed_of(agents: AgentTracks, frame: int, agent: int) -> float:
    return 0.0 if agents.type[agent] in STATIC else float(np.hypot(*agents.velocity[frame, agent].astype(float)))


def collisions(ego: EgoStates, agents: AgentTracks, in_lane: np.ndarray) -> list[tuple[int, int, int, bool]]:
    """(frame, agent, type, at fault) of every first contact, in order of frame, type of agent, column."""
    found, hit = [], set()
    order = sorted(range(len(agents.type)), key=lambda a: (agents.type[a], a))
    for i in range(len(ego)):
        for a in order:
            if a in hit or not agents.valid[i, a]:
                continue
            if not ego_polygon(ego, i).intersects(agent_polygon(agents, i, a)):
                continue
            hit.add(a)
            front = shapely.LineString(ego.corners[i][[0, 3]])
            if ego.speed[i] <= 0.05:
                kind = 0
            elif speed_of(agents, i, a) <= np.float32(0.05):  # as exact as velocities are kept
                kind = 1
            elif bearing(ego, agents, i, a) > 150:
                kind = 3
            elif front.intersects(agent_polygon(agents, i, a)):
                kind = 2
            else:
                kind = 4
            found.append((i, a, kind, kind in (1, 2) or (kind == 4 and not in_lane[i])))
    return found


def times_to_collision(
    ego: EgoStates, agents: AgentTracks, in_lane: np.ndarray, in_intersection: np.ndarray
) -> np.ndarray:
    """Time to collision of every frame [s]."""
    contacts = collisions(ego, agents, in_lane)
    times = np.full(len(ego), np.inf)
    for i in range(len(ego)):
        hit = {a for frame, a, _, _ in contacts if frame <= i}
        if any(frame == i and at_fault for frame, _, _, at_fault in contacts):
            times[i] = 0.0
        elif ego.speed[i] > 0.005:
            sideways = not in_lane[i] or in_intersection[i]
            candidates = [
                a
                for a in range(len(agents.type))
                if agents.valid[i, a] and a not in hit
                if (angle := bearing(ego, agents, i, a)) < 30 or (sideways and angle <= 150)
            ]
            times[i] = _first_look(ego, agents, i, candidates)
    return times


def _first_look(ego: EgoStates, agents: AgentTracks, frame: int, candidates: list[int]) -> float:
    for t in np.arange(0.1, 3.0, 0.1):
        moved = ego_polygon(ego, frame, ego.speed[frame] * t)
        for a in candidates:
            if moved.intersects(agent_polygon(agents, frame, a, speed_of(agents, frame, a) * t)):
                return float(t)
    return float("inf")
