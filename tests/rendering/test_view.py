import numpy as np
import pytest

from drivetrain.rendering.view import ASPECT_RANGE, LEAST_EXTENT, MARGIN, fit_view


@pytest.mark.parametrize("up", [0.0, 0.7, np.pi / 2, -2.9])
def test_what_lies_ahead_is_drawn_upwards_and_what_lies_left_to_the_left(up):
    origin = np.array([100.0, -50.0])
    view = fit_view([np.array([origin])], up=up)
    ahead = origin + 10 * np.array([np.cos(up), np.sin(up)])
    left = origin + 4 * np.array([-np.sin(up), np.cos(up)])
    assert view.place(ahead) == pytest.approx([0.0, 10.0], abs=1e-12)
    assert view.place(left) == pytest.approx([-4.0, 0.0], abs=1e-12)
    assert view.turned(np.array([up])) == pytest.approx([np.pi / 2])


def test_a_single_point_gets_the_least_extent_around_it():
    view = fit_view([np.zeros((1, 2))], up=np.pi / 2)
    assert view.low == (-LEAST_EXTENT / 2, -LEAST_EXTENT / 2)
    assert view.high == (LEAST_EXTENT / 2, LEAST_EXTENT / 2)


def test_a_long_straight_drive_keeps_margins_and_an_agreeable_shape():
    path = np.stack([np.zeros(2), np.array([0.0, 200.0])])
    view = fit_view([path], up=np.pi / 2)
    assert view.low[1] == -MARGIN
    assert view.high[1] == 200.0 + MARGIN
    assert view.aspect == pytest.approx(ASPECT_RANGE[0])


def test_a_wide_scene_is_made_higher_rather_than_cut():
    path = np.stack([np.zeros(2), np.array([200.0, 0.0])])
    view = fit_view([path], up=np.pi / 2)
    assert view.low[0] == -MARGIN
    assert view.high[0] == 200.0 + MARGIN
    assert view.aspect == pytest.approx(ASPECT_RANGE[1])


def test_sees_tells_boxes_that_overlap_from_those_beside():
    view = fit_view([np.zeros((1, 2))], up=np.pi / 2)
    edge = LEAST_EXTENT / 2
    assert view.sees(np.array([[-100.0, 0.0], [100.0, 0.0]]))
    assert not view.sees(np.array([[edge + 0.1, 0.0], [edge + 9.0, 0.0]]))
    assert not view.sees(np.zeros((0, 2)))
