"""Proposals, the safe set, recovery: what each of them leaves of the prior, by hand and to the limits."""

import pytest
import torch

from drivetrain.errors import ConfigError
from drivetrain.models.action_distribution import Categorical
from drivetrain.models.actor_critic import ActorCritic, PolicyConfig
from drivetrain.models.proposal_policy import (
    OUTSIDE,
    ProposalConfig,
    ProposalPolicy,
    emergency_category,
)
from drivetrain.models.q_network import CriticConfig
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.kernels.vehicle import NUM_ACTIONS, category_values
from drivetrain.sim.observation import FeatureGroup, ObservationSchema

GRID = ActionSpace(num_categories=NUM_ACTIONS, category_values=category_values())
SCHEMA = ObservationSchema(
    name="plain",
    groups=(FeatureGroup(name="vector", features=("a", "b"), count=1, is_set=False, presence=""),),
)
STRAIGHT_BRAKING = 6  # acceleration level 0 of 7, steering level 6 of 0..12


def policy_of(space=GRID, *, sharp=3.0, **proposals):
    """A policy whose prior prefers some actions clearly."""
    policy = ProposalPolicy(SCHEMA, space, PolicyConfig(hidden=(16,)), ProposalConfig(**proposals), CriticConfig())
    generator = torch.Generator().manual_seed(3)
    torch.nn.init.normal_(policy.prior.pi.weight, std=sharp, generator=generator)
    for twin in policy.q_risk.twins:
        torch.nn.init.normal_(twin[-1].weight, std=1.0, generator=generator)
    return policy


def rows(count=40):
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


def with_context(policy, **context):
    """The policy with what is allowed given by hand, for one row."""
    found = policy.context(rows(1))
    return policy.evaluate(rows(1), {**found, **context})[0]


@pytest.mark.parametrize("count", [1, 16, 90])
def test_zero_residual_is_the_prior_among_its_proposals(count):
    policy = policy_of(count=count, filter=False)
    prior = policy.prior.distribution(rows()).log_probs
    boosted = prior.clone()
    boosted[:, STRAIGHT_BRAKING] = 0.0
    kept = torch.zeros_like(prior).scatter_(1, boosted.argsort(1, descending=True)[:, :count], 1.0)
    truncated = prior.exp() * kept
    expected = truncated / truncated.sum(1, keepdim=True)
    torch.testing.assert_close(policy.distribution(rows()).log_probs.exp(), expected, atol=1e-6, rtol=0)


def test_all_proposals_are_the_whole_prior():
    policy = policy_of(count=NUM_ACTIONS, filter=False)
    expected = policy.prior.distribution(rows()).log_probs.exp()
    torch.testing.assert_close(policy.distribution(rows()).log_probs.exp(), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(
        policy.act(rows(), deterministic=True), policy.prior.act(rows(), deterministic=True), atol=1e-6, rtol=0
    )


def test_straight_full_braking_is_always_proposed():
    assert emergency_category(GRID) == STRAIGHT_BRAKING
    assert category_values()[STRAIGHT_BRAKING] == (-1.0, 0.0)
    policy = policy_of(count=3)
    torch.nn.init.constant_(policy.prior.pi.bias[STRAIGHT_BRAKING : STRAIGHT_BRAKING + 1], -50.0)
    proposal = policy.context(rows())["proposal"]
    assert proposal[:, STRAIGHT_BRAKING].all()
    assert (proposal.sum(1) == 3).all()
    assert emergency_category(ActionSpace(num_categories=4)) is None


def test_prior_temperature_divides_the_priors_logits():
    policy = policy_of(count=NUM_ACTIONS, filter=False, prior_temperature=2.0)
    expected = Categorical.from_logits(policy.prior.distribution(rows()).log_probs, temperature=2.0)
    torch.testing.assert_close(policy.distribution(rows()).log_probs, expected.log_probs)


def test_masked_probabilities_by_hand():
    """[.5, .3, .2] without the first is [0, .6, .4]: entropy .673012, no gradient to what is masked."""
    policy = policy_of(ActionSpace(num_categories=3), count=3)
    prior = torch.tensor([[0.5, 0.3, 0.2]]).log()
    allowed = torch.tensor([[False, True, True]])
    composed = with_context(policy, prior=prior, allowed=allowed)
    torch.testing.assert_close(composed.log_probs.exp(), torch.tensor([[0.0, 0.6, 0.4]]))
    assert composed.entropy().item() == pytest.approx(0.673012, abs=1e-6)
    (composed.log_prob(torch.tensor([1])) + composed.entropy()).sum().backward()
    gradient = policy.task.pi.bias.grad
    assert gradient[0] == 0.0
    assert gradient[1] != 0.0
    assert composed.task.log_probs.exp().tolist()[0] == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)


