"""The compiled loss against the differentiable one that defines it."""

import numba
import pytest
import torch

from drivetrain.algorithms.ppo_loss import STATISTICS, LossSettings, differentiable_loss, ppo_loss
from drivetrain.models.action_distribution import Categorical, DiagonalGaussian


def minibatch(rows, categories, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, categories, generator=generator)
    action = torch.randint(categories, (rows,), generator=generator)
    log_prob = torch.log_softmax(logits + 0.3 * torch.randn(rows, categories, generator=generator), 1)
    value, old, target, advantage = torch.randn(4, rows, generator=generator)
    batch = {
        "action": action,
        "log_prob": log_prob.gather(1, action[:, None])[:, 0],
        "value": old,
        "target": target,
        "advantage": advantage,
    }
    return logits, value, batch


def results(function, logits, value, batch, settings):
    logits, value = logits.clone().requires_grad_(), value.clone().requires_grad_()
    loss, statistics = function(Categorical.from_logits(logits), value, batch, settings)
    (3.0 * loss).backward()
    return loss.detach(), statistics, logits.grad, value.grad


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="compilation is off: there is one path only")
@pytest.mark.parametrize("value_clip_range", [None, 0.3])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("rows", "categories"), [(300, 91), (1, 2), (17, 5)])
def test_compiled_pass_equals_the_definition(rows, categories, normalize, value_clip_range):
    settings = LossSettings(
        clip_range=0.2,
        value_coefficient=0.5,
        value_clip_range=value_clip_range,
        entropy_coefficient=0.01,
        normalize_advantage=normalize,
    )
    case = (*minibatch(rows, categories), settings)
    for compiled, defined in zip(results(ppo_loss, *case), results(differentiable_loss, *case), strict=True):
        torch.testing.assert_close(compiled, defined, rtol=2e-4, atol=1e-6)
    clip_fraction = results(ppo_loss, *case)[1][STATISTICS.index("clip_fraction")]
    assert rows == 1 or 0.1 < clip_fraction < 0.9  # the case has clipped and unclipped rows


def test_other_distributions_are_trained_by_the_definition():
    settings = LossSettings(
        clip_range=0.2, value_coefficient=0.5, value_clip_range=None, entropy_coefficient=0.0, normalize_advantage=False
    )
    mean = torch.zeros(2, 1, requires_grad=True)
    distribution = DiagonalGaussian(mean, torch.zeros(1))
    action = torch.tensor([[1.0], [-1.0]])
    batch = {
        "action": action,
        "log_prob": distribution.log_prob(action).detach(),
        "value": torch.zeros(2),
        "target": torch.zeros(2),
        "advantage": torch.tensor([1.0, 1.0]),
    }
    loss, _ = ppo_loss(distribution, torch.zeros(2), batch, settings)
    loss.backward()
    # d(-mean ratio)/d mean = -(action - mean) / 2 at ratio 1
    assert mean.grad.flatten().tolist() == pytest.approx([-0.5, 0.5])
