"""Twin critics: shapes, the slow follower, and what both kinds of action mean to them."""

from __future__ import annotations

import math

import pytest
import torch

from drivetrain.errors import ConfigError
from drivetrain.models.actor_critic import PolicyConfig
from drivetrain.models.q_network import CriticConfig, TwinQ, polyak, target_of
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import CANONICAL, FeatureGroup, ObservationSchema

VECTOR = ObservationSchema(
    name="vector", groups=(FeatureGroup(name="vector", features=("a", "b"), count=1, is_set=False, presence=""),)
)
CATEGORIES = ActionSpace(num_categories=5)
PLANE = ActionSpace(size=2, low=(-1.0, -1.0), high=(1.0, 1.0))


def _twin(space: ActionSpace = CATEGORIES, schema: ObservationSchema = VECTOR, **settings: object) -> TwinQ:
    return TwinQ(schema, space, PolicyConfig(), CriticConfig(hidden=(16,)), **settings)  # type: ignore[arg-type]


def test_every_category_has_two_opinions() -> None:
    twin, rows = _twin(), torch.randn(7, 2)
    q = twin(rows)
    assert q.shape == (2, 7, 5)
    assert not torch.equal(q[0], q[1])
    action = torch.arange(7) % 5
    assert torch.equal(twin(rows, action), torch.stack([q[k][range(7), action] for k in range(2)]))


def test_a_continuous_action_is_an_input_with_a_gradient() -> None:
    twin, action = _twin(PLANE), torch.zeros(7, 2, requires_grad=True)
    q = twin(torch.randn(7, 2), action)
    assert q.shape == (2, 7)
    (gradient,) = torch.autograd.grad(q.min(0).values.sum(), action)
    assert (gradient.abs().sum(1) > 0).all()


def test_values_of_driving_rows_do_not_depend_on_how_they_are_computed() -> None:
    twin = _twin(schema=CANONICAL)
    rows = torch.randn(6, CANONICAL.size)
    together, alone = twin(rows), torch.cat([twin(row[None]) for row in rows], dim=1)
    assert torch.allclose(together, alone, atol=1e-5)


def test_probabilities_lie_between_zero_and_one_and_values_do_not() -> None:
    rows = 100 * torch.randn(50, 2)
    p = _twin(sigmoid=True)(rows)
    assert bool(((p > 0) & (p < 1)).all())
    assert torch.equal(p, torch.sigmoid(_twin()(rows)))
    assert _twin()(rows).min() < 0


def test_a_target_follows_by_the_closed_form() -> None:
    twin = _twin()
    target = target_of(twin)
    with torch.no_grad():
        twin.flat_parameters().theta.fill_(1.0)
        target.flat_parameters().theta.zero_()
    for step in range(1, 1001):
        polyak(target, twin, 0.005)
        if step in (100, 1000):
            # 1 - 0.995^100 = 0.394230, 1 - 0.995^1000 = 0.993346
            values = torch.cat([parameter.flatten() for parameter in target.parameters()])
            assert torch.allclose(values, torch.full_like(values, 1 - 0.995**step), atol=2e-5)
            assert values[0].item() == pytest.approx({100: 0.394230, 1000: 0.993346}[step], abs=2e-5)
    assert bool((twin.flat_parameters().theta == 1).all())


def test_a_target_is_a_copy() -> None:
    twin, rows = _twin(), torch.randn(3, 2)
    twin.flat_parameters()
    target = target_of(twin)
    before = twin(rows)
    assert torch.equal(target(rows), before)
    with torch.no_grad():
        twin.flat_parameters().theta.add_(1.0)
    assert torch.equal(target(rows), before)
    assert not any(parameter.requires_grad for parameter in target.parameters())


def test_the_gradient_of_a_squared_error_by_hand() -> None:
    twin = _twin()
    rows, action = torch.randn(4, 2), torch.tensor([0, 1, 2, 3])
    loss = (twin(rows, action) - 1.0).square().mean(1).sum()
    gradient = twin.flat_parameters().gradient(loss)
    last = twin.twins[0][-1].bias
    at = twin.flat_parameters().offset(last)
    # d/db of the mean over four rows of (q - 1)^2: each category was taken once, the fifth never.
    want = [2.0 / 4.0 * (float(q) - 1.0) for q in twin(rows, action)[0].tolist()] + [0.0]
    assert gradient[at : at + 5].tolist() == pytest.approx(want, abs=1e-6)
    assert math.isfinite(float(gradient.norm()))


def test_impossible_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"algorithm.critic.hidden: \[\] is no list of widths; use \[128, 128\]"):
        CriticConfig(hidden=())
    with pytest.raises(ConfigError, match=r"algorithm.critic.precision: 'half' is unknown; use float32 or bfloat16"):
        CriticConfig(precision="half")  # type: ignore[arg-type]
