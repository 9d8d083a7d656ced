"""The fused set encoder against dense autograd, and its rules for absent entities."""

import numpy as np
import pytest
import torch

from drivetrain.models.set_encoder import SetEncoder, portable_max_pool
from drivetrain.sim.observation import CANONICAL, FeatureGroup

WIDE = FeatureGroup(name="agents", features=tuple(f"f{i}" for i in range(17)), count=7, is_set=True, presence="f16")
GROUP = FeatureGroup(name="agents", features=("x", "y", "size"), count=5, is_set=True, presence="size")


def rows_with_absences(group, start, num_rows, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((num_rows, start + group.size + 3)).astype(np.float32)
    entities = rows[:, start : start + group.size].reshape(num_rows, len(group.features), group.count)
    absent = rng.random((num_rows, group.count)) < 0.4
    absent[0] = True  # one empty set
    absent[1] = False  # one full set
    entities *= ~absent[:, None, :]
    rows[:, start : start + group.size] = entities.reshape(num_rows, -1)
    return torch.from_numpy(rows)


def dense(encoder, rows):
    """The oracle: all activations, then the maximum over present entities."""
    group = encoder.group
    entities = rows[:, encoder.start : encoder.start + group.size].unflatten(1, (len(group.features), group.count))
    present = entities[:, group.features.index(group.presence)] != 0
    z = torch.einsum("bfp,fh->bph", entities, encoder.weight).masked_fill(~present[:, :, None], -torch.inf)
    y = torch.relu(z.amax(1) + encoder.bias)
    return torch.where(present.any(1, keepdim=True), y, torch.zeros_like(y))


def gradients(encoder, y, seed=1):
    encoder.zero_grad()
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)))
    return encoder.weight.grad.clone(), encoder.bias.grad.clone()


@pytest.mark.parametrize(
    ("group", "num_outputs"), [(GROUP, 32), (CANONICAL.group("agents"), 64), (CANONICAL.group("road"), 32), (WIDE, 32)]
)
def test_value_and_gradient_equal_dense_autograd(group, num_outputs):
    torch.manual_seed(0)
    encoder = SetEncoder(group, start=4, num_outputs=num_outputs)
    torch.nn.init.normal_(encoder.bias, std=0.3)
    rows = rows_with_absences(group, 4, 700)
    y, reference = encoder(rows), dense(encoder, rows)
    torch.testing.assert_close(y, reference, rtol=1e-5, atol=1e-6)
    d_weight, d_bias = gradients(encoder, y)
    dense_weight, dense_bias = gradients(encoder, reference)
    torch.testing.assert_close(d_weight, dense_weight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(d_bias, dense_bias, rtol=1e-4, atol=1e-4)
    assert d_weight.abs().min() > 0


def test_portable_path_equals_compiled_path():
    encoder = SetEncoder(GROUP, start=0, num_outputs=32)
    rows = rows_with_absences(GROUP, 0, 300)
    entities = rows[:, :15].unflatten(1, (3, 5))
    portable = portable_max_pool(entities, entities[:, 2] != 0, encoder.weight, encoder.bias)
    torch.testing.assert_close(portable, encoder(rows), rtol=1e-5, atol=1e-6)
    for a, b in zip(gradients(encoder, portable), gradients(encoder, encoder(rows)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_hand_computed_maximum_winner_and_gradient():
    # Two features (value, presence), three entities; the third is the largest but absent.
    group = FeatureGroup(name="agents", features=("x", "here"), count=3, is_set=True, presence="here")
    encoder = SetEncoder(group, start=0, num_outputs=32)
    with torch.no_grad():
        encoder.weight.zero_()
        encoder.weight[0, 0], encoder.weight[0, 1] = 2.0, -1.0
        encoder.bias.fill_(0.5)
    rows = torch.tensor([[1.0, 3.0, 9.0, 1.0, 1.0, 0.0]])
    y = encoder(rows)
    # output 0: max(2, 6) + .5; output 1: max(-1, -3) + .5 < 0 -> 0; others: 0 + .5
    assert y[0, :3].tolist() == [6.5, 0.0, 0.5]
    y[0, :2].sum().backward()
    assert encoder.weight.grad[:, 0].tolist() == [3.0, 1.0]  # the winner's features
    assert encoder.weight.grad[:, 1].tolist() == [0.0, 0.0]  # dead
    assert encoder.bias.grad[:3].tolist() == [1.0, 0.0, 0.0]


def test_empty_set_encodes_to_zero_without_gradient():
    encoder = SetEncoder(GROUP, start=0, num_outputs=32)
    torch.nn.init.ones_(encoder.bias)
    y = encoder(torch.zeros(3, 15))
    assert y.abs().max() == 0
    y.sum().backward()
    assert encoder.weight.grad.abs().max() == 0
    assert encoder.bias.grad.abs().max() == 0


def test_order_of_entities_does_not_matter():
    encoder = SetEncoder(GROUP, start=0, num_outputs=32)
    rows = rows_with_absences(GROUP, 0, 50)[:, :15]
    permuted = rows.unflatten(1, (3, 5))[:, :, [3, 1, 4, 0, 2]].flatten(1)
    assert torch.equal(encoder(rows), encoder(permuted))


def test_rows_may_be_a_strided_view():
    encoder = SetEncoder(GROUP, start=2, num_outputs=32)
    rows = rows_with_absences(GROUP, 2, 40)
    wide = torch.cat([rows, rows], dim=1)
    assert torch.equal(encoder(wide[:, : rows.shape[1]]), encoder(rows))
