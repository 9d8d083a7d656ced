"""Distributions against closed forms."""

import math

import pytest
import torch

from drivetrain.models.action_distribution import (
    Categorical,
    DiagonalGaussian,
    SquashedGaussian,
    kl_divergence,
    log_slope,
)


def gaussian(mean, std):
    return DiagonalGaussian(torch.tensor([[mean]]), torch.tensor([math.log(std)]))


def test_entropy_of_uniform_91_and_standard_normal():
    assert Categorical.from_logits(torch.zeros(1, 91)).entropy().item() == pytest.approx(4.510860, abs=1e-5)
    two_dimensions = DiagonalGaussian(torch.zeros(3, 2), torch.zeros(2))
    assert two_dimensions.entropy().tolist() == pytest.approx([2 * 1.418939] * 3, abs=1e-5)


def test_kl_against_closed_forms():
    p, q = gaussian(0.0, 1.0), gaussian(0.5, 2.0)
    assert kl_divergence(p, q).item() == pytest.approx(0.349397, abs=1e-5)
    assert kl_divergence(q, p).item() == pytest.approx(0.931853, abs=1e-5)
    skewed = Categorical.from_logits(torch.tensor([[0.5, 0.3, 0.2]]).log())
    uniform = Categorical.from_logits(torch.zeros(1, 3))
    assert kl_divergence(skewed, uniform).item() == pytest.approx(0.068959, abs=1e-5)
    with pytest.raises(TypeError, match="KL between DiagonalGaussian and Categorical is not defined"):
        kl_divergence(p, uniform)


def test_log_prob_by_hand():
    # N(1; mean 0, std 2): -0.5 * 0.25 - ln 2 - 0.5 ln 2 pi
    expected = -0.125 - math.log(2) - 0.5 * math.log(2 * math.pi)
    assert gaussian(0.0, 2.0).log_prob(torch.tensor([[1.0]])).item() == pytest.approx(expected, abs=1e-6)
    categorical = Categorical.from_logits(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]).log())
    assert categorical.log_prob(torch.tensor([1, 2])).exp().tolist() == pytest.approx([0.3, 0.8])


def test_categorical_samples_follow_the_probabilities_and_the_seed():
    probabilities = torch.tensor([0.1, 0.0, 0.6, 0.3])
    distribution = Categorical.from_logits(probabilities.log().expand(40_000, 4))
    sample = distribution.sample(torch.Generator().manual_seed(3))
    frequencies = torch.bincount(sample, minlength=4) / len(sample)
    assert frequencies[1] == 0
    torch.testing.assert_close(frequencies, probabilities, atol=0.01, rtol=0)
    assert torch.equal(sample, distribution.sample(torch.Generator().manual_seed(3)))
    assert not torch.equal(sample, distribution.sample(torch.Generator().manual_seed(4)))


def test_a_row_draws_the_same_whatever_the_probabilities_of_other_rows():
    logits = torch.randn(6, 91, generator=torch.Generator().manual_seed(0))
    other = logits.clone()
    other[3:] += torch.randn(3, 91, generator=torch.Generator().manual_seed(1))
    first = Categorical.from_logits(logits).sample(torch.Generator().manual_seed(9))
    second = Categorical.from_logits(other).sample(torch.Generator().manual_seed(9))
    assert torch.equal(first[:3], second[:3])


def test_gaussian_samples_have_mean_and_spread():
    distribution = DiagonalGaussian(torch.full((50_000, 1), 0.4), torch.tensor([math.log(0.2)]))
    sample = distribution.sample(torch.Generator().manual_seed(0))
    assert sample.mean().item() == pytest.approx(0.4, abs=0.005)
    assert sample.std().item() == pytest.approx(0.2, abs=0.005)


def test_temperature_sharpens_and_mode_stays():
    logits = torch.tensor([[1.0, 2.0, 0.0]])
    sharp = Categorical.from_logits(logits, temperature=0.5)
    torch.testing.assert_close(sharp.log_probs.exp(), torch.softmax(2 * logits, -1))
    assert sharp.mode().tolist() == [1]


def squashed(mean, std):
    return SquashedGaussian(gaussian(mean, std))


def test_the_slope_of_the_tangent_is_exact_where_its_formula_is_not():
    u = torch.tensor([0.0, 1.0, 3.0, 5.0, 10.0, 20.0])
    expected = [0.0, -0.8675617, -4.6186570, -8.6137964, -18.6137056, -38.6137056]
    assert log_slope(u).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert log_slope(-u).tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)
    # What is often written instead is off by almost five at u = 10.
    assert torch.log(1 - u[4].tanh() ** 2 + 1e-6).item() == pytest.approx(-13.8155, abs=1e-3)


def test_squashed_density_by_hand_and_by_its_integral():
    action = torch.tensor([[math.tanh(1.0)]])
    # log N(1; 0, 1) - log(1 - tanh(1)^2) = -1.4189385 + 0.8675617
    assert squashed(0.0, 1.0).log_prob(action).item() == pytest.approx(-0.5513769, abs=1e-5)
    for mean, std in ((0.0, 1.0), (0.7, 0.4), (-1.0, 0.8)):
        grid = torch.linspace(-0.9998, 0.9998, 200_001, dtype=torch.float64)[:, None]
        wide = SquashedGaussian(DiagonalGaussian(torch.full_like(grid, mean), torch.full_like(grid, math.log(std))))
        density = wide.log_prob(grid).exp()
        assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1.0, abs=1e-4)
        entropy = -torch.trapezoid(density * density.log(), grid[:, 0]).item()
        assert squashed(mean, std).entropy().item() == pytest.approx(entropy, abs=2e-3)


def test_squashed_draws_know_their_density_and_lead_back_to_the_outputs():
    outputs = torch.randn(500, 4, requires_grad=True)
    distribution = SquashedGaussian.from_outputs(outputs)
    action, log_prob = distribution.draw(torch.Generator().manual_seed(0))
    assert bool((action.abs() <= 1).all())
    inside = action.detach().abs().amax(1) < 0.999
    assert torch.allclose(distribution.log_prob(action)[inside], log_prob[inside], atol=1e-2)
    again = distribution.sample(torch.Generator().manual_seed(0))
    assert torch.equal(action, again)
    (gradient,) = torch.autograd.grad(action.sum(), outputs)
    # By the mean: the slope of the tangent, 1 - a^2.
    assert torch.allclose(gradient[:, :2], 1 - action.detach().square(), atol=1e-6)
    # A row's entropy is the mean of -log_prob over its draws.
    row = SquashedGaussian.from_outputs(torch.tensor([[0.5, -0.3, -0.2, 0.4]]).expand(200_000, 4))
    _, log_prob = row.draw(torch.Generator().manual_seed(1))
    assert row.entropy()[0].item() == pytest.approx(-log_prob.mean().item(), abs=0.01)


def test_squashing_changes_no_divergence_and_keeps_the_median():
    p, q = squashed(0.0, 1.0), squashed(0.5, 2.0)
    assert kl_divergence(p, q).item() == pytest.approx(0.349397, abs=1e-5)
    assert q.mode().item() == pytest.approx(math.tanh(0.5))


def test_temperature_scales_the_spread_before_squashing():
    outputs = torch.tensor([[0.1, 0.2]])
    cold = SquashedGaussian.from_outputs(outputs, temperature=0.5)
    assert cold.base.log_std.item() == pytest.approx(0.2 + math.log(0.5))
