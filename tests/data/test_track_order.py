"""The order of tracks: by first appearance, or as the rows of every frame list them."""

import numpy as np

from drivetrain.data.track_arrays import Boxes, track_table


def tokens_of(rows, *, as_listed):
    """Tokens in the table's order of rows (frame, token)."""
    frame, listed = np.array(rows).T
    token, track = np.unique(listed, return_inverse=True)
    pair = np.ones((len(rows), 2))
    table, _ = track_table(
        Boxes(
            frame=frame.astype(np.int32),
            track=track.astype(np.int32),
            position=pair,
            heading=pair[:, 0].astype(np.float32),
            velocity=pair.astype(np.float32),
            size=pair.astype(np.float32),
        ),
        token=token.astype(np.uint64),
        kind=np.zeros(len(token), dtype=np.uint8),
        timestamps_us=100_000 * np.arange(10),
        as_listed=as_listed,
    )
    return table.token.tolist()


def test_by_first_appearance_then_token():
    assert tokens_of([(3, 1), (0, 9), (0, 8), (3, 9)], as_listed=False) == [8, 9, 1]


def test_every_frame_keeps_the_order_of_its_rows():
    """5 appears last but is listed before 7, which is listed before 2: a chain over two frames."""
    assert tokens_of([(0, 7), (0, 2), (1, 5), (1, 7), (2, 2)], as_listed=True) == [5, 7, 2]


def test_rows_of_frames_may_be_mixed_in_the_file():
    assert tokens_of([(1, 5), (0, 7), (1, 7), (0, 2)], as_listed=True) == [5, 7, 2]


def test_tracks_that_never_meet_come_as_they_appear():
    assert tokens_of([(2, 4), (0, 6), (1, 5)], as_listed=True) == [6, 5, 4]


def test_frames_that_contradict_each_other_leave_the_first_one_first():
    assert tokens_of([(0, 3), (0, 1), (1, 1), (1, 3), (1, 2)], as_listed=True) == [3, 1, 2]


def test_random_frames_that_agree_are_all_kept():
    random = np.random.default_rng(0)
    order = random.permutation(40)
    rows = [(f, int(t)) for f in range(10) for t in order[np.sort(random.choice(40, 12, replace=False))]]
    place = {token: i for i, token in enumerate(tokens_of(rows, as_listed=True))}
    for frame in range(10):
        listed = [place[t] for f, t in rows if f == frame]
        assert listed == sorted(listed)
