"""A planner that remembers, scored beside the reference planners: ``python examples/planner_with_memory.py [DATA]``.

It follows the route's centre line at the speed limit, stops at red lights, keeps 1.5 s behind whoever is ahead on the
route, and judges by what it has seen in the last second whether that one is braking.
"""

# ruff: noqa: ANN001, ANN201, ANN204, SIM300, B905 - the point is how little is needed

import sys
from collections import deque

import numpy as np

import drivetrain

RED = 2


class Follower:
    """One scenario's planner."""

    def __init__(self):
        self.seen = deque(maxlen=10)  # speed of every agent in the last ten frames, by agent

    def begin(self, view):
        """Return a fresh planner for the scenario that begins with this view."""
        return Follower()

    def __call__(self, view):
        """Return rear-axle poses every 0.1 s for 8 s."""
        speed = np.hypot(*view.agent_velocity.T)
        self.seen.append(dict(zip(view.agent_id.tolist(), speed.tolist())))
        here = view.arc_length + view.vehicle.length / 2
        allowed = self.limit(view)
        for agent in range(len(speed)):
            away = np.hypot(*(view.route - view.agent_center[agent]).T)
            gap = away.argmin() - view.agent_size[agent, 0] / 2 - here
            if away.min() < 1.8 and -2 < gap < 60:
                ago = self.seen[0].get(int(view.agent_id[agent]), speed[agent])
                braking = max(ago - speed[agent], 0.0)  # m/s within the last second
                allowed = min(allowed, max(speed[agent] - braking + (gap - 4.0) / 1.5, 0.0))
        for line, state in zip(view.stop_line_arc_length, view.stop_line_state):
            if state == RED and 0 < line - here:
                allowed = min(allowed, np.sqrt(2 * 2.0 * max(line - here - 1.0, 0.0)))
        change = np.clip(allowed - view.speed, -4.0, 1.5)
        t = np.arange(81) / 10
        v = np.clip(view.speed + change * t, *sorted((allowed, view.speed)))
        s = view.arc_length - view.vehicle.rear_axle_to_center + np.append(0.0, np.cumsum(v[:-1]) / 10)
        meters = np.arange(len(view.route))
        x, y = (np.interp(s, meters, view.route[:, k]) for k in (0, 1))
        return np.stack([x, y, np.interp(s, meters, np.unwrap(view.route_heading))], axis=1)

    def limit(self, view):
        """Return the speed limit here, 10 m/s where it is not known."""
        at = min(max(int(view.arc_length), 0), len(view.route) - 1)
        return view.route_speed_limit[at] if view.route_speed_limit_known[at] else 10.0


if __name__ == "__main__":
    data = sys.argv[1] if len(sys.argv) > 1 else "auto"
    result = drivetrain.evaluate(Follower(), data, episodes=100, reference=True)
    sys.stdout.write(result.to_table() + "\n")
