"""Distributions over actions: a categorical over the joint grid, or a diagonal Gaussian, squashed or not.

B rows, K categories, M action dimensions.

Sampling takes an explicit generator and draws one number per row (categorical) or per dimension (Gaussian).
The plain Gaussian is neither squashed nor truncated: its density stays exact, and the environment clips what it
executes to [-1, 1]. The learner keeps the action as drawn, so probabilities match what was sampled. The squashed one is
the hyperbolic tangent of a Gaussian and stays within (-1, 1) by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from torch import Tensor

OUTSIDE = -1e9
"""Logit of what may not be done: its probability is exactly 0, and products with it stay finite."""
_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)


class ActionDistribution(Protocol):
    """A batch of independent distributions, one per row."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability (density) of each row's action, shape [B]."""
        ...

    def entropy(self) -> Tensor:
        """Return the exact entropy [nat], shape [B]."""
        ...

    def mode(self) -> Tensor:
        """Return the most probable action of each row."""
        ...

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return one action per row."""
        ...


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of K categories per row."""

    log_probs: Tensor
    """Normalised log-probabilities, shape [B, K], float32."""

    @staticmethod
    def from_logits(logits: Tensor, *, temperature: float = 1.0) -> Categorical:
        """Return the distribution softmax(logits / temperature)."""
        scaled = logits if temperature == 1.0 else logits / temperature
        return Categorical(torch.log_softmax(scaled, dim=-1))

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability of each row's category, shape [B]."""
        return self.log_probs.gather(-1, action[:, None]).squeeze(-1)

    def entropy(self) -> Tensor:
        """Return the entropy [nat], shape [B]."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    def mode(self) -> Tensor:
        """Return the most probable category, shape [B], int64."""
        return self.log_probs.argmax(-1)

    def expectation(self, values: Tensor) -> Tensor:
        """Return the mean of ``values`` [K, M] under each row's distribution, shape [B, M]."""
        return self.log_probs.exp() @ values

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return one category per row by inverting the cumulative distribution, shape [B], int64."""
        cumulative = self.log_probs.exp().cumsum(-1)
        uniform = torch.rand(len(cumulative), 1, generator=generator, device=cumulative.device)
        # "<=" never picks a category of probability zero at u = 0, and a threshold below the total none beyond the last
        # that has any, where u * total rounds up: what a mask rules out is never drawn.
        total = cumulative[:, -1:]
        threshold = torch.minimum(uniform * total, total.nextafter(torch.zeros_like(total)))
        return (cumulative <= threshold).sum(-1)


@dataclass(frozen=True, slots=True)
class DiagonalGaussian:
    """Independent normal distributions per action dimension."""

    mean: Tensor
    """Shape [B, M]."""
    log_std: Tensor
    """Natural logarithm of the standard deviation, broadcast against the mean."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-density, summed over dimensions, shape [B]."""
        z = (action - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * z.square() - self.log_std - _LOG_SQRT_2PI).sum(-1)

    def entropy(self) -> Tensor:
        """Return the differential entropy [nat], shape [B]."""
        return (self.log_std + 0.5 + _LOG_SQRT_2PI).expand_as(self.mean).sum(-1)

    def mode(self) -> Tensor:
        """Return the mean, shape [B, M]."""
        return self.mean

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return one action per row, shape [B, M], not clipped."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + noise * self.log_std.exp()


LOG_STD_RANGE = (-5.0, 2.0)
"""Natural logarithm of the standard deviations that a squashed Gaussian's network can express."""
_MOST_ACTION = 1.0 - 1e-4
"""Actions are taken for no larger than this before the inverse tangent, which is infinite at 1."""
_LOG_2 = math.log(2.0)


def log_slope(u: Tensor) -> Tensor:
    """Return log(1 - tanh(u)^2), the logarithm of the slope of the hyperbolic tangent, exact for large ``u`` too.

    With t = exp(-2 u): 1 - tanh(u)^2 = 4 t / (1 + t)^2, and log(1 + t) = softplus(-2 u).
    """
    return 2.0 * (_LOG_2 - u - F.softplus(-2.0 * u))


@dataclass(frozen=True, slots=True)
class SquashedGaussian:
    """The hyperbolic tangent of independent normal distributions per action dimension (Haarnoja et al. 2018).

    Densities are those of the action in [-1, 1]; in the range of the environment they are smaller by the constant
    factor by which that is wider, which changes no gradient.
    """

    base: DiagonalGaussian
    """Of the action before squashing."""

    @staticmethod
    def from_outputs(outputs: Tensor, *, temperature: float = 1.0) -> SquashedGaussian:
        """Return the distribution for outputs [B, 2 M]: means, then log standard deviations before their clip."""
        mean, log_std = outputs.chunk(2, dim=-1)
        return SquashedGaussian(DiagonalGaussian(mean, log_std.clamp(*LOG_STD_RANGE) + math.log(temperature)))

    def draw(self, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return one action per row [B, M], differentiable by the network's outputs, and its log-density [B]."""
        u = self.base.sample(generator)
        return u.tanh(), self.base.log_prob(u) - log_slope(u).sum(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-density, summed over dimensions, shape [B]."""
        u = action.clamp(-_MOST_ACTION, _MOST_ACTION).atanh()
        return self.base.log_prob(u) - log_slope(u).sum(-1)

    def entropy(self) -> Tensor:
        """Return the differential entropy [nat], shape [B]; its integral by Gauss-Hermite quadrature of 32 nodes."""
        nodes, weights = (torch.from_numpy(x).to(self.base.mean) for x in _QUADRATURE)
        log_std = self.base.log_std.expand_as(self.base.mean)
        u = self.base.mean[..., None] + log_std.exp()[..., None] * nodes
        return self.base.entropy() + (log_slope(u) @ weights).sum(-1)

    def mode(self) -> Tensor:
        """Return the squashed mean, shape [B, M]: the median of every dimension."""
        return self.base.mean.tanh()

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Return one action per row in (-1, 1), shape [B, M]."""
        return self.base.sample(generator).tanh()


def _hermite(num_nodes: int) -> tuple[NDArray, NDArray]:
    """Return nodes and weights of the mean over a standard normal distribution."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    return nodes, weights / math.sqrt(2.0 * math.pi)


_QUADRATURE = _hermite(32)


def kl_divergence(p: ActionDistribution, q: ActionDistribution) -> Tensor:
    """Return KL(p || q) [nat] row by row, shape [B]; both must be of the same kind."""
    if isinstance(p, SquashedGaussian) and isinstance(q, SquashedGaussian):
        return kl_divergence(p.base, q.base)  # squashing both alike changes nothing
    if isinstance(p, Categorical) and isinstance(q, Categorical):
        return (p.log_probs.exp() * (p.log_probs - q.log_probs)).sum(-1)
    if isinstance(p, DiagonalGaussian) and isinstance(q, DiagonalGaussian):
        variance_ratio = (2.0 * (p.log_std - q.log_std)).exp()
        distance = ((p.mean - q.mean) * torch.exp(-q.log_std)).square()
        return (0.5 * (variance_ratio + distance - 1.0) + q.log_std - p.log_std).sum(-1)
    raise TypeError(f"KL between {type(p).__name__} and {type(q).__name__} is not defined")
