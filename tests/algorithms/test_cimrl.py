"""CIMRL: what it learns where the short way is risky, ratios under the stored mask, stages, anchor, continuation."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.algorithms.two_lanes import LONG, SHORT, TwoLanes

from drivetrain.algorithms.anchor import AnchorConfig
from drivetrain.algorithms.cimrl import CIMRL, CIMRLConfig
from drivetrain.algorithms.ppo import PPOConfig
from drivetrain.algorithms.risk import RiskConfig
from drivetrain.errors import ConfigError
from drivetrain.models.actor_critic import PolicyConfig
from drivetrain.models.proposal_policy import ProposalConfig, ProposalPolicy
from drivetrain.models.q_network import CriticConfig

HURRIED = PPOConfig(
    rollout_steps=16,
    minibatch_size=256,
    epochs=4,
    learning_rate=5e-3,
    learning_rate_final=5e-3,
    gamma=0.8,
    entropy_coefficient=0.0,
    entropy_coefficient_final=0.0,
    value_warmup=2,
)
RISK = RiskConfig(
    gamma=0.9, minibatch_size=256, updates=8, pretrain_steps=10_000, pretrain_updates=40, learning_rate=3e-3
)
BRIEF = replace(RISK, pretrain_steps=4_000, pretrain_updates=4, updates=4)


def learner(env=None, *, seed=0, proposals=None, **settings):
    """A CIMRL whose prior drives on either lane alike."""
    env = env or TwoLanes()
    config = CIMRLConfig(
        **(
            {
                "ppo": HURRIED,
                "risk": RISK,
                "proposals": proposals or ProposalConfig(count=3, epsilon=0.1),
                "anchor": AnchorConfig(),
            }
            | settings
        )
    )
    policy = ProposalPolicy(
        env.observation_schema, env.action_space, PolicyConfig(hidden=(32,)), config.proposals, config.critic, seed=seed
    )
    cimrl = CIMRL(env, policy, config, seed=seed)
    policy.begin_from_prior()
    cimrl.warm_start(["task", "q_risk"])
    return cimrl


def trained(cimrl, iterations):
    for i in range(iterations):
        cimrl.progress = i / iterations
        cimrl.iterate()
    return cimrl


def drive(policy, *, episodes=2000, deterministic=False):
    """Return (share of episodes with a violation, mean progress) of a policy, one episode per row."""
    env = TwoLanes(episodes)
    observation, waiting = env.reset(seed=99), np.ones(episodes, np.bool_)
    collision, progress = np.zeros(episodes), np.zeros(episodes)
    generator = torch.Generator().manual_seed(0)
    while waiting.any():
        rows = torch.from_numpy(observation)
        step = env.step(policy.act(rows, deterministic=deterministic, generator=generator).numpy())
        new = waiting[step.final_rows]
        ended = step.final_rows[new]
        collision[ended], progress[ended] = step.episodes["collision"][new], step.episodes["progress"][new]
        waiting[ended] = False
        observation = step.observation
    return float(collision.mean()), float(progress.mean())


# Where the short way is risky


@pytest.fixture(scope="module")
def careful():
    return trained(learner(), 24)


@pytest.fixture(scope="module")
def careless():
    """The same without filter and critics."""
    free = ProposalConfig(count=3, filter=False)
    return trained(learner(proposals=free, risk=replace(RISK, pretrain_steps=0)), 12)


@pytest.mark.parametrize("deterministic", [False, True])
def test_the_short_way_is_taken_only_by_who_fears_nothing(careful, careless, deterministic):
    violations, progress = drive(careful.policy, deterministic=deterministic)
    free_violations, free_progress = drive(careless.policy, deterministic=deterministic)
    assert free_violations > 0.5  # six steps on the short lane: 1 - 0.85^6 = 0.62
    assert violations < free_violations / 3
    assert progress >= 0.9 * free_progress


def test_critics_know_the_hazard_before_the_policy_learns():
    """The prior crashes often, yet the long lane is safe: its risk is that of who keeps to the filter from then on."""
    rows = torch.tensor([[0.0, 0.0, 0.0], [4 / 12, 0.0, 4 / 15], [6 / 12, 1.0, 3 / 15]])
    risk = trained(learner(), 10).policy.q_risk(rows).amax(0)
    assert risk[:, SHORT].tolist() == pytest.approx([0.15] * 3, abs=0.06)
    assert (risk[:, LONG] < 0.06).all()


def test_without_its_filter_the_policy_is_what_it_prefers(careful):
    policy = careful.policy
    policy.proposals = replace(policy.proposals, filter=False)
    try:
        unfiltered = drive(policy)[0]
    finally:
        policy.proposals = careful.config.proposals
    assert unfiltered > drive(policy)[0]


# One iteration


def test_ratios_are_one_under_the_stored_mask_whatever_became_of_the_critics():
    cimrl = learner(risk=replace(RISK, pretrain_steps=0), ppo=replace(HURRIED, epochs=1, value_warmup=0))
    rollout = cimrl.ppo.collect()
    with torch.no_grad():
        for twin in cimrl.policy.q_risk.twins:
            twin[-1].bias.add_(torch.tensor([9.0, -9.0, 9.0]))
    whole = {name: values.flatten(0, 1) for name, values in rollout.context.items()}
    again = cimrl.policy.evaluate(rollout.observation[:-1].flatten(0, 1), whole)[0]
    ratio = (again.log_prob(rollout.action.flatten()) - rollout.log_prob.flatten()).exp()
    assert (ratio - 1.0).abs().max() < 1e-5


def test_recovery_moves_only_the_values():
    """Epsilon 0: nothing is safe, so no action is the task policy's."""
    cimrl = learner(
        proposals=ProposalConfig(count=3, epsilon=0.0),
        risk=replace(RISK, pretrain_steps=0),
        ppo=replace(HURRIED, epochs=1, value_warmup=0),
        scouts=0.0,
    )
    before = cimrl.policy.task.pi.bias.clone()
    result = cimrl.iterate()
    assert float(result.metrics["risk/all_unsafe_rate"]) == 1.0
    assert torch.equal(cimrl.policy.task.pi.bias, before)
    assert float(result.metrics["value_loss"]) > 0


