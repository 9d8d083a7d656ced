"""Distributions against closed forms."""

import math

import pytest
import torch

from drivetrain.models.action_distribution import Categorical, DiagonalGaussian, kl_divergence


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