def test_epsilon_one_allows_every_proposal():
    policy, free = policy_of(epsilon=1.0), policy_of(filter=False)
    assert torch.equal(policy.distribution(rows()).log_probs, free.distribution(rows()).log_probs)
    composed = policy.evaluate(rows())[0]
    torch.testing.assert_close(composed.log_probs, composed.task.log_probs)
    assert composed.context["removed"].abs().max() < 1e-6


def test_epsilon_zero_is_the_proposal_of_least_risk():
    policy = policy_of(epsilon=0.0)
    composed = policy.evaluate(rows())[0]
    risk = policy.q_risk(rows()).max(0).values
    least = torch.where(composed.context["proposal"], risk, 2.0).argmin(1)
    assert torch.equal(composed.mode(), least)
    assert (composed.log_probs.exp().max(1).values == 1.0).all()
    torch.testing.assert_close(composed.context["expected_risk"], risk.gather(1, least[:, None])[:, 0])
    torch.testing.assert_close(policy.act(rows(), deterministic=True), policy.category_values[least])
    composed.log_prob(least).sum().backward()
    assert policy.task.pi.weight.grad.abs().max() == 0.0  # recovery is nothing that the task policy decides


def test_the_safe_set_is_what_both_critics_let_pass():
    policy = policy_of(epsilon=0.3)
    composed = policy.evaluate(rows())[0]
    both = (policy.q_risk(rows()) <= 0.3).all(0) & composed.context["proposal"]
    some = both.any(1)
    assert 0 < int(both[some].sum()) < int(composed.context["proposal"][some].sum())
    assert torch.equal(composed.context["allowed"][some], both[some])
    assert (composed.log_probs.exp()[some][~both[some]] == 0).all()
    kept = (composed.task.log_probs.exp() * both)[some].sum(1)
    torch.testing.assert_close(composed.context["removed"][some], 1.0 - kept, atol=1e-5, rtol=1e-4)


def test_a_choice_is_asked_about_under_the_mask_that_was_in_force():
    policy = policy_of(epsilon=0.3)
    composed = policy.evaluate(rows())[0]
    with torch.no_grad():
        for twin in policy.q_risk.twins:
            twin[-1].bias += 5.0
    again, _ = policy.evaluate(rows(), composed.context)
    assert torch.equal(again.log_probs, composed.log_probs)
    assert not torch.equal(policy.evaluate(rows())[0].log_probs, composed.log_probs)


def test_exploring_mixes_all_actions_in_and_lifts_the_filter():
    policy = policy_of(epsilon=0.0)
    policy.exploring = 0.2
    probability = policy.distribution(rows()).log_probs.exp()
    prior = policy.prior_among(policy.context(rows())).log_probs.exp()
    torch.testing.assert_close(probability, 0.8 * prior + 0.2 / NUM_ACTIONS)


