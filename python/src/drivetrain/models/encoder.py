"""From a flat observation row to the input vector of the network, for any observation schema.

B rows, D values per row.

Set groups are pooled (:mod:`drivetrain.models.set_encoder`); the nearest agents are also passed on as plain values,
because one linear layer and a maximum cannot say "close *and* in my lane". All other groups pass unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from drivetrain.models.observation_rows import widened
from drivetrain.models.running_moments import RunningMoments
from drivetrain.models.set_encoder import SetEncoder, fused_encode, has_compiled_path
from drivetrain.sim.observation import ObservationSchema

OBSERVATION_LIMIT = 10.0
"""Normalised observations are clipped to this many standard deviations."""


class ObservationEncoder(nn.Module):
    """Concatenates plain groups, the first entities of some sets, and pooled sets."""

    def __init__(
        self,
        schema: ObservationSchema,
        *,
        set_widths: Mapping[str, int],
        nearest: Mapping[str, int],
        normalize: bool,
    ) -> None:
        """Build the encoder.

        Args:
            schema: Layout of the rows.
            set_widths: Number of pooled features by name of a set group; other groups pass unchanged.
            nearest: Number of leading entities passed on as plain values, by name of a set group.
            normalize: True to standardise rows by running statistics (environments without physical scales).
        """
        super().__init__()
        sets = [group for group in schema.groups if group.name in set_widths]
        self.moments = RunningMoments(schema.size) if normalize else None
        self.pools = nn.ModuleDict(
            {g.name: SetEncoder(g, start=schema.start(g.name), num_outputs=set_widths[g.name]) for g in sets}
        )
        columns: list[int] = []
        for group in schema.groups:
            keep = nearest.get(group.name, 0) if group.name in set_widths else group.count
            begin = schema.start(group.name)
            columns += [begin + f * group.count + p for f in range(len(group.features)) for p in range(keep)]
        self._is_identity = columns == list(range(schema.size))
        self.plain_columns = tuple(columns)
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.num_outputs = len(columns) + sum(set_widths.values())

    def forward(self, observation: Tensor) -> Tensor:
        """Return the network input [B, num_outputs] of rows [B, D]."""
        if self.moments is not None:
            observation = self.moments.normalize(widened(observation), limit=OBSERVATION_LIMIT)
        if not self._is_identity and has_compiled_path(observation):
            return fused_encode(observation, self.plain_columns, list(self.sets()))
        observation = widened(observation)
        if self._is_identity:
            return observation
        plain = observation.index_select(1, self.columns)  # type: ignore[arg-type]
        return torch.cat([plain, *(pool(observation) for pool in self.sets())], dim=1)

    def sets(self) -> Iterator[SetEncoder]:
        """Iterate over the pooled sets in the order of their outputs."""
        return iter(self.pools.values())  # type: ignore[arg-type]
