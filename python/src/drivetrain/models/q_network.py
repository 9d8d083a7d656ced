"""Twin critics Q(s, a): two networks that disagree, and the cautious one of the two is believed.

B rows, D observation values, K categories, M action dimensions.

Who maximises a return believes the smaller of the twins (Fujimoto et al. 2018, arXiv 1802.09477), who fears a cost the
larger. The twins share an encoder of their own, which no policy shares. Every hidden layer is normalised (LayerNorm),
which keeps values of actions that were never tried from growing without bound (Ball et al. 2023, arXiv 2302.02948).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from drivetrain.errors import ConfigError
from drivetrain.models.actor_critic import PolicyConfig, build_encoder
from drivetrain.models.flat_parameters import FlatParameters
from drivetrain.models.precision import Precision, matrix_dtype
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import ObservationSchema


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticConfig:
    """Sizes of the critics; what they pool of an observation is as the policy's configuration says."""

    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers of each twin."""
    precision: Precision = "float32"
    """Number format of the hidden layers' matrix products; parameters, outputs and losses stay float32. ``bfloat16``
    only where the machine has it (``precision.py``)."""

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"algorithm.critic.hidden: {list(self.hidden)} is no list of widths; use [128, 128]")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"algorithm.critic.precision: {self.precision!r} is unknown; use float32 or bfloat16")


class TwinQ(nn.Module):
    """Two critics of state and action on one encoder."""

    def __init__(
        self,
        schema: ObservationSchema,
        action_space: ActionSpace,
        policy: PolicyConfig,
        config: CriticConfig,
        *,
        sigmoid: bool = False,
        seed: int = 0,
    ) -> None:
        """Draw the weights.

        Args:
            schema: Layout of the observation rows.
            action_space: Discrete: a value per category; continuous: the action is an input.
            policy: What the encoder pools.
            config: Sizes.
            sigmoid: True: values are probabilities.
            seed: Of the weights.
        """
        super().__init__()
        self.action_space, self.is_probability = action_space, sigmoid
        self._precision: Precision = config.precision
        self._flat: FlatParameters | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = build_encoder(schema, policy)
            num_inputs = self.encoder.num_outputs + action_space.size
            num_outputs = action_space.num_categories or 1
            self.twins = nn.ModuleList(_critic(num_inputs, config.hidden, num_outputs) for _ in range(2))

    def forward(self, observation: Tensor, action: Tensor | None = None) -> Tensor:
        """Return both critics' values: of every category [2, B, K], or of the given actions [2, B].

        Args:
            observation: Rows as the environment stores them, shape [B, D].
            action: Discrete: categories int64 [B], or None for all; continuous: float32 [B, M].
        """
        logits = self.logits(observation, action)
        return torch.sigmoid(logits) if self.is_probability else logits

    def logits(self, observation: Tensor, action: Tensor | None = None) -> Tensor:
        """Return what :meth:`forward` does, before the sigmoid where there is one."""
        inputs = self.encoder(observation)
        is_discrete = self.action_space.is_discrete
        if not is_discrete:
            assert action is not None
            inputs = torch.cat([inputs, action], dim=1)
        dtype = matrix_dtype(self._precision, observation.device)
        with torch.autocast(observation.device.type, dtype=dtype, enabled=dtype != torch.float32):
            values = torch.stack([twin(inputs) for twin in self.twins]).float()
        if not is_discrete:
            return values.squeeze(-1)
        if action is None:
            return values
        return values.gather(2, action.expand(2, -1)[:, :, None]).squeeze(-1)

    def flat_parameters(self) -> FlatParameters:
        """Return all parameters as one vector; a new one after the module was moved or copied."""
        if self._flat is None or not self._flat.is_current:
            self._flat = FlatParameters(self)
        return self._flat

    def forget_flat_parameters(self) -> None:
        """Let the next call of :meth:`flat_parameters` make a vector of its own (after a copy)."""
        self._flat = None


@torch.no_grad()
def polyak(target: TwinQ, source: TwinQ, rate: float) -> None:
    """Move the target's weights this share of the way to the source's (Lillicrap et al. 2016, arXiv 1509.02971)."""
    target.flat_parameters().theta.lerp_(source.flat_parameters().theta, rate)


def target_of(critic: TwinQ) -> TwinQ:
    """Return a copy of the critics that follows them by :func:`polyak` alone."""
    target = copy.deepcopy(critic).requires_grad_(requires_grad=False)
    target.forget_flat_parameters()
    return target


def _critic(num_inputs: int, widths: tuple[int, ...], num_outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(num_inputs, width), nn.LayerNorm(width), nn.ReLU()]
        num_inputs = width
    # Linear to the end: a critic that ends in a ReLU cannot say that a return is negative.
    return nn.Sequential(*layers, nn.Linear(num_inputs, num_outputs))
