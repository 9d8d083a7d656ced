"""SAC: losses against closed forms, what is due when, warm starts, refusals, learning, bit-identical continuation."""

import io
import math

import numpy as np
import pytest
import torch

from drivetrain.algorithms.gail import ExpertRows
from drivetrain.algorithms.replay import Transitions
from drivetrain.algorithms.sac import SAC, SACConfig, soft_target, soft_value, temperature_loss
from drivetrain.errors import ConfigError, DivergenceError, SimulationError
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.q_network import CriticConfig

SMALL = {
    "steps": 10,
    "capacity": 2048,
    "learning_starts": 64,
    "minibatch_size": 64,
    "updates_per_transition": 1 / 32,
    "critic": CriticConfig(hidden=(32,)),
    "policy_learning_rate": 3e-3,
    "critic_learning_rate": 3e-3,
    "alpha": 0.05,
    "shaping_warmup": 0.0,
}


def learner(env, *, seed=0, policy=None, expert=None, **settings):
    config = policy or PolicyConfig(hidden=(32,), gaussian="squashed")
    network = ActorCritic(env.observation_schema, env.action_space, config, seed=seed)
    return SAC(env, network, SACConfig(**(SMALL | settings)), seed=seed, expert=expert)


def metric(result, name):
    return float(result.metrics[name])


# Losses


def test_soft_value_by_its_closed_form():
    q, alpha = torch.tensor([[1.0, 2.0, 3.0]]), 0.5
    log_probs = torch.log_softmax(q / alpha, dim=1)
    assert log_probs.exp()[0].tolist() == pytest.approx([0.015876, 0.117310, 0.866813], abs=1e-6)
    assert -(log_probs.exp() * log_probs).sum().item() == pytest.approx(0.441057, abs=1e-6)
    # The best policy's soft value is alpha logsumexp(q / alpha).
    assert soft_value(q, log_probs, alpha).item() == pytest.approx(3.071466, abs=1e-6)
    assert alpha * torch.logsumexp(q / alpha, 1).item() == pytest.approx(3.071466, abs=1e-6)
    uniform = torch.log_softmax(torch.zeros(1, 3), dim=1)
    assert soft_value(q, uniform, alpha).item() == pytest.approx(2.0 + 0.5 * math.log(3))


def test_the_policys_gradient_vanishes_at_the_softmax_of_the_values():
    q, alpha = torch.tensor([[1.0, 2.0, 3.0]]), 0.5
    for logits, is_best in ((q / alpha, True), (q, False)):
        leaf = logits.clone().requires_grad_()
        (-soft_value(q, torch.log_softmax(leaf, dim=1), alpha)).sum().backward()
        assert (leaf.grad.abs().max() < 1e-6) == is_best


def test_target_of_a_vector_action_by_hand():
    reward, q, log_prob = (torch.full((2,), x) for x in (1.0, 2.0, -1.5))
    discount = torch.tensor([0.99, 0.0])
    # 1 + 0.99 (2 + 0.2 * 1.5), and after a terminated step the reward alone.
    assert soft_target(reward, discount, q, log_prob, 0.2).tolist() == pytest.approx([3.277, 1.0])


def test_the_temperature_rises_while_entropy_is_missing():
    for log_prob, falls in ((-1.0, True), (1.0, False)):  # entropies of 1 and -1 against a target of 0
        log_alpha = torch.zeros(1, requires_grad=True)
        temperature_loss(log_alpha, torch.full((4,), log_prob), 0.0).sum().backward()
        assert log_alpha.grad.item() == pytest.approx(-log_prob)
        assert (log_alpha.grad.item() > 0) == falls  # descending this gradient lowers alpha


def test_critic_targets_of_categories_are_exact_expectations(sign_environment):
    sac = learner(sign_environment(), num_steps=3)
    sac.iterate()
    places = sac.replay.draw(200, torch.Generator().manual_seed(0))
    batch = sac.replay.read(places, gamma=0.99, num_steps=3)
    q = sac.target(batch.next_observation).amin(0)
    probabilities = sac.policy.distribution(batch.next_observation).log_probs.exp()
    value = sum(probabilities[:, k] * (q[:, k] - 0.05 * probabilities[:, k].log()) for k in range(2))
    torch.testing.assert_close(
        sac._critic_target(batch, torch.tensor(0.05)), batch.reward + batch.discount * value.detach()
    )


