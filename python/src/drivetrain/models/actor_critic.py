"""Policy and value network of the actor-critic algorithms.

B rows, D observation values, K action parameters, H features of the trunk.

Driving rows (set groups in the schema): pooled sets and plain values -> a trunk shared by policy and value.
A plain vector (Gymnasium): two separate networks on the same input, as is customary there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from drivetrain.errors import ConfigError
from drivetrain.models import fused_network
from drivetrain.models.action_distribution import (
    OUTSIDE,
    ActionDistribution,
    Categorical,
    DiagonalGaussian,
    SquashedGaussian,
)
from drivetrain.models.encoder import ObservationEncoder
from drivetrain.models.flat_parameters import FlatParameters
from drivetrain.models.fused_network import FusedNetwork
from drivetrain.models.max_pool_kernels import LANES
from drivetrain.models.precision import Precision, matrix_dtype
from drivetrain.models.set_encoder import has_compiled_path
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import FORBIDDEN_ACTIONS, ObservationSchema


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """Sizes of the network."""

    hidden: tuple[int, ...] | None = None
    """Widths of the hidden layers; None: 128, 128 behind pooled sets, 64, 64 otherwise."""
    encoder: Literal["sets", "flat"] = "sets"
    """``sets``: agents and road segments are pooled; ``flat``: the row goes into the trunk as it is (driving)."""
    agents_width: int = 64
    """Features pooled over the agents (driving)."""
    road_width: int = 32
    """Features pooled over the road segments (driving)."""
    nearest_agents: int = 8
    """Nearest agents that are also passed on as plain values (driving)."""
    value_width: int = 64
    """Hidden width of the value head on the shared trunk (driving)."""
    gaussian: Literal["plain", "squashed"] = "plain"
    """Of continuous actions. ``plain``: one spread for all states, drawn actions are clipped; ``squashed``: within the
    range by a hyperbolic tangent, with a spread per state (SAC)."""
    initial_log_std: float = 0.0
    """Natural logarithm of the Gaussian's first standard deviation, in units of half the action range."""
    normalize_observation: bool = False
    """True: standardise observations by running statistics stored with the policy. Driving rows are already scaled."""
    precision: Precision = "float32"
    """Number format of the trunk's matrix products, on the CPU also of the value head's first layer and of gradients;
    parameters, outputs and losses stay float32. ``bfloat16`` only where the machine has it (``precision.py``)."""

    def __post_init__(self) -> None:
        for name in ("agents_width", "road_width"):
            if getattr(self, name) < 1 or getattr(self, name) % LANES:
                raise ConfigError(f"policy.{name}: {getattr(self, name)} is no multiple of {LANES}; use 32, 64, 96 ...")
        if self.encoder not in ("sets", "flat"):
            raise ConfigError(f"policy.encoder: {self.encoder!r} is unknown; use sets or flat")
        if self.value_width < 1:
            raise ConfigError(f"policy.value_width: {self.value_width} is too small; use 1 or more")
        if self.nearest_agents < 0:
            raise ConfigError(f"policy.nearest_agents: {self.nearest_agents} is negative; use 0 or more")
        if self.hidden is not None and (not self.hidden or min(self.hidden) < 1):
            raise ConfigError(f"policy.hidden: {list(self.hidden)} is no list of widths; use for example [128, 128]")
        if self.gaussian not in ("plain", "squashed"):
            raise ConfigError(f"policy.gaussian: {self.gaussian!r} is unknown; use plain or squashed")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"policy.precision: {self.precision!r} is unknown; use float32 or bfloat16")


