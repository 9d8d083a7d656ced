"""The anchor: divergences by hand, its schedule, its pull, and continuation without the file it came from."""

import io
import math

import pytest
import torch

from drivetrain.algorithms.anchor import Anchor, AnchorConfig
from drivetrain.algorithms.ppo import PPO, PPOConfig
from drivetrain.algorithms.sac import SAC, SACConfig
from drivetrain.errors import ConfigError, RunError
from drivetrain.models.action_distribution import Categorical, DiagonalGaussian
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.q_network import CriticConfig

SMALL = {"rollout_steps": 16, "minibatch_size": 64, "learning_rate": 3e-3, "learning_rate_final": 3e-3}


def policy_of(env, logits, *, hidden=(8,)):
    """A policy that answers every observation with the same action parameters."""
    policy = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(hidden=hidden), seed=5)
    torch.nn.init.zeros_(policy.pi.weight)
    policy.pi.bias.data.copy_(torch.tensor(logits))
    return policy


def learner(env, **anchor):
    network = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(hidden=(32,)), seed=0)
    settings = {"entropy_coefficient": 0.0, "entropy_coefficient_final": 0.0, **SMALL}
    return PPO(env, network, PPOConfig(**settings, anchor=AnchorConfig(**anchor)), seed=0)


def test_divergence_of_categories_and_its_gradient_by_hand(sign_environment):
    env = sign_environment()
    anchor = Anchor(policy_of(env, [math.log(0.8), math.log(0.2)]))
    logits = torch.zeros(4, 2, requires_grad=True)
    loss = anchor.loss(torch.randn(4, 2), Categorical.from_logits(logits), weight=0.5)
    # KL([.8, .2] || [.5, .5]) = .8 ln 1.6 + .2 ln .4 = .192745; by the logits: policy - anchor = [-.3, .3]
    assert loss.item() == pytest.approx(0.5 * 0.192745, abs=1e-6)
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[0.5 * -0.3 / 4, 0.5 * 0.3 / 4]]).expand(4, 2))


def test_divergence_of_gaussians_is_taken_from_the_anchor(sign_environment):
    env = sign_environment(continuous=True)
    anchor = Anchor(policy_of(env, [0.0]))
    wide = DiagonalGaussian(torch.full((3, 1), 0.5), torch.tensor([math.log(2.0)]))
    # KL(N(0, 1) || N(.5, 2)) = .349397; the other way round it would be .931853
    assert anchor.loss(torch.randn(3, 2), wide, weight=1.0).item() == pytest.approx(0.349397, abs=1e-6)


def test_the_weight_falls_over_the_budget():
    config = AnchorConfig(coefficient=0.08, coefficient_final=0.02)
    assert [config.weight(p) for p in (-1.0, 0.0, 0.5, 1.0, 2.0)] == pytest.approx([0.08, 0.08, 0.05, 0.02, 0.02])
    assert not AnchorConfig().is_used
    assert AnchorConfig(coefficient_final=0.1).is_used
    with pytest.raises(ConfigError, match=r"^anchor.coefficient: -1.0 is negative; use 0 or more$"):
        AnchorConfig(coefficient=-1.0)


def test_a_policy_is_pulled_to_its_anchor_and_says_how_far_it_is(sign_environment):
    env = sign_environment()
    ppo = learner(env, coefficient=20.0, coefficient_final=10.0)
    ppo.anchor_to(policy_of(env, [math.log(0.8), math.log(0.2)]))
    results = [ppo.iterate() for _ in range(40)]
    # The policy begins almost uniform.
    assert float(results[0].metrics["anchor_loss"]) == pytest.approx(20 * 0.192745, rel=0.2)
    assert float(results[-1].metrics["anchor_loss"]) < 0.05 * float(results[0].metrics["anchor_loss"])
    assert results[0].metrics["anchor_coefficient"] == 20.0
    ppo.progress = 0.5
    assert ppo.iterate().metrics["anchor_coefficient"] == 15.0
    probability = ppo.policy.distribution(torch.from_numpy(env.current_observation())).log_probs.exp()[:, 0]
    assert (probability - 0.8).abs().max() < 0.1


