"""Strips and distances of polygons against GEOS."""

import numpy as np
import pytest
import shapely
from tests.closed_loop.traffic_oracle import start_curvature

from drivetrain.closed_loop.lane_arrays import start_curvatures
from drivetrain.closed_loop.shape_kernels import bound, meets, polygons_gap_squared, write_box, write_strip

RANDOM = np.random.default_rng(3)


def strip(points, half_width, lengthen=0.0):
    parts, boxes = np.empty((2 * len(points) + 1, 4, 2)), np.empty((2 * len(points) + 1, 4))
    count = write_strip(points, len(points), half_width, lengthen, parts, boxes)
    return parts[:count], boxes[:count]


def winding_line(bend):
    """Twenty stretches of 0.2 to 3 m, each turned by up to ``bend`` from the one before."""
    heading = np.cumsum(RANDOM.uniform(-bend, bend, 20)) + RANDOM.uniform(-3, 3)
    step = RANDOM.uniform(0.2, 3.0, 20)[:, None] * np.column_stack([np.cos(heading), np.sin(heading)])
    return np.cumsum(np.vstack([RANDOM.uniform(-50, 50, 2), step]), axis=0)


def star(size, count):
    """A polygon around a random place, not convex."""
    angle = np.sort(RANDOM.uniform(0, 2 * np.pi, count))
    radius = RANDOM.uniform(0.3, 1.0, count)[:, None] * size
    return RANDOM.uniform(-8, 8, 2) + radius * np.column_stack([np.cos(angle), np.sin(angle)])


@pytest.mark.parametrize(("bend", "tolerance"), [(0.02, 0.002), (0.2, 0.01), (0.6, 0.03)])
@pytest.mark.parametrize("cap", ["flat", "square"])
def test_a_strip_covers_what_a_buffer_covers(bend, tolerance, cap):
    for _ in range(20):
        line = winding_line(bend)
        parts, _ = strip(line, 1.0, 1.0 if cap == "square" else 0.0)
        got = shapely.union_all(shapely.buffer(shapely.polygons(parts), 1e-7))  # closes seams
        want = shapely.LineString(line).buffer(1.0, cap_style=cap)
        assert shapely.hausdorff_distance(got.boundary, want.boundary, densify=0.5) < 0.2
        assert got.symmetric_difference(want).area < tolerance * want.area


def test_repeated_points_add_nothing():
    line = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
    parts, boxes = strip(line, 0.5, 0.5)
    assert len(parts) == 1
    np.testing.assert_allclose(boxes[0], [-0.5, -0.5, 3.5, 0.5])


def test_gaps_of_polygons_are_those_of_geos():
    outcomes = set()
    for _ in range(3000):
        first, second = star(3.0, 5), star(2.0, 7)
        want = shapely.distance(shapely.Polygon(first), shapely.Polygon(second))
        outcomes.add(want == 0.0)
        if shapely.is_valid(shapely.Polygon(first)) and shapely.is_valid(shapely.Polygon(second)):
            np.testing.assert_allclose(np.sqrt(polygons_gap_squared(first, second)), want, atol=1e-9)
    assert outcomes == {True, False}


def test_a_polygon_inside_another_meets_it():
    outer, inner = np.empty((4, 2)), np.empty((4, 2))
    write_box(1.0, 2.0, 0.3, 10.0, 8.0, outer)
    write_box(1.5, 2.0, 1.0, 1.0, 0.5, inner)
    assert polygons_gap_squared(outer, inner) == polygons_gap_squared(inner, outer) == 0.0


def test_boxes_touch_a_corridor_where_geos_says_so():
    outcomes = []
    for _ in range(300):
        line = winding_line(0.1)
        parts, boxes = strip(line, 1.2)
        corners, box = np.empty((4, 2)), np.empty(4)
        at = line[RANDOM.integers(len(line))] + RANDOM.uniform(-6, 6, 2)
        write_box(*at, RANDOM.uniform(-3, 3), 4.0, 1.8, corners)
        bound(corners, box)
        gap = shapely.distance(shapely.LineString(line).buffer(1.2, cap_style="flat"), shapely.Polygon(corners))
        found = meets(parts, boxes, len(parts), corners, box)
        outcomes.append(found)
        assert found == (gap == 0.0) or gap < 0.01
    assert 50 < sum(outcomes) < 250


def test_curvature_at_the_start_of_lines():
    circle = 20.0 * np.column_stack([np.sin(np.linspace(0, 1, 200)), 1 - np.cos(np.linspace(0, 1, 200))])
    lines = [circle, winding_line(0.3), np.array([[0.0, 0.0], [9.0, 0.0]]), winding_line(0.3)[:2] * 0.5]
    start = np.cumsum([0, *(len(line) for line in lines)])
    got = start_curvatures(np.concatenate(lines), start)
    np.testing.assert_allclose(got, [start_curvature(line) for line in lines], atol=1e-12)
    np.testing.assert_allclose(got[0], 1 / 20, rtol=1e-3)