def test_critics_learn_the_returns_of_a_known_policy(sign_environment):
    # Uniform actions, reward 1/2 on average, gamma 0: the value of the right sign is 1, of the wrong one 0.
    sac = learner(
        sign_environment(), gamma=0.0, num_steps=1, policy_delay=1000, alpha_learning_rate=0, updates_per_transition=0.5
    )
    for _ in range(8):
        sac.iterate()
    batch = sac.replay.read(sac.replay.draw(500, torch.Generator().manual_seed(0)), gamma=0.0)
    right = (batch.observation[:, 0] > 0).long()
    q = sac.critic(batch.observation).mean(0).detach()
    clear = batch.observation[:, 0].abs() > 0.2
    assert q.gather(1, right[:, None])[clear].mean().item() == pytest.approx(1.0, abs=0.1)
    assert q.gather(1, 1 - right[:, None])[clear].mean().item() == pytest.approx(0.0, abs=0.1)


# What is due when


def test_updates_are_counted_per_transition(sign_environment):
    sac = learner(sign_environment(), updates_per_transition=1 / 48, learning_starts=161)
    first = sac.iterate()  # 160 transitions: not one too many
    assert (first.agent_steps, first.gradient_steps) == (160, 0)
    assert "q_loss" not in first.metrics
    updates = [sac.iterate().gradient_steps for _ in range(6)]
    assert sum(updates) == 6 * 160 // 48 == 20
    assert set(updates) == {3, 4}
    assert metric(sac.iterate(), "utd") in (3 / 160, 4 / 160)


def test_rows_without_a_transition_are_neither_counted_nor_learnt_from(sign_environment):
    sac = learner(sign_environment(gap=True, poison=1e6))
    steps = sum(sac.iterate().agent_steps for _ in range(4))
    assert 0 < steps < 4 * 160
    assert len(sac.replay) == steps
    result = sac.iterate()
    assert metric(result, "target_q") < 20  # rewards of 1, and entropy
    assert metric(result, "q_loss") < 20


def test_violations_are_the_share_of_batches_that_ended_by_one(sign_environment):
    class Collisions(sign_environment):
        def step(self, action, *, out=None):
            result = super().step(action, out=out)
            even = (result.final_rows % 2 == 0).astype(np.float32)
            result.episodes.update(collision=even, offroad=0 * even)
            return result

    sac = learner(Collisions())
    for _ in range(4):
        result = sac.iterate()
    # Half of the rows end every fifth step by a collision: one transition in ten, of 64 per update.
    assert metric(result, "violations") == pytest.approx(0.1, abs=0.05)
    assert "violations" not in learner(sign_environment()).iterate().metrics


def test_policy_and_temperature_wait_for_their_turn(sign_environment):
    sac = learner(sign_environment(), policy_delay=10**6, learning_starts=1)
    sac._updates = 1
    before = [p.clone() for p in sac.policy.parameters()]
    result = sac.iterate()
    assert result.gradient_steps > 0
    assert all(torch.equal(a, b) for a, b in zip(before, sac.policy.parameters(), strict=True))
    assert "actor_loss" not in result.metrics
    assert metric(result, "alpha") == pytest.approx(0.05)


def test_statistics_of_observations_are_fixed_when_learning_begins(sign_environment):
    sac = learner(sign_environment(), policy=PolicyConfig(hidden=(8,), normalize_observation=True), learning_starts=160)
    sac.iterate()
    moments = sac.policy.encoder.moments
    assert float(moments.count) == 160
    assert float(moments.mean[1]) == pytest.approx(0.36, abs=0.05)  # mean of (0..4)/7 and (0..6)/7
    sac.iterate()
    assert float(moments.count) == 160
    for encoder in (sac.critic.encoder, sac.target.encoder):
        assert torch.equal(encoder.moments.mean, moments.mean)


# Starting from another policy


