"""How often, not when: a reward for having the expert's distribution of single features. ``docs/algorithms/gail.md``.

B rows, M expert rows, D observation values, F features, K bins.

A small discriminator with a smooth logit judges a row as a whole and overlooks the shape of a one-dimensional
distribution. For one feature none has to be learnt: the best possible discriminator between two densities has the
logit log p_expert - log p_policy (Goodfellow et al. 2014, arXiv 1406.2661, proposition 1), which two histograms give.
As a reward it leads the policy's marginal to the expert's (Lee et al. 2019, arXiv 1906.05274, equation 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.algorithms.settings import requirement
from drivetrain.errors import ConfigError, nearest
from drivetrain.models.observation_rows import to_torch, widened
from drivetrain.parallel import Group
from drivetrain.sim.observation import ObservationSchema

_require = requirement("algorithm.marginals")

_MOST_EXPERT_ROWS = 500_000
"""Of more rows every n-th is counted: a histogram gains nothing from the others."""
_OUTSIDE = 0.001
"""Share of the expert's rows that lies beyond the outermost edges, on either side; it counts in the outermost bins."""
_EMPTY = 1e-4
"""Share that every bin has at least, so that a bin which somebody never visits has a finite ratio."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginalsConfig:
    """Features whose distribution is rewarded, and how strongly."""

    weight: float = 0.0
    """Of the reward, whose unit is that of the discriminator's logit; 0: off."""
    features: tuple[str, ...] = ("ego.speed", "ego.acceleration")
    """Features of the observation, as group.feature; none of a set."""
    bins: int = 40
    """Bins of each feature, of equal width."""
    memory: float = 0.9
    """Share of the policy's counts that is kept from one rollout to the next."""
    limit: float = 3.0
    """The logit of every feature is clipped to +- this."""

    def __post_init__(self) -> None:
        _require(self.weight >= 0, "weight", self.weight, "use 0 or more")
        _require(len(self.features) >= 1, "features", list(self.features), "name one, or set weight: 0")
        _require(self.bins >= 2, "bins", self.bins, "use 2 or more")
        _require(0 <= self.memory < 1, "memory", self.memory, "use 0 to below 1")
        _require(self.limit > 0, "limit", self.limit, "use a number above 0")


class Marginals:
    """Histograms of the expert's and the policy's features, and the logit of their ratio."""

    def __init__(self, expert: NDArray, schema: ObservationSchema, config: MarginalsConfig, *, group: Group) -> None:
        """Count the expert.

        Args:
            expert: Observations as stored, shape [M, D]; may be memory-mapped.
            schema: What stands where in them.
            config: Which features count.
            group: The processes that learn together; the policy's counts are those of all.

        Raises:
            ConfigError: A feature is not in the schema, or belongs to a set.
        """
        self.config, self._group = config, group
        self._columns = torch.tensor([_column(schema, name) for name in config.features])
        every = max(len(expert) // _MOST_EXPERT_ROWS, 1)
        values = widened(to_torch(np.ascontiguousarray(expert[::every][:, self._columns.numpy()])))
        low, high = torch.from_numpy(np.quantile(values.numpy(), (_OUTSIDE, 1 - _OUTSIDE), axis=0)).float()
        self._low, self._width = low, ((high - low) / config.bins).clamp(min=1e-6)
        self._expert = _shares(self._count(values))
        self.policy_counts = torch.zeros(len(config.features), config.bins)
        """Rows of the policy per feature and bin, older ones weighing less; float32 [F, K]."""

    def update(self, observation: Tensor) -> None:
        """Count rows [B, D] of the newest rollout."""
        counted = self._count(self._values(observation))
        flat = counted.flatten()
        self._group.mean_(flat)
        self.policy_counts = self.config.memory * self.policy_counts + flat.view_as(counted)

    def reward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return the reward of rows [B, D], shape [B], with mean 0, and each feature's mean logit, shape [F].

        That mean is minus the divergence KL(policy || expert) [nat] of the feature. It is taken away from the reward,
        for a constant would only say that living is good or bad.
        """
        values = self._values(observation)
        logit = (self._expert.log() - _shares(self.policy_counts).log()).clamp(-self.config.limit, self.config.limit)
        seen = logit.gather(1, self._bins(values).T)
        visited = self.policy_counts / self.policy_counts.sum(1, keepdim=True).clamp(min=1.0)
        means = (visited * logit).sum(1)
        return self.config.weight * (seen - means[:, None]).sum(0), means

    def _values(self, observation: Tensor) -> Tensor:
        """Return the features [B, F] of rows [B, D], on the CPU."""
        return widened(observation[:, self._columns.to(observation.device)].cpu())

    def _bins(self, values: Tensor) -> Tensor:
        """Return the bin of values [B, F], int64."""
        return ((values - self._low) / self._width).floor().long().clamp(0, self.config.bins - 1)

    def _count(self, values: Tensor) -> Tensor:
        """Return how many values [B, F] lie in each bin, float32 [F, K]."""
        bins = self._bins(values)
        return torch.stack([torch.bincount(column, minlength=self.config.bins) for column in bins.T]).float()


def _shares(counts: Tensor) -> Tensor:
    """Return the share of every bin [F, K], none of them 0."""
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1.0)
    return (shares + _EMPTY) / (shares + _EMPTY).sum(1, keepdim=True)


def _column(schema: ObservationSchema, name: str) -> int:
    """Return where in a row a feature stands."""
    names = {
        f"{group.name}.{feature}": schema.start(group.name) + f
        for group in schema.groups
        if not group.is_set and group.count == 1
        for f, feature in enumerate(group.features)
    }
    if name not in names:
        raise ConfigError(
            f"algorithm.marginals.features: '{name}' is no single feature of observation schema {schema.name}"
            f"{nearest(name, names) or '; a feature is named group.feature'}"
        )
    return names[name]
