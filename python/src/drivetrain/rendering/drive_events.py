"""What happens in a drive, and when: the ticks on a timeline and the badges in a picture.

T frames, A agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.outcomes import red_light_frames
from drivetrain.closed_loop.simulation import Rollout
from drivetrain.metrics.collisions import Collisions, find_collisions
from drivetrain.metrics.drivable_area import first_frame_off
from drivetrain.metrics.map_index import index_of
from drivetrain.metrics.route import driven_route
from drivetrain.metrics.score import missing_for_lanes
from drivetrain.metrics.time_to_collision import LEAST_TTC_S, time_to_collision
from drivetrain.sim.geometry import box_box_gap, rotate_into_frame
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.world import AT_FAULT, COLLISION, GOAL, OFFROAD, RED_LIGHT, TTC

GRAVEST_FIRST = (
    *("collision_at_fault", "collision", "offroad", "red_light"),
    *("goal", "ttc", "last_chance", "no_chance"),
)
"""Kinds of events."""
CLOSE = "ttc"
"""The kind of an event that is a warning only: going straight on, the ego would hit somebody within a second."""
LAST_CHANCE, NO_CHANCE = "last_chance", "no_chance"
"""When some action would still have avoided the failure for the last time; since when none would."""
REMARKS = (CLOSE, LAST_CHANCE, NO_CHANCE)
"""Kinds that tell of a drive, but do not end it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriveEvent:
    """Something that happens in a drive."""

    frame: int
    """When."""
    kind: str
    """A key of ``style.EVENT_NAMES``."""
    agent: int | None = None
    """Who was hit: a column of the recording's agents; None where nobody was."""
    note: str = ""
    """What else there is to say."""


def events_of_bits(bits: NDArray[np.uint8]) -> list[DriveEvent]:
    """Return the events of the training simulator's bits, shape [T]; what lasts begins once."""
    events = []
    for frame, now in enumerate(bits.tolist()):
        before = int(bits[frame - 1]) if frame else 0
        new = now & ~before
        if now & AT_FAULT:
            events.append(DriveEvent(frame=frame, kind="collision_at_fault"))
        elif now & COLLISION:
            events.append(DriveEvent(frame=frame, kind="collision"))
        events += [
            DriveEvent(frame=frame, kind=kind)
            for bit, kind in ((OFFROAD, "offroad"), (RED_LIGHT, "red_light"), (GOAL, "goal"), (TTC, CLOSE))
            if new & bit
        ]
    return events


def touched(
    ego: NDArray[np.float64], ego_size: tuple[float, float], pose: NDArray[np.float64], size: NDArray[np.float64],
    present: NDArray[np.bool_],
) -> int | None:  # fmt: skip
    """Return the agent that the ego's box overlaps most.

    Args:
        ego: Box centre x, y [m], heading [rad], shape [3].
        ego_size: Length, width [m].
        pose: The agents' box centres and headings, shape [A, 3].
        size: Their lengths and widths [m], shape [A, 2].
        present: Who is there, shape [A].
    """
    cos, sin = np.cos(ego[2]), np.sin(ego[2])
    dx, dy = rotate_into_frame(pose[:, 0] - ego[0], pose[:, 1] - ego[1], cos, sin)
    turned = pose[:, 2] - ego[2]
    gap = box_box_gap(
        dx=dx, dy=dy, cos=np.cos(turned), sin=np.sin(turned), half_size=(ego_size[0] / 2, ego_size[1] / 2),
        other_half_size=(size[:, 0] / 2, size[:, 1] / 2),
    )  # fmt: skip
    gap = np.where(present, gap, np.inf)
    nearest = int(np.argmin(gap)) if len(gap) else 0
    # What is simulated is kept in single precision: a contact may be a hair's breadth wide.
    return nearest if len(gap) and gap[nearest] <= 0.01 else None


def events_of_rollout(scenario: Scenario, rollout: Rollout) -> list[DriveEvent]:
    """Return what nuPlan's metrics see in a simulated drive: contacts and whose fault, off-road, red lights."""
    ego, road = rollout.ego, scenario.map
    index = index_of(road)
    route = driven_route(index, ego.centre, ego.corners)
    lanes_known = missing_for_lanes(road) is None
    in_lane = route.in_lane if lanes_known else np.ones(len(ego), dtype=np.bool_)
    collisions: Collisions = find_collisions(ego, rollout.agents, in_lane)
    events = [
        DriveEvent(frame=frame, kind="collision_at_fault" if blamed else "collision", agent=agent)
        for frame, agent, blamed in zip(
            collisions.frame.tolist(), collisions.agent.tolist(), collisions.at_fault.tolist(), strict=True
        )
    ]
    if road.knowledge.drivable_area and (off := first_frame_off(index, ego.corners, route)) is not None:
        events.append(DriveEvent(frame=off, kind="offroad"))
    if scenario.knowledge.traffic_lights:
        events += [DriveEvent(frame=frame, kind="red_light") for frame in red_light_frames(scenario, ego)]
    times = time_to_collision(
        ego, rollout.agents, collisions=collisions, in_lane=in_lane,
        rear_axle_in_intersection=index.intersections.holds(ego.pose[:, :2]),
    )  # fmt: skip
    close = times <= LEAST_TTC_S
    begins = np.flatnonzero(close & ~np.concatenate([[False], close[:-1]]))
    events += [DriveEvent(frame=frame, kind=CLOSE) for frame in begins.tolist()]
    return in_time(events)


def in_time(events: Sequence[DriveEvent]) -> list[DriveEvent]:
    """Return events by frame, the gravest first where several share one; a contact needs no warning of itself."""
    contacts = {event.frame for event in events if event.kind.startswith("collision")}
    told = [event for event in events if event.kind != CLOSE or event.frame not in contacts]
    return sorted(told, key=lambda event: (event.frame, GRAVEST_FIRST.index(event.kind)))


def gravest(events: Sequence[DriveEvent]) -> DriveEvent | None:
    """Return the first of the gravest events, remarks aside; None: nothing happened."""
    told = [event for event in events if event.kind not in REMARKS]
    return min(told, key=lambda event: (GRAVEST_FIRST.index(event.kind), event.frame), default=None)


def first_failure(events: Sequence[DriveEvent]) -> DriveEvent | None:
    """Return what went wrong first, the gravest where several share a frame; None: nothing did.

    A contact that is somebody else's fault counts only where the ego fails in no other way.
    """
    own = [event for event in events if event.kind in ("collision_at_fault", "offroad", "red_light")]
    told = own or [event for event in events if event.kind == "collision"]
    return min(told, key=lambda event: (event.frame, GRAVEST_FIRST.index(event.kind)), default=None)