def test_a_warm_start_keeps_the_policy_until_the_critics_know_it(sign_environment):
    sac = learner(sign_environment(), actor_freeze=12, learning_starts=1)
    with torch.no_grad():
        sac.policy.pi.weight.mul_(40)
    before = [p.clone() for p in sac.policy.parameters()]
    taken = sac.warm_start(["value", "q"])
    assert taken == [
        "only the critics learn for 12 updates; the policy stays as it is",
        "the temperature starts at 0.01",
        "the target entropy is what this policy has",
        "the critics' encoder begins as a copy of the policy's",
    ]
    frozen = sac.iterate()
    assert metric(frozen, "policy_frozen") == 1.0
    assert metric(frozen, "alpha") == pytest.approx(0.01)
    assert all(torch.equal(a, b) for a, b in zip(before, sac.policy.parameters(), strict=True))
    seen = sac.replay.read(sac.replay.places("valid"), gamma=0.99).observation
    entropy = sac.policy.distribution(seen).entropy().mean().item()
    assert metric(frozen, "target_entropy") == pytest.approx(entropy, abs=0.05)
    assert metric(frozen, "target_entropy") < 0.4 * 0.99 * math.log(2) + 0.5
    for _ in range(3):
        thawed = sac.iterate()
    assert metric(thawed, "policy_frozen") == 0.0
    assert not all(torch.equal(a, b) for a, b in zip(before, sac.policy.parameters(), strict=True))


def test_known_critics_freeze_nothing(sign_environment):
    sac = learner(sign_environment())
    assert sac.warm_start(["value"])[0] == "the temperature starts at 0.01"
    assert sac._freeze_left == 0


def test_an_expert_has_a_say(sign_environment):
    # The expert always takes the wrong sign; its weight is everything, then nothing.
    observation = np.random.default_rng(0).uniform(-1, 1, (500, 2)).astype(np.float32)
    expert = ExpertRows(observation=observation, action=(observation[:, 0] < 0).astype(np.int64), num_terminated=0)
    sac = learner(sign_environment(), expert=expert, imitation_coefficient=100.0, updates_per_transition=0.25)
    for _ in range(4):
        result = sac.iterate()
    assert metric(result, "imitation_loss") < 30  # below 100 ln 2, that of chance
    choice = sac.policy.distribution(torch.from_numpy(observation)).mode().numpy()
    assert (choice == expert.action).mean() > 0.9
    sac.progress = 1.0
    assert metric(sac.iterate(), "imitation_loss") == 0.0


# Learning


@pytest.mark.parametrize("continuous", [False, True], ids=["categories", "vector"])
def test_it_learns(sign_environment, continuous):
    sac = learner(
        sign_environment(continuous=continuous),
        updates_per_transition=1 / 8,
        target_entropy=-1.0 if continuous else 0.1,
    )
    for _ in range(15):
        result = sac.iterate()
    rewards = result.episodes["mean_reward"] / result.episodes["episode_length"]
    assert rewards.mean() > 0.85
    deterministic = sac.policy.act(sac.replay.present(), deterministic=True)
    signal = sac.replay.present()[:, 0]
    chosen = deterministic[:, 0] > 0 if continuous else deterministic == 1
    assert (chosen == (signal > 0))[signal.abs() > 0.2].float().mean() > 0.9
    assert metric(result, "entropy") == pytest.approx(-metric(result, "log_pi"))


def test_half_precision_changes_little(sign_environment):
    full, half = (learner(sign_environment(), half_precision=flag) for flag in (False, True))
    for _ in range(3):
        results = [sac.iterate() for sac in (full, half)]
    assert metric(results[0], "q_loss") == pytest.approx(metric(results[1], "q_loss"), rel=0.05)


# Continuing


def stored(sac):
    buffer = io.BytesIO()
    torch.save(sac.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True), {name: a.copy() for name, a in sac.replay.arrays().items()}


