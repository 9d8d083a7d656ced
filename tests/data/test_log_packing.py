"""What a store keeps of a log: how exactly, in how few bytes, and that windows show what the whole log holds."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivetrain.data.log_packing import pack_time, pack_tracks
from drivetrain.data.record_codec import log_record
from drivetrain.data.shards import ShardReader, ShardWriter, encode_record
from drivetrain.data.stored_log import StoredLog
from drivetrain.errors import DataError
from drivetrain.sim.scenario import EgoTrack, Lights, TrackTable

FRAMES = 700


def table_of(*tracks):
    """A table of (frames, position [n, 2], heading, velocity [n, 2])."""
    return TrackTable(
        token=np.arange(1, len(tracks) + 1, dtype=np.uint64),
        type=np.zeros(len(tracks), dtype=np.uint8),
        size=np.ones((len(tracks), 2), dtype=np.float32),
        offsets=np.cumsum([0, *(len(t[0]) for t in tracks)]),
        frame=np.concatenate([t[0] for t in tracks]).astype(np.int32),
        position=np.concatenate([np.broadcast_to(t[1], (len(t[0]), 2)) for t in tracks]).astype(np.float64),
        heading=np.concatenate([np.broadcast_to(t[2], len(t[0])) for t in tracks]).astype(np.float32),
        velocity=np.concatenate([np.broadcast_to(t[3], (len(t[0]), 2)) for t in tracks]).astype(np.float32),
    )


def straight(frames, start, speed):
    return start + np.outer(frames * 0.05, [speed, 0.0])


@pytest.fixture
def crowd():
    """Everything a track can be: standing, fast, intermittent, jumping, short, at block borders."""
    random = np.random.default_rng(7)
    everything = np.arange(FRAMES)
    gaps = np.flatnonzero(random.random(FRAMES) < 0.7)
    walk = np.cumsum(random.normal(0, 0.5, (FRAMES, 2)), axis=0)
    jumps = np.where((everything // 5 % 2 == 0)[:, None], [0.0, 0.0], [3000.0, -9000.0])
    return table_of(
        (everything, [12.3456, -7.1], 0.7, [0, 0]),
        (everything, straight(everything, [-300.0, 3.5], 45.0), np.pi, [45.0, 0.001]),
        (gaps, walk[gaps], random.uniform(-np.pi, np.pi, len(gaps)), random.normal(0, 3, (len(gaps), 2))),
        (everything, jumps, -np.pi / 2, [250.0, -80.0]),
        (np.array([63, 64]), [[1, 1], [2, 2]], [6.5, -6.5], [1, 1]),
        (np.array([699]), [5, 5], 0, [0.05, 0]),
    )


@pytest.fixture
def drive(new_log, crowd):
    """A log of 700 frames with this crowd, uneven times, and lights that change."""
    random = np.random.default_rng(8)
    log = new_log(frames=FRAMES)
    heading = np.cumsum(random.normal(0, 0.02, FRAMES))
    ego = EgoTrack(
        pose=np.column_stack([np.cumsum(random.uniform(0, 1, (FRAMES, 2)), axis=0), heading]),
        velocity=np.column_stack([random.uniform(0, 20, FRAMES), random.normal(0, 0.1, FRAMES)]),
        acceleration=random.normal(0, 1, (FRAMES, 2)),
        yaw_rate=random.normal(0, 0.2, FRAMES),
    )
    state = random.integers(0, 4, (FRAMES // 20, 3)).repeat(20, axis=0).astype(np.uint8)
    state[:, 2] = 3
    state[400:, 1] = 3
    lights = Lights(lane=np.array([1, 0, 2], dtype=np.int32), stop_point=random.random((3, 2)), state=state)
    jitter = np.cumsum(random.integers(49_900, 50_100, FRAMES))
    return dataclasses.replace(log, timestamps_us=jitter, ego=ego, tracks=crowd, lights=lights)


def stored(tmp_path, log, frames=None):
    frames = np.arange(len(log.timestamps_us)) if frames is None else frames
    record = log_record(log, frames)
    writer = ShardWriter(tmp_path / "log.dts")
    writer.add(encode_record(record.arrays, record.meta))
    writer.close()
    return StoredLog(ShardReader(tmp_path / "log.dts").read(0, lazily=True))


def assert_tracks_close(found, expected):
    for name in ("token", "type", "size", "offsets", "frame"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype, name
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    np.testing.assert_allclose(found.position, expected.position, rtol=0, atol=0.5e-3)
    turned = (found.heading - expected.heading + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(turned).max() < 4.9e-5
    fastest = np.maximum(np.abs(expected.velocity).max(axis=1), 0.5)[:, None]
    assert (np.abs(found.velocity - expected.velocity) <= 2 * fastest.max() / 65534).all()


def test_tracks_come_back_within_their_bounds(tmp_path, drive):
    found = stored(tmp_path, drive).whole().tracks
    assert_tracks_close(found, drive.tracks)
    still = slice(0, FRAMES)
    assert (np.ptp(found.position[still], axis=0) == 0).all(), "what stands still stands still"
    assert np.abs(found.position[0] - [12.3456, -7.1]).max() < 1e-5, "and is kept more exactly"
    assert (found.velocity[still] == 0).all()
    fast = slice(FRAMES, 2 * FRAMES)
    assert np.abs(found.velocity[fast] - [45.0, 0.001]).max() < 1e-3
    assert (found.heading[fast] == np.float32(np.pi)).all(), "half a turn keeps its sign"
    assert (found.heading[drive.tracks.offsets[3] : drive.tracks.offsets[4]] == np.float32(-np.pi / 2)).all()


def test_ego_times_and_lights_come_back(tmp_path, drive):
    found = stored(tmp_path, drive).whole()
    np.testing.assert_array_equal(found.timestamps_us, drive.timestamps_us)
    np.testing.assert_allclose(found.ego.pose[:, :2], drive.ego.pose[:, :2], rtol=0, atol=8e-6)
    np.testing.assert_array_equal(found.ego.pose[:, 2], drive.ego.pose[:, 2].astype(np.float32))
    for name in ("velocity", "acceleration", "yaw_rate"):
        made = getattr(drive.ego, name)
        np.testing.assert_allclose(getattr(found.ego, name), made, rtol=0, atol=np.abs(made).max() / 32766)
    for name in ("lane", "stop_point", "state"):
        np.testing.assert_array_equal(getattr(found.lights, name), getattr(drive.lights, name))


WINDOWS = [
    np.arange(FRAMES),
    np.arange(100, 401, 2),
    np.arange(63, 66),
    np.array([699]),
    np.array([0, 1, 128, 500]),
    np.arange(410, 450),
]


@pytest.mark.parametrize("frames", WINDOWS, ids=lambda frames: f"{frames[0]}-{frames[-1]}x{len(frames)}")
def test_a_window_shows_what_the_whole_log_holds(tmp_path, drive, frames):
    log = stored(tmp_path, drive)
    whole = log.whole()
    expected, found = whole.tracks.window(frames), log.agents(frames)
    for field in dataclasses.fields(expected):
        left, right = getattr(found, field.name), getattr(expected, field.name)
        assert left.dtype == right.dtype, field.name
        np.testing.assert_array_equal(left, right, err_msg=field.name)
    np.testing.assert_array_equal(log.timestamps_us(frames), drive.timestamps_us[frames])
    for name in ("pose", "velocity", "acceleration", "yaw_rate"):
        np.testing.assert_array_equal(getattr(log.ego(frames), name), getattr(whole.ego, name)[frames])
    lights, state = log.lights(frames), drive.lights.state[frames]
    known = np.flatnonzero((state != 3).any(axis=0))
    assert lights.lane.tolist() == drive.lights.lane[known].tolist()
    np.testing.assert_array_equal(lights.state, state[:, known])


def test_frames_left_out_are_not_there(tmp_path, drive):
    frames = np.arange(1, FRAMES, 2)
    found = stored(tmp_path, drive, frames).whole()
    np.testing.assert_array_equal(found.timestamps_us, drive.timestamps_us[frames])
    assert_tracks_close(found.tracks, drive.tracks.take(frames))
    np.testing.assert_array_equal(found.lights.state, drive.lights.state[frames])


def test_a_box_takes_ten_bytes_and_one_that_stands_still_half_a_byte():
    origin = np.zeros(2)
    moving = straight(np.arange(6400), [0.0, 0.0], 10.0) % 500.0
    arrays = pack_tracks(table_of((np.arange(6400), moving, 0.0, [10, 0])), 6400, origin, "log 'x'")
    assert sum(a.nbytes for a in arrays.values()) < 10.7 * 6400
    arrays = pack_tracks(table_of((np.arange(6400), [3.0, 4.0], 0.0, [0, 0])), 6400, origin, "log 'x'")
    assert arrays["box"].tolist() == [[0, 0, 0, 0, 0]] * 100
    assert sum(a.nbytes for a in arrays.values()) < 0.6 * 6400


@pytest.mark.parametrize(
    ("interval", "kind"), [([50_000] * 9, np.int16), ([50_000, 9_000_000], np.int32), ([1, 2**40], np.int64)]
)
def test_times_are_exact_however_uneven(interval, kind):
    times = 1_620_000_000_000_000 + np.cumsum([0, *interval])
    arrays, spacing = pack_time(times)
    assert arrays["time"].dtype == kind
    back = spacing["first_us"] + spacing["step_us"] * np.arange(len(times)) + arrays["time"]
    np.testing.assert_array_equal(back, times)


def test_what_lies_too_far_away_is_refused(tmp_path, drive):
    far = dataclasses.replace(drive, tracks=table_of((np.array([3]), [-6.6e5, 0.0], 0.0, [0, 0])))
    with pytest.raises(DataError) as caught:
        stored(tmp_path, far)
    assert str(caught.value) == (
        "log 'drive': a box of its tracks lies 660 km from the middle of the drive, a store holds 32 km;"
        " drop it at the source or cut the log"
    )


@pytest.mark.parametrize("name", ["position", "heading", "velocity", "size"])
def test_nan_does_not_become_a_number(tmp_path, drive, name):
    getattr(drive.tracks, name)[2] = np.nan
    with pytest.raises(DataError, match=f"log 'drive': array 'tracks.{name}' holds [12] NaN or infinite values; mend"):
        stored(tmp_path, drive)


@pytest.mark.parametrize(("part", "name"), [("ego", "velocity"), ("ego", "yaw_rate"), ("tracks", "velocity")])
def test_senseless_values_are_refused(tmp_path, drive, part, name):
    getattr(getattr(drive, part), name)[2] = -2e30
    with pytest.raises(DataError, match=f"log 'drive': array '{part}.{name}' holds 2e.30, beyond anything measured; "):
        stored(tmp_path, drive)


@pytest.mark.parametrize("change", ["track", "frames", "shift", "boxes", "block"])
def test_tables_that_contradict_each_other_are_refused(tmp_path, drive, change):
    record = log_record(drive, np.arange(FRAMES))
    arrays = record.arrays
    if change == "track":
        arrays["segment.track"][1] = 6
    elif change == "frames":
        arrays["segment.form"][1, :2] = [1, 64]
    elif change == "shift":
        arrays["segment.form"][1, 3] = 7
    elif change == "boxes":
        arrays["segment.form"][1, 2] = 2
    else:
        arrays["block"][1:, 1] += 1
    writer = ShardWriter(tmp_path / "log.dts")
    writer.add(encode_record(arrays, record.meta))
    writer.close()
    log = StoredLog(ShardReader(tmp_path / "log.dts").read(0, lazily=True))
    with pytest.raises(DataError, match="log 'drive': its segments contradict each other; re-create the store"):
        log.agents(np.arange(FRAMES))


@st.composite
def tables(draw):
    """One to three tracks with any frames, anywhere, at any speed."""
    tracks = []
    for _ in range(draw(st.integers(1, 3))):
        frames = np.array(sorted(draw(st.sets(st.integers(0, 200), min_size=1, max_size=40))))
        random = np.random.default_rng(draw(st.integers(0, 2**32)))
        reach, speed = draw(st.sampled_from([0.0, 0.01, 3.0, 500.0, 30_000.0])), 10.0 ** draw(st.integers(-6, 6))
        tracks.append(
            (
                frames,
                random.uniform(-reach, reach, (len(frames), 2)),
                random.uniform(-np.pi, np.pi, len(frames)),
                random.uniform(-speed, speed, (len(frames), 2)),
            )
        )
    return table_of(*tracks)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=tables())
def test_any_tracks_come_back(tmp_path, drive, table):
    found = stored(tmp_path, dataclasses.replace(drive, tracks=table)).whole().tracks
    assert_tracks_close(found, table)


@pytest.mark.parametrize("extent", [*range(4_194_173, 4_194_180), 2_097_087, 2_097_088, 2_097_089])
def test_segments_as_wide_as_a_shift_allows_come_back(tmp_path, drive, extent):
    # Steps of 2**-16 m: 2 * 32767 * 2**6 of them are the widest segment.
    place = np.array([[0.0, 5.0], [extent * 2.0**-16, 5.0], [3.0, 5.0]])
    table = table_of((np.arange(3), place, 0.0, [0, 0]))
    assert_tracks_close(stored(tmp_path, dataclasses.replace(drive, tracks=table)).whole().tracks, table)
