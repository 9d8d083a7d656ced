"""GAIL: reward forms, what the discriminator is shown, the absorbing state, penalties, warm-up, and continuation."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch

from drivetrain.algorithms.discriminator import ABSORBING, DiscriminatorConfig
from drivetrain.algorithms.endings import EndingRecorder
from drivetrain.algorithms.gail import GAIL, ExpertRows, GAILConfig, RailConfig, imitation_reward
from drivetrain.algorithms.marginals import MarginalsConfig
from drivetrain.algorithms.ppo import PPO, PPOConfig
from drivetrain.errors import ConfigError
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig

SMALL = PPOConfig(rollout_steps=16, minibatch_size=64, epochs=2, learning_rate=3e-3, learning_rate_final=3e-3)
EAGER = DiscriminatorConfig(batch_size=128, updates=4, learning_rate=1e-2, replay_rows=200)


def expert_rows(*, num_terminated=0):
    """An expert of the sign environment: 1 where the signal is positive."""
    rng = np.random.default_rng(0)
    observation = np.stack([rng.uniform(-1, 1, 700), rng.integers(0, 7, 700) / 7], 1).astype(np.float32)
    action = (observation[:, 0] > 0).astype(np.int64)
    return ExpertRows(observation=observation, action=action, num_terminated=num_terminated)


def learner(env, *, seed=0, expert=None, **settings):
    config = GAILConfig(**({"ppo": SMALL, "discriminator": EAGER} | settings))
    policy = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(hidden=(32,)), seed=seed)
    return GAIL(env, policy, config, expert=expert or expert_rows(), seed=seed)


def paying(environment, reward):
    """Return the environment with every step paid like that."""
    step = environment.step

    def paid(action, *, out=None):
        result = step(action, out=out)
        return replace(result, reward=np.full_like(result.reward, reward))

    environment.step = paid
    return environment


# Rewards


@pytest.mark.parametrize(
    ("form", "logit", "expected"),
    [
        ("softplus", 0.0, 0.6931),
        ("softplus", 2.0, 2.1269),
        ("softplus", -2.0, 0.1269),
        ("logit", 0.0, 0.0),
        ("logit", 2.0, 2.0),
        ("logit", -2.0, -2.0),
        ("airl", -2.0, -2.0),
        ("softplus", 9.0, 5.0),
        ("logit", -9.0, -5.0),
    ],
)
def test_reward_forms(form, logit, expected):
    assert imitation_reward(torch.tensor(logit), form, 5.0).item() == pytest.approx(expected, abs=1e-4)


def test_the_environments_reward_is_reported_and_never_learnt_from(sign_environment):
    plain, rich = learner(sign_environment()), learner(paying(sign_environment(), 1000.0))
    for _ in range(3):
        first, second = plain.iterate(), rich.iterate()
    for a, b in zip(plain.policy.state_dict().values(), rich.policy.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert first.episodes["mean_reward"].max() <= 7.0  # the environment pays at most 1 in each of 7 steps
    assert float(first.metrics["gail_reward_mean"]) == float(second.metrics["gail_reward_mean"])


def test_the_environments_reward_can_be_asked_for(sign_environment):
    plain = learner(paying(sign_environment(), 10.0))
    mixed = learner(paying(sign_environment(), 10.0), environment_weight=0.5)
    rewards = []
    for gail in (plain, mixed):
        rollout = gail.ppo.collect()
        gail._judge(rollout)
        rewards.append(rollout.reward)
    torch.testing.assert_close(rewards[1], rewards[0] + 5.0)


def test_rewards_are_relative_to_the_absorbing_state(sign_environment):
    """Sum over t < T of g^t r_t, then r_a for ever, is a constant, r_a/(1 - g), plus the sum of g^t (r_t - r_a)."""
    fixed = learner(sign_environment())
    ending = learner(sign_environment(), horizon="environment")
    ending.discriminator.load_state_dict(fixed.discriminator.state_dict())
    rows = fixed._draw_expert(9)
    absorbing = imitation_reward(fixed._logit(fixed._absorbing(1)), "softplus", 5.0)
    torch.testing.assert_close(fixed._reward(rows), ending._reward(rows) - absorbing)
    assert fixed._reward(fixed._absorbing(1)).item() == 0.0


@pytest.mark.parametrize("form", ["softplus", "logit"])
def test_a_neutral_horizon_makes_failing_neither_a_gain_nor_a_loss(sign_environment, form):
    """Rewards of any sign average 0, what a failure is followed by; differences between them stay."""
    neutral = learner(sign_environment(), horizon="neutral", reward=form)
    ending = learner(sign_environment(), horizon="environment", reward=form)
    rollouts = [gail.ppo.collect() for gail in (neutral, ending)]
    for gail, rollout in zip((neutral, ending), rollouts, strict=True):
        gail._judge(rollout)
    own, plain = rollouts[0].reward, rollouts[1].reward
    assert own.mean().item() == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(own, plain - plain.mean())
    assert all((kept.rows[:, -1] == 0).all() for kept in neutral._replay)


def test_airl_takes_the_policys_part_out_of_the_logit(sign_environment):
    gail = learner(sign_environment(), reward="airl")
    drawn = gail._draw_expert(50)
    observation, action = drawn.rows[:, :2], drawn.rows[:, 2:4].argmax(1)
    log_prob = gail.policy.distribution(observation).log_prob(action)
    torch.testing.assert_close(drawn.log_prob, log_prob)
    torch.testing.assert_close(gail._logit(drawn), gail.discriminator(drawn.rows) - log_prob)


def test_invalid_rows_earn_nothing_and_are_shown_to_nobody(sign_environment):
    gail = learner(sign_environment(gap=True, poison=1e6))
    rollout = gail.ppo.collect()
    gail._judge(rollout)
    assert not rollout.valid.all()
    assert (rollout.reward[~rollout.valid] == 0).all()
    assert all(kept.rows.abs().max() <= ABSORBING for kept in gail._replay)


# What the discriminator is shown


def test_replay_keeps_the_last_rollouts(sign_environment):
    gail = learner(sign_environment(), discriminator=replace(EAGER, replay_rollouts=4))
    seen = []
    for _ in range(6):
        gail.iterate()
        seen.append(gail._replay[-1].rows.clone())
    assert len(gail._replay) == 4
    for kept, expected in zip(gail._replay, seen[-4:], strict=True):
        assert torch.equal(kept.rows, expected)
    drawn = gail._draw_policy(5000).rows
    remembered = {tuple(row) for kept in gail._replay for row in kept.rows.tolist()}
    assert {tuple(row) for row in drawn.tolist()} == remembered


def test_both_drivers_absorb_by_their_failures(sign_environment):
    """16 rows x 16 steps: the even ones terminate every 5 steps, 8 x 3 times, 10 rows each: 240 of 256 + 240."""
    gail = learner(sign_environment(), expert=expert_rows(num_terminated=30))
    gail.iterate()
    share = (gail._replay[-1].rows[:, -1] == ABSORBING).float().mean().item()
    assert share == pytest.approx(240 / 496, abs=0.11)  # 200 rows: three standard deviations
    expert = (gail._draw_expert(20_000).rows[:, -1] == ABSORBING).float().mean().item()
    assert expert == pytest.approx(300 / 1000, abs=0.01)
    endless = learner(sign_environment(), expert=expert_rows(num_terminated=30), horizon="environment")
    endless.iterate()
    assert all((kept.rows[:, -1] == 0).all() for kept in endless._replay)
    assert (endless._draw_expert(1000).rows[:, -1] == 0).all()


def test_the_gate_pauses_a_discriminator_that_is_ahead(sign_environment):
    """An expert that no policy can be taken for: signals of 5, which never occur."""
    far = replace(expert_rows(), observation=expert_rows().observation + np.float32(5.0))
    gail = learner(sign_environment(), expert=far, discriminator=replace(EAGER, pause_above=0.9, learning_rate=0.05))
    results = [gail.iterate() for _ in range(8)]
    assert float(results[0].metrics["d_learning"]) > 0.0
    assert float(results[-1].metrics["d_acc_expert"]) > 0.9
    before = [p.clone() for p in gail.discriminator.parameters()]
    result = gail.iterate()
    assert float(result.metrics["d_learning"]) == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, gail.discriminator.parameters(), strict=True))


# Endings


def test_a_goal_cuts_and_a_failure_ends(sign_environment):
    class Goals(sign_environment):
        """Row 0 reaches a goal, row 2 a goal and a collision, row 4 a collision."""

        def step(self, action, *, out=None):
            result = super().step(action, out=out)
            if not len(result.final_rows):
                return result
            flags = {"collision": (2, 4), "collision_any": (2, 4), "offroad": (), "red_light": (), "goal": (0, 2)}
            events = {name: np.isin(result.final_rows, rows).astype(np.float32) for name, rows in flags.items()}
            return replace(result, episodes={**result.episodes, **events})

    for cuts in (True, False):
        env = EndingRecorder(Goals(), goal_cuts=cuts)
        env.reset(seed=0)
        for _ in range(5):
            result = env.step(np.zeros(16, np.int64))
        assert result.final_rows.tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
        assert bool(result.terminated[0]) is not cuts
        assert bool(result.truncated[0]) is cuts
        assert result.terminated[[2, 4, 6]].all()
        (ending,) = env.endings
        assert (ending.step, ending.rows.tolist()) == (4, result.final_rows.tolist())
        assert ending.events["collision"].tolist() == [0, 1, 1, 0, 0, 0, 0, 0]

    gail = learner(Goals())
    penalised = learner(Goals(), rail=RailConfig(collision=-2.0, offroad=-3.0))
    rewards = []
    for learned in (gail, penalised):
        learned._endings.clear()
        rollout = learned.ppo.collect()
        learned._judge(rollout)
        rewards.append(rollout.reward.clone())
    fine = torch.zeros(16, 16)
    fine[4::5, (2, 4)] = -2.0
    torch.testing.assert_close(rewards[1] - rewards[0], fine)


def test_a_prize_for_failing_is_refused():
    with pytest.raises(ConfigError) as error:
        RailConfig(offroad=2.0)
    assert str(error.value) == "algorithm.rail.offroad: 2.0 would be a prize; use 0 or less, for example -2"


# Learning


def test_it_learns_what_the_expert_does(sign_environment):
    gail = learner(sign_environment(), ppo=replace(SMALL, epochs=4, gamma=0.5))
    results = [gail.iterate() for _ in range(30)]
    result = results[-1]
    # 5 or 7 steps of reward 1 each, 6 on average; 3 by chance.
    assert np.concatenate([r.episodes["mean_reward"] for r in results[:1]]).mean() < 4.0
    assert np.concatenate([r.episodes["mean_reward"] for r in results[-8:]]).mean() > 5.2
    assert {"d_loss", "d_acc_expert", "d_acc_gen", "d_gradient_penalty", "gail_reward_std"} <= set(result.metrics)


def test_warm_start_teaches_values_alone(sign_environment):
    for build in (lambda env, ppo: learner(env, ppo=ppo), lambda env, ppo: PPO(env, learner(env).policy, ppo)):
        algorithm = build(sign_environment(), replace(SMALL, value_warmup=2))
        observation = torch.rand(20, 2)
        before = algorithm.policy.distribution(observation).log_probs
        values = algorithm.policy.evaluate(observation)[1]
        algorithm.warm_start(["value"])
        for frozen in (1.0, 1.0, 0.0):
            last = algorithm.policy.distribution(observation).log_probs
            result = algorithm.iterate()
            assert float(result.metrics["policy_frozen"]) == frozen
        assert torch.equal(before, last)
        assert not torch.allclose(values, algorithm.policy.evaluate(observation)[1])
        assert not torch.equal(before, algorithm.policy.distribution(observation).log_probs)


def test_the_first_steps_after_a_warm_start_are_no_longer_than_others(sign_environment):
    """Adam's steps are about the step size long; with averages full of zeros they would be several times that."""
    config = replace(SMALL, value_warmup=60, minibatch_size=10**6, epochs=1)
    algorithm = PPO(sign_environment(), learner(sign_environment()).policy, config)
    algorithm.warm_start(["value"])
    for _ in range(60):
        algorithm.iterate()
    before = algorithm.policy.pi.weight.detach().clone()
    for _ in range(8):
        algorithm.iterate()
    assert float((algorithm.policy.pi.weight.detach() - before).abs().max()) <= 8 * 1.01 * config.learning_rate


