"""Every kind of failure from a recording that can be worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from tests.sim.scenario_builder import GREEN, RED, Lane, Light, Mover, arc, braking, build_scenario, constant, line

from drivetrain.rendering.drive_events import DriveEvent
from drivetrain.rendering.recording import DriveRecording, record_log
from drivetrain.sim.scenario import AgentType
from drivetrain.triage.facts import contact_of
from drivetrain.triage.kinds import KINDS, finding_of

FRAMES = 61
LAST = FRAMES - 1
ROAD = line((0, 0), (400, 0))
EGO = Mover(path=ROAD, arc_length=constant(0, 10.0))
"""Ends at x = 60 m with its front at 62.3 m."""


def drive(
    *agents: Mover, event: str | None = "collision_at_fault", ego=EGO, lights=(), progress=0.5, agent=0, metrics=None,
    lane=ROAD,
):  # fmt: skip
    """The log as if it were a drive that ends with an event."""
    scenario = build_scenario(
        name="kind", lanes=[Lane(points=lane), Lane(points=lane, connector=True)], edges=[], ego=ego, agents=agents,
        lights=lights, frames=FRAMES,
    )  # fmt: skip
    hit = agent if agents and event is not None and event.startswith("collision") else None
    events = () if event is None else (DriveEvent(frame=LAST, kind=event, agent=hit),)
    log = record_log(scenario, label="x")
    return replace(log, events=events, score_name="score_basic", metrics=metrics or {"progress": progress})


def kind(recording: DriveRecording) -> str | None:
    found = finding_of(recording)
    return None if found is None else found.kind.name


def ahead(*, speed, y=0.0, start=None, type=AgentType.VEHICLE, size=(4.6, 1.9)):
    """Somebody who goes the same way and is touched in the last frame."""
    first = 64.5 - speed * 0.1 * LAST if start is None else start
    return Mover(path=line((0, y), (400, y)), arc_length=constant(first, speed), type=type, size=size)


def stop_light(state, *, at=80.0):
    return Light(lane=1, stop_point=(at, 0.0), state=state)


def from_beside(*, shift, speed=6.0):
    """A car that comes from the left into the ego's lane within the last 2 s."""
    start = 64.5 - speed * 0.1 * LAST
    turn = 64.5 - 2.0 * speed
    path = line((start - 1, shift), (turn, shift), (64.5, 0.4), (400, 0.4))
    ways = np.hypot(*np.diff(path, axis=0).T)
    return Mover(path=path, arc_length=constant(ways[:2].sum() - speed * 0.1 * LAST, speed))


def crosser(direction):
    """A car that touches the ego's front in the last frame, on a way in some direction [rad]."""
    meets = np.array([63.5, 0.0])
    back = meets - 60 * np.array([np.cos(direction), np.sin(direction)])
    path = np.array([back, meets + 60 * np.array([np.cos(direction), np.sin(direction)])])
    return Mover(path=path, arc_length=constant(60.0 - 7.0 * 0.1 * LAST, 7.0))


