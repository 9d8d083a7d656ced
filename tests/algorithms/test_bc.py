"""Behaviour cloning: its losses against closed forms, its batches, and what it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.sim.worlds import parked_car_road, signalled_crossing, straight_road

from drivetrain.algorithms.bc import BC, BCConfig, action_loss, class_weights, cosine_rate
from drivetrain.algorithms.dagger import DaggerConfig, RolloutMemory
from drivetrain.algorithms.demonstration_batches import COPYCAT, EpochOrder, RowReader, ego_column, standing_rows
from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.gymnasium_demonstrations import inputs_of as gymnasium_inputs
from drivetrain.algorithms.gymnasium_demonstrations import play_expert
from drivetrain.algorithms.gymnasium_environment import GymnasiumEnvironment
from drivetrain.algorithms.open_loop import calibration_error, open_loop_metrics
from drivetrain.data.demonstrations import DemonstrationConfig
from drivetrain.data.log_demonstrations import drive_logs
from drivetrain.errors import ConfigError
from drivetrain.models.action_distribution import Categorical, DiagonalGaussian
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.trajectory_head import (
    TrajectoryConfig,
    future_in_ego_frame,
    trajectory_errors,
    trajectory_loss,
)
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scene_bank import build_bank

SMALL = PolicyConfig(hidden=(32,), agents_width=32, road_width=32, value_width=8)
DRIVING = DrivingConfig(num_worlds=3, threads=1, observation_dtype="bfloat16")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bank():
    return build_bank([straight_road(frames=61), parked_car_road(), signalled_crossing()])


@pytest.fixture(scope="module")
def drives(bank):
    config = DemonstrationConfig()
    return drive_logs(bank, config, DRIVING)


def driving_bc(bank, drives, **settings):
    env = DrivingEnv(bank, DRIVING)
    policy = ActorCritic(env.observation_schema, env.action_space, SMALL, seed=0)
    config = BCConfig(minibatch_size=32, iteration_steps=4, **settings)
    return BC(env, policy, config, demonstrations=drives, held_out=drives, budget=40, seed=1)


# --- losses ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_policy_that_knows_nothing_has_the_loss_of_chance(bank, drives):
    """ln 91 = 4.510860 for 91 equal probabilities."""
    policy = ActorCritic(CANONICAL, DrivingEnv(bank, DRIVING).action_space, SMALL, seed=0)
    torch.nn.init.zeros_(policy.pi.weight)
    reader = RowReader(drives, is_discrete=True, trajectory=TrajectoryConfig(), device=CPU)
    batch = reader.read(np.arange(20))
    distribution, _ = policy.evaluate_features(batch.observation)
    assert float(action_loss(distribution, batch.action)) == pytest.approx(math.log(91), abs=1e-5)
    assert float(action_loss(distribution, batch.action, label_smoothing=0.3)) == pytest.approx(math.log(91), abs=1e-5)


def test_label_smoothing_by_hand():
    """p = (1/2, 1/4, 1/4), label 0, smoothing 0.3: 0.7 ln 2 + 0.1 (ln 2 + ln 4 + ln 4) = 1.2 ln 2."""
    distribution = Categorical(torch.log(torch.tensor([[0.5, 0.25, 0.25]])))
    loss = action_loss(distribution, torch.tensor([0]), label_smoothing=0.3)
    assert float(loss) == pytest.approx(1.2 * math.log(2.0), rel=1e-6)


def test_class_weights_by_hand():
    """Counts 4, 1, 0 and power 0.5: 1/2, 1, 0, scaled so that the mean over the five rows is 1: (4/2 + 1) / 5 = 3/5."""
    weights = class_weights(np.array([0, 0, 0, 0, 1]), 3, 0.5)
    assert weights is not None
    assert weights.tolist() == pytest.approx([0.5 / 0.6, 1.0 / 0.6, 0.0])
    assert class_weights(np.array([0, 1]), 2, 0.0) is None
    # With weights 1 : 3 rows of loss ln 2 and ln 4 average to (ln 2 + 3 ln 4) / 4.
    distribution = Categorical(torch.log(torch.tensor([[0.5, 0.5], [0.75, 0.25]])))
    loss = action_loss(distribution, torch.tensor([0, 1]), class_weight=torch.tensor([1.0, 3.0]))
    assert float(loss) == pytest.approx((math.log(2) + 3 * math.log(4)) / 4, rel=1e-6)


def test_a_gaussians_loss_is_least_at_the_samples_mean_and_spread():
    """Its gradient vanishes there, and its value is 0.5 ln(2 pi e variance)."""
    sample = torch.tensor([[0.1], [0.4], [-0.3], [0.6]], dtype=torch.float64)
    variance = sample.var(unbiased=False)

    def loss(mean, log_std):
        return action_loss(DiagonalGaussian(mean.expand(4, 1), log_std), sample)

    mean, log_std = sample.mean(0).requires_grad_(), (0.5 * variance.log())[None].requires_grad_()
    least = loss(mean, log_std)
    gradients = torch.autograd.grad(least, [mean, log_std])
    assert max(float(gradient.abs()) for gradient in gradients) < 1e-12
    assert float(least.detach()) == pytest.approx(0.5 * math.log(2 * math.pi * math.e * float(variance)), abs=1e-12)
    with torch.no_grad():
        for change in (-0.1, 0.1):
            assert loss(mean + change, log_std) > least
            assert loss(mean, log_std + change) > least


def test_a_linear_expert_is_recovered_to_machine_precision():
    """For a linear mean the loss is a least-squares problem: one Newton step solves it."""
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(size=(50, 4)))
    expert = torch.from_numpy(random.normal(size=(4, 2)))

    def loss(weights):
        return action_loss(DiagonalGaussian(x @ weights.view(4, 2), torch.zeros(2, dtype=torch.float64)), x @ expert)

    start = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(start), start)
    hessian = torch.autograd.functional.hessian(loss, start)
    weights = start.detach() - torch.linalg.solve(hessian, gradient)
    assert float((weights.view(4, 2) - expert).abs().max()) < 1e-13


def test_step_sizes_by_hand():
    rate = {"peak": 1.0, "final": 0.1, "warmup": 0.2}
    assert cosine_rate(0.05, **rate) == pytest.approx(0.25)
    assert cosine_rate(0.2, **rate) == pytest.approx(1.0)
    assert cosine_rate(0.6, **rate) == pytest.approx(0.55)
    assert cosine_rate(1.0, **rate) == pytest.approx(0.1)
    assert cosine_rate(0.0, peak=1.0, final=0.0, warmup=0.0) == 1.0


# --- futures ---------------------------------------------------------------------------------------------------------


def test_futures_in_the_ego_frame_by_hand():
    """Heading north at (10, 20): 5 m north is 5 m ahead, 2 m west is 2 m to the left, west is a left turn of 90 deg."""
    pose = torch.tensor([[10.0, 20.0, math.pi / 2]])
    later = torch.tensor([[[8.0, 25.0, math.pi]]])
    assert future_in_ego_frame(pose, later)[0, 0].tolist() == pytest.approx([0.5, 0.2, 0.0, 1.0], abs=1e-6)


def test_futures_are_the_later_poses_of_the_same_drive(drives):
    config = TrajectoryConfig(modes=2, points=4, interval_s=0.5)
    batch = RowReader(drives, is_discrete=True, trajectory=config, device=CPU).read(np.array([0, 3]))
    assert batch.future is not None
    assert batch.known is not None
    now, then = drives.pose[3], drives.pose[3 + 10]
    away = np.hypot(*(then - now)[:2]) / 10.0
    assert float(torch.hypot(*batch.future[1, 1, :2])) == pytest.approx(away, rel=1e-5)
    share = TrajectoryConfig(modes=2, points=4, share=0.5)
    half = RowReader(drives, is_discrete=True, trajectory=share, device=CPU).read(np.array([9, 9, 0, 3]))
    assert half.future is not None
    assert torch.equal(half.future, batch.future)  # the last half of the rows
    last = int(drives.episode_start[1]) - 1
    ends = RowReader(drives, is_discrete=True, trajectory=config, device=CPU).read(np.array([last - 7]))
    assert ends.known is not None
    assert ends.known[0].tolist() == [True, False, False, False]


def test_only_the_nearest_mode_learns_its_points():
    """Target at 10 m; modes at 8 m and 20 m. Smooth L1 of 0.2 is 0.02, over four values 0.005; classifier ln 2."""
    target = torch.tensor([[[1.0, 0.0, 1.0, 0.0]]])
    futures = torch.tensor([[[[0.8, 0.0, 1.0, 0.0]], [[2.0, 0.0, 1.0, 0.0]]]], requires_grad=True)
    logits = torch.zeros(1, 2, requires_grad=True)
    known = torch.ones(1, 1, dtype=torch.bool)
    regression, classification = trajectory_loss(futures, logits, target, known)
    assert float(regression.detach()) == pytest.approx(0.005)
    assert float(classification.detach()) == pytest.approx(math.log(2.0))
    (regression + classification).backward()
    assert futures.grad is not None
    assert logits.grad is not None
    assert futures.grad[0, 1].abs().sum() == 0.0
    assert logits.grad[0].tolist() == pytest.approx([-0.5, 0.5])
    errors = trajectory_errors(futures.detach(), torch.tensor([[0.0, 1.0]]), target, known)
    assert {name: float(value) for name, value in errors.items()} == pytest.approx(
        {"ade": 10.0, "fde": 10.0, "min_ade": 2.0, "min_fde": 2.0}
    )
    nothing = trajectory_loss(futures, logits, target, ~known)
    assert [float(part.detach()) for part in nothing] == [0.0, 0.0]


# --- batches ---------------------------------------------------------------------------------------------------------


def test_an_epoch_takes_every_row_once_and_few_that_wait():
    standing = np.arange(100) < 60
    order = EpochOrder(standing, minibatch_size=8, standing_share=0.2, seed=0)
    epochs = [np.concatenate([order.rows(epoch, step) for step in range(order.steps)]) for epoch in (0, 1)]
    for rows in epochs:
        assert len(rows) == len(set(rows)) == order.num_rows == 50
        assert set(range(60, 100)) <= set(rows)
        assert standing[rows].sum() == 10
    assert set(epochs[0]) != set(epochs[1])
    assert order.standing_share == pytest.approx(0.2)
    again = EpochOrder(standing, minibatch_size=8, standing_share=0.2, seed=0)
    assert np.array_equal(again.rows(1, 3), order.rows(1, 3))


def test_waiting_rows(drives):
    """Who stands and is told to go is no waiting row: starting must be learnt."""
    assert not standing_rows(drives).any()
    observation, action = np.array(drives.observation), np.array(drives.action)
    column = ego_column(CANONICAL, "speed")
    observation[5:10, column] = 0
    action[5:10, 0] = [0.0, -0.5, 1.0, 0.5, 0.0]
    waiting = standing_rows(replace(drives, observation=observation, action=action))
    assert np.flatnonzero(waiting).tolist() == [5, 6, 9]


def test_state_dropout_hides_what_tells_the_last_action(bank, drives):
    learner = driving_bc(bank, drives, state_dropout=1.0)
    hidden = [ego_column(CANONICAL, feature) for feature in COPYCAT]
    rows = np.arange(drives.episode_start[1], drives.episode_start[1] + 40)  # somebody brakes
    batch = learner._minibatch(rows).observation
    whole = driving_bc(bank, drives, state_dropout=0.0)._minibatch(rows).observation
    assert (batch[:, hidden] == 0).all()
    assert (whole[:, hidden] != 0).any()
    others = [c for c in range(CANONICAL.size) if c not in hidden]
    assert torch.equal(batch[:, others], whole[:, others])


def test_processes_share_a_minibatch_without_overlap(bank, drives):
    class Member:
        size = 3

        def __init__(self, rank):
            self.rank = rank

    rows = np.arange(50)
    whole = driving_bc(bank, drives, state_dropout=0.0)._minibatch(rows).action
    parts = []
    for rank in range(3):
        learner = driving_bc(bank, drives, state_dropout=0.0)
        learner.group = Member(rank)
        parts.append(learner._minibatch(rows).action)
    assert torch.equal(torch.cat(parts), whole)


# --- learning --------------------------------------------------------------------------------------------------------


def test_one_batch_is_learnt_by_heart():
    """64 random observations with random labels: more than 99 % of them are told right in the end."""
    config = DemonstrationConfig(expert="random", episodes=4)
    environment = GymnasiumConfig(id="CartPole-v1", num_worlds=1)
    made = play_expert(config, environment, inputs=gymnasium_inputs(config, environment))
    random = np.random.default_rng(0)
    made = replace(
        made,
        observation=random.normal(size=(64, 4)).astype(np.float32),
        action_index=random.integers(2, size=64).astype(np.int16),
        action=np.zeros((64, 0), np.float32),
        episode_start=np.array([0, 16, 32, 48, 64]),
    )
    env = GymnasiumEnvironment(environment)
    policy = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(hidden=(64, 64)), seed=0)
    config = BCConfig(minibatch_size=64, learning_rate=1e-2)
    learner = BC(env, policy, config, demonstrations=made, held_out=None, budget=400)
    for _ in range(400):
        result = learner.iterate()
    assert learner.agent_steps == 400
    assert float(result.metrics["top1"]) > 0.99
    assert learner.open_loop() == {}


def test_observations_are_standardised_by_what_the_expert_saw():
    """Whoever goes on from the clone goes on with the same inputs: the moments travel with the policy."""
    config = DemonstrationConfig(expert="scripted", episodes=2)
    environment = GymnasiumConfig(id="CartPole-v1", num_worlds=1)
    made = play_expert(config, environment, inputs=gymnasium_inputs(config, environment))
    env = GymnasiumEnvironment(environment)
    policy = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(normalize_observation=True), seed=0)
    BC(env, policy, BCConfig(), demonstrations=made, held_out=None, budget=1)
    moments = policy.encoder.moments
    assert moments is not None
    assert float(moments.count) == len(made)
    assert np.allclose(moments.mean, made.observation.mean(0, dtype=np.float64), atol=1e-12)
    assert np.allclose(moments.variance, made.observation.var(0, dtype=np.float64), atol=1e-12)


def test_driving_heads_learn_together(bank, drives):
    learner = driving_bc(bank, drives, trajectory=TrajectoryConfig(modes=3, points=4), standing_share=1.0)
    before = learner.open_loop()
    assert before["nll"] == pytest.approx(math.log(91), abs=0.1)
    learner.budget = 150
    for _ in range(150 // 4):
        result = learner.iterate()
    after = learner.open_loop()
    assert after["nll"] < before["nll"] - 1.0
    assert after["min_ade"] < 0.5 * before["min_ade"]
    assert after["min_ade"] <= after["ade"]
    assert 0.0 <= after["calibration_error"] <= 1.0
    assert set(after) == {
        "nll", "top1", "top5", "calibration_error", "acceleration_mae", "steering_mae",
        "ade", "fde", "min_ade", "min_fde", "miss_rate",
    }  # fmt: skip
    assert {"trajectory_loss", "mode_loss", "policy_loss", "loss", "lr", "epoch"} <= result.metrics.keys()


def test_continuous_actions(drives):
    """The Gaussian's mean moves to the expert's actions; its spread shrinks, but not to nothing."""
    bank = build_bank([straight_road(frames=61)])
    env = DrivingEnv(bank, replace(DRIVING, action="continuous"))
    policy = ActorCritic(env.observation_schema, env.action_space, SMALL, seed=0)
    coasting = drives.take_episodes(np.array([0]))
    assert (coasting.action == 0.0).all()
    config = BCConfig(minibatch_size=32, learning_rate=3e-2, warmup=0.0)
    learner = BC(env, policy, config, demonstrations=coasting, held_out=coasting, budget=300)
    for _ in range(150):
        learner.iterate()
    assert policy.log_std is not None
    assert float(policy.log_std.detach().min()) >= -4.0
    assert float(policy.log_std.detach().max()) < -1.0
    assert learner.open_loop()["acceleration_mae"] < 0.4


def test_calibration_error_by_hand():
    """Two rows at 0.9 of which one is right, two at 0.3 of which none is: (2 * 0.4 + 2 * 0.3) / 4."""
    confidence, hit = torch.tensor([0.9, 0.9, 0.3, 0.3]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    assert calibration_error(confidence, hit) == pytest.approx(0.35, abs=1e-6)


def test_top5_by_hand(bank, drives):
    """A policy that always ranks categories 0..4 first is right for those labels alone."""
    policy = ActorCritic(CANONICAL, DrivingEnv(bank, DRIVING).action_space, SMALL, seed=0)
    torch.nn.init.zeros_(policy.pi.weight)
    policy.pi.bias.data[:] = -torch.arange(91.0)
    measured = open_loop_metrics(policy, None, drives, device=CPU)
    assert measured["top5"] == pytest.approx((drives.action_index < 5).mean())
    assert measured["top1"] == pytest.approx((drives.action_index < 1).mean())


# --- rollouts --------------------------------------------------------------------------------------------------------


def test_rounds_are_spread_over_the_rest_of_the_budget():
    config = DaggerConfig(rounds=3, start=0.25)
    due = [config.rounds_due(progress) for progress in (0.0, 0.24, 0.25, 0.49, 0.5, 0.75, 1.0)]
    assert due == [0, 0, 1, 1, 2, 3, 3]
    assert DaggerConfig().rounds_due(0.9) == 0


class Expert:
    """Acts as the state match says."""

    def __init__(self, env):
        self.env = env

    def act(self, observation, *, deterministic):
        from drivetrain.planners.state_match import match_actions

        del observation, deterministic
        return torch.from_numpy(match_actions(self.env.bank.arrays, self.env.state, horizon=4))


def test_rollouts_of_the_expert_are_labelled_with_its_own_actions(bank):
    env = DrivingEnv(bank, DRIVING, perturb=False)
    memory = RolloutMemory(env, DaggerConfig(rounds=1, steps=30, horizon=4), capacity=1000, seed=0)
    seen = memory.collect(Expert(env), CPU)  # type: ignore[arg-type]
    assert len(memory) == 90
    assert seen["dagger_kept"] == 1.0
    assert seen["dagger_deviation_m"] < 0.1
    again = DrivingEnv(bank, DRIVING, perturb=False)
    again.reset(seed=0)
    expert = Expert(again)
    for t in range(30):
        action = expert.act(None, deterministic=True)
        observation, label = memory.take(np.arange(3 * t, 3 * t + 3))
        assert np.array_equal(observation, again.current_observation())
        assert np.array_equal(label, action.numpy())
        again.step(action.numpy())


def test_rows_that_lost_their_log_are_not_labelled(bank):
    class FullThrottle:
        def act(self, observation, *, deterministic):
            return torch.full((len(observation),), 90 - 6)

    env = DrivingEnv(bank, DRIVING, perturb=False)
    memory = RolloutMemory(env, DaggerConfig(rounds=1, steps=25, max_deviation_m=2.0), capacity=1000, seed=0)
    seen = memory.collect(FullThrottle(), CPU)  # type: ignore[arg-type]
    assert 0.3 < seen["dagger_kept"] < 0.9
    assert len(memory) < 75


def test_the_memory_keeps_the_newest_rows_and_travels_in_checkpoints(bank):
    env = DrivingEnv(bank, DRIVING, perturb=False)
    memory = RolloutMemory(env, DaggerConfig(rounds=2, steps=30, horizon=4), capacity=50, seed=0)
    memory.collect(Expert(env), CPU)  # type: ignore[arg-type]
    assert len(memory) == 50
    state = memory.state_dict()
    other_env = DrivingEnv(bank, DRIVING, perturb=False)
    other = RolloutMemory(other_env, memory.config, capacity=50, seed=5)
    other.load_state_dict(state)
    for each, its_env in ((memory, env), (other, other_env)):
        each.collect(Expert(its_env), CPU)  # type: ignore[arg-type]
    for a, b in zip(memory.take(np.arange(50)), other.take(np.arange(50)), strict=True):
        assert np.array_equal(a, b)


def test_a_learner_continues_bit_by_bit(bank, drives):
    settings = {
        "trajectory": TrajectoryConfig(modes=2, points=3),
        "dagger": DaggerConfig(rounds=3, steps=8, start=0.1, capacity=40),
    }
    whole, first, second = (driving_bc(bank, drives, **settings) for _ in range(3))
    for _ in range(8):
        whole.iterate()
    for _ in range(5):
        first.iterate()
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        result = second.iterate()
    assert result.metrics["dagger_rows"] > 0
    for a, b in zip(whole.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.head is not None
    assert second.head is not None
    for a, b in zip(whole.head.parameters(), second.head.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.agent_steps == second.agent_steps


def test_rollouts_need_worlds_that_can_be_labelled():
    env = GymnasiumEnvironment(GymnasiumConfig(num_worlds=1))
    config = DemonstrationConfig(expert="random", episodes=2)
    made = play_expert(config, env.config, inputs={})
    policy = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(), seed=0)
    with pytest.raises(ConfigError) as error:
        BC(env, policy, BCConfig(dagger=DaggerConfig(rounds=1)), demonstrations=made, held_out=None, budget=1)
    assert str(error.value) == "algorithm.dagger.rounds: only states of driving worlds can be labelled; use 0"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minibatch_size": 0}, "algorithm.minibatch_size: 0 is impossible; use 1 or more"),
        ({"state_dropout": 1.5}, "algorithm.state_dropout: 1.5 is impossible; use a number from 0 to 1"),
        ({"held_out_share": 0.0}, "algorithm.held_out_share: 0.0 is impossible; use a share between 0 and 1"),
    ],
)
def test_impossible_settings_are_one_line(settings, message):
    with pytest.raises(ConfigError) as error:
        BCConfig(**settings)
    assert str(error.value) == message


def test_impossible_intervals_are_one_line():
    with pytest.raises(ConfigError, match=r"algorithm.trajectory.interval_s: 0.25 is no multiple of 0.1 s"):
        TrajectoryConfig(modes=1, interval_s=0.25)
