"""The discriminator: closed forms, its gradient penalty by hand, and what it may and may not see."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from drivetrain.algorithms.discriminator import (
    LEAKING,
    Discriminator,
    DiscriminatorConfig,
    InputRows,
    accuracy,
    discriminator_loss,
    gradient_penalty,
)
from drivetrain.errors import ConfigError
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.kernels.vehicle import NUM_ACTIONS, category_values
from drivetrain.sim.observation import CANONICAL, FeatureGroup, ObservationSchema

VECTOR = ObservationSchema(
    name="gymnasium:Toy",
    groups=(FeatureGroup(name="vector", features=("value_0", "value_1"), count=1, is_set=False, presence=""),),
)
GRID = ActionSpace(num_categories=NUM_ACTIONS, category_values=category_values())


def config(**settings):
    return DiscriminatorConfig(**settings)


# Losses


def test_who_says_nothing_loses_ln_2_on_either_side():
    nothing = torch.zeros(7)
    nobody = torch.full((3,), -math.inf)  # softplus(-inf) = 0: that side is told right
    assert discriminator_loss(nothing, nobody).item() == pytest.approx(0.693147, abs=1e-6)
    assert discriminator_loss(-nobody, nothing).item() == pytest.approx(0.693147, abs=1e-6)
    assert discriminator_loss(nothing, nothing).item() == pytest.approx(1.386294, abs=1e-6)
    assert accuracy(nothing, is_expert=True).item() == 0.5
    assert accuracy(nothing, is_expert=False).item() == 0.5


def test_two_gaussians_by_the_optimal_logit():
    """N(1, 1) against N(0, 1): the log ratio of the densities is x - 1/2, right with probability Phi(1/2) = .6915."""
    # Evenly spaced quantiles in place of samples: no noise.
    quantile = torch.special.ndtri((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)
    expert_logit, policy_logit = quantile + 1.0 - 0.5, quantile - 0.5
    assert accuracy(expert_logit, is_expert=True).item() == pytest.approx(0.6915, abs=1e-4)
    assert accuracy(policy_logit, is_expert=False).item() == pytest.approx(0.6915, abs=1e-4)
    assert discriminator_loss(expert_logit, policy_logit).item() == pytest.approx(1.1635, abs=2e-4)


def test_the_loss_leads_to_the_optimal_logit_of_two_gaussians():
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.zeros((), requires_grad=True), torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=50)
    expert, policy = 1.0 + torch.randn(200_000, generator=generator), torch.randn(200_000, generator=generator)

    def closure():
        optimizer.zero_grad()
        loss = discriminator_loss(weight * expert + bias, weight * policy + bias)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert (weight.item(), bias.item()) == (pytest.approx(1.0, abs=0.02), pytest.approx(-0.5, abs=0.02))


# Gradient penalty


@pytest.mark.parametrize(
    ("weight", "sided", "expected"),
    [
        ((3.0, 4.0), "two", 16.0),  # the gradient of w x is w everywhere: (5 - 1)^2
        ((3.0, 4.0), "one", 16.0),
        ((0.3, 0.4), "two", 0.25),  # (0.5 - 1)^2
        ((0.3, 0.4), "one", 0.0),
    ],
)
def test_gradient_penalty_of_a_linear_logit(weight, sided, expected):
    layer = nn.Linear(2, 1)
    layer.weight.data = torch.tensor([weight])
    expert, policy, mix = torch.randn(5, 2), torch.randn(5, 2), torch.rand(5)
    penalty = gradient_penalty(lambda x: layer(x).squeeze(-1), expert, policy, mix, sides=sided)
    assert penalty.item() == pytest.approx(expected, abs=1e-5)
    # Its own gradient by hand: d/dw (|w| - 1)^2 = 2 (|w| - 1) w/|w|.
    norm = math.hypot(*weight)
    slope = 0.0 if sided == "one" and norm < 1 else 2 * (norm - 1)
    (gradient,) = torch.autograd.grad(penalty, layer.weight)
    assert gradient[0].tolist() == pytest.approx([slope * w / norm for w in weight], abs=1e-5)


def test_gradient_penalty_looks_between_the_drivers():
    """f(x) = x^2/2 has gradient x: at the middle of 0 and 4 the penalty is (2 - 1)^2, at the expert (4 - 1)^2."""
    expert, policy = torch.tensor([[4.0]]), torch.tensor([[0.0]])

    def penalty(mix):
        parabola = lambda x: 0.5 * x.square().sum(1)  # noqa: E731
        return gradient_penalty(parabola, expert, policy, torch.tensor([mix]), sides="two").item()

    assert penalty(0.5) == pytest.approx(1.0)
    assert penalty(1.0) == pytest.approx(9.0)
    assert penalty(0.0) == pytest.approx(1.0, abs=1e-5)  # a slope of 0, up to the rounding of its root


def test_spectral_norm_bounds_the_slope():
    network = Discriminator(4, config(regularizer="spectral_norm", hidden=(16, 16)))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    rows = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(100):
        loss = discriminator_loss(network(rows + 3.0), network(rows - 3.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    points = (4 * rows).requires_grad_()
    (gradient,) = torch.autograd.grad(network(points).sum(), points)
    assert gradient.norm(dim=1).max() < 1.1  # three layers of norm 1 and tanh: at most 1, up to the power iteration
    assert network(rows + 3.0).mean() - network(rows - 3.0).mean() > 1.0


# What it sees


def seen_names(rows):
    names = {}
    for group in CANONICAL.groups:
        for f, feature in enumerate(group.features):
            for entity in range(group.count):
                names[CANONICAL.start(group.name) + f * group.count + entity] = (f"{group.name}.{feature}", entity)
    return [names[column] for column in rows.columns.tolist()]


def test_nothing_that_leaks_is_seen():
    seen = seen_names(InputRows(CANONICAL, GRID, config()))
    features = {name for name, _ in seen}
    assert features.isdisjoint(LEAKING)
    assert "ego.speed" in features
    assert "stop.red" in features
    assert not any(name.startswith("road.") for name in features)
    assert {entity for name, entity in seen if name.startswith("agents.")} == {0, 1, 2, 3}


def test_rows_hold_columns_the_point_of_the_category_and_the_flag():
    inputs = InputRows(CANONICAL, GRID, config(nearest_agents=0))
    observation = torch.arange(2 * CANONICAL.size, dtype=torch.float32).view(2, -1)
    rows = inputs.rows(observation, torch.tensor([0, 90]))
    assert rows.shape == (2, inputs.size)
    assert torch.equal(rows[:, :-3], observation[:, inputs.columns])
    assert rows[:, -3:].tolist() == [[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]]
    absorbing = inputs.absorbing(2)
    assert absorbing[:, :-1].abs().max() == 0
    assert (absorbing[:, -1] != 0).all()


def test_stored_types_mean_the_same():
    inputs = InputRows(VECTOR, ActionSpace(num_categories=2), config())
    exact = torch.tensor([[0.5, -1.0]])
    stored = torch.from_numpy(np.array([[0.5, -1.0]], np.float32)).to(torch.bfloat16)
    action = torch.tensor([1])
    assert torch.equal(inputs.rows(exact, action), inputs.rows(stored, action))
    assert inputs.rows(exact, action).tolist() == [[0.5, -1.0, 0.0, 1.0, 0.0]]


def test_continuous_actions_count_as_executed_and_states_alone_have_none():
    space = ActionSpace(size=1, low=(-1.0,), high=(1.0,))
    observation = torch.zeros(1, 2)
    with_action = InputRows(VECTOR, space, config())
    assert with_action.rows(observation, torch.tensor([[7.0]])).tolist() == [[0.0, 0.0, 1.0, 0.0]]
    alone = InputRows(VECTOR, space, config(inputs="state"))
    assert alone.rows(observation, torch.tensor([[7.0]])).tolist() == [[0.0, 0.0, 0.0]]


def test_an_absorbing_row_stays_as_it_is_under_standardisation():
    network = Discriminator(3, config(normalize_input=True))
    assert network.moments is not None
    network.moments.update((10.0, torch.tensor([5.0, -2.0]).double(), torch.tensor([4.0, 1.0]).double()))
    rows = torch.tensor([[9.0, -2.0, 0.0], [0.0, 0.0, 4.0]])
    assert network.normalized(rows).tolist() == [[pytest.approx(2.0), 0.0, 0.0], [0.0, 0.0, 4.0]]


# Wrong use


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"updates": 0}, "algorithm.discriminator.updates: 0 is impossible; use 1 or more"),
        ({"pause_above": 0.4}, "algorithm.discriminator.pause_above: 0.4 is impossible; use 0.5 to 1"),
        ({"learning_rate": 0.0}, "algorithm.discriminator.learning_rate: 0.0 is impossible; use a number above 0"),
        ({"hidden": (0,)}, "algorithm.discriminator.hidden: [0] is impossible; use for example [32, 32]"),
    ],
)
def test_impossible_settings(settings, expected):
    with pytest.raises(ConfigError) as error:
        config(**settings)
    assert str(error.value) == expected


def test_unknown_feature():
    with pytest.raises(ConfigError) as error:
        InputRows(CANONICAL, GRID, config(without=("ego.sped",)))
    assert str(error.value) == (
        "algorithm.discriminator.without: 'ego.sped' is no feature of observation schema driving-1; "
        "did you mean 'ego.speed'?"
    )
    with pytest.raises(ConfigError, match="nothing of the observation is left"):
        InputRows(VECTOR, ActionSpace(num_categories=2), config(without=("vector.value_0", "vector.value_1")))