def test_first_the_critics_learn_and_nothing_else():
    """4,000 transitions of 1,024 each: four iterations of the prior, then two of values alone, then the policy too."""
    cimrl = learner(risk=BRIEF)
    prior = {name: value.clone() for name, value in cimrl.policy.prior.state_dict().items()}
    task = {name: value.clone() for name, value in cimrl.policy.task.state_dict().items()}
    results = [cimrl.iterate() for _ in range(4)]
    assert all(float(result.metrics["risk/pretraining"]) == 1.0 for result in results)
    assert "policy_loss" not in results[-1].metrics
    assert all(torch.equal(value, task[name]) for name, value in cimrl.policy.task.state_dict().items())
    frozen = [float(cimrl.iterate().metrics["policy_frozen"]) for _ in range(3)]
    assert frozen == [1.0, 1.0, 0.0]
    assert cimrl.agent_steps == 7 * 1024
    assert all(torch.equal(value, prior[name]) for name, value in cimrl.policy.prior.state_dict().items())
    assert not torch.equal(cimrl.policy.task.pi.weight, task["pi.weight"])


def test_critics_from_another_run_are_not_trained_before():
    cimrl = learner()
    assert cimrl.warm_start(["task", "q_risk"])[0] == (
        "only the risk critics learn for 10,000 transitions, driven by the prior"
    )
    assert cimrl.warm_start([]) == []
    assert float(cimrl.iterate().metrics["risk/pretraining"]) == 0.0


def test_random_actions_are_told_from_the_priors():
    """(1 - r) pi / ((1 - r) pi + r / K) ... pi / mu by hand, for r = 0.15 and K = 3."""
    cimrl = learner()
    cimrl.policy.exploring = 0.15
    rollout = cimrl.ppo.collect()
    mu = rollout.log_prob.exp()
    pi = (mu - 0.15 / 3) / 0.85
    torch.testing.assert_close(cimrl._ratio(rollout, 0.15), pi / mu)
    rollout.context["safe"][..., SHORT] = False
    rollout.context["inside"][:] = 0.6
    expected = torch.where(rollout.action == SHORT, 0.0, pi / 0.6 / mu)
    torch.testing.assert_close(cimrl._ratio(rollout, 0.15), expected)


