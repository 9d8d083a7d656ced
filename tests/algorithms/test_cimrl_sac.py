"""CIMRL by SAC: the two lanes, what is remembered, relabelling, targets by hand, continuation."""

import io
from dataclasses import replace

import pytest
import torch
from tests.algorithms.test_cimrl import drive, trained
from tests.algorithms.two_lanes import LONG, SHORT, TwoLanes

from drivetrain.algorithms.anchor import AnchorConfig
from drivetrain.algorithms.cimrl import CIMRLConfig
from drivetrain.algorithms.cimrl_sac import CIMRLSAC
from drivetrain.algorithms.replay import Transitions
from drivetrain.algorithms.risk import RiskConfig
from drivetrain.algorithms.sac import SACConfig
from drivetrain.errors import ConfigError
from drivetrain.models.actor_critic import PolicyConfig
from drivetrain.models.proposal_policy import ProposalConfig, ProposalPolicy, TaskPolicy
from drivetrain.models.q_network import CriticConfig

SMALL = CriticConfig(hidden=(32,))
HURRIED = SACConfig(
    steps=16,
    capacity=20_000,
    learning_starts=512,
    minibatch_size=128,
    updates_per_transition=1 / 64,
    num_steps=1,
    gamma=0.8,
    target_rate=0.05,
    policy_learning_rate=3e-3,
    critic_learning_rate=3e-3,
    warm_alpha=0.01,
    alpha_learning_rate=0.0,
    actor_freeze=50,
    critic=SMALL,
)
RISK = RiskConfig(gamma=0.9, minibatch_size=128, pretrain_steps=10_000, learning_rate=3e-3, target_rate=0.05)
BRIEF = replace(RISK, pretrain_steps=2_000)


def learner(*, seed=0, **settings):
    """A CIMRL by SAC whose prior drives on either lane alike."""
    env = TwoLanes()
    given = {"proposals": ProposalConfig(count=3, epsilon=0.1), "risk": RISK, "anchor": AnchorConfig()} | settings
    config = CIMRLConfig(**({"rl": "sac", "sac": HURRIED, "critic": SMALL} | given))
    policy = ProposalPolicy(
        env.observation_schema, env.action_space, PolicyConfig(hidden=(32,)), config.proposals, config.critic, seed=seed
    )
    cimrl = CIMRLSAC(env, policy, config, seed=seed)
    policy.begin_from_prior()
    cimrl.warm_start(["task", "q_risk", "q"])
    return cimrl


def test_the_short_way_is_taken_only_by_who_fears_nothing():
    careful = trained(learner(), 20)
    careless = trained(
        learner(proposals=ProposalConfig(count=3, filter=False), risk=replace(RISK, pretrain_steps=0)), 10
    )
    for deterministic in (False, True):
        violations, progress = drive(careful.policy, deterministic=deterministic)
        free_violations, free_progress = drive(careless.policy, deterministic=deterministic)
        assert free_violations > 0.5  # six steps on the short lane: 1 - 0.85^6 = 0.62
        assert violations < free_violations / 3
        assert progress >= 0.9 * free_progress
    risk = careful.policy.q_risk(torch.tensor([[0.0, 0.0, 0.0], [6 / 12, 1.0, 3 / 15]])).amax(0)
    assert risk[:, SHORT].tolist() == pytest.approx([0.15] * 2, abs=0.08)
    assert (risk[:, LONG] < 0.06).all()


def test_first_the_risk_critics_learn_alone():
    cimrl = learner(risk=BRIEF)
    before = cimrl.policy.task.pi.weight.clone()
    results = [cimrl.iterate() for _ in range(2)]
    assert [float(result.metrics["risk/pretraining"]) for result in results] == [1.0, 1.0]
    assert "q_loss" not in results[-1].metrics
    assert float(results[-1].metrics["risk/loss"]) > 0
    assert [float(cimrl.iterate().metrics["risk/pretraining"]) for _ in range(8)] == [0.0] * 8
    assert not torch.equal(cimrl.policy.task.pi.weight, before)
    assert cimrl.agent_steps == 10 * 16 * 64


def test_what_is_remembered_of_a_transition():
    """Epsilon 0: nothing is safe and recovery acts, in all rows but those of the scouts."""
    cimrl = learner(proposals=ProposalConfig(count=3, epsilon=0.0), risk=replace(RISK, pretrain_steps=0), scouts=0.25)
    cimrl.iterate()
    kept = cimrl.replay._values
    shape = (cimrl.replay.num_slots, 64)
    recovery, action = (kept[name].view(shape)[:16] for name in ("recovery", "action"))
    assert not recovery[:, :16].any()
    assert recovery[:, 16:].all()
    cost, ended = kept["cost"].view(shape)[:16], kept["terminated"].view(shape)[:16]
    assert int((cost > 0).sum()) > 0
    assert ((action == SHORT) & ended)[cost > 0].all()
    assert set(cost.unique().tolist()) == {0.0, 1.0}