@pytest.mark.parametrize(
    ("expected", "recording"),
    [
        ("struck_by_others", lambda: drive(ahead(speed=6.0), event="collision")),
        ("vulnerable_road_user", lambda: drive(ahead(speed=1.0, type=AgentType.PEDESTRIAN, size=(0.6, 0.6)))),
        ("vulnerable_road_user", lambda: drive(ahead(speed=4.0, type=AgentType.BICYCLE, size=(1.8, 0.6)))),
        ("standing_object", lambda: drive(ahead(speed=0.0, start=64.5))),
        ("standing_object", lambda: drive(ahead(speed=0.0, type=AgentType.TRAFFIC_CONE, size=(0.4, 0.4)))),
        ("rear_end", lambda: drive(ahead(speed=6.0))),
        ("rear_end_at_signal", lambda: drive(ahead(speed=0.0, start=64.5), lights=[stop_light(RED)])),
        ("rear_end_at_signal", lambda: drive(ahead(speed=6.0), lights=[stop_light(RED, at=102.0)])),
        ("rear_end", lambda: drive(ahead(speed=6.0), lights=[stop_light(GREEN)])),
        ("rear_end", lambda: drive(ahead(speed=6.0), lights=[stop_light(RED, at=103.0)])),
        ("rear_end", lambda: drive(ahead(speed=6.0), lights=[stop_light(RED, at=56.0)])),
        ("cut_in", lambda: drive(from_beside(shift=3.5))),
        ("cut_in", lambda: drive(from_beside(shift=3.5), lights=[stop_light(RED)])),
        ("rear_end", lambda: drive(from_beside(shift=2.0))),
        ("crossing", lambda: drive(crosser(np.pi / 2))),
        ("crossing", lambda: drive(crosser(-0.3 * np.pi))),
        ("head_on", lambda: drive(crosser(np.pi))),
        ("head_on", lambda: drive(crosser(0.8 * np.pi))),
        ("side_contact", lambda: drive(ahead(speed=10.0, start=-5.0, y=1.8))),
        ("contact", lambda: drive()),
        ("offroad", lambda: drive(event="offroad")),
        ("red_light", lambda: drive(event="red_light")),
        ("stuck", lambda: drive(event=None, progress=0.19)),
        (None, lambda: drive(event=None, progress=0.2)),
        (None, lambda: drive(event="goal", progress=1.0)),
        ("held_up", lambda: drive(ahead(speed=0.0, start=79.5), event=None, progress=0.1)),
        ("stuck", lambda: drive(ahead(speed=0.0, start=80.0), event=None, progress=0.1)),
        ("held_up", lambda: drive(event=None, progress=0.1, lights=[stop_light(RED)])),
        ("wrong_way", lambda: drive(event=None, metrics={"driving_direction_compliance": 0.5})),
        ("stuck", lambda: drive(event=None, metrics={"ego_is_making_progress": 0.0})),
        (None, lambda: drive(event=None, metrics={"ego_is_making_progress": 1.0, "progress": 0.0})),
    ],
)
def test_kinds(expected, recording):
    assert kind(recording()) == expected


def test_who_moves_into_a_lane_is_to_blame_for_it():
    path = line((0, 0), (40, 0), (60, 3.0), (400, 3.0))
    length = 40 + np.hypot(20, 3.0)
    ego = Mover(path=path, arc_length=constant(length - 10.0 * 0.1 * LAST, 10.0))
    there = Mover(path=line((0, 3.2), (400, 3.2)), arc_length=constant(64.0 - 8.0 * 0.1 * LAST, 8.0))
    # The path goes on along x at its last frame: the ego points along it again, 3 m beside where it came from.
    assert kind(drive(there, ego=ego)) == "lane_change"


def test_leaving_the_road_in_a_curve():
    bend = np.vstack([line((0, 0), (40, 0)), arc(centre=(40, 30), radius=30, start=-np.pi / 2, stop=0.0)])
    ego = Mover(path=bend, arc_length=constant(0, 10.0))
    assert kind(drive(event="offroad", ego=ego, lane=bend)) == "offroad_in_curve"
    straight = Mover(path=bend, arc_length=braking(0, 5.0, 1.0))  # stands after 12.5 m, long before the bend
    assert kind(drive(event="offroad", ego=straight, lane=bend)) == "offroad"


def test_the_first_failure_counts_of_several_in_a_frame_the_gravest():
    recording = drive(ahead(speed=6.0), event="red_light")
    contact = DriveEvent(frame=LAST, kind="collision_at_fault", agent=0)
    assert kind(replace(recording, events=(*recording.events, contact))) == "rear_end"
    before = DriveEvent(frame=LAST - 1, kind="offroad")
    assert kind(replace(recording, events=(contact, before))) == "offroad"
    struck = DriveEvent(frame=LAST - 2, kind="collision", agent=0)
    assert kind(replace(recording, events=(struck, contact))) == "rear_end"
    assert kind(replace(recording, events=(struck,))) == "struck_by_others"


def test_facts_of_a_contact_in_numbers():
    contact = contact_of(drive(from_beside(shift=3.5)), LAST, 0)
    assert contact.agent_shift == pytest.approx(3.5 - 0.4, abs=0.15)
    assert contact.ego_shift == pytest.approx(0.0, abs=1e-9)
    assert contact.agent_speed == pytest.approx(6.0, rel=0.02)
    assert contact.ahead
    assert not contact.parked


def test_every_kind_is_told_in_the_documentation():
    from pathlib import Path

    page = (Path(__file__).resolve().parents[2] / "docs" / "triage.md").read_text("utf-8")
    assert [name for name in KINDS if f"| `{name}` |" not in page] == []
