"""The exported form of a policy against the paths that training takes, and the rows that rounding decides."""

import pytest
import torch

from drivetrain.models.action_distribution import Categorical
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.export_form import EDGE, ExportedPolicy, split_rows, undecided
from drivetrain.models.proposal_policy import ProposalConfig, ProposalPolicy
from drivetrain.models.q_network import CriticConfig
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.kernels.vehicle import NUM_ACTIONS, category_values
from drivetrain.sim.observation import CANONICAL, FORBIDDEN_ACTIONS, FeatureGroup, ObservationSchema

GRID = ActionSpace(num_categories=NUM_ACTIONS, category_values=category_values())
PAIR = ActionSpace(size=2, low=(-4.0, -0.2), high=(4.0, 0.2))
SCHEMA = ObservationSchema(
    name="plain",
    groups=(FeatureGroup(name="vector", features=("a", "b"), count=1, is_set=False, presence=""),),
)
SMALL = PolicyConfig(hidden=(16,), agents_width=32, road_width=32, value_width=8)


def rows(count=60):
    """Rows with entities missing in some, and no entity at all in the first."""
    found = torch.rand(count, CANONICAL.size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for name in ("agents", "road"):
        group, start = CANONICAL.group(name), CANONICAL.start(name)
        entities = found[:, start : start + group.size].view(count, len(group.features), group.count)
        entities[::2, :, group.count // 2 :] = 0.0
        entities[0] = 0.0
    return found


def sharpened(policy, scale=200.0):
    with torch.no_grad():
        policy.pi.weight.mul_(scale)
    return policy


def exported(policy, given):
    with torch.no_grad():
        return ExportedPolicy(policy)(*split_rows(given, policy.schema))


@pytest.mark.parametrize(
    ("space", "config"),
    [
        (GRID, SMALL),
        (PAIR, SMALL),
        (PAIR, PolicyConfig(hidden=(16,), gaussian="squashed")),
        (GRID, PolicyConfig(hidden=(16,), encoder="flat")),
    ],
)
def test_the_exported_form_acts_as_the_policy_does(space, config):
    policy = sharpened(ActorCritic(CANONICAL, space, config))
    action, *rest = exported(policy, rows())
    expected = policy.act(rows(), deterministic=True)
    if not space.is_discrete:
        assert expected.abs().max() > 0.9, "actions must reach the limits, where clipping and squashing differ"
        expected = expected.clamp(-1.0, 1.0)
    torch.testing.assert_close(action, expected, atol=2e-6, rtol=0)
    assert len(rest) == int(space.is_discrete)
    if rest:
        torch.testing.assert_close(rest[0].sum(-1), torch.ones(60))


def test_an_empty_set_pools_to_zero_whatever_its_bias():
    policy = ActorCritic(CANONICAL, GRID, SMALL)
    pool = policy.encoder.pools["agents"]
    with torch.no_grad():
        pool.bias.fill_(5.0)
    from drivetrain.models.export_form import encoded

    inputs = encoded(policy.encoder, rows()).detach()
    pooled = slice(len(policy.encoder.plain_columns), len(policy.encoder.plain_columns) + 32)
    assert inputs[0, pooled].abs().max() == 0.0
    assert inputs[1, pooled].max() > 5.0
    torch.testing.assert_close(inputs, policy.encoder(rows()).detach(), atol=2e-6, rtol=0)


def test_observations_are_standardised_within():
    policy = ActorCritic(SCHEMA, ActionSpace(num_categories=3), PolicyConfig(hidden=(8,), normalize_observation=True))
    moments = policy.encoder.moments
    moments.mean[:], moments.variance[:] = torch.tensor([3.0, -1.0]), torch.tensor([4.0, 0.25])
    given = torch.tensor([[3.0, -1.0], [5.0, 0.0], [300.0, -90.0]])
    action, probabilities = exported(sharpened(policy), given)
    assert action.dtype == torch.int64
    assert action.tolist() == policy.act(given, deterministic=True).tolist()
    expected = torch.softmax(policy.action_parameters(given)[0], -1).detach()
    torch.testing.assert_close(probabilities, expected, atol=1e-6, rtol=0)


def test_what_is_forbidden_has_no_probability():
    """Columns 2 to 4 of a row say which of three categories may not be taken; the policy's own favourite is 2."""
    mask = FeatureGroup(name=FORBIDDEN_ACTIONS, features=("0", "1", "2"), count=1, is_set=False, presence="")
    schema = ObservationSchema(name="masked", groups=(*SCHEMA.groups, mask))
    policy = ActorCritic(schema, ActionSpace(num_categories=3), PolicyConfig(hidden=(4,)))
    with torch.no_grad():
        policy.pi.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    given = torch.tensor([[0.1, 0.2, 0, 0, 0], [0.1, 0.2, 0, 0, 1], [0.1, 0.2, 1, 0, 1]])
    action, probabilities = exported(policy, given)
    assert action.tolist() == [2, 1, 1] == policy.act(given, deterministic=True).tolist()
    assert probabilities[1, 2] == probabilities[2, 0] == probabilities[2, 2] == 0.0
    assert probabilities[2, 1] == 1.0


def cimrl(*, bias=0.0, **proposals):
    policy = ProposalPolicy(SCHEMA, GRID, PolicyConfig(hidden=(16,)), ProposalConfig(**proposals), CriticConfig())
    generator = torch.Generator().manual_seed(3)
    torch.nn.init.normal_(policy.prior.pi.weight, std=3.0, generator=generator)
    torch.nn.init.normal_(policy.task.pi.weight, std=1.0, generator=generator)
    for twin in policy.q_risk.twins:
        torch.nn.init.normal_(twin[-1].weight, std=0.2, generator=generator)
        torch.nn.init.constant_(twin[-1].bias, bias)
    return policy


@pytest.mark.parametrize("count", [1, 16, 91])
@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("is_filtered", [True, False])
def test_a_composed_policy_keeps_its_filter(count, epsilon, is_filtered):
    policy = cimrl(count=count, epsilon=epsilon, filter=is_filtered)
    given = torch.rand(200, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1
    action, probabilities, risk = exported(policy, given)
    decided = ~undecided(policy, given)
    assert decided.float().mean() > 0.9
    expected = policy.distribution(given).log_probs.exp().detach()
    torch.testing.assert_close(action[decided], policy.act(given, deterministic=True)[decided], atol=1e-5, rtol=0)
    torch.testing.assert_close(probabilities[decided], expected[decided], atol=1e-5, rtol=0)
    torch.testing.assert_close(risk, policy.context(given)["risk"], atol=1e-6, rtol=0)


def test_rows_at_the_edge_of_the_filter_are_undecided():
    """With the same risk of all actions in all rows: 0.5 exactly for a logit of 0."""
    given = torch.rand(5, 2)
    for epsilon, expected in ((0.5, True), (0.5 + EDGE / 2, True), (0.4, True), (0.6, False)):
        policy = cimrl(count=91, epsilon=epsilon)
        for twin in policy.q_risk.twins:
            torch.nn.init.zeros_(twin[-1].weight)
        # 0.4: nothing is safe, and all are equally risky: whatever is the least is arbitrary.
        assert undecided(policy, given).tolist() == [expected] * 5, epsilon


def test_two_equally_likely_categories_are_undecided():
    policy = ActorCritic(SCHEMA, ActionSpace(num_categories=2), PolicyConfig(hidden=(4,)))
    torch.nn.init.zeros_(policy.pi.weight)
    assert undecided(policy, torch.rand(3, 2)).all()
    with torch.no_grad():
        policy.pi.bias[0] = 0.1
    assert not undecided(policy, torch.rand(3, 2)).any()
    assert isinstance(policy.distribution(torch.rand(3, 2)), Categorical)
