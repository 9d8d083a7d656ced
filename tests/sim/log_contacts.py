"""Where a log itself has contacts, by polygons and straight from the scenario, and where replaying it finds them."""

from __future__ import annotations

import numpy as np
from shapely.geometry import Polygon
from tests.sim.comparison import make_env

from drivetrain.sim.world import COLLISION


def box(x, y, heading, length, width) -> Polygon:
    c, s = np.cos(heading), np.sin(heading)
    corners = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * [length / 2, width / 2]
    return Polygon(corners @ np.array([[c, s], [-s, c]]) + [x, y])


def first_contact(scenario, *, tolerance=0.0) -> int | None:
    """First frame after the start at which the ego is within ``tolerance`` [m] of another box; None if never."""
    ego, agents = scenario.ego, scenario.agents
    offset, size = ego.vehicle.rear_axle_to_center, (ego.vehicle.length, ego.vehicle.width)
    for frame in range(1, len(scenario.timestamps_us)):
        x, y, heading = ego.pose[frame]
        x, y = x + offset * np.cos(heading), y + offset * np.sin(heading)
        own = box(x, y, heading, *size)
        near = agents.valid[frame] & (np.hypot(*(agents.position[frame] - [x, y]).T) < 30.0)
        for a in np.flatnonzero(near):
            other = box(*agents.position[frame, a], float(agents.heading[frame, a]), *agents.size[a])
            if own.distance(other) <= tolerance:
                return frame
    return None


def replay_contacts(bank) -> tuple[dict[int, int], np.ndarray]:
    """Replay every scene; return the frame of each scene's first collision, and the length of each episode."""
    env = make_env(bank, num_worlds=len(bank), sequential=True, perturb=False, automatic_reset=False, horizon_s=60.0)
    collided = {}
    for frame in range(1, int(bank.arrays.num_frames.max())):
        env.step_log()
        for world in np.flatnonzero((env.state.events & COLLISION) > 0):
            collided[int(world)] = frame
    return collided, env.state.steps
