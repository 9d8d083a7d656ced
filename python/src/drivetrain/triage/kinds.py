"""Kinds of failures, and the rules that tell them apart; the first that fits counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

from drivetrain.rendering.drive_events import DriveEvent, first_failure
from drivetrain.rendering.recording import DriveRecording
from drivetrain.sim.scenario import AgentType
from drivetrain.sim.score import MIN_PROGRESS
from drivetrain.triage.facts import Contact, bend_of_way, contact_of, is_held_up, is_vulnerable, stop_light_ahead

SAME_WAY = pi / 4
"""Who points less than this off the ego's heading goes its way [rad]; who points against it by less, comes towards."""
BESIDE_M = 1.8
"""Who came at least so far towards the ego's way came from beside it [m]."""
KEPT_M = 1.0
"""Who moved less than this sideways kept its lane [m]."""
STRAIGHT = pi / 8
"""On a stretch that turns more than this nobody can say who left a lane [rad]."""
CURVE = pi / 12
"""A way that turns at least so much within 30 m is a curve [rad]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureKind:
    """A kind of failure."""

    name: str
    """As in JSON."""
    title: str
    """As in tables."""
    rule: str
    """What was recorded, in words."""


KINDS = {
    kind.name: kind
    for kind in (
        FailureKind(name="struck_by_others", title="struck by others", rule="a contact that is not the ego's fault"),
        FailureKind(
            name="vulnerable_road_user", title="vulnerable road user", rule="into somebody on foot or on a bicycle"
        ),
        FailureKind(
            name="rear_end_at_signal",
            title="rear-end at a signal",
            rule="into the rear of a vehicle that goes the same way, with a yellow or red light up to 40 m ahead",
        ),
        FailureKind(
            name="standing_object",
            title="standing object",
            rule="into a vehicle that stands all the time, a cone, a barrier, a sign or another thing",
        ),
        FailureKind(
            name="cut_in",
            title="cut-in",
            rule="into a vehicle ahead that came from beside within 3 s (1.8 m and more) while the ego kept its lane",
        ),
        FailureKind(
            name="lane_change",
            title="lane change",
            rule="into a vehicle that goes the same way, after the ego moved sideways (1.8 m and more within 3 s)",
        ),
        FailureKind(
            name="rear_end", title="rear-end in traffic", rule="into the rear of a vehicle that goes the same way"
        ),
        FailureKind(
            name="side_contact", title="side contact", rule="beside or behind, a vehicle that goes the same way"
        ),
        FailureKind(
            name="head_on", title="head-on", rule="into a vehicle that comes towards the ego (135 degrees and more)"
        ),
        FailureKind(
            name="crossing", title="crossing", rule="into a vehicle whose way crosses the ego's (45 to 135 degrees)"
        ),
        FailureKind(
            name="contact", title="other contact", rule="the ego's fault, but the recording does not say with whom"
        ),
        FailureKind(
            name="offroad_in_curve",
            title="off-road in a curve",
            rule="left the road where the logged way turns 15 degrees and more within 30 m",
        ),
        FailureKind(name="offroad", title="off-road elsewhere", rule="left the road where the logged way is straight"),
        FailureKind(name="red_light", title="red light", rule="passed a stop line while its light was red"),
        FailureKind(
            name="wrong_way",
            title="wrong way",
            rule="drove against the lane's direction (nuPlan's driving direction compliance is below 1)",
        ),
        FailureKind(
            name="held_up",
            title="held up",
            rule="too little progress, with somebody up to 15 m ahead or a yellow or red light at the end",
        ),
        FailureKind(name="stuck", title="stuck", rule="too little progress, and the road ahead is free"),
    )
}
"""By name, in the order in which they are shown where counts are equal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What went wrong in a drive."""

    kind: FailureKind
    event: DriveEvent | None
    """The moment; None for what has none, such as being stuck."""


def finding_of(drive: DriveRecording) -> Finding | None:
    """Return what went wrong in a drive; None: nothing did."""
    event = first_failure(drive.events)
    if event is None:
        name = _without_event(drive)
        return None if name is None else Finding(kind=KINDS[name], event=None)
    if event.kind == "collision":
        name = "struck_by_others"
    elif event.kind == "collision_at_fault":
        name = _contact(drive, event)
    elif event.kind == "offroad":
        name = "offroad_in_curve" if bend_of_way(drive, event.frame) >= CURVE else "offroad"
    else:
        name = "red_light"
    return Finding(kind=KINDS[name], event=event)


def _contact(drive: DriveRecording, event: DriveEvent) -> str:
    if event.agent is None:
        return "contact"
    contact = contact_of(drive, event.frame, event.agent)
    at_signal = stop_light_ahead(drive, event.frame) is not None
    return next(name for name, fits in _CONTACTS if fits(contact, at_signal))


def _is_rear_end(contact: Contact) -> bool:
    return contact.turned < SAME_WAY and contact.ahead


def _came_in(contact: Contact) -> bool:
    kept = contact.ego_shift < KEPT_M and contact.ego_turn < STRAIGHT
    return contact.turned < SAME_WAY and contact.ahead and kept and contact.agent_shift >= BESIDE_M


def _changed_lane(contact: Contact) -> bool:
    return contact.turned < SAME_WAY and contact.ego_turn < STRAIGHT and contact.ego_shift >= BESIDE_M


_CONTACTS: tuple[tuple[str, Callable[[Contact, bool], bool]], ...] = (
    ("vulnerable_road_user", lambda contact, _: is_vulnerable(contact.agent_type)),
    ("standing_object", lambda contact, _: contact.agent_type not in (AgentType.VEHICLE, AgentType.EGO)),
    ("rear_end_at_signal", lambda contact, at_signal: at_signal and _is_rear_end(contact) and not _came_in(contact)),
    ("standing_object", lambda contact, _: contact.parked),
    ("cut_in", lambda contact, _: _came_in(contact)),
    ("lane_change", lambda contact, _: _changed_lane(contact)),
    ("rear_end", lambda contact, _: _is_rear_end(contact)),
    ("side_contact", lambda contact, _: contact.turned < SAME_WAY),
    ("head_on", lambda contact, _: contact.turned > pi - SAME_WAY),
    ("crossing", lambda *_: True),
)
"""Rules for contacts that are the ego's fault, in order."""


def _without_event(drive: DriveRecording) -> str | None:
    """Return the kind of a drive in which nothing happened, but too little came of it."""
    direction = drive.metrics.get("driving_direction_compliance")
    if direction is not None and direction < 1.0:
        return "wrong_way"
    moving = drive.metrics.get("ego_is_making_progress")
    if moving is None:
        done = drive.metrics.get("progress")
        moving = None if done is None else float(done >= MIN_PROGRESS)
    if moving is None or moving > 0.0:
        return None
    return "held_up" if is_held_up(drive) else "stuck"
