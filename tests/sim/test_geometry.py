"""Angles, frames and box tests against hand-computed values and against Shapely."""

import numpy as np
import pytest
from shapely.geometry import LineString, Polygon

from drivetrain.sim.geometry import (
    box_box_gap,
    box_segment_gap,
    closest_approach,
    cross,
    rotate_into_frame,
    wrap_angle,
)


def corners(x, y, heading, half_length, half_width):
    """The four corners of a box, independent of the separating-axis code."""
    rotation = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
    signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    return signs * [half_length, half_width] @ rotation.T + [x, y]


def gap_of(a, b):
    """box_box_gap of two boxes given as (x, y, heading, half length, half width)."""
    dx, dy = rotate_into_frame(b[0] - a[0], b[1] - a[1], np.cos(a[2]), np.sin(a[2]))
    turn = b[2] - a[2]
    return float(
        box_box_gap(
            dx=dx,
            dy=dy,
            cos=np.cos(turn),
            sin=np.sin(turn),
            half_size=(a[3], a[4]),
            other_half_size=(b[3], b[4]),
        )
    )


@pytest.mark.parametrize(
    ("angle", "wrapped"),
    [(0.0, 0.0), (np.pi, np.pi), (-np.pi, np.pi), (3.5 * np.pi, -0.5 * np.pi), (-3.25 * np.pi, 0.75 * np.pi)],
)
def test_wrap_angle_lies_above_minus_pi_and_up_to_pi(angle, wrapped):
    assert wrap_angle(angle) == pytest.approx(wrapped, abs=1e-12)


def test_a_point_north_of_a_vehicle_heading_north_is_ahead_and_one_west_of_it_is_left():
    north = np.pi / 2
    assert np.allclose(rotate_into_frame(0.0, 5.0, np.cos(north), np.sin(north)), (5.0, 0.0))
    assert np.allclose(rotate_into_frame(-3.0, 0.0, np.cos(north), np.sin(north)), (0.0, 3.0))


def test_cross_is_positive_to_the_left():
    assert cross(1.0, 0.0, 0.0, 2.0) == 2.0
    assert cross(0.0, 1.0, 3.0, 0.0) == -3.0


@pytest.mark.parametrize(
    ("other", "gap"),
    [
        ((6.0, 0.0, 0.0, 2.0, 1.0), 2.0),  # 6 - 2 - 2 apart, nose to tail
        ((4.0, 0.0, 0.0, 2.0, 1.0), 0.0),  # touching counts as contact
        ((0.0, 3.5, 0.0, 2.0, 1.0), 1.5),  # side by side
        ((5.0, 0.0, np.pi / 2, 2.0, 1.0), 2.0),  # across: 5 - 2 - 1
        ((1.0, 0.5, 0.0, 2.0, 1.0), -1.5),  # overlap: the least push is 1.5 m sideways
        ((0.0, 0.0, np.pi, 2.0, 1.0), -2.0),  # the same box the other way round
    ],
)
def test_box_box_gap_by_hand(other, gap):
    ego = (0.0, 0.0, 0.0, 2.0, 1.0)
    assert gap_of(ego, other) == pytest.approx(gap, abs=1e-12)
    assert gap_of(other, ego) == pytest.approx(gap, abs=1e-12)


def test_box_box_contact_agrees_with_polygons():
    random = np.random.default_rng(7)
    contacts = 0
    for _ in range(1500):
        a = (*random.uniform(-4, 4, 2), random.uniform(-4, 4), *random.uniform(0.2, 3, 2))
        b = (*random.uniform(-4, 4, 2), random.uniform(-4, 4), *random.uniform(0.2, 3, 2))
        first, second, gap = Polygon(corners(*a)), Polygon(corners(*b)), gap_of(a, b)
        assert (gap <= 0) == first.intersects(second)
        assert gap <= first.distance(second) + 1e-9
        contacts += gap <= 0
    assert 300 < contacts < 1200


def test_box_segment_contact_agrees_with_polygons():
    random = np.random.default_rng(8)
    contacts = 0
    for _ in range(1500):
        length, width = random.uniform(0.2, 3, 2)
        middle, half = random.uniform(-4, 4, 2), random.uniform(-3, 3, 2)
        gap = box_segment_gap(mx=middle[0], my=middle[1], ux=half[0], uy=half[1], half_length=length, half_width=width)
        line = LineString([middle - half, middle + half])
        assert (gap <= 0) == Polygon(corners(0, 0, 0, length, width)).intersects(line)
        contacts += gap <= 0
    assert 300 < contacts < 1200


def test_a_segment_that_ends_on_the_bumper_touches():
    touching = box_segment_gap(mx=3.0, my=0.0, ux=1.0, uy=0.0, half_length=2.0, half_width=1.0)
    ahead = box_segment_gap(mx=3.1, my=0.0, ux=1.0, uy=0.0, half_length=2.0, half_width=1.0)
    assert touching == 0.0
    assert ahead == pytest.approx(0.1)


def test_closest_approach_by_hand():
    # head on: 20 m apart closing at 10 m/s, 3 m to the side; met after 2 s
    time, distance = closest_approach(20.0, 3.0, -10.0, 0.0, horizon=5.0)
    assert time == pytest.approx(2.0, abs=1e-6)
    assert distance == pytest.approx(3.0, abs=1e-6)
    # driving apart: now is the nearest moment
    time, distance = closest_approach(20.0, 0.0, 5.0, 0.0, horizon=5.0)
    assert time == 0.0
    assert distance == 20.0
    # too far off to be met within the horizon
    time, distance = closest_approach(100.0, 0.0, -10.0, 0.0, horizon=5.0)
    assert time == 5.0
    assert distance == pytest.approx(50.0)


def test_box_gap_broadcasts_over_many_boxes():
    gaps = box_box_gap(
        dx=np.array([6.0, 4.0]),
        dy=np.zeros(2),
        cos=np.ones(2),
        sin=np.zeros(2),
        half_size=(2.0, 1.0),
        other_half_size=(np.array([2.0, 1.0]), np.array([1.0, 1.0])),
    )
    assert gaps.tolist() == [2.0, 1.0]
