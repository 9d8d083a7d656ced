"""Risk: returns of costs by hand and on a chain, balanced batches, calibration, memory."""

import numpy as np
import pytest
import torch

from drivetrain.algorithms.endings import Ending
from drivetrain.algorithms.risk import (
    CostConfig,
    RiskConfig,
    RiskLearner,
    ViolationMemory,
    calibration,
    costs,
    risk_returns,
)
from drivetrain.errors import ConfigError, RunError
from drivetrain.models.actor_critic import PolicyConfig
from drivetrain.models.q_network import CriticConfig, TwinQ
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import FeatureGroup, ObservationSchema

CHAIN = ObservationSchema(
    name="chain",
    groups=(FeatureGroup(name="vector", features=("a", "b", "c", "d", "e", "f"), count=1, is_set=False, presence=""),),
)


def returns(cost, *, next_risk=0.0, taken=0.0, ratio=1.0, terminated=(), truncated=(), gamma=0.9, trace=1.0, valid=()):
    """Risk returns of one row."""
    cost = torch.tensor(cost)[:, None]

    def column(value):
        return torch.as_tensor(value, dtype=torch.float32).expand(len(cost)).clone()[:, None]

    flags = [torch.zeros_like(cost, dtype=torch.bool) for _ in range(2)]
    for flag, where in zip(flags, (terminated, truncated), strict=True):
        flag[list(where)] = True
    is_valid = torch.ones_like(cost, dtype=torch.bool)
    is_valid[list(valid)] = False
    result = risk_returns(
        cost,
        column(next_risk),
        column(taken),
        column(ratio),
        terminated=flags[0],
        truncated=flags[1],
        valid=is_valid,
        gamma=gamma,
        trace=trace,
    )
    return result[:, 0].tolist()


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [(0.9, [1.0, 0.9, 0.81, 0.729, 0.6561]), (0.95, [1.0, 0.95, 0.9025, 0.857375, 0.814506])],
)
def test_a_chain_into_a_violation(gamma, expected):
    """Risk k steps before the violating action is gamma^k: at once with full traces, after five passes without."""
    cost = [0.0, 0.0, 0.0, 0.0, 1.0]
    assert returns(cost, terminated=[4], gamma=gamma) == pytest.approx(expected[::-1], abs=1e-6)
    risk = [0.0] * 5
    for _ in range(5):
        risk = returns(cost, next_risk=[*risk[1:], 0.0], taken=risk, terminated=[4], gamma=gamma, trace=0.0)
    assert risk == pytest.approx(expected[::-1], abs=1e-6)


def test_one_step_target_by_hand():
    """y = min(1, c + g (1 - term) V): costs add up to 1 at most, an end has no future, a cut one has."""
    assert returns([0.2], next_risk=0.5, trace=0.0) == pytest.approx([0.2 + 0.9 * 0.5])
    assert returns([0.8], next_risk=0.5, trace=0.0) == [1.0]
    assert returns([0.5], next_risk=0.5, terminated=[0]) == [0.5]
    assert returns([0.0], next_risk=0.5, truncated=[0]) == pytest.approx([0.45])


def test_traces_by_hand():
    """Of (c, V, Q): y2 = .9 * .4; y1 = .9 (.3 + w (y2 - .2)); y0 = .9 (.1 + w (y1 - .5)), w = .5 min(1, ratio)."""
    told = {"next_risk": [0.1, 0.3, 0.4], "taken": [0.0, 0.5, 0.2], "trace": 0.5}
    y2 = 0.9 * 0.4
    y1 = 0.9 * (0.3 + 0.5 * (y2 - 0.2))
    y0 = 0.9 * (0.1 + 0.5 * (y1 - 0.5))
    assert returns([0.0] * 3, **told, ratio=2.0) == pytest.approx([y0, y1, y2])
    y1 = 0.9 * (0.3 + 0.5 * 0.25 * (y2 - 0.2))
    y0 = 0.9 * 0.1  # the action at 1 is none of the judged policy's: what came of it says nothing of the one at 0
    assert returns([0.0] * 3, **told, ratio=[1.0, 0.0, 0.25]) == pytest.approx([y0, y1, y2])


def test_no_trace_runs_through_an_end_a_cut_or_a_rest():
    crash = [0.0, 0.0, 1.0]
    assert returns(crash, terminated=[2]) == pytest.approx([0.81, 0.9, 1.0])
    assert returns(crash, terminated=[1, 2]) == [0.0, 0.0, 1.0]
    assert returns(crash, terminated=[2], truncated=[1], next_risk=0.5) == pytest.approx([0.9 * (0.5 + 0.45), 0.45, 1])
    assert returns(crash, terminated=[2], valid=[1]) == [0.0, 0.0, 1.0]


def test_costs_of_events():
    """0.5 for a red light, 1 for at fault or off-road, 1 at most, added from the whole step's events."""
    events = {
        "collision": np.array([1, 0, 0, 0], np.float32),
        "collision_any": np.array([1, 1, 0, 0], np.float32),
        "offroad": np.array([1, 0, 0, 0], np.float32),
        "red_light": np.array([0, 0, 1, 0], np.float32),
        "progress": np.ones(4, np.float32),
    }
    ending = Ending(step=1, rows=np.array([0, 2, 3, 5]), events=events, observation=np.zeros((4, 1)))
    found = costs([ending], CostConfig(), (3, 6))
    assert found[1].tolist() == [1.0, 0.0, 0.0, 0.5, 0.0, 0.0]
    assert found[[0, 2]].sum() == 0.0
    assert CostConfig(collision_any=0.25).of(events).tolist() == [1.0, 0.25, 0.5, 0.0]


