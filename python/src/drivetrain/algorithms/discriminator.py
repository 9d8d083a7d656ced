"""Who drove this: the discriminator of adversarial imitation. ``docs/algorithms/gail.md`` walks through it.

B rows, F input values.

A row is what one transition shows of its driver: chosen columns of the observation, the action, and a flag for the
absorbing state in which a terminated episode goes on for ever. The logit is that of "the expert drove".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils.parametrizations import spectral_norm

from drivetrain.algorithms.settings import requirement
from drivetrain.errors import ConfigError, nearest
from drivetrain.models.observation_rows import widened
from drivetrain.models.running_moments import RunningMoments
from drivetrain.sim.environment import ActionSpace
from drivetrain.sim.observation import ObservationSchema

_require = requirement("algorithm.discriminator")

LEAKING = (
    "ego.length",
    "ego.width",
    "ego.speed_limit",
    "ego.speed_limit_known",
    "ego.distance_to_goal",
    "stop.state_age",
)
"""Constants of a scene, the rest of the route, and the time since the log began: they tell who drove by where and when
it was, not by how. The road set is left out as a whole, agents beyond the nearest few likewise: paddings count."""
INPUT_LIMIT = 10.0
"""Standardised inputs are clipped to this many standard deviations."""
ABSORBING = 4.0
"""Value of the absorbing flag: with a slope of about 1, a smaller one would leave the logit no room to tell failing
from driving."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorConfig:
    """What the discriminator sees, how large it is, and how it learns."""

    inputs: Literal["state_action", "state"] = "state_action"
    """f(s, a), or f(s): then the action shows only by its consequences."""
    without: tuple[str, ...] = LEAKING
    """Features of the observation that it must not see, as group.feature (driving)."""
    nearest_agents: int = 4
    """Agents that it sees, nearest first (driving)."""
    hidden: tuple[int, ...] = (32, 32)
    """Widths of the hidden layers; small, so that it cannot remember scenes."""
    normalize_input: bool = False
    """Standardise by running statistics of both drivers; driving rows are already scaled."""
    regularizer: Literal["gradient_penalty", "spectral_norm"] = "gradient_penalty"
    """What keeps the logit smooth."""
    gradient_penalty: float = 10.0
    """Weight of the gradient penalty."""
    penalty_sides: Literal["one", "two"] = "one"
    """``one``: only slopes above 1 cost; ``two``: slopes below 1 too, so that drivers who drive alike are still told
    apart at random."""
    learning_rate: float = 3e-4
    """Adam step size."""
    batch_size: int = 2048
    """Rows of either driver per gradient step, in every learner process."""
    updates: int = 2
    """Gradient steps per iteration."""
    replay_rollouts: int = 4
    """Rollouts whose rows stand for the policy, the newest among them."""
    replay_rows: int = 4096
    """Rows that are kept of each of them."""
    absorbing_rows: int = 10
    """Rows in the absorbing state for every terminated episode, of either driver."""
    pause_above: float = 0.9
    """No step while more than this share of both drivers' rows is told right; 1: never pause."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "updates", "replay_rollouts", "replay_rows"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")
        for name in ("nearest_agents", "absorbing_rows", "gradient_penalty"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "use 0 or more")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "use a number above 0")
        _require(0.5 <= self.pause_above <= 1, "pause_above", self.pause_above, "use 0.5 to 1")
        _require(all(width >= 1 for width in self.hidden), "hidden", list(self.hidden), "use for example [32, 32]")


class InputRows:
    """From observations and actions to what the discriminator sees; the last value of a row is the absorbing flag."""

    def __init__(self, schema: ObservationSchema, action_space: ActionSpace, config: DiscriminatorConfig) -> None:
        names = [f"{group.name}.{feature}" for group in schema.groups for feature in group.features]
        # Of a plain vector nothing leaks that is known by name.
        hidden = config.without if config.without != LEAKING else tuple(n for n in LEAKING if n in names)
        for name in hidden:
            if name not in names:
                raise ConfigError(
                    f"algorithm.discriminator.without: '{name}' is no feature of observation schema {schema.name}"
                    f"{nearest(name, names) or '; a feature is named group.feature'}"
                )
        columns: list[int] = []
        for group in schema.groups:
            seen = group.count
            if group.is_set:
                seen = min(config.nearest_agents, group.count) if group.name == "agents" else 0
            for f, feature in enumerate(group.features):
                if f"{group.name}.{feature}" not in hidden:
                    first = schema.start(group.name) + f * group.count
                    columns += range(first, first + seen)
        if not columns:
            raise ConfigError("algorithm.discriminator.without: nothing of the observation is left; leave something in")
        self.columns = torch.tensor(columns)
        self._space, self._with_action = action_space, config.inputs == "state_action"
        grid = action_space.category_values
        self._categories = torch.tensor(grid) if grid else torch.eye(max(action_space.num_categories, 1))
        width = self._categories.shape[1] if action_space.is_discrete else action_space.size
        self.size = len(columns) + (width if self._with_action else 0) + 1

    def rows(self, observation: Tensor, action: Tensor) -> Tensor:
        """Return rows [B, F], on the CPU, of observations [B, D] as stored and actions, int64 [B] or float32 [B, M].

        A category of a grid counts as its point, any other one-hot; a continuous action as it is executed: clipped.
        """
        parts = [widened(observation[:, self.columns.to(observation.device)].cpu())]
        if self._with_action and self._space.is_discrete:
            parts.append(self._categories[action.cpu().long()])
        elif self._with_action:
            parts.append(action.cpu().clamp(-1.0, 1.0))
        return torch.cat([*parts, torch.zeros(len(observation), 1)], dim=1)

    def absorbing(self, count: int) -> Tensor:
        """Return that many rows in the absorbing state, [count, F]."""
        rows = torch.zeros(count, self.size)
        rows[:, -1] = ABSORBING
        return rows


class Discriminator(nn.Module):
    """The logit of "the expert drove" of input rows, by an encoder of its own that the policy never shares."""

    def __init__(self, num_inputs: int, config: DiscriminatorConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.moments = RunningMoments(num_inputs - 1) if config.normalize_input else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            for width in config.hidden:
                layers += [self._linear(num_inputs, width, 2**0.5, config), nn.Tanh()]
                num_inputs = width
            # Almost 0 at first: nobody is taken for the expert before anything was learnt.
            self.layers = nn.Sequential(*layers, self._linear(num_inputs, 1, 0.01, config))

    @staticmethod
    def _linear(num_inputs: int, num_outputs: int, gain: float, config: DiscriminatorConfig) -> nn.Module:
        layer = nn.Linear(num_inputs, num_outputs)
        nn.init.zeros_(layer.bias)
        if config.regularizer == "spectral_norm":
            nn.init.orthogonal_(layer.weight)
            return spectral_norm(layer)
        nn.init.orthogonal_(layer.weight, gain)
        return layer

    def normalized(self, rows: Tensor) -> Tensor:
        """Return what the layers take of raw rows [B, F]; an absorbing row keeps its zeros."""
        if self.moments is None:
            return rows
        features, absorbing = rows[:, :-1], rows[:, -1:]
        standard = self.moments.normalize(features, limit=INPUT_LIMIT)
        return torch.cat([standard * (absorbing == 0), absorbing], dim=1)

    def forward(self, normalized: Tensor) -> Tensor:
        """Return the logits [B] of normalised rows [B, F]."""
        return self.layers(normalized).squeeze(-1)


def discriminator_loss(expert_logit: Tensor, policy_logit: Tensor) -> Tensor:
    """Return the cross-entropy of telling expert (1) from policy (0), summed over the two means; 2 ln 2 by guessing.

    Source: Ho, Ermon 2016, arXiv 1606.03476, equation 17 (with the labels of expert and policy exchanged).
    """
    return softplus(-expert_logit).mean() + softplus(policy_logit).mean()


def gradient_penalty(
    logit: Callable[[Tensor], Tensor], expert: Tensor, policy: Tensor, mix: Tensor, *, sides: Literal["one", "two"]
) -> Tensor:
    """Return the mean of (norm of the logit's gradient - 1)^2 at points between expert and policy rows.

    Args:
        logit: Of normalised rows [B, F], shape [B].
        expert: Normalised rows of the expert, shape [B, F].
        policy: Normalised rows of the policy, shape [B, F].
        mix: Share of the expert at each point, 0..1, shape [B].
        sides: ``one``: norms below 1 cost nothing.

    Source: Gulrajani et al. 2017, arXiv 1704.00028 (both penalties), over the whole input, not a part of it.
    """
    between = (mix[:, None] * expert + (1.0 - mix[:, None]) * policy).requires_grad_()
    (gradient,) = torch.autograd.grad(logit(between).sum(), between, create_graph=True)
    # The root has no slope at 0.
    excess = (gradient.square().sum(1) + 1e-12).sqrt() - 1.0
    return (excess.clamp(min=0.0) if sides == "one" else excess).square().mean()


def accuracy(logit: Tensor, *, is_expert: bool) -> Tensor:
    """Return the share of rows that are told right; a logit of 0 is half right."""
    sign = torch.sign(logit if is_expert else -logit)
    return (0.5 + 0.5 * sign).mean()
