"""Parameters as one vector: the same memory, the same gradient, and told when no longer so."""

import copy

import torch
from torch import nn

from drivetrain.models.flat_parameters import FlatParameters


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_vector_and_parameters_are_the_same_memory():
    net = module()
    before = [p.detach().clone() for p in net.parameters()]
    flat = FlatParameters(net)
    assert flat.theta.shape == (26,)
    for old, new in zip(before, net.parameters(), strict=True):
        assert torch.equal(old, new)
    with torch.no_grad():
        flat.theta.add_(1.0)
    assert torch.equal(net[0].weight, before[0] + 1.0)
    net.load_state_dict({name: torch.zeros_like(p) for name, p in net.state_dict().items()})
    assert flat.theta.abs().max() == 0
    assert flat.offset(net[2].weight) == 16


def test_gradient_by_parameters_by_the_vector_and_by_both():
    net = module()
    flat = FlatParameters(net)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    by_parameters = flat.gradient(net(x).sum())
    by_backward = torch.autograd.grad(net(x).sum(), list(net.parameters()))
    assert torch.equal(by_parameters, torch.cat([g.flatten() for g in by_backward]))
    weights = torch.arange(26.0)
    assert torch.equal(flat.gradient((flat.theta * weights).sum()), weights)
    both = flat.gradient(net(x).sum() + (flat.theta * weights).sum())
    torch.testing.assert_close(both, by_parameters + weights)


def test_parameter_without_influence_has_gradient_zero():
    net = module()
    flat = FlatParameters(net)
    gradient = flat.gradient(net[0].weight.sum())
    assert gradient[:12].tolist() == [1.0] * 12
    assert gradient[12:].abs().max() == 0


def test_moved_and_copied_modules_are_noticed():
    net = module()
    flat = FlatParameters(net)
    assert flat.is_current
    assert FlatParameters(copy.deepcopy(net)).is_current
    net.double()
    assert not flat.is_current