def test_without_a_warm_start_nothing_is_frozen(sign_environment):
    algorithm = learner(sign_environment(), ppo=replace(SMALL, value_warmup=2))
    for given in (None, ["disc"]):
        if given is not None:  # values that came along need no time of their own
            assert algorithm.warm_start(given) == []
        before = algorithm.policy.pi.weight.detach().clone()
        assert "policy_frozen" not in algorithm.iterate().metrics
        assert not torch.equal(before, algorithm.policy.pi.weight)


@pytest.mark.parametrize("regularizer", ["gradient_penalty", "spectral_norm"])
def test_continues_bit_by_bit(sign_environment, regularizer):
    settings = {
        "ppo": replace(SMALL, normalize_reward=True, value_warmup=4),
        "discriminator": replace(EAGER, normalize_input=True, regularizer=regularizer),
        "marginals": MarginalsConfig(weight=0.5, features=("vector.signal",), bins=4),
    }
    whole = learner(sign_environment(), **settings)
    whole.warm_start(["value"])
    for _ in range(3):
        whole.iterate()
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    again = learner(sign_environment(), seed=5, **settings)
    again.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(3):
        first, second = whole.iterate(), again.iterate()
    assert {k: float(v) for k, v in first.metrics.items()} == {k: float(v) for k, v in second.metrics.items()}
    for a, b in zip(whole.policy.state_dict().values(), again.policy.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    ours, theirs = whole.discriminator.state_dict(), again.discriminator.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


# Marginals


def test_marginals_are_added_to_the_discriminators_opinion(sign_environment):
    found = []
    for weight in (0.0, 2.0):
        one = learner(sign_environment(), marginals=MarginalsConfig(weight=weight, features=("vector.signal",), bins=4))
        found.append((one.iterate().metrics, one.ppo))
    (without, _), (with_marginals, _) = found
    assert "gail_marginal_divergence" not in without
    assert float(with_marginals["gail_marginal_divergence"]) > 0
    # The discriminator is shown the same and says the same; what PPO is paid differs.
    assert float(without["gail_reward_mean"]) == float(with_marginals["gail_reward_mean"])
    assert float(without["value_loss"]) != float(with_marginals["value_loss"])


# Wrong use


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"reward_limit": 0.0}, "algorithm.reward_limit: 0.0 is impossible; use a number above 0"),
        ({"environment_weight": -1.0}, "algorithm.environment_weight: -1.0 is negative; use 0 or more"),
        (
            {"reward": "airl", "discriminator": DiscriminatorConfig(inputs="state")},
            "algorithm.reward: airl compares actions; use it with discriminator.inputs state_action",
        ),
    ],
)
def test_impossible_settings(settings, expected):
    with pytest.raises(ConfigError) as error:
        GAILConfig(**settings)
    assert str(error.value) == expected