def learner(*, categories=1, **settings):
    space = ActionSpace(num_categories=categories)
    critic = TwinQ(CHAIN, space, PolicyConfig(), CriticConfig(hidden=(32,)), sigmoid=True)
    settings = {"minibatch_size": 64, "learning_rate": 0.02, "memory": 50} | settings
    return RiskLearner(critic, RiskConfig(**settings), observation=torch.zeros(0, CHAIN.size))


def risk_of(learnt, rows):
    return learnt.critic(rows).amax(0)[:, 0].detach()


@pytest.mark.parametrize("loss", ["cross_entropy", "squared"])
def test_critics_learn_the_chain(loss):
    """Six states in a row, the last action violates: the twin maximum comes to gamma^k everywhere."""
    learnt, rows = learner(loss=loss, gamma=0.9), torch.eye(6)
    cost = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    for _ in range(40):
        risk = risk_of(learnt, rows)
        target = cost + 0.9 * torch.cat([risk[1:], torch.zeros(1)])
        learnt.learn(rows, torch.zeros(6, dtype=torch.int64), target.clamp(max=1), cost, updates=10)
    assert risk_of(learnt, rows).tolist() == pytest.approx([0.9**k for k in (5, 4, 3, 2, 1, 0)], abs=0.03)


def chances(balance):
    """What is learnt of an action that violates in 5 of 100 cases."""
    learnt = learner(violating_share=0.5, balance=balance, learning_rate=0.005)
    rows, cost = torch.zeros(400, 6), torch.zeros(400)
    cost[::20] = 1.0
    learnt.learn(rows, torch.zeros(400, dtype=torch.int64), cost.clone(), cost, updates=400)
    return float(risk_of(learnt, rows)[0])


def test_balanced_batches_keep_probabilities_unless_they_are_asked_not_to():
    assert chances("weighted") == pytest.approx(0.05, abs=0.015)
    assert chances("raw") == pytest.approx(0.5, abs=0.1)


def test_half_of_a_batch_are_remembered_violations():
    learnt = learner(violating_share=0.5)
    rows, cost = torch.rand(200, 6), torch.zeros(200)
    cost[:4] = 0.5
    learnt.learn(rows, torch.zeros(200, dtype=torch.int64), cost + 0.1, cost, updates=1)
    drawn = learnt._draw(rows, torch.zeros(200, dtype=torch.int64), cost + 0.1, torch.arange(4, 200))
    assert drawn.target.tolist() == pytest.approx([0.1] * 32 + [0.5] * 32)
    assert drawn.weight[:32].tolist() == pytest.approx([2 * 196 / 200] * 32)
    assert drawn.weight[32:].tolist() == pytest.approx([2 * 4 / 200] * 32)


def test_memory_keeps_the_latest():
    memory = ViolationMemory(5, torch.zeros(0, 1))
    for first in range(0, 9, 3):
        values = torch.arange(first, first + 3)
        memory.add(values[:, None].float(), values, values.float())
    assert len(memory) == 5
    assert sorted(memory.cost.tolist()) == [4, 5, 6, 7, 8]
    again = ViolationMemory(5, torch.zeros(0, 1))
    again.load_state_dict(memory.state_dict())
    assert torch.equal(again.observation, memory.observation)
    assert again.seen == 9
    memory.add(torch.zeros(7, 1), torch.arange(7), torch.arange(7.0))
    assert sorted(memory.cost.tolist()) == [2, 3, 4, 5, 6]


def test_calibration_by_hand():
    """Two of four in the bin of 0.25 happen: |1 - 2| of five rows; 0.95 that happens is off by 0.05."""
    found = calibration(torch.tensor([0.25, 0.25, 0.25, 0.25, 0.95]), torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0]))
    assert found["risk/ece"].item() == pytest.approx((1.0 + 0.05) / 5)
    assert found["risk/brier"].item() == pytest.approx((2 * 0.75**2 + 2 * 0.25**2 + 0.05**2) / 5)
    assert calibration(torch.zeros(0), torch.zeros(0)) == {}


def test_a_nan_names_the_critics():
    learnt = learner()
    rows = torch.full((9, 6), torch.nan)
    with pytest.raises(RunError, match="risk critics' loss became NaN or infinite"):
        learnt.learn(rows, torch.zeros(9, dtype=torch.int64), torch.zeros(9), torch.zeros(9), updates=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": 1.5}, "algorithm.risk.gamma: 1.5 is impossible; use a number from 0 to 1"),
        ({"violating_share": 1.0}, "algorithm.risk.violating_share: 1.0 is impossible; use 0 to below 1"),
        ({"updates": 0}, "algorithm.risk.updates: 0 is impossible; use 1 or more"),
        ({"pretrain_steps": -1}, "algorithm.risk.pretrain_steps: -1 is impossible; use 0 or more"),
    ],
)
def test_settings_out_of_range_are_one_line(settings, message):
    with pytest.raises(ConfigError) as caught:
        RiskConfig(**settings)
    assert str(caught.value) == message


def test_a_cost_out_of_range_is_one_line():
    with pytest.raises(ConfigError, match=r"algorithm.risk.cost.offroad: 2 is no cost; use 0 to 1"):
        CostConfig(offroad=2)