def test_without_a_weight_nothing_is_computed_and_nothing_is_said(sign_environment):
    ppo = learner(sign_environment())
    assert not {"anchor_loss", "anchor_coefficient"} & ppo.iterate().metrics.keys()


def test_a_missing_anchor_is_told(sign_environment):
    with pytest.raises(RunError, match=r"^algorithm.anchor: there is no anchor; name one by algorithm.anchor.path or "):
        learner(sign_environment(), coefficient=0.1).iterate()


def test_a_run_goes_on_with_the_anchor_in_its_own_state(sign_environment):
    def build():
        return learner(sign_environment(), coefficient=0.5)

    whole = build()
    whole.anchor_to(policy_of(whole.env, [1.0, -1.0], hidden=(4, 4)))  # of other sizes than the policy
    whole.iterate()
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    file.seek(0)
    resumed = build()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    first, second = whole.iterate(), resumed.iterate()
    assert float(first.metrics["anchor_loss"]) == float(second.metrics["anchor_loss"]) > 0
    for a, b in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(a, b)


# The same with SAC


def soft_learner(env, **anchor):
    network = ActorCritic(env.observation_schema, env.action_space, PolicyConfig(hidden=(32,)), seed=0)
    config = SACConfig(
        steps=10,
        capacity=2048,
        learning_starts=64,
        minibatch_size=64,
        updates_per_transition=1 / 32,
        critic=CriticConfig(hidden=(16,)),
        policy_learning_rate=1e-2,
        anchor=AnchorConfig(**anchor),
    )
    return SAC(env, network, config, seed=0)


def test_sac_is_pulled_to_its_anchor_too(sign_environment):
    env = sign_environment()
    sac = soft_learner(env, coefficient=20.0, coefficient_final=10.0)
    sac.anchor_to(policy_of(env, [math.log(0.8), math.log(0.2)]))
    results = [result for result in (sac.iterate() for _ in range(40)) if "anchor_loss" in result.metrics]
    assert float(results[0].metrics["anchor_loss"]) == pytest.approx(20 * 0.192745, rel=0.2)
    assert float(results[-1].metrics["anchor_loss"]) < 0.05 * float(results[0].metrics["anchor_loss"])
    assert results[0].metrics["anchor_coefficient"] == 20.0
    probability = sac.policy.distribution(torch.from_numpy(env.current_observation())).log_probs.exp()[:, 0]
    assert (probability - 0.8).abs().max() < 0.1


def test_sac_goes_on_with_the_anchor_in_its_own_state(sign_environment):
    whole = soft_learner(sign_environment(), coefficient=0.5)
    whole.anchor_to(policy_of(whole.env, [1.0, -1.0], hidden=(4, 4)))
    whole.iterate()
    file, memory = io.BytesIO(), {name: array.copy() for name, array in whole.replay.arrays().items()}
    torch.save(whole.state_dict(), file)
    file.seek(0)
    resumed = soft_learner(sign_environment(), coefficient=0.5)
    resumed.replay.load_arrays(memory)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    first, second = whole.iterate(), resumed.iterate()
    assert float(first.metrics["anchor_loss"]) == float(second.metrics["anchor_loss"]) > 0
    for a, b in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_sac_tells_a_missing_anchor_and_needs_none_without_a_weight(sign_environment):
    lost = soft_learner(sign_environment(), coefficient=0.1)
    with pytest.raises(RunError, match=r"^algorithm.anchor: there is no anchor; name one by algorithm.anchor.path or "):
        [lost.iterate() for _ in range(3)]
    assert not {"anchor_loss", "anchor_coefficient"} & soft_learner(sign_environment()).iterate().metrics.keys()
