"""The score: against the reference implementation, by hand, and where a source knows too little."""

from dataclasses import replace

import numpy as np
import pytest
from tests.metrics.builders import agents_of, straight_ego, times_of
from tests.metrics.maps import KNOWS_ALL, scene_of, street, track_of

from drivetrain.errors import DataError
from drivetrain.metrics.score import METRICS, combined_score, score_trajectory
from drivetrain.sim.scenario import PolygonSet

PERFECT = dict.fromkeys(METRICS, 1.0)


def driven(num=40, **fields):
    return straight_ego(num, **({"speed": 8.0, "x": 10.0, "y": 2.0} | fields))


def test_every_golden_value(golden):
    for case in golden[::3]:
        found = score_trajectory(case.scene, case.ego)
        values = found.metrics | {"score": found.score} | {f"stat_{k}": v for k, v in found.statistics.items()}
        for name, expected in case.expected.items():
            assert values[name] == pytest.approx(expected, abs=1e-6), f"case {case.index}: {name}"
        assert found.unknown == {}


def test_formula():
    assert combined_score(PERFECT) == 1.0
    metrics = PERFECT | {
        "ego_progress_along_expert_route": 0.5, "time_to_collision_within_bound": 0.0, "speed_limit_compliance": 0.75,
        "ego_is_comfortable": 1.0, "driving_direction_compliance": 0.5,
    }  # fmt: skip
    assert combined_score(metrics) == pytest.approx(0.5 * (5 * 0.5 + 5 * 0 + 4 * 0.75 + 2) / 16)
    for name in ("no_ego_at_fault_collisions", "drivable_area_compliance", "ego_is_making_progress"):
        assert combined_score(PERFECT | {name: 0.0}) == 0.0
    assert combined_score(PERFECT | {"ego_is_comfortable": None}) is None


def test_replaying_one_frame_less_scores_below_one_but_physically_one():
    expert = driven(41)
    found = score_trajectory(scene_of(street(), expert), driven(40))
    assert found.metrics["ego_progress_along_expert_route"] == pytest.approx(39 / 40)
    assert found.score == pytest.approx((5 * 39 / 40 + 11) / 16)
    assert found.physical["ego_progress_along_expert_route"] == found.physical["score"] == 1.0
    assert score_trajectory(scene_of(street(), expert), expert).score == 1.0


def test_a_stopped_lead_costs_the_score():
    scene = scene_of(street(), driven(), agents_of(40, {"x": 30.0, "y": 2.0}))
    found = score_trajectory(scene, driven())
    assert found.metrics["no_ego_at_fault_collisions"] == found.metrics["time_to_collision_within_bound"] == 0.0
    assert found.score == 0.0
    assert found.statistics["n_at_fault"] == 1.0
    assert found.statistics["min_ttc_s"] == 0.0


def test_a_logged_drive_on_no_lane_asks_for_no_progress():
    scene = scene_of(street(), driven(y=400.0))
    found = score_trajectory(scene, driven())
    assert found.metrics["ego_progress_along_expert_route"] == found.metrics["ego_is_making_progress"] == 1.0
    assert found.statistics["expert_progress_m"] == 0.0
    assert "ego_progress_m" not in found.statistics


def test_off_the_map():
    found = score_trajectory(scene_of(street(), driven()), driven(x=9000.0))
    assert found.metrics["drivable_area_compliance"] == 0.0
    assert found.metrics["driving_direction_compliance"] == found.metrics["speed_limit_compliance"] == 1.0
    assert found.score == 0.0


@pytest.mark.parametrize("num", [1, 2, 3])
def test_too_short_for_comfort(num):
    found = score_trajectory(scene_of(street(), driven(num)), driven(num))
    reason = f"it needs at least 4 states, the trajectory has {num}"
    assert found.unknown == {"ego_is_comfortable": reason}
    assert found.score is None
    assert all(found.metrics[name] == 1.0 for name in METRICS if name != "ego_is_comfortable")


