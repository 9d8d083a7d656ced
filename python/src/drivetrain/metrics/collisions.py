"""Collisions as nuPlan judges them: the first contact with each track, its kind, whether the ego is at fault.

T frames, A agents, C collisions.

Source: nuPlan's ``no_ego_at_fault_collisions`` and its parameters.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from drivetrain.errors import DataError
from drivetrain.metrics.box_kernels import BEHIND_COS, first_contacts, first_not_finite
from drivetrain.metrics.ego_states import FRONT_LEFT, FRONT_RIGHT, EgoStates
from drivetrain.sim.geometry import box_segment_gap, rotate_into_frame
from drivetrain.sim.scenario import AgentTracks, AgentType, Bool, Float64, Int32, UInt8

STOPPED_SPEED = 0.05
"""Whoever is no faster stands still [m/s]."""
STATIC_TYPES = (AgentType.TRAFFIC_CONE, AgentType.BARRIER, AgentType.CZONE_SIGN, AgentType.GENERIC_OBJECT)
"""Objects that never move, whatever velocity a log gives them."""
ALLOWED_AT_FAULT = (
    ((AgentType.PEDESTRIAN, AgentType.BICYCLE), 0),
    ((AgentType.VEHICLE,), 0),
    (STATIC_TYPES, 1),
)
"""Types of tracks, and how many at-fault collisions with them leave a part of the score."""
_IS_STATIC = np.isin(np.arange(256), STATIC_TYPES)
_AT_FAULT, _AT_FAULT_OFF_LANE = np.array([False, True, True, False, False]), np.array([False, True, True, False, True])
"""By collision type: the ego's fault in its lane, and outside of it."""


class CollisionType(enum.IntEnum):
    """How the ego met a track; nuPlan's numbers."""

    STOPPED_EGO = 0
    STOPPED_TRACK = 1
    ACTIVE_FRONT = 2
    ACTIVE_REAR = 3
    ACTIVE_LATERAL = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Collisions:
    """First contacts, in order of frame, then type of track, then column."""

    frame: Int32
    """Frame of each first contact, shape [C]."""
    agent: Int32
    """Column of the track in the scene's agents, shape [C]."""
    agent_type: UInt8
    """AgentType, shape [C]."""
    type: UInt8
    """CollisionType, shape [C]."""
    at_fault: Bool
    """True where nuPlan blames the ego, shape [C]."""
    first_contact: Int32
    """Frame of each track's first contact, -1 where there is none, shape [A]."""

    @property
    def score(self) -> float:
        """Return nuPlan's ``no_ego_at_fault_collisions``: 0, 0.5 or 1."""
        score = 1.0
        blamed = self.agent_type[self.at_fault].tolist()
        for types, allowed in ALLOWED_AT_FAULT:
            num = sum(kind in types for kind in blamed)
            score *= max(0.0, 1.0 - num / (allowed + 1))
        return score

    def statistics(self) -> dict[str, float]:
        """Return how many tracks were hit, how many at fault, and the type of the first collision (-1: none)."""
        return {
            "n_collisions": float(len(self.frame)),
            "n_at_fault": float(self.at_fault.sum()),
            "first_collision_type": float(self.type[0]) if len(self.type) else -1.0,
        }


def is_static(agents: AgentTracks) -> Bool:
    """Return which agents never move, whatever velocity a log gives them, shape [A]."""
    return _IS_STATIC[agents.type]


