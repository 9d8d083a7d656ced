"""The ego's box, and what states are refused."""

import numpy as np
import pytest
from tests.metrics.builders import straight_ego

from drivetrain.errors import DataError
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.sim.scenario import EgoTrack


def test_the_box_of_a_known_pose():
    # The rear axle at (10, 20), heading +y: the centre lies 1.461 m up; the front 0.5 * 5.176 m above the centre.
    ego = straight_ego(1, x=10.0, y=20.0, heading=np.pi / 2)
    np.testing.assert_allclose(ego.centre[0], [10.0, 21.461], atol=1e-12)
    front, rear, left, right = 21.461 + 2.588, 21.461 - 2.588, 10.0 - 1.1485, 10.0 + 1.1485
    np.testing.assert_allclose(ego.corners[0], [[left, front], [left, rear], [right, rear], [right, front]], atol=1e-12)


def test_speed_counts_the_lateral_part():
    ego = straight_ego(2, velocity=np.array([[3.0, 4.0], [-5.0, 0.0]]))
    assert ego.speed.tolist() == [5.0, 5.0]


def test_a_logged_drive_has_no_yaw_rate():
    log = EgoTrack(
        pose=np.zeros((2, 3)), velocity=np.ones((2, 2)), acceleration=np.ones((2, 2)), yaw_rate=np.array([0.3, 0.3])
    )
    ego = EgoStates.of_log(log)
    assert ego.yaw_rate.tolist() == ego.yaw_acceleration.tolist() == [0.0, 0.0]
    assert ego.acceleration.tolist() == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"yaw_rate": np.zeros(3)}, "ego states: 'yaw_rate' has shape (3,), expected (4,)"),
        ({"velocity": np.zeros((4, 3))}, "ego states: 'velocity' has shape (4, 3), expected (4, 2)"),
        (
            {"acceleration": np.array([[0, 0], [0, 0], [np.nan, 0], [0, np.inf]])},
            "ego states: 'acceleration' of state 2 is not finite; leave this trajectory out",
        ),
    ],
)
def test_states_that_cannot_be_scored_are_refused(fields, message):
    with pytest.raises(DataError) as caught:
        straight_ego(4, **fields)
    assert str(caught.value) == message


def test_no_state_at_all_is_refused():
    with pytest.raises(DataError, match="there are none; a trajectory needs at least one state"):
        straight_ego(0)