def test_what_a_source_does_not_know_is_none_with_a_reason():
    nothing = replace(KNOWS_ALL, lane_graph=False, speed_limits=False, drivable_area=False)
    found = score_trajectory(scene_of(street(knowledge=nothing), driven()), driven())
    assert found.score is None
    assert found.physical["score"] is None
    assert found.unknown == {
        "drivable_area_compliance": "the map has no drivable area",
        "driving_direction_compliance": "the map has no lane graph",
        "ego_is_making_progress": "the map has no lane graph",
        "ego_progress_along_expert_route": "the map has no lane graph",
        "speed_limit_compliance": "the map has no lane graph",
    }
    known = {name for name, value in found.metrics.items() if value is not None}
    assert known == {"no_ego_at_fault_collisions", "time_to_collision_within_bound", "ego_is_comfortable"}


@pytest.mark.parametrize("missing", ["lane areas", "roadblocks"])
def test_links_between_lanes_alone_do_not_say_where_the_ego_is(missing):
    town = street()
    if missing == "lane areas":
        town = replace(town, lanes=replace(town.lanes, polygon=PolygonSet.of([], kind=[], source_id=[])))
    else:
        town = replace(town, roadblock_id=np.zeros(0, dtype=np.int64))
    found = score_trajectory(scene_of(town, driven()), driven())
    assert set(found.unknown.values()) == {f"the map has no {missing}"}
    assert set(found.unknown) == {
        "driving_direction_compliance",
        "ego_is_making_progress",
        "ego_progress_along_expert_route",
        "speed_limit_compliance",
    }


def test_without_lanes_a_collision_that_hangs_on_them_is_unknown():
    knowledge = replace(KNOWS_ALL, lane_graph=False)
    # Someone beside the ego drifts into its flank: at fault only outside a lane.
    flank = agents_of(40, {"x": 26.0, "y": 6.0, "heading": -np.pi / 2, "speed": 1.0, "size": (2.0, 4.0)})
    found = score_trajectory(scene_of(street(knowledge=knowledge), driven(), flank), driven())
    reason = "it depends on the lanes under the ego, and the map has no lane graph"
    assert found.unknown["no_ego_at_fault_collisions"] == reason
    assert "n_at_fault" not in found.statistics
    assert found.statistics["n_collisions"] == 1.0
    front = agents_of(40, {"x": 30.0, "y": 2.0})
    found = score_trajectory(scene_of(street(knowledge=knowledge), driven(), front), driven())
    assert found.metrics["no_ego_at_fault_collisions"] == 0.0


def test_only_differences_of_time_count():
    scene, ego = scene_of(street(), driven(41, speed=9.0), agents_of(41, {"x": 60.0, "y": 2.0, "speed": 3.0})), driven()
    later = replace(scene, timestamps_us=scene.timestamps_us + 5_000_000)
    assert score_trajectory(later, ego) == score_trajectory(scene, ego)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda scene: replace(scene, timestamps_us=times_of(30), expert=track_of(driven(30)), agents=agents_of(30)),
            "trajectory: has 40 states for a scene of 30 frames; cut it to 30",
        ),
        (
            lambda scene: replace(scene, expert=track_of(driven(39))),
            "scene: the logged drive has 39 frames for 40 timestamps; give as many",
        ),
        (
            lambda scene: replace(scene, agents=agents_of(41)),
            "scene: the track table has 41 frames for 40 timestamps; give as many",
        ),
        (
            lambda scene: replace(scene, timestamps_us=np.roll(times_of(40), 1)),
            "scene: the timestamp of frame 1 is not later than the one before; sort the frames",
        ),
    ],
)
def test_scene_and_trajectory_must_fit(change, message):
    scene = change(scene_of(street(), driven()))
    with pytest.raises(DataError) as error:
        score_trajectory(scene, driven())
    assert str(error.value) == message


def test_a_logged_drive_with_nan_is_refused():
    scene = scene_of(street(), driven())
    scene.expert.pose[7, 1] = np.nan
    with pytest.raises(DataError) as error:
        score_trajectory(scene, driven())
    assert str(error.value) == "scene: the logged pose of frame 7 is not finite; leave this scene out"