def batch_of(**fields):
    count = len(fields["proposed"])
    return Transitions(
        observation=torch.zeros(count, 3),
        action=torch.zeros(count, dtype=torch.int64),
        reward=torch.zeros(count),
        discount=torch.ones(count),
        next_observation=torch.zeros(count, 3),
        terminated=torch.zeros(count, dtype=torch.bool),
        fields=fields,
    )


def test_relabelling_by_hand():
    """Row 0 was recovered: what was liked there (1) should have been worth 5, and was held to be worth 2 and 3."""
    values = torch.tensor([[[0.0, 2.0, 9.0], [0.0, 9.0, 9.0]], [[0.0, 3.0, 9.0], [0.0, 9.0, 9.0]]])
    batch = batch_of(proposed=torch.tensor([1, 1]), recovery=torch.tensor([True, False]))
    target = torch.tensor([5.0, 7.0])
    assert learner().critic_loss(values, target, batch).item() == pytest.approx((9.0 + 4.0) / 2)
    assert learner(relabel=False).critic_loss(values, target, batch).item() == 0.0


def test_risk_targets_by_hand():
    """y = min(1, c + g (1 - terminated) sum_k pi_comp(k|s') max_i Q_i(s', k)), the target critics' Q."""
    quiet = replace(HURRIED, steps=2, learning_starts=20_000)
    cimrl = learner(risk=replace(RISK, pretrain_steps=0, violating_share=0.5), sac=quiet)
    with torch.no_grad():
        for twin in cimrl._risk_target.twins:
            torch.nn.init.normal_(twin[-1].weight, generator=torch.Generator().manual_seed(1))
    cimrl.iterate()
    rows = cimrl._risk_rows(cimrl.replay)
    after_one_long_step = torch.tensor([[1 / 12, 0.0, 1 / 15]])
    with torch.no_grad():
        risk = cimrl._risk_target(after_one_long_step).amax(0)
        follows = cimrl.policy.evaluate(after_one_long_step)[0].log_probs.exp()
    expected = 0.9 * float((follows * risk).sum())
    first_long = (rows.observation[:, 2] == 0) & (rows.action == LONG)
    assert rows.target[first_long].tolist() == pytest.approx([expected] * int(first_long.sum()), abs=1e-5)
    assert rows.target[64:].tolist() == [1.0] * 64
    violating = len(cimrl.replay.places("cost")) / len(cimrl.replay)
    assert rows.weight[64:].tolist() == pytest.approx([2 * violating] * 64)
    assert set(rows.weight[:64].tolist()) <= {0.0, 2.0}


@pytest.mark.parametrize("stop", [1, 4])
def test_it_continues_bit_by_bit(stop):
    """Within pre-training (two iterations) and after."""
    whole, first, second = (learner(risk=BRIEF, seed=seed) for seed in (0, 0, 5))
    trained(whole, 6)
    for i in range(stop):
        first.progress = i / 6
        first.iterate()
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.replay.load_arrays({name: array.copy() for name, array in first.replay.arrays().items()})
    second.load_state_dict(torch.load(buffer, weights_only=True))
    for i in range(stop, 6):
        second.progress = i / 6
        second.iterate()
    assert second.agent_steps == whole.agent_steps
    for name, value in whole.policy.state_dict().items():
        assert torch.equal(value, second.policy.state_dict()[name]), name


def test_the_anchor_is_part_of_the_policys_loss():
    free = learner()
    held = learner(anchor=AnchorConfig(coefficient=2.0))
    for cimrl in (free, held):
        with torch.no_grad():
            cimrl.policy.task.pi.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    batch = batch_of(proposed=torch.zeros(4, dtype=torch.int64))
    task = (TaskPolicy(c.policy).distribution(batch.observation) for c in (free, held))
    losses = [float(c.policy_loss(batch, d).detach()) for c, d in zip((free, held), task, strict=True)]
    kl = float(held._reports["kl_to_prior"][0])
    assert kl > 0.05
    assert losses == pytest.approx([0.0, 2.0 * kl])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rl": "td3"}, "algorithm.rl: 'td3' is unknown; use ppo or sac"),
        (
            {"sac": SACConfig(imitation_coefficient=1.0)},
            "algorithm.sac.imitation_coefficient: cimrl has a prior instead of an expert; use 0",
        ),
    ],
)
def test_settings_that_contradict_are_one_line(settings, message):
    with pytest.raises(ConfigError) as caught:
        CIMRLConfig(**settings)
    assert str(caught.value) == message