def find_collisions(ego: EgoStates, agents: AgentTracks, in_lane: Bool) -> Collisions:
    """Return the first contact of the ego with each track.

    Args:
        ego: The driven states, T of them.
        agents: Objects of at least T frames, [F, A].
        in_lane: True where all corners of the ego are in the same or connected lanes, shape [T].

    Raises:
        DataError: An object has a position, heading, velocity or size that is not finite.
    """
    _check(agents, len(ego))
    num, half_size = len(ego), 0.5 * np.array([ego.vehicle.length, ego.vehicle.width])
    first_contact = np.empty(len(agents.type), dtype=np.int32)
    first_contacts(
        ego.centre, ego.heading, half_size, agents.position[:num], agents.heading[:num], agents.size,
        agents.valid[:num], first_contact,
    )  # fmt: skip
    hit = np.flatnonzero(first_contact >= 0).astype(np.int32)
    hit = hit[np.lexsort((hit, agents.type[hit], first_contact[hit]))]
    frame = first_contact[hit]
    corners = ego.corners if len(hit) else np.zeros((0, 4, 2))
    kinds = [_kind(ego, agents, corners, i, a) for i, a in zip(frame.tolist(), hit.tolist(), strict=True)]
    kinds = np.array(kinds, dtype=np.uint8)
    return Collisions(
        frame=frame,
        agent=hit,
        agent_type=agents.type[hit],
        type=kinds,
        at_fault=np.where(in_lane[frame], _AT_FAULT[kinds], _AT_FAULT_OFF_LANE[kinds]),
        first_contact=first_contact,
    )


def _check(agents: AgentTracks, num_frames: int) -> None:
    """Refuse objects that every comparison would take for one in contact."""
    bad = np.flatnonzero(~np.isfinite(agents.size).all(axis=1))
    if len(bad):
        raise DataError(f"scene: the size of track {agents.token[bad[0]]:016x} is not finite; leave it out")
    frame, agent = first_not_finite(agents.position, agents.heading, agents.velocity, agents.valid[:num_frames])
    if frame >= 0:
        parts = {name: getattr(agents, name)[frame, agent] for name in ("position", "heading", "velocity")}
        name = next(name for name, values in parts.items() if not np.isfinite(values).all())
        raise DataError(
            f"scene: the {name} of track {agents.token[agent]:016x} in frame {frame} is not finite; leave it out"
        )


def _kind(ego: EgoStates, agents: AgentTracks, corners: Float64, frame: int, agent: int) -> CollisionType:
    if math.hypot(*ego.velocity[frame].tolist()) <= STOPPED_SPEED:
        return CollisionType.STOPPED_EGO
    # In the precision velocities are kept in: exactly 0.05 m/s in a log is still a standing track.
    speed = math.hypot(*agents.velocity[frame, agent].tolist())
    if _IS_STATIC[agents.type[agent]] or np.float32(speed) <= np.float32(STOPPED_SPEED):
        return CollisionType.STOPPED_TRACK
    x, y, heading = ego.pose[frame].tolist()
    agent_x, agent_y = agents.position[frame, agent].tolist()
    ahead = (agent_x - x) * math.cos(heading) + (agent_y - y) * math.sin(heading)
    if ahead < BEHIND_COS * math.hypot(agent_x - x, agent_y - y):
        return CollisionType.ACTIVE_REAR
    return (
        CollisionType.ACTIVE_FRONT
        if _front_meets(corners[frame], agents, frame, agent)
        else CollisionType.ACTIVE_LATERAL
    )


def _front_meets(corners: Float64, agents: AgentTracks, frame: int, agent: int) -> bool:
    """Return whether the front edge of the ego's box, corners [4, 2], meets the agent's box."""
    offset = corners - agents.position[frame, agent]
    heading = float(agents.heading[frame, agent])
    x, y = rotate_into_frame(offset[:, 0], offset[:, 1], np.cos(heading), np.sin(heading))
    gap = box_segment_gap(
        mx=0.5 * (x[FRONT_LEFT] + x[FRONT_RIGHT]),
        my=0.5 * (y[FRONT_LEFT] + y[FRONT_RIGHT]),
        ux=0.5 * (x[FRONT_LEFT] - x[FRONT_RIGHT]),
        uy=0.5 * (y[FRONT_LEFT] - y[FRONT_RIGHT]),
        half_length=0.5 * float(agents.size[agent, 0]),
        half_width=0.5 * float(agents.size[agent, 1]),
    )
    return bool(gap <= 0.0)
