"""From boxes in any order to tracks: order, repetitions, sizes, missing velocities."""

import numpy as np
import pytest

from drivetrain.data.track_arrays import Boxes, track_table

TIMES = np.arange(10) * 100_000
TOKENS = np.array([70, 50, 60, 40], dtype=np.uint64)
KINDS = np.array([0, 1, 2, 3], dtype=np.uint8)


def boxes(*rows):
    """Boxes of (frame, track, x, vx, length)."""
    values = np.array(rows, dtype=np.float64).reshape(len(rows), 5)
    flat = np.zeros(len(rows))
    return Boxes(
        frame=values[:, 0].astype(np.int32),
        track=values[:, 1].astype(np.int32),
        position=np.column_stack([values[:, 2], flat]),
        heading=flat.astype(np.float32),
        velocity=np.column_stack([values[:, 3], flat]).astype(np.float32),
        size=np.column_stack([values[:, 4], flat + 2]).astype(np.float32),
    )


def made(*rows):
    return track_table(boxes(*rows), token=TOKENS, kind=KINDS, timestamps_us=TIMES)


def test_tracks_come_by_first_frame_then_token_and_boxes_by_time():
    table, repeated = made((5, 0, 5, 1, 4), (2, 0, 2, 1, 4), (2, 1, 7, 1, 4), (9, 2, 9, 1, 4), (3, 0, 3, 1, 4))
    assert repeated == 0
    assert table.token.tolist() == [50, 70, 60], "the track without a box is left out"
    assert table.type.tolist() == [1, 0, 2]
    assert table.offsets.tolist() == [0, 1, 4, 5]
    assert table.frame.tolist() == [2, 2, 3, 5, 9]
    assert table.position[:, 0].tolist() == [7, 2, 3, 5, 9]


def test_of_two_boxes_in_a_frame_the_later_row_counts_and_the_other_is_counted():
    table, repeated = made((1, 0, 5, 1, 4), (2, 0, 6, 1, 4), (1, 0, 8, 1, 4))
    assert repeated == 1
    assert table.frame.tolist() == [1, 2]
    assert table.position[:, 0].tolist() == [8, 6]


def test_a_size_is_the_median_of_its_track():
    table, _ = made((1, 0, 0, 0, 4), (2, 0, 0, 0, 5), (3, 0, 0, 0, 9), (1, 1, 0, 0, 3), (2, 1, 0, 0, 3))
    assert table.size.tolist() == [[3, 2], [5, 2]]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [(1, 0, 10, np.nan, 4), (3, 0, 14, np.inf, 4), (4, 0, 15, 7, 4)],
            [20, 50 / 3, 7],
        ),  # 4 m in 0.2 s, 5 m in 0.3 s
        ([(1, 0, 10, np.nan, 4)], [0]),
    ],
)
def test_a_missing_velocity_comes_from_the_boxes_around(rows, expected):
    np.testing.assert_allclose(made(*rows)[0].velocity[:, 0], expected, rtol=1e-6)


def test_no_boxes_at_all():
    for table, _ in (made(), track_table(Boxes.join([]), token=TOKENS, kind=KINDS, timestamps_us=TIMES)):
        assert len(table) == 0
        assert table.offsets.tolist() == [0]
        assert table.window(np.arange(4)).position.shape == (4, 0, 2)
