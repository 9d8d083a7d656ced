"""PPO: losses against closed forms, masks, schedules, refusals, learning, and bit-identical continuation."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from drivetrain.algorithms.ppo import PPO, PPOConfig
from drivetrain.algorithms.ppo_loss import clipped_policy_loss, kl_estimate, value_loss
from drivetrain.errors import ConfigError, RunError, SimulationError
from drivetrain.models.action_distribution import kl_divergence
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig

SMALL = {"rollout_steps": 16, "minibatch_size": 64, "epochs": 2, "learning_rate": 3e-3, "learning_rate_final": 3e-3}


def learner(env, *, seed=0, policy=None, **settings):
    network = ActorCritic(env.observation_schema, env.action_space, policy or PolicyConfig(hidden=(32,)), seed=seed)
    return PPO(env, network, PPOConfig(**(SMALL | settings)), seed=seed)


def metric(result, name):
    return float(result.metrics[name])


# Losses


@pytest.mark.parametrize(
    ("ratio", "advantage", "is_cut"),
    [(1.3, 1.0, True), (0.7, -1.0, True), (0.7, 1.0, False), (1.3, -1.0, False), (1.1, 1.0, False)],
)
def test_gradient_is_exactly_zero_where_clipped(ratio, advantage, is_cut):
    log_ratio = torch.tensor([ratio]).log().requires_grad_()
    clipped_policy_loss(log_ratio, torch.tensor([advantage]), 0.2).sum().backward()
    assert (log_ratio.grad.item() == 0.0) == is_cut
    if not is_cut:
        assert log_ratio.grad.item() == pytest.approx(-advantage * ratio)


def test_kl_estimate_by_hand_and_never_negative():
    values = kl_estimate(torch.tensor([0.8, 1.2, 1.0]).log())
    assert values.tolist() == pytest.approx([0.023144, 0.017678, 0.0], abs=1e-6)
    assert (kl_estimate(torch.linspace(-2, 2, 101)) >= 0).all()


def test_value_loss_with_and_without_clipping():
    value, old, target = torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([3.0])
    assert value_loss(value, old, target, None).item() == 0.5  # half of (2 - 3)^2
    assert value_loss(value, old, target, 0.5).item() == 0.5 * 2.5**2  # the value counts as 0.5


def test_first_minibatch_has_ratio_one(sign_environment):
    ppo = learner(sign_environment(), minibatch_size=256, epochs=1)
    result = ppo.iterate()
    assert result.gradient_steps == 1
    assert metric(result, "max_ratio") == pytest.approx(1.0, abs=1e-5)
    assert metric(result, "approx_kl") == pytest.approx(0.0, abs=1e-9)
    assert metric(result, "clip_fraction") == 0.0
    assert metric(result, "policy_loss") == pytest.approx(0.0, abs=1e-6)


# Rollouts


def test_truncated_rows_bootstrap_from_their_final_observation(sign_environment):
    ppo = learner(sign_environment())
    rollout = ppo.collect()
    followers = rollout.value[1:]
    assert rollout.truncated.sum() > 0
    assert torch.equal(rollout.next_value[~rollout.truncated], followers[~rollout.truncated])
    t, row = (int(i) for i in rollout.truncated.nonzero()[0])
    # The final observation differs from the one after the reset in its second value only: time 7/7 instead of 0.
    final = rollout.observation[t + 1, row].clone()
    assert final[1] == 0
    final[1] = 1.0
    expected = ppo.policy.evaluate(final[None])[1]
    torch.testing.assert_close(rollout.next_value[t, row], expected[0])
    assert rollout.next_value[t, row] != followers[t, row]


def test_rollouts_are_seamless(sign_environment):
    ppo = learner(sign_environment())
    last = ppo.collect().observation[-1].clone()
    assert torch.equal(ppo.collect().observation[0], last)


def test_counts_and_episode_statistics(sign_environment):
    env = sign_environment(num_rows=4, gap=True)
    result = learner(env, rollout_steps=24).iterate()
    # Row cycle: 5 (even) or 7 (odd) steps and one of rest; 24 steps hold 4 resp. 3 whole cycles.
    assert result.agent_steps == 2 * 4 * 5 + 2 * 3 * 7
    assert sorted(result.episodes["episode_length"].tolist()) == [5.0] * 8 + [7.0] * 6
    assert set(result.seconds) == {"sim", "infer", "learn"}


@pytest.mark.parametrize("order", ["slices", "rows"])
def test_invalid_rows_change_nothing(sign_environment, order):
    parameters = []
    for poison in (100.0, -7.0):
        ppo = learner(sign_environment(gap=True, poison=poison), minibatch_order=order, normalize_reward=True)
        results = [ppo.iterate() for _ in range(3)]
        parameters.append(torch.cat([p.detach().flatten() for p in ppo.policy.parameters()]))
        assert metric(results[-1], "kept_fraction") == 1.0
    assert torch.equal(parameters[0], parameters[1])


def test_observation_statistics_ignore_invalid_rows(sign_environment):
    ppo = learner(sign_environment(gap=True), policy=PolicyConfig(normalize_observation=True))
    ppo.iterate()
    assert ppo.policy.encoder.moments.mean.abs().max() < 1
    assert float(ppo.policy.encoder.moments.count) == ppo.agent_steps


def test_steps_of_rest_only_are_survived(sign_environment):
    env = sign_environment(num_rows=2, gap=True)
    ppo = learner(env, rollout_steps=1)
    total = sum(ppo.iterate().agent_steps for _ in range(16))
    assert total == ppo.agent_steps == 14 + 14


# Options


def test_schedules_follow_progress(sign_environment):
    env = sign_environment()
    ppo = learner(env, learning_rate=1e-3, learning_rate_final=1e-4, shaping_warmup=0.6)
    for progress, lr, entropy, shaping in (
        (0.0, 1e-3, 0.002, 0.0),
        (0.5, 5.5e-4, 0.0011, 5 / 6),
        (1.0, 1e-4, 0.0002, 1.0),
    ):
        ppo.progress = progress
        result = ppo.iterate()
        assert metric(result, "lr") == pytest.approx(lr)
        assert metric(result, "entropy_coefficient") == pytest.approx(entropy)
        assert env.shaping_scale == metric(result, "shaping_scale") == pytest.approx(shaping)


def test_target_kl_stops_the_epochs(sign_environment):
    result = learner(sign_environment(), target_kl=1e-9, epochs=5, learning_rate=0.05).iterate()
    assert metric(result, "epochs") == 1.0
    assert metric(learner(sign_environment(), target_kl=1e9, epochs=5).iterate(), "epochs") == 5.0


def test_advantage_filter_keeps_only_large_advantages(sign_environment):
    everything = learner(sign_environment()).iterate()
    ppo = learner(sign_environment(), advantage_filter=0.5)
    filtered = ppo.iterate()
    assert metric(everything, "kept_fraction") == 1.0
    assert 0.0 < metric(filtered, "kept_fraction") < 1.0
    largest = float(ppo._advantage(ppo._rollout).abs().max())
    assert largest > 0
    again = metric(ppo.iterate(), "kept_fraction")
    assert again != metric(filtered, "kept_fraction")


def test_auxiliary_loss_pulls_the_policy(sign_environment):
    env = sign_environment()
    ppo = learner(env, entropy_coefficient=0.0, entropy_coefficient_final=0.0)
    anchor = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(hidden=(32,)), seed=9)
    torch.nn.init.constant_(anchor.pi.bias[:1], 3.0)

    def anchor_loss(batch, distribution):
        with torch.no_grad():
            prior = anchor.distribution(batch["observation"])
        return 5.0 * kl_divergence(prior, distribution).mean()

    first = last = None
    for _ in range(20):
        last = float(ppo.update(ppo.collect(), auxiliary_loss=anchor_loss)["anchor_loss"])
        first = last if first is None else first
    assert last < 0.2 * first


def test_reward_normalisation_never_touches_reported_rewards(sign_environment):
    plain = learner(sign_environment()).iterate().episodes["mean_reward"]
    normalised = learner(sign_environment(), normalize_reward=True).iterate().episodes["mean_reward"]
    assert np.array_equal(plain, normalised)


# Learning and resuming


@pytest.mark.parametrize("continuous", [False, True])
def test_toy_task_is_learnt(sign_environment, continuous):
    env = sign_environment(num_rows=32, gap=True, continuous=continuous)
    ppo = learner(env, gamma=0.5)
    for _ in range(60):
        ppo.iterate()
    env.reset(seed=77)
    hits = []
    for _ in range(20):
        observation = torch.from_numpy(env.current_observation())
        step = env.step(ppo.policy.act(observation, deterministic=True).numpy())
        hits += step.reward[step.valid].tolist()
    assert np.mean(hits) > 0.95


@pytest.mark.parametrize("order", ["slices", "rows"])
def test_continues_bit_identically_from_a_safe_checkpoint(sign_environment, order):
    def build():
        policy = PolicyConfig(hidden=(16,), normalize_observation=True)
        return learner(
            sign_environment(gap=True),
            policy=policy,
            minibatch_order=order,
            normalize_reward=True,
            advantage_filter=0.05,
        )

    whole = build()
    for _ in range(3):
        whole.iterate()
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    expected = [whole.iterate() for _ in range(3)]
    file.seek(0)
    resumed = build()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    results = [resumed.iterate() for _ in range(3)]
    assert resumed.agent_steps == whole.agent_steps
    for a, b in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(expected, results, strict=True):
        assert {k: float(v) for k, v in a.metrics.items()} == {k: float(v) for k, v in b.metrics.items()}
        assert np.array_equal(a.episodes["mean_reward"], b.episodes["mean_reward"])


def test_same_seed_same_bits_other_seed_other_bits(sign_environment):
    def weights(seed):
        ppo = learner(sign_environment(), seed=seed)
        for _ in range(2):
            ppo.iterate()
        return ppo.policy.pi.weight.detach()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


# Guards


def test_nan_reward_blames_the_environment(sign_environment):
    env = sign_environment()
    ppo = learner(env)
    env.total = np.full(16, np.nan)  # episode sums are the environment's own business
    ppo.iterate()
    step = env.step
    env.step = lambda action, *, out: replace(step(action, out=out), reward=np.full(16, np.nan, np.float32))
    with pytest.raises(SimulationError) as error:
        ppo.iterate()
    assert str(error.value) == (
        "the environment produced reward nan at index (0,) after 256 steps; the policy is not to blame: "
        "check the scenario data or the environment"
    )


def test_nan_reward_of_an_invalid_row_is_ignored(sign_environment):
    ppo = learner(sign_environment(gap=True, poison=50.0))
    step = ppo.env.step

    def with_nan(action, *, out):
        result = step(action, out=out)
        return replace(result, reward=np.where(result.valid, result.reward, np.nan).astype(np.float32))

    ppo.env.step = with_nan
    result = ppo.iterate()
    assert np.isfinite(metric(result, "loss"))
    assert ppo.agent_steps < 16 * 16


def test_nan_observation_blames_the_environment(sign_environment):
    env = sign_environment()
    ppo = learner(env)
    observe = env._observe
    env._observe = lambda: np.where(env.clock[0] == 4, np.nan, observe()).astype(np.float32)
    with pytest.raises(SimulationError, match=r"the environment produced observation nan at index \(4, 0, 0\)"):
        ppo.iterate()


def test_nan_weights_blame_the_learner(sign_environment):
    ppo = learner(sign_environment())
    with torch.no_grad():
        ppo.policy.value[-1].bias.fill_(float("nan"))
    with pytest.raises(RunError, match="the network's output became NaN or infinite after 0 steps"):
        ppo.iterate()


def test_nan_loss_stops_the_run(sign_environment):
    ppo = learner(sign_environment())
    rollout = ppo.collect()
    with pytest.raises(RunError, match="the loss became NaN or infinite after 256 steps"):
        ppo.update(rollout, auxiliary_loss=lambda _, distribution: distribution.entropy().mean() * float("nan"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "algorithm.epochs: 0 is impossible; use 1 or more"),
        ({"gamma": 1.5}, "algorithm.gamma: 1.5 is impossible; use a number from 0 to 1"),
        ({"learning_rate": 0}, "algorithm.learning_rate: 0 is impossible; use a number above 0"),
        ({"target_kl": 0}, "algorithm.target_kl: 0 is impossible; use a number above 0, or null to switch it off"),
        ({"minibatch_order": "x"}, "algorithm.minibatch_order: x is impossible; use slices or rows"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        PPOConfig(**settings)
    assert str(error.value) == message


class PartnerWithoutRows:
    """A second process that never has a row to train on."""

    rank, size = 0, 2

    def mean_(self, vector):
        vector /= 2.0

    def all_gather(self, value):
        return [value]


def test_every_row_counts_the_same_whatever_the_other_processes_have(sign_environment):
    alone, grouped = (learner(sign_environment()) for _ in range(2))
    grouped.group = PartnerWithoutRows()
    for _ in range(2):
        first, second = alone.iterate(), grouped.iterate()
        assert first.gradient_steps == second.gradient_steps > 4
    torch.testing.assert_close(
        alone.policy.flat_parameters().theta, grouped.policy.flat_parameters().theta, rtol=1e-4, atol=1e-5
    )


def test_a_process_without_rows_takes_the_step_of_the_others(sign_environment):
    ppo = learner(sign_environment(), minibatch_size=64)
    rollout = ppo.collect()
    rollout.valid[:] = False
    rollout.valid[0, 0] = True
    ppo.group = PartnerWithoutRows()
    ppo.group.mean_ = lambda vector: vector.add_(1.0)  # the others' gradients and rows
    before = ppo.policy.flat_parameters().theta.detach().clone()
    metrics = ppo.update(rollout)
    assert np.isfinite([float(value) for value in metrics.values()]).all()
    assert not torch.equal(before, ppo.policy.flat_parameters().theta)
