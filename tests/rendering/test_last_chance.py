from dataclasses import replace

import numpy as np
import pytest
from tests.sim.scenario_builder import Mover, constant, line
from tests.sim.worlds import straight_road

from drivetrain.rendering.direct_drives import drive_directly
from drivetrain.rendering.drive_events import LAST_CHANCE, NO_CHANCE, REMARKS, DriveEvent
from drivetrain.rendering.drivers import drive_all, named_driver
from drivetrain.rendering.last_chance import action_words, with_last_chance
from drivetrain.rendering.player_data import player_document
from drivetrain.rendering.retrace import retraced_failures
from drivetrain.sim.branching import Avoidance, FailureHistory, last_chances
from drivetrain.sim.kernels.vehicle import NUM_ACTIONS, category_values


@pytest.fixture(scope="module")
def crash():
    """The ego drives into a parked car, watched."""
    parked = Mover(path=line((45, 0), (46, 0)), arc_length=constant(0, 0))
    history = FailureHistory()
    scenario = straight_road(agents=[parked], lead=False)
    drive = drive_all(named_driver("constant_velocity"), [scenario], history=history).of(scenario)
    return drive, last_chances(history)[scenario.scenario_id]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (6, "brake 4.0 m/s², straight on"),
        (2 * 13, "brake 1.3 m/s², steer right 6 of 6"),
        (3 * 13 + 8, "keep the speed, steer left 2 of 6"),
        (90, "accelerate 4.0 m/s², steer left 6 of 6"),
    ],
)
def test_actions_in_words(action, words):
    assert action_words(action) == words


def test_words_and_grid_agree():
    for action, (pedal, wheel) in zip(range(NUM_ACTIONS), category_values(), strict=True):
        words = action_words(action)
        assert ("brake" in words, "accelerate" in words) == (pedal < -1e-9, pedal > 1e-9)
        assert ("right" in words, "left" in words) == (wheel < 0, wheel > 0)


def test_the_last_chance_stands_on_the_timeline_with_its_action(crash):
    drive, found = crash
    assert found.failure == drive.num_frames - 1
    told = with_last_chance(drive, found)
    (event,) = [event for event in told.events if event.kind == LAST_CHANCE]
    assert event.frame == found.frame < found.failure
    assert [event for event in told.events if event.kind not in REMARKS] == [
        event for event in drive.events if event.kind not in REMARKS
    ]
    assert told.outcome == drive.outcome == "collision_at_fault"
    shown = player_document([told], traffic="replay")
    (mark,) = [mark for mark in shown["panels"][0]["events"] if mark["kind"] == LAST_CHANCE]
    assert mark["frame"] == found.frame
    assert mark["note"].startswith(action_words(found.actions[0]))
    assert shown["eventNames"][LAST_CHANCE] == "last chance to avoid it"
    assert LAST_CHANCE not in shown["failures"]


def test_what_nothing_avoids_is_marked_where_that_begins(crash):
    drive, _ = crash
    told = with_last_chance(drive, Avoidance(failure=20, earliest=10, frame=None))
    assert [(event.frame, event.note) for event in told.events if event.kind == NO_CHANCE] == [(10, "")]


def test_watching_changes_nothing(crash):
    drive, _ = crash
    alone = drive_all(named_driver("constant_velocity"), [drive.scenario]).of(drive.scenario)
    assert np.array_equal(alone.ego_pose, drive.ego_pose)
    assert alone.events == drive.events


def test_a_failure_that_is_retraced_by_its_poses_has_the_same_last_chance(crash):
    drive, found = crash
    name = drive.scenario.scenario_id
    history = retraced_failures([drive])
    assert history.failed[name].frame == found.failure
    assert last_chances(history)[name] == found


def test_turning_is_retraced_with_its_steering():
    def turn(env, observation):
        return env.step(np.array([3 * 13 + 8]))

    history = FailureHistory()
    scenario = straight_road(lead=False)
    drive = drive_directly([scenario], turn, label="turns", history=history).of(scenario)
    assert drive.outcome == "offroad"
    again = retraced_failures([drive]).failed[scenario.scenario_id]
    own = history.failed[scenario.scenario_id]
    assert again.frame == own.frame
    for state, known in zip(again.states[-10:], own.states[-10:], strict=True):
        assert np.allclose(state.agents[0, :9, 0], known.agents[0, :9, 0], atol=2e-3)
    chance = last_chances(history)[scenario.scenario_id]
    assert last_chances(retraced_failures([drive]))[scenario.scenario_id].frame == chance.frame


def test_what_the_training_simulator_sees_fail_at_another_time_is_left_out(crash):
    drive, _ = crash
    earlier = replace(drive, events=(DriveEvent(frame=drive.num_frames - 12, kind="offroad"),))
    assert retraced_failures([earlier]).failed == {}
    assert retraced_failures([replace(drive, events=())]).failed == {}
