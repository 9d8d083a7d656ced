"""Rollouts of the reference implementation, reproduced: ego, reactive vehicles, scores."""

import numpy as np
import pytest
from tests.closed_loop.golden_rollouts import GoldenRollout

from drivetrain.closed_loop.idm_planner import idm_planner
from drivetrain.closed_loop.log_future import log_future
from drivetrain.closed_loop.reactive_traffic import ReactiveTraffic
from drivetrain.closed_loop.simple_planner import simple_planner
from drivetrain.closed_loop.simulation import Rollout, one_by_one, simulate
from drivetrain.closed_loop.traffic import LogReplay
from drivetrain.metrics.score import score_trajectory

SHORT = ["simple_idm", "idm_nr", "s0_simple_idm", "s1_idm_idm", "s3_logfuture_idm", "s4_idm_nr", "s5_logfuture_nr"]
"""Every planner and traffic, a queue at a light, a turn, a construction zone, a roundabout."""


def replayed(golden: GoldenRollout) -> Rollout:
    planners = {"simple": simple_planner, "idm": idm_planner, "logfuture": log_future(lambda _: golden.log)}
    traffic = {"replay": LogReplay, "idm": ReactiveTraffic}[golden.traffic]
    (rollout,) = simulate([golden.scenario], planner=one_by_one(planners[golden.planner]), traffic=traffic)
    assert isinstance(rollout, Rollout)
    return rollout


@pytest.mark.parametrize("name", SHORT)
def test_ego_agents_and_score(rollouts, name):
    golden = rollouts[name]
    rollout = replayed(golden)
    ego = rollout.ego
    assert len(ego) == len(golden.ego)
    assert np.hypot(*(ego.pose[:, :2] - golden.ego[:, :2]).T).max() < 1e-3
    turned = np.angle(np.exp(1j * (ego.pose[:, 2] - golden.ego[:, 2])))
    assert np.abs(turned).max() < 1e-4
    now = np.column_stack([ego.velocity[:, 0], ego.acceleration[:, 0], rollout.steering, ego.yaw_rate])
    np.testing.assert_allclose(now[1:], golden.ego[1:, 3:], atol=1e-3)

    column = {int(token): i for i, token in enumerate(rollout.agents.token)}
    columns = [column[int(token)] for token in golden.tokens]
    valid = rollout.agents.valid[: len(ego)]
    present = ~np.isnan(golden.agents[..., 0])
    np.testing.assert_array_equal(valid[:, columns], present)
    assert valid.sum() == present.sum()
    away = rollout.agents.position[: len(ego), columns][present] - golden.agents[..., :2][present]
    assert np.hypot(*away.T).max() < 2e-3

    score = score_trajectory(rollout.scene(golden.scenario), ego).score
    assert score == pytest.approx(golden.score, abs=1e-5)
