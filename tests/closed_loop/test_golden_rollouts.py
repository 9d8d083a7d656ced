"""Rollouts of the reference implementation, reproduced: ego, agents, scores. `drivetrain verify` does all of them."""

import numpy as np
import pytest

from drivetrain.trainer.golden_rollouts import rollout_errors, simulate_again

SHORT = ["simple_idm", "idm_nr", "s0_simple_idm", "s1_idm_idm", "s3_logfuture_idm", "s4_idm_nr", "s5_logfuture_nr"]
"""Every planner and traffic, a queue at a light, a turn, a construction zone, a roundabout."""


@pytest.mark.parametrize("name", SHORT)
def test_ego_agents_and_score(rollouts, name):
    golden = rollouts[name]
    errors = rollout_errors(golden, *simulate_again([golden]))
    assert errors["ego position"] < 1e-3
    assert errors["ego heading"] < 1e-4
    assert errors["agent position"] < 2e-3
    assert errors["score"] < 1e-5


def test_the_whole_state_of_the_ego(rollouts):
    golden = rollouts["s1_idm_nr"]
    (rollout,) = simulate_again([golden])
    now = np.column_stack(
        [rollout.ego.velocity[:, 0], rollout.ego.acceleration[:, 0], rollout.steering, rollout.ego.yaw_rate]
    )
    np.testing.assert_allclose(now[1:], golden.ego[1:, 3:], atol=1e-4)