def test_scouts_drive_without_the_filter():
    """A quarter of 64 rows; what they do beyond the filter says nothing of the risk of who keeps to it."""
    cimrl = learner(proposals=ProposalConfig(count=3, epsilon=0.0), risk=replace(RISK, pretrain_steps=0), scouts=0.25)
    cimrl.iterate()
    rollout = cimrl.ppo._rollout
    allowed = rollout.context["allowed"].sum(-1)
    assert (allowed[:, :16] == 3).all()
    assert (allowed[:, 16:] == 1).all()
    ratio = cimrl._ratio(rollout, 0.0)
    beyond = ~rollout.context["safe"].gather(-1, rollout.action[..., None])[..., 0]
    assert (ratio[beyond] == 0).all()
    assert (ratio[:, 16:] == 1).all()
    assert 0 < int(beyond.sum()) == int(beyond[:, :16].sum())
    assert cimrl.policy.scouts == 0


def test_next_risk_is_that_of_the_final_observation_where_an_episode_ended():
    cimrl = learner(risk=replace(RISK, pretrain_steps=0))
    with torch.no_grad():
        for twin in cimrl.policy.q_risk.twins:
            torch.nn.init.normal_(twin[-1].weight, std=0.3, generator=torch.Generator().manual_seed(1))
    cimrl._endings.clear()
    rollout = cimrl.ppo.collect()
    found = cimrl._next_risk(rollout)
    last = cimrl.policy.evaluate(rollout.observation[-1])[0].context["expected_risk"]
    ended = rollout.terminated | rollout.truncated
    expected = torch.cat([rollout.context["expected_risk"][1:], last[None]])
    torch.testing.assert_close(found[~ended], expected[~ended])
    assert int(rollout.truncated.sum() + rollout.terminated.sum()) == sum(len(e.rows) for e in cimrl._endings.endings)
    for ending in cimrl._endings.endings:
        rows = torch.from_numpy(ending.observation)
        seen = cimrl.policy.evaluate(rows)[0].context["expected_risk"]
        torch.testing.assert_close(found[ending.step, torch.from_numpy(ending.rows)], seen)


def test_the_anchor_holds_the_task_policy_before_the_filter():
    settings = {"risk": replace(RISK, pretrain_steps=0), "proposals": ProposalConfig(count=3, filter=False)}
    held = trained(learner(**settings, anchor=AnchorConfig(coefficient=10.0, coefficient_final=10.0)), 8)
    free = trained(learner(**settings), 8)
    kl = [float(cimrl.iterate().metrics["kl_to_prior"]) for cimrl in (held, free)]
    assert kl[0] < 0.2 * kl[1]
    assert "anchor_loss" in held.iterate().metrics


def test_metrics_say_how_prior_policy_and_filter_work_together():
    result = trained(learner(risk=BRIEF), 7).iterate()
    names = {"q_mean", "frac_safe", "intervention_rate", "all_unsafe_rate", "violation_with_recovery"}
    names |= {"violation_without_recovery", "brier", "ece", "loss", "violating", "pretraining"}
    assert {f"risk/{name}" for name in names} <= result.metrics.keys()
    assert {"kl_to_prior", "prior_agreement", "emergency_use"} <= result.metrics.keys()
    assert all(np.isfinite(float(value)) for value in result.metrics.values())


# Continuation


@pytest.mark.parametrize("stop", [3, 5])
def test_it_continues_bit_by_bit(stop):
    """Within pre-training (four iterations) and the values' warm-up (two more)."""
    whole, first, second = (learner(risk=BRIEF, seed=seed) for seed in (0, 0, 5))
    trained(whole, stop + 4)
    for i in range(stop):
        first.progress = i / (stop + 4)
        first.iterate()
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for i in range(stop, stop + 4):
        second.progress = i / (stop + 4)
        second.iterate()
    assert second.agent_steps == whole.agent_steps
    for name, value in whole.policy.state_dict().items():
        assert torch.equal(value, second.policy.state_dict()[name]), name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"anchor": AnchorConfig(path="a.pt", coefficient=0.1)},
            "algorithm.anchor.path: cimrl is anchored to its own prior; leave the path out",
        ),
        (
            {"ppo": PPOConfig(anchor=AnchorConfig(coefficient=0.1))},
            "algorithm.ppo.anchor: cimrl has an anchor of its own; use algorithm.anchor",
        ),
    ],
)
def test_settings_that_contradict_are_one_line(settings, message):
    with pytest.raises(ConfigError) as caught:
        CIMRLConfig(**settings)
    assert str(caught.value) == message


def test_critics_have_sizes_of_their_own():
    cimrl = learner(critic=CriticConfig(hidden=(8,)))
    assert cimrl.policy.q_risk.twins[0][0].out_features == 8
