"""A table of tracks: windows of it are what dense tracks would have shown."""

import dataclasses

import numpy as np
import pytest

from drivetrain.sim.scenario import AgentTracks, TrackTable


@pytest.fixture
def agents() -> AgentTracks:
    """Forty frames of six agents: always there, never there, early, late, with gaps, in one frame only."""
    random = np.random.default_rng(4)
    valid = np.zeros((40, 6), dtype=np.bool_)
    valid[:, 0] = True
    valid[:10, 2] = True
    valid[25:, 3] = True
    valid[:, 4] = random.random(40) < 0.5
    valid[17, 5] = True
    shown = valid[..., None]
    return AgentTracks(
        token=np.arange(10, 16, dtype=np.uint64),
        type=np.arange(6, dtype=np.uint8),
        size=random.uniform(0.5, 5.0, (6, 2)).astype(np.float32),
        position=np.where(shown, random.uniform(-100, 100, (40, 6, 2)), 0.0),
        heading=np.where(valid, random.uniform(-3, 3, (40, 6)), 0.0).astype(np.float32),
        velocity=np.where(shown, random.uniform(-9, 9, (40, 6, 2)), 0.0).astype(np.float32),
        valid=valid,
    )


def assert_same_tracks(left: AgentTracks, right: AgentTracks) -> None:
    for field in dataclasses.fields(AgentTracks):
        a, b = getattr(left, field.name), getattr(right, field.name)
        assert a.dtype == b.dtype, field.name
        np.testing.assert_array_equal(a, b, err_msg=field.name)


def cut(agents: AgentTracks, frames: np.ndarray) -> AgentTracks:
    """Slow and simple: index the dense arrays, leave out who is not seen."""
    seen = [a for a in range(len(agents.token)) if agents.valid[frames, a].any()]
    by_track = {name: getattr(agents, name)[seen] for name in ("token", "type", "size")}
    by_frame = {name: getattr(agents, name)[frames][:, seen] for name in ("position", "heading", "velocity", "valid")}
    return AgentTracks(**by_track, **by_frame)


FRAMES = [np.arange(40), np.arange(0, 40, 2), np.arange(11, 25), np.array([17]), np.array([3, 4, 17, 39])]


@pytest.mark.parametrize("frames", FRAMES, ids=lambda frames: f"{frames[0]}-{frames[-1]}x{len(frames)}")
def test_a_window_shows_what_the_dense_tracks_show(agents: AgentTracks, frames: np.ndarray) -> None:
    table = TrackTable.of(agents)
    expected = cut(agents, frames)
    assert_same_tracks(table.window(frames), expected)
    assert table.token[table.seen(frames)].tolist() == expected.token.tolist()


def test_boxes_are_those_that_exist_track_by_track(agents: AgentTracks) -> None:
    table = TrackTable.of(agents)
    assert table.token.tolist() == [10, 12, 13, 14, 15], "an agent never seen has no track"
    assert np.diff(table.offsets).tolist() == [40, 10, 15, int(agents.valid[:, 4].sum()), 1]
    assert table.frame[table.offsets[2] : table.offsets[3]].tolist() == list(range(25, 40))
    np.testing.assert_array_equal(table.position[table.offsets[4]], agents.position[17, 5])


def test_a_table_of_some_frames_counts_them_anew(agents: AgentTracks) -> None:
    frames = np.arange(1, 40, 2)
    thin = TrackTable.of(agents).take(frames)
    assert_same_tracks(thin.window(np.arange(20)), cut(agents, frames))
    assert int(thin.frame.max()) == 19


def test_nothing_to_see(agents: AgentTracks) -> None:
    nobody = TrackTable.of(cut(agents, np.zeros(0, dtype=np.int64)))
    assert len(nobody) == 0
    assert nobody.window(np.arange(3)).position.shape == (3, 0, 2)
    alone = TrackTable.of(agents).window(np.zeros(0, dtype=np.int64))
    assert alone.position.shape == (0, 0, 2)