def test_only_the_task_policy_is_what_a_policy_gradient_moves():
    policy = policy_of()
    flat = policy.flat_parameters()
    assert len(flat.theta) == sum(p.numel() for p in policy.task.parameters())
    assert not any(p.requires_grad for p in policy.prior.parameters())
    policy.begin_from_prior()
    assert torch.equal(policy.task.trunk[0].weight, policy.prior.trunk[0].weight)
    assert policy.flat_parameters() is flat


def three_points(*, epsilon, risky_middle):
    """Left, middle, right of a line: a prior that goes left or right, never through the middle."""
    space = ActionSpace(num_categories=3, category_values=((-1.0, 0.5), (0.0, 0.0), (1.0, -0.5)))
    policy = policy_of(space, count=3, epsilon=epsilon, sharp=0.0)
    with torch.no_grad():
        policy.prior.pi.bias.copy_(torch.tensor([0.6, 1e-6, 0.4]).log())
        for twin in policy.q_risk.twins:
            twin[-1].weight.zero_()
            twin[-1].bias.copy_(torch.tensor([-9.0, 9.0 if risky_middle else -9.0, -9.0]))
    return policy


def test_the_deterministic_action_is_the_mean_only_where_that_is_safe():
    mean = three_points(epsilon=0.25, risky_middle=False).act(rows(2), deterministic=True)
    torch.testing.assert_close(mean, torch.tensor([[-0.2, 0.1]]).expand(2, 2), atol=1e-4, rtol=0)
    avoided = three_points(epsilon=0.25, risky_middle=True).act(rows(2), deterministic=True)
    torch.testing.assert_close(avoided, torch.tensor([[-1.0, 0.5]]).expand(2, 2))


def test_without_a_grid_the_deterministic_action_is_the_most_likely():
    policy = policy_of(ActionSpace(num_categories=5), count=5)
    action = policy.act(rows(), deterministic=True)
    assert action.dtype == torch.int64
    assert torch.equal(action, policy.distribution(rows()).mode())


def test_what_is_not_allowed_is_never_drawn():
    """Probabilities that sum to more or less than 1 by rounding, and the largest uniform number there is."""
    logits = torch.full((20_000, 91), OUTSIDE)
    logits[:, :7] = torch.linspace(0, 3, 7)
    drawn = Categorical.from_logits(logits).sample(torch.Generator().manual_seed(0))
    assert int(drawn.max()) == 6

    with pytest.MonkeyPatch.context() as context:
        context.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 1.0 - 2.0**-24))
        assert (Categorical.from_logits(logits[:50]).sample() == 6).all()
        context.setattr(torch, "rand", lambda *shape, **_: torch.zeros(shape))
        assert (Categorical.from_logits(logits[:50].flip(1)).sample() == 84).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "algorithm.proposals.count: 0 is too few; use 1 or more, for example 16"),
        ({"count": 92}, "algorithm.proposals.count: 92 is more than the 91 actions; use 1 to 91"),
        ({"epsilon": 1.5}, "algorithm.proposals.epsilon: 1.5 is no risk; use a number from 0 to 1"),
        ({"epsilon": -0.1}, "algorithm.proposals.epsilon: -0.1 is no risk; use a number from 0 to 1"),
        ({"prior_temperature": 0}, "algorithm.proposals.prior_temperature: 0 is impossible; use a number above 0"),
    ],
)
def test_settings_out_of_range_are_one_line(settings, message):
    with pytest.raises(ConfigError) as caught:
        policy_of(**settings)
    assert str(caught.value) == message


def test_continuous_actions_are_refused():
    space = ActionSpace(size=2, low=(-1.0, -1.0), high=(1.0, 1.0))
    with pytest.raises(ConfigError, match="cimrl chooses among categories; use environment"):
        policy_of(space)


def test_the_prior_is_a_policy_like_any_other():
    policy = policy_of()
    plain = ActorCritic(SCHEMA, GRID, PolicyConfig(hidden=(16,)))
    plain.load_state_dict(policy.prior.state_dict())
    assert torch.equal(plain.distribution(rows()).log_probs, policy.prior.distribution(rows()).log_probs)
