import numpy as np
import pytest

from drivetrain.rendering.drive_events import DriveEvent, events_of_bits, gravest, in_time, touched
from drivetrain.sim.world import AT_FAULT, COLLISION, GOAL, OFFROAD, RED_LIGHT, TTC


def test_what_lasts_is_told_once_and_contacts_say_whose_fault():
    bits = np.array([0, TTC, TTC, 0, TTC | COLLISION | AT_FAULT, GOAL], dtype=np.uint8)
    told = [(event.frame, event.kind) for event in in_time(events_of_bits(bits))]
    # The second warning comes with the contact itself, which needs none.
    assert told == [(1, "ttc"), (4, "collision_at_fault"), (5, "goal")]
    struck = np.array([0, COLLISION, OFFROAD | RED_LIGHT], dtype=np.uint8)
    assert [event.kind for event in in_time(events_of_bits(struck))] == ["collision", "offroad", "red_light"]


def test_the_gravest_event_is_no_warning():
    close, goal = DriveEvent(frame=3, kind="ttc"), DriveEvent(frame=9, kind="goal")
    assert gravest([close]) is None
    assert gravest([close, goal]) == goal
    first, second = (DriveEvent(frame=frame, kind="collision") for frame in (5, 7))
    assert gravest([goal, second, first]) == first


@pytest.mark.parametrize(("x", "hit"), [(4.9, 1), (5.02, None)])
def test_the_touched_agent_is_the_one_whose_box_meets_the_egos(x, hit):
    # Both are 5 m long and face +x, so their centres touch at 5 m; agent 0 is nearer but gone, agent 2 is beside.
    pose = np.array([[1.0, 0.0, 0.0], [x, 0.0, 0.0], [0.0, 3.0, 0.0]])
    size = np.full((3, 2), (5.0, 2.0))
    present = np.array([False, True, True])
    assert touched(np.zeros(3), (5.0, 2.0), pose, size, present) == hit


def test_nobody_is_touched_on_an_empty_road():
    nobody = np.zeros((0, 3)), np.zeros((0, 2)), np.zeros(0, dtype=bool)
    assert touched(np.zeros(3), (5.0, 2.0), *nobody) is None