def _linear(num_inputs: int, num_outputs: int, gain: float) -> nn.Linear:
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _mlp(num_inputs: int, widths: tuple[int, ...], activation: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [_linear(num_inputs, width, 2**0.5), activation()]
        num_inputs = width
    return nn.Sequential(*layers)


def build_encoder(schema: ObservationSchema, config: PolicyConfig) -> ObservationEncoder:
    """Return a new encoder of these sizes.

    Raises:
        ConfigError: The schema has a set for which no width is defined.
    """
    sets = {g.name: g for g in schema.groups if g.is_set and config.encoder == "sets"}
    widths = {"agents": config.agents_width, "road": config.road_width}
    unknown = sorted(set(sets) - set(widths))
    if unknown:
        raise ConfigError(f"policy: no width is defined for the set '{unknown[0]}'; known: agents, road")
    nearest = {"agents": min(config.nearest_agents, sets["agents"].count)} if "agents" in sets else {}
    return ObservationEncoder(
        schema,
        set_widths={name: widths[name] for name in sets},
        nearest=nearest,
        normalize=config.normalize_observation,
    )


def _forbidden_columns(schema: ObservationSchema, action_space: ActionSpace) -> slice | None:
    """Return where rows say which categories are forbidden; None where they do not."""
    if not action_space.is_discrete or all(group.name != FORBIDDEN_ACTIONS for group in schema.groups):
        return None
    start = schema.start(FORBIDDEN_ACTIONS)
    return slice(start, start + action_space.num_categories)


class ActorCritic(nn.Module):
    """Action distribution and state value of a batch of observation rows."""

    category_values: Tensor | None
    """Continuous action of each category, shape [K, M]; None where categories have no such meaning."""

    def __init__(
        self, schema: ObservationSchema, action_space: ActionSpace, config: PolicyConfig, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.schema, self.action_space, self.config = schema, action_space, config
        self._flat: FlatParameters | None = None
        self._fused: FusedNetwork | None = None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build()

    def _build(self) -> None:
        schema, action_space, config = self.schema, self.action_space, self.config
        is_shared = any(group.is_set for group in schema.groups)
        sets = any(group.is_set for group in schema.groups) and config.encoder == "sets"
        values = torch.tensor(action_space.category_values) if action_space.category_values else None
        self.register_buffer("category_values", values, persistent=False)
        self._forbidden = _forbidden_columns(schema, action_space)
        self.encoder = build_encoder(schema, config)
        num_inputs = self.encoder.num_outputs
        hidden = config.hidden or ((128, 128) if sets else (64, 64))
        activation = nn.ReLU if is_shared else nn.Tanh
        self._is_squashed = config.gaussian == "squashed" and not action_space.is_discrete
        num_parameters = action_space.num_categories or action_space.size * (2 if self._is_squashed else 1)
        self.trunk = _mlp(num_inputs, hidden, activation)
        self.pi = _linear(hidden[-1], num_parameters, 0.01)
        self.value_trunk = None if is_shared else _mlp(num_inputs, hidden, activation)
        value_layers = _mlp(hidden[-1], (config.value_width,), activation) if is_shared else nn.Sequential()
        self.value = nn.Sequential(*value_layers, _linear(config.value_width if is_shared else hidden[-1], 1, 1.0))
        self.log_std: nn.Parameter | None = None
        if self._is_squashed:
            nn.init.constant_(self.pi.bias[action_space.size :], config.initial_log_std)
        elif not action_space.is_discrete:
            self.log_std = nn.Parameter(torch.full((action_space.size,), config.initial_log_std))

    def flat_parameters(self) -> FlatParameters:
        """Return all parameters as one vector; a new one after the module was moved or copied."""
        if self._flat is None or not self._flat.is_current:
            self._flat, self._fused = FlatParameters(self), None
        return self._flat

    def value_parameters(self) -> list[nn.Parameter]:
        """Return what serves the value alone and leaves the action distribution as it is."""
        own = [] if self.value_trunk is None else list(self.value_trunk.parameters())
        return [*own, *self.value.parameters()]

    def _fused_network(self) -> FusedNetwork:
        flat = self.flat_parameters()
        dtype = matrix_dtype(self.config.precision, "cpu")
        if self._fused is None or self._fused.dtype != dtype:
            self._fused = FusedNetwork.build(
                self.encoder, trunk=self.trunk, pi=self.pi, value=self.value, flat=flat, dtype=dtype
            )
        return self._fused

    @property
    def num_features(self) -> int:
        """Features of the trunk that the policy head reads (H)."""
        return self.pi.in_features

    def _outputs(self, observation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the action parameters [B, K], the values [B] and the features of the trunk [B, H]."""
        if self.value_trunk is None and self.encoder.moments is None and has_compiled_path(observation):
            return fused_network.evaluate(observation, self.flat_parameters().theta, self._fused_network())
        features, value_features = self._features(observation)
        return self._allowed(self.pi(features), observation), self.value(value_features).squeeze(-1), features

    def _allowed(self, parameters: Tensor, observation: Tensor) -> Tensor:
        """Return logits with those of forbidden categories so low that they are never drawn."""
        if self._forbidden is None:
            return parameters
        return torch.where(observation[:, self._forbidden] != 0, OUTSIDE, parameters)

    def _features(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inputs of the policy head and of the value head, float32."""
        inputs = self.encoder(observation)
        dtype = matrix_dtype(self.config.precision, observation.device)
        with torch.autocast(observation.device.type, dtype=dtype, enabled=dtype != torch.float32):
            features = self.trunk(inputs)
            value_features = features if self.value_trunk is None else self.value_trunk(inputs)
        return features.float(), value_features.float()

    def _distribution(self, parameters: Tensor, temperature: float) -> ActionDistribution:
        if self._is_squashed:
            return SquashedGaussian.from_outputs(parameters, temperature=temperature)
        if self.log_std is None:
            return Categorical.from_logits(parameters, temperature=temperature)
        return DiagonalGaussian(parameters, self.log_std + math.log(temperature))

    def evaluate(self, observation: Tensor) -> tuple[ActionDistribution, Tensor]:
        """Return the action distribution and the value [B] of rows [B, D]."""
        parameters, value, _ = self._outputs(observation)
        return self._distribution(parameters, 1.0), value

    def action_parameters(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the action distribution is made of, a categorical's logits for example [B, K], and the value."""
        parameters, value, _ = self._outputs(observation)
        return parameters, value

    def evaluate_features(self, observation: Tensor) -> tuple[ActionDistribution, Tensor]:
        """Return the action distribution and the features of the trunk [B, H], float32, for further heads."""
        parameters, _, features = self._outputs(observation)
        return self._distribution(parameters, 1.0), features

    def distribution(self, observation: Tensor, *, temperature: float = 1.0) -> ActionDistribution:
        """Return the action distribution alone; temperature < 1 sharpens it."""
        return self._distribution(self._outputs(observation)[0], temperature)

    @torch.no_grad()
    def act(
        self,
        observation: Tensor,
        *,
        deterministic: bool = False,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return one action per row: int64 [B] (discrete) or float32 [B, M], which the environment clips.

        A deterministic policy takes its most likely action; where categories stand for points of a continuous action
        it takes their mean instead, float32 [B, M]. Sampling a grid at 10 Hz through lagging actuators drives much
        like its mean, while the most likely point alone is a different, more hesitant driver (docs/experiments.md).
        """
        distribution = self.distribution(observation, temperature=temperature)
        if not deterministic:
            return distribution.sample(generator)
        if isinstance(distribution, Categorical) and self.category_values is not None:
            return distribution.expectation(self.category_values)
        return distribution.mode()
