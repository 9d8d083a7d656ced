"""What every synthetic world must satisfy before it is kept: nobody collides, the ego drives as an expert should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray

from drivetrain.data.synthetic.casting import Attempt
from drivetrain.data.synthetic.kernels import columns as kernel
from drivetrain.data.synthetic.kernels.screening import first_overlap, follower_fails
from drivetrain.sim.scenario import LightState

if TYPE_CHECKING:
    from drivetrain.data.synthetic.world import Drive

LEAST_DISTANCE = 30.0
"""Shortest drive of the ego that is kept [m]."""
CLEARANCE = 0.05
"""Boxes are grown by this on every side before they are tested for overlap [m]."""


def pedestrian_poses(attempt: Attempt, drive: Drive) -> NDArray[np.float64]:
    """Return x, y, heading, speed of every pedestrian, shape [F, P, 4]."""
    people = np.array(attempt.cast.pedestrians, dtype=np.float64).reshape(-1, 8)
    out = np.zeros((*drive.walked.shape[:2], 4))
    along = people[:, 2:4] - people[:, :2]
    length = np.hypot(along[:, 0], along[:, 1])[:, None] if len(people) else np.ones((0, 1))
    out[..., :2] = people[:, :2] + along / length * drive.walked[..., :1]
    out[..., 2] = np.arctan2(along[:, 1], along[:, 0])
    out[..., 3] = people[:, 4] * drive.walked[..., 1]
    return out


def boxes(attempt: Attempt, drive: Drive) -> NDArray[np.float64]:
    """Return centre x, y, heading, half length, half width, valid of drivers, then pedestrians, [F, A + P, 6]."""
    parameters = np.array(attempt.cast.parameters)
    states, people = drive.states, pedestrian_poses(attempt, drive)
    drivers = np.empty((*states.shape[:2], 6))
    heading = states[..., kernel.H]
    drivers[..., 0] = states[..., kernel.X] + parameters[:, kernel.REAR] * np.cos(heading)
    drivers[..., 1] = states[..., kernel.Y] + parameters[:, kernel.REAR] * np.sin(heading)
    drivers[..., 2] = heading
    drivers[..., 3], drivers[..., 4] = parameters[:, kernel.LENGTH] / 2.0, parameters[:, kernel.WIDTH] / 2.0
    drivers[..., 5] = states[..., kernel.ACTIVE]
    walkers = np.empty((*people.shape[:2], 6))
    walkers[..., :3] = people[..., :3]
    walkers[..., 3], walkers[..., 4], walkers[..., 5] = 0.3, 0.3, 1.0
    return np.concatenate([drivers, walkers], axis=1)


def why_rejected(attempt: Attempt, drive: Drive) -> str | None:
    """Return why an attempt is not kept, or None."""
    ego = drive.states[:, 0]
    distance = float(kernel.DT * ego[:, kernel.V].sum())
    if distance < LEAST_DISTANCE:
        return f"the ego moves only {distance:.0f} m"
    if not ego[:, kernel.ACTIVE].all():
        return "the ego reaches the end of the road"
    rough = _roughness(ego)
    if rough is not None:
        return rough
    if _runs_red(attempt, drive):
        return "the ego passes a red light"
    all_boxes = boxes(attempt, drive)
    grown = all_boxes.copy()
    grown[..., 3:5] += CLEARANCE
    frame, i, j = first_overlap(grown, len(attempt.cast.types))
    if frame >= 0:
        return f"agents {i} and {j} touch at frame {frame}"
    corners = box_corners(all_boxes[::4, 0])
    outline = shapely.polygons(np.concatenate([corners, corners[:, :1]], axis=1))
    area = attempt.layout.network.drivable_union()
    shapely.prepare(area)
    if not shapely.covers(area, outline).all():
        return "the ego leaves the drivable area"
    return None


def box_corners(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners of boxes [n, >= 5] (see ``boxes``), shape [n, 4, 2], counter-clockwise."""
    c, s = np.cos(box[:, 2])[:, None], np.sin(box[:, 2])[:, None]
    dx = box[:, 3:4] * np.array([1.0, -1.0, -1.0, 1.0])
    dy = box[:, 4:5] * np.array([1.0, 1.0, -1.0, -1.0])
    return np.stack([box[:, 0:1] + c * dx - s * dy, box[:, 1:2] + s * dx + c * dy], axis=2)


def only_waits(attempt: Attempt, drive: Drive) -> bool:
    """Return whether the ego is still before or in its first crossing at the end."""
    if attempt.layout.name == "corridor":
        return False
    _, _, last = attempt.routes[attempt.cast.routes[0]].connectors(attempt.layout)[0]
    return bool(drive.states[-1, 0, kernel.S] < last)


def _roughness(ego: NDArray[np.float64]) -> str | None:
    jerk = np.abs(np.diff(ego[:, kernel.A])) / kernel.DT
    if jerk.mean() > 1.4:
        return f"mean jerk {jerk.mean():.1f}"
    if ego[:, kernel.A].min() < -3.9:
        return f"brakes with {ego[:, kernel.A].min():.1f} m/s^2"
    lateral = np.abs(ego[:, kernel.V] ** 2 * np.tan(ego[:, kernel.STEER]) / 3.089)
    if lateral.max() > 3.9:
        return f"lateral acceleration {lateral.max():.1f}"
    return None


def _runs_red(attempt: Attempt, drive: Drive) -> bool:
    layout = attempt.layout
    ego, row = drive.states[:, 0], attempt.cast.parameters[0]
    front = ego[:, kernel.S] + row[kernel.LENGTH] / 2.0 + row[kernel.REAR]
    for lane, first, _ in attempt.routes[attempt.cast.routes[0]].connectors(layout):
        group = layout.signal_group.get(lane, -1)
        if group < 0:
            continue
        crossed = np.flatnonzero((front[1:] >= first - 0.5) & (front[:-1] < first - 0.5))
        if (drive.lights[crossed + 1, group] == int(LightState.RED)).any():
            return True
    return False


def is_easy(attempt: Attempt, drive: Drive) -> bool:
    """Return whether a driver that only follows its lane would have come through among the recorded traffic."""
    layout, number = attempt.layout, attempt.cast.routes[0]
    route, ego, row = attempt.routes[number], drive.states[:, 0], attempt.cast.parameters[0]
    stops = [
        (first - 0.5, layout.signal_group[lane])
        for lane, first, _ in route.connectors(layout)
        if lane in layout.signal_group
    ]
    return not follower_fails(
        route.points,
        float(ego[0, kernel.S]),
        float(ego[0, kernel.D]),
        float(ego[0, kernel.V]),
        float(row[kernel.REAR]),
        boxes(attempt, drive),
        np.array(stops, dtype=np.float64).reshape(-1, 2),
        drive.lights,
        float(kernel.DT * ego[:, kernel.V].sum()),
    )
