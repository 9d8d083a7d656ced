"""What a recording says about the moment of a failure, as plain numbers that rules can be made of.

T frames, A agents, K lights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.rendering.recording import DriveRecording, logged_ego_pose
from drivetrain.sim.geometry import rotate_into_frame, wrap_angle
from drivetrain.sim.scenario import AgentType, LightState

BEFORE_S = 3.0
"""How far back a contact's story is read [s]."""
LIGHT_REACH_M = 40.0
"""A light belongs to what happens if its stop line is no farther ahead of the ego [m]."""
LIGHT_BEHIND_M = 5.0
"""The same for one whose stop line the front has just passed [m]."""
LIGHT_BESIDE_M = 6.0
"""Distance of its stop line to either side [m]: that of the ego's lane, not of the whole road."""
BEND_REACH_M = 15.0
"""A place is in a curve by what the logged way does so far before and behind it [m]."""
QUEUE_REACH_M = 15.0
"""Somebody no farther ahead than this, bumper to bumper, is a reason to stand [m]."""
QUEUE_BESIDE_M = 2.0
"""And no farther to the side [m]."""
STANDING_MPS = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Contact:
    """A contact as the ego saw it: its frame has its origin at the ego's centre, x ahead, y to the left."""

    agent_type: int
    """AgentType."""
    parked: bool
    """A vehicle that never moves as long as the drive was recorded."""
    agent_speed: float
    """[m/s]."""
    turned: float
    """The agent's heading relative to the ego's, 0 to pi [rad]."""
    ahead: bool
    """The agent's nearest part lies before the ego's middle."""
    agent_shift: float
    """How far the agent came sideways towards the ego's way in the last 3 s [m]."""
    ego_shift: float
    """How far the ego moved sideways in the last 3 s, seen from where it points at the contact [m]."""
    ego_turn: float
    """How far the ego turned in the last 3 s [rad]."""


def contact_of(drive: DriveRecording, frame: int, agent: int) -> Contact:
    """Return what there is to say of a contact with an agent."""
    first = max(0, frame - round(BEFORE_S / drive.dt))
    here, heading = drive.ego_pose[frame, :2], drive.ego_pose[frame, 2]
    cos, sin = np.cos(heading), np.sin(heading)
    there = drive.agent_pose[first : frame + 1, agent]
    seen = drive.agent_present[first : frame + 1, agent]
    x, y = rotate_into_frame(there[:, 0] - here[0], there[:, 1] - here[1], cos, sin)
    _, own_y = rotate_into_frame(
        drive.ego_pose[first : frame + 1, 0] - here[0], drive.ego_pose[first : frame + 1, 1] - here[1], cos, sin
    )
    turned = float(abs(wrap_angle(there[-1, 2] - heading)))
    length, width = drive.agent_size[agent].tolist()
    reach = 0.5 * (length * abs(np.cos(turned)) + width * abs(np.sin(turned)))
    before = np.abs(y[seen])
    return Contact(
        agent_type=int(drive.agent_type[agent]),
        parked=bool(drive.parked[agent]),
        agent_speed=_speed(drive, frame, agent),
        turned=turned,
        ahead=bool(x[-1] + reach > 0.0),
        agent_shift=float(before.max() - abs(y[-1])) if len(before) else 0.0,
        ego_shift=float(np.abs(own_y).max()),
        ego_turn=float(abs(wrap_angle(heading - drive.ego_pose[first, 2]))),
    )


def _speed(drive: DriveRecording, frame: int, agent: int) -> float:
    """Return an agent's speed over the last frames in which it was there [m/s]."""
    seen = np.flatnonzero(drive.agent_present[max(0, frame - 3) : frame + 1, agent]) + max(0, frame - 3)
    if len(seen) < 2:
        return 0.0
    way = np.hypot(*(drive.agent_pose[seen[-1], agent, :2] - drive.agent_pose[seen[0], agent, :2]))
    return float(way / ((seen[-1] - seen[0]) * drive.dt))


def stop_light_ahead(drive: DriveRecording, frame: int) -> int | None:
    """Return the state of the strictest light shortly ahead of the ego, YELLOW or RED; None: there is no such."""
    lights = drive.scenario.lights
    at = drive.first_frame + frame
    if not len(lights.lane) or at >= len(lights.state):
        return None
    x, y, heading = drive.ego_pose[frame]
    front = 0.5 * drive.ego_size[0]
    ahead, beside = rotate_into_frame(
        lights.stop_point[:, 0] - x, lights.stop_point[:, 1] - y, np.cos(heading), np.sin(heading)
    )
    near = (ahead - front > -LIGHT_BEHIND_M) & (ahead - front < LIGHT_REACH_M) & (np.abs(beside) < LIGHT_BESIDE_M)
    shown = {int(state) for state in lights.state[at][near]}
    return next((int(state) for state in (LightState.RED, LightState.YELLOW) if int(state) in shown), None)


def bend_of_way(drive: DriveRecording, frame: int) -> float:
    """Return by how much the logged way turns about the place where the ego is [rad]."""
    logged = logged_ego_pose(drive.scenario)
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(logged[:, :2], axis=0).T))])
    nearest = int(np.argmin(np.hypot(*(logged[:, :2] - drive.ego_pose[frame, :2]).T)))
    about: NDArray[np.bool_] = np.abs(along - along[nearest]) <= BEND_REACH_M
    heading = np.unwrap(logged[:, 2])[about]
    return float(heading.max() - heading.min())


def is_held_up(drive: DriveRecording) -> bool:
    """Return whether something stands in the ego's way at the end: somebody shortly ahead, or a light."""
    frame = drive.num_frames - 1
    if stop_light_ahead(drive, frame) is not None:
        return True
    x, y, heading = drive.ego_pose[frame]
    pose = drive.agent_pose[frame]
    ahead, beside = rotate_into_frame(pose[:, 0] - x, pose[:, 1] - y, np.cos(heading), np.sin(heading))
    gap = ahead - 0.5 * (drive.ego_size[0] + drive.agent_size[:, 0])
    clear = np.abs(beside) - 0.5 * drive.agent_size[:, 1]
    return bool((drive.agent_present[frame] & (ahead > 0) & (gap < QUEUE_REACH_M) & (clear < QUEUE_BESIDE_M)).any())


def is_vulnerable(agent_type: int) -> bool:
    """Return whether somebody has no body of steel around."""
    return agent_type in (AgentType.PEDESTRIAN, AgentType.BICYCLE)
