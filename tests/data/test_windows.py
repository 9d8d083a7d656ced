import dataclasses

import numpy as np
import pytest

from drivetrain.data.record_codec import last_frame
from drivetrain.data.selection import Selection
from drivetrain.data.windows import native_stride, scenario_token, select_windows


def tagged(log, tags, scenes=(0,)):
    """The log with (frame, type) tags and scenes that begin at the given frames."""
    routes = dataclasses.replace(log.scene_route, offsets=np.zeros(len(scenes) + 1, dtype=np.int64))
    return dataclasses.replace(
        log,
        tag_frame=np.array([frame for frame, _ in tags]),
        tag_type=tuple(kind for _, kind in tags),
        scene_first_frame=np.array(scenes),
        scene_route=routes,
        scene_goal=np.zeros((len(scenes), 3)),
        scene_goal_known=np.zeros(len(scenes), dtype=np.bool_),
    )


def shapes(selection):
    return [(w.first_frame, w.num_frames, w.stride, w.reference_frame) for w in selection.windows]


@pytest.mark.parametrize(("step_us", "stride"), [(50_000, 2), (100_000, 1), (49_990, 2), (33_333, 3), (200_000, 1)])
def test_stride_makes_steps_of_about_a_tenth(step_us, stride):
    assert native_stride(np.arange(50) * step_us) == stride


def test_fifteen_seconds_after_fifteen_seconds(new_log):
    # 20 Hz: 300 frames are 15 s. 45 s + 1 s: three whole windows, the rest of 1 s is not worth one.
    assert shapes(select_windows(new_log(frames=921))) == [(0, 151, 2, 0), (300, 151, 2, 300), (600, 151, 2, 600)]
    # A rest of 5 s is.
    assert shapes(select_windows(new_log(frames=401))) == [(0, 151, 2, 0), (300, 51, 2, 300)]
    # A 10 Hz log of 9.1 s is one window.
    assert shapes(select_windows(new_log(frames=91, step_us=100_000))) == [(0, 91, 1, 0)]


def test_a_log_too_short_gives_nothing_and_says_so(new_log):
    for frames in (1, 2, 20):
        selection = select_windows(new_log(frames=frames))
        assert selection.windows == []
        assert selection.dropped == {"log shorter than 2 s or without a complete window": 1}


def test_windows_around_tags(new_log):
    log = tagged(new_log(frames=1000), [(200, "stationary"), (200, "changing_lane"), (500, "changing_lane")])
    selection = select_windows(log)
    # 3 s before frame 200 is frame 140; the window ends at 440. Of two tags of a frame the later name counts.
    assert shapes(selection) == [(140, 151, 2, 200), (440, 151, 2, 500)]
    assert [w.scenario_type for w in selection.windows] == ["stationary", "changing_lane"]
    assert [last_frame(w) for w in selection.windows] == [440, 740]
    assert selection.dropped == {}


def test_a_mean_interval_above_50_ms_gives_150_frames(new_log):
    # 15 s / 50.001 ms = 299.99 intervals: 300 rows, every second one is 150.
    log = tagged(new_log(frames=1000, step_us=50_001), [(200, "changing_lane")])
    assert shapes(select_windows(log)) == [(141, 150, 2, 200)]


def test_tags_without_room_or_in_frames_that_do_not_count_are_counted(new_log):
    tags = [
        (10, "on_carpark"),
        (100, "on_intersection"),
        (450, "stationary"),
        (950, "crossed_by_bike"),
        (800, "behind_bike"),
    ]
    log = tagged(new_log(frames=1000), sorted(tags))
    frames = np.arange(1000)
    selection = select_windows(log, eligible=(frames >= 200) & (frames < 700))
    assert [w.scenario_type for w in selection.windows] == ["stationary"]
    assert selection.dropped == {"tag in the first or last scenes of its log": 4}
    selection = select_windows(log)
    assert [w.scenario_type for w in selection.windows] == ["on_intersection", "stationary"]
    assert selection.dropped == {"tag too close to the start or end of its log": 3}


def test_tags_of_one_type_can_be_spaced(new_log):
    log = tagged(
        new_log(frames=1000),
        [
            (200, "changing_lane"),
            (210, "stationary"),
            (219, "changing_lane"),
            (220, "changing_lane"),
            (239, "changing_lane"),
        ],
    )
    selection = select_windows(log, selection=Selection())
    assert [(w.reference_frame, w.scenario_type) for w in selection.windows] == [
        (200, "changing_lane"),
        (210, "stationary"),
        (220, "changing_lane"),
    ]
    assert selection.dropped == {"tag within 1 s of one of the same type": 2}


def test_tokens_are_the_sources_or_derived_from_names_and_times(new_log):
    log = new_log(frames=401)
    first, second = select_windows(log).windows
    assert first.token == scenario_token(log, 0) != second.token
    assert first.token == select_windows(new_log(frames=350)).windows[0].token, "stable when the log grows"
    assert first.token != select_windows(new_log("other", frames=401)).windows[0].token
    own = np.arange(1000, 1401, dtype=np.uint64)
    assert [w.token for w in select_windows(log, frame_token=own).windows] == [1000, 1300]


def test_a_stride_skips_gaps_between_frames(new_log):
    log = new_log(frames=601)
    time = log.timestamps_us - log.timestamps_us[0]
    time[1:] += 1_600_000_000_000_000
    selection = select_windows(dataclasses.replace(log, timestamps_us=time), selection=Selection(stride_s=5.0))
    # Frame 1 opens the first window after the gap of 50 years; 5 s are 100 frames.
    starts = [window.first_frame for window in selection.windows]
    assert starts[0] == 1
    assert np.diff(starts[1:]).tolist() == [100] * (len(starts) - 2)
    assert 2 <= len(starts) <= 4
    assert selection.dropped == {}


def test_a_stride_leaves_out_what_has_no_goal_if_asked_to(new_log):
    log = tagged(new_log(frames=601), [], scenes=(0, 150))
    log.scene_goal_known[1] = True
    selection = select_windows(log, selection=Selection(stride_s=5.0, remove_invalid_goals=True))
    assert [w.first_frame for w in selection.windows] == [200, 300]
    assert selection.dropped == {"scenario without a goal": 2}


def test_a_window_with_a_gap_is_no_scenario(new_log):
    """The simulator steps 0.1 s a frame: where the log shows nothing, it would invent a jump."""
    log = tagged(new_log(frames=1000), [(200, "stationary"), (600, "stationary")])
    late = log.timestamps_us + np.where(np.arange(1000) >= 300, 460_000, 0)  # 0.51 s between frames 299 and 300
    selection = select_windows(dataclasses.replace(log, timestamps_us=late))
    assert [w.reference_frame for w in selection.windows] == [600]
    assert selection.dropped == {"scenario with a gap of more than 0.5 s between frames": 1}
    nearly = log.timestamps_us + np.where(np.arange(1000) >= 300, 440_000, 0)
    assert len(select_windows(dataclasses.replace(log, timestamps_us=nearly)).windows) == 2
    untagged = dataclasses.replace(new_log(frames=601), timestamps_us=late[:601])
    assert [(w.first_frame, last_frame(w)) for w in select_windows(untagged).windows] == [(0, 298)], (
        "the gap is after 299"
    )
