"""The peer-equal layout of the benchmark: a step by hand, and the same worlds seen by plain NumPy."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import peer_kernel as k
import peer_layout as layout

STRAIGHT, NO_CHANGE = k.STEERINGS // 2, (k.ACCELERATIONS // 2) * k.STEERINGS


def scene(*, second_at: tuple[float, float], edge_y: float) -> layout.PeerScene:
    """Two vehicles 4 x 2 m going east at 10 m/s, a lane at y = 0, an edge at ``edge_y``; the second one is replayed."""
    time = np.arange(k.STEPS) * 0.1
    first = np.stack([10.0 * time, 0.0 * time, 0.0 * time], axis=1)
    second = np.stack([second_at[0] + 10.0 * time, second_at[1] + 0.0 * time, 0.0 * time], axis=1)
    lines = [(np.array([[-50.0, 0.0], [150.0, 0.0]]), layout.LANE)]
    lines += [(np.array([[x, edge_y], [x + 10.0, edge_y]]), layout.EDGE) for x in range(-50, 150, 10)]
    size = np.full((2, 2), (4.0, 2.0)) / 0.7  # the layout shrinks boxes
    valid = np.ones((2, k.STEPS), dtype=np.bool_)
    result = layout._scene(lines, np.stack([first, second]), np.full((2, k.STEPS), 10.0), valid, size)
    return layout.PeerScene(pieces=result.pieces, start=result.start, log=result.log, driven=1)


def stepped(peer_scene: layout.PeerScene, category: int = NO_CHANGE + STRAIGHT) -> layout.Batch:
    batch = layout.Batch([peer_scene], 1)
    batch.actions[:] = category
    batch.worlds.time[:] = 0
    batch.step()
    return batch


def test_a_step_moves_observes_and_judges_as_computed_by_hand() -> None:
    batch = stepped(scene(second_at=(20.0, 3.0), edge_y=-5.0))
    row = batch.observation
    slots = row[k.EGO_SIZE : k.EGO_SIZE + 7 * k.SLOTS].reshape(7, k.SLOTS)
    assert batch.worlds.state[k.X * k.SLOTS] == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(slots[:, 1], [0.4, 0.06, 2 / 15, 4 / 30, 1.0, 0.0, 0.1], atol=1e-5)
    assert not slots[:, [0, *range(2, k.SLOTS)]].any(), "itself and empty slots are zero"
    assert int(batch.outcome[0]) == k.ALIGNED
    assert float(batch.reward[0]) == 0.0


@pytest.mark.parametrize(
    ("second_at", "edge_y", "expected"),
    [
        ((3.9, 0.0), -5.0, k.COLLIDED | k.ALIGNED),
        ((4.1, 0.0), -5.0, k.ALIGNED),
        ((20.0, 3.0), -0.9, k.OFFROAD | k.ALIGNED),
        ((20.0, 3.0), -1.1, k.ALIGNED),
    ],
)
def test_outcomes(second_at: tuple[float, float], edge_y: float, expected: int) -> None:
    assert int(stepped(scene(second_at=second_at, edge_y=edge_y)).outcome[0]) == expected


def test_road_points_are_those_of_the_cell_seen_from_the_vehicle() -> None:
    batch = stepped(scene(second_at=(20.0, 3.0), edge_y=-5.0), category=NO_CHANGE + STRAIGHT + 4)
    x, y, c, s = (float(batch.worlds.state[r * k.SLOTS]) for r in (k.X, k.Y, k.COS, k.SIN))
    assert s > 0.05, "the vehicle turned left"
    points = batch.observation[-7 * k.POINTS :].reshape(7, k.POINTS)
    count = int((points[5] != 0).sum())
    pieces = scene(second_at=(20.0, 3.0), edge_y=-5.0).pieces
    near = pieces[np.abs(pieces[:, 0] - 2.5) <= layout._SIGHT_M + 2.5]
    assert 10 <= count <= len(near)
    dx, dy = pieces[:, 0] - x, pieces[:, 1] - y
    expected = {
        tuple(np.round(0.02 * np.array([a * c + b * s, b * c - a * s]), 4)) for a, b in zip(dx, dy, strict=True)
    }
    assert {tuple(np.round(p, 4)) for p in points[:2, :count].T.astype(np.float64)} <= expected
    assert not points[:, count:].any()


def test_an_episode_begins_anew_after_91_steps() -> None:
    batch = stepped(scene(second_at=(20.0, 3.0), edge_y=-5.0), category=STRAIGHT)
    for _ in range(k.STEPS - 1):
        batch.step()
    np.testing.assert_array_equal(batch.worlds.state[: k.STATE_ROWS * k.SLOTS], batch.worlds.start)