@pytest.mark.parametrize(
    "settings",
    [{}, {"continuous": True}, {"gap": True}, {"half_precision": True}, {"capacity": 256}],
    ids=["categories", "vector", "gaps", "half", "full"],
)
def test_a_restored_learner_continues_bit_by_bit(sign_environment, settings):
    made = {k: v for k, v in settings.items() if k in ("continuous", "gap")}
    settings = {k: v for k, v in settings.items() if k not in made} | {"updates_per_transition": 1 / 48}
    sac = learner(sign_environment(**made), **settings)
    for _ in range(3):
        sac.iterate()
    state, arrays = stored(sac)
    other = learner(sign_environment(**made), seed=9, **settings)
    other.replay.load_arrays(arrays)
    other.load_state_dict(state)
    for _ in range(2):
        mine, theirs = sac.iterate(), other.iterate()
        assert mine.agent_steps == theirs.agent_steps
        assert {k: float(v) for k, v in mine.metrics.items()} == {k: float(v) for k, v in theirs.metrics.items()}
    for a, b in zip(sac.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(sac.critic.flat_parameters().theta, other.critic.flat_parameters().theta)
    assert torch.equal(sac.target.flat_parameters().theta, other.target.flat_parameters().theta)


# Refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"updates_per_transition": 0}, r"updates_per_transition: 0 is impossible; use a number above 0, at most 16"),
        ({"updates_per_transition": 64}, r"updates_per_transition: 64 is impossible"),
        (
            {"capacity": 100, "learning_starts": 200},
            r"capacity: 100 is impossible; use learning_starts \(200\) or more",
        ),
        ({"target_rate": 0}, r"target_rate: 0 is impossible; use a number above 0, at most 1"),
        ({"num_steps": 0}, r"num_steps: 0 is impossible; use 1 or more"),
        ({"gamma": 1.5}, r"gamma: 1.5 is impossible; use a number from 0 to 1"),
        ({"alpha": 0}, r"alpha: 0 is impossible; use a number above 0"),
        ({"imitation_coefficient": -1}, r"imitation_coefficient: -1 is impossible; use 0 or more"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=rf"algorithm\.{message}"):
        SACConfig(**settings)


def test_a_plain_gaussian_is_refused(sign_environment):
    with pytest.raises(ConfigError, match=r"policy.gaussian: sac needs actions within their range; use squashed"):
        learner(sign_environment(continuous=True), policy=PolicyConfig(hidden=(8,)))


def test_an_impossible_reward_blames_the_environment(sign_environment):
    class Broken(sign_environment):
        def step(self, action, *, out=None):
            result = super().step(action, out=out)
            result.reward[3] = np.nan
            return result

    with pytest.raises(SimulationError, match=r"the environment produced reward nan in row 3 after 0 steps"):
        learner(Broken()).iterate()


@pytest.mark.parametrize("continuous", [False, True], ids=["categories", "vector"])
def test_an_impossible_action_blames_whoever_made_it(sign_environment, continuous):
    sac = learner(sign_environment(continuous=continuous, poison=math.nan, gap=True))
    with pytest.raises(SimulationError, match=r"the environment produced observation nan at index \(\d+, 0\) after"):
        sac.iterate()
    sac = learner(sign_environment(continuous=continuous))
    with torch.no_grad():
        sac.policy.flat_parameters().theta.fill_(math.nan)
    with pytest.raises(DivergenceError, match=r"the policy's output became NaN or infinite after 0 steps although"):
        sac.iterate()


def test_a_loss_that_is_not_a_number_stops(sign_environment):
    sac = learner(sign_environment(), policy_delay=10**6)
    sac._updates = 1  # so that the policy keeps out of it
    with torch.no_grad():
        sac.critic.flat_parameters().theta.fill_(math.nan)
    with pytest.raises(DivergenceError, match=r"the loss became NaN or infinite after 160 steps \(q_loss nan"):
        sac.iterate()


def test_a_minibatch_of_one_kind_of_end():
    zeros = torch.zeros(3)
    batch = Transitions(
        observation=zeros,
        action=zeros,
        reward=torch.tensor([1.0, 2.0, 3.0]),
        discount=torch.tensor([0.0, 0.5, 0.5]),
        next_observation=zeros,
        terminated=torch.tensor([True, False, False]),
        fields={},
    )
    target = soft_target(batch.reward, batch.discount, torch.tensor([9.0, 4.0, 4.0]), zeros, 0.0)
    assert target.tolist() == [1.0, 4.0, 5.0]
