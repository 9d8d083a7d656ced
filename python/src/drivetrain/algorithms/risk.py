"""Learning how risky actions are: costs from events, returns of costs, balanced batches, calibration.

T time steps, N rows, B rows of a minibatch, D observation values, K categories.

The target of 1-step learning is ``y = min(1, c + g (1 - terminated) sum_k pi(k|s') max_i Q_i(s', k))``; with traces
(Retrace, Munos et al. 2016, arXiv 1606.02647) a violation is heard of many steps earlier in one pass over a rollout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from drivetrain.algorithms.endings import Ending
from drivetrain.algorithms.settings import requirement
from drivetrain.errors import ConfigError, DivergenceError
from drivetrain.models.q_network import TwinQ
from drivetrain.parallel import ALONE, Group, all_finite

_require = requirement("algorithm.risk")

CALIBRATION_BINS = 10
_FORGET = 0.95
"""Share of what was counted that still counts one rollout later."""
_SEED_STRIDE = 0x3C6EF372FE94F82B
"""Between the seeds of two processes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CostConfig:
    """What events cost, 0..1: at 1 a certain event has risk 1."""

    collision: float = 1.0
    """A collision at fault."""
    offroad: float = 1.0
    """Leaving the road."""
    red_light: float = 0.5
    """Running a red light."""
    collision_any: float = 0.0
    """Any collision, also one that somebody else causes; added to the others."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"algorithm.risk.cost.{name}: {getattr(self, name)} is no cost; use 0 to 1")

    def of(self, events: Mapping[str, Any]) -> Tensor:
        """Return the cost of episodes that ended with these events, shape [E]."""
        known = [torch.as_tensor(events[name]) * getattr(self, name) for name in self.__slots__ if name in events]
        return torch.stack(known).sum(0).clamp(max=1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskConfig:
    """How the risk critics learn."""

    gamma: float = 0.95
    """Discount of risk per step: 0.95 and epsilon 0.25 see a certain violation 27 steps ahead."""
    trace: float = 0.95
    """Decay of the trace; 0: one step at a time."""
    loss: Literal["cross_entropy", "squared"] = "cross_entropy"
    """Between risk and target; both have the same minimum, and the first still learns where a risk is near 0 or 1."""
    learning_rate: float = 1e-3
    """Adam step size."""
    minibatch_size: int = 256
    """Rows per gradient step, of all processes together."""
    updates: int = 32
    """Gradient steps per rollout."""
    violating_share: float = 0.3
    """Share of every minibatch drawn from remembered violations; 0: rows as they come."""
    balance: Literal["weighted", "raw"] = "weighted"
    """``weighted``: the drawn violations count by how often they really occur, so that risks stay probabilities;
    ``raw``: all rows count alike, which overstates risk."""
    target_rate: float = 0.01
    """Share of the way that the target critics move to the critics at every step (``rl: sac``)."""
    memory: int = 1024
    """Violations remembered; few enough to be of what is driven now."""
    pretrain_steps: int = 1_000_000
    """Transitions of the frozen prior to learn from before the task policy does; 0: none."""
    pretrain_updates: int = 128
    """Gradient steps per rollout meanwhile."""
    random_actions: float = 0.15
    """Share of actions drawn from all categories alike meanwhile."""
    cost: CostConfig = field(default_factory=CostConfig)
    """What events cost."""

    def __post_init__(self) -> None:
        for name in ("gamma", "trace"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "use a number from 0 to 1")
        for name in ("violating_share", "random_actions"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "use 0 to below 1")
        for name in ("minibatch_size", "updates", "pretrain_updates", "memory"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")
        _require(0 < self.target_rate <= 1, "target_rate", self.target_rate, "use a number above 0, at most 1")
        _require(self.learning_rate > 0, "learning_rate", self.learning_rate, "use a number above 0")
        _require(self.pretrain_steps >= 0, "pretrain_steps", self.pretrain_steps, "use 0 or more")


def costs(endings: Sequence[Ending], cost: CostConfig, shape: tuple[int, int]) -> Tensor:
    """Return the cost of every step of a rollout, shape [T, N]."""
    result = torch.zeros(shape)
    for ending in endings:
        result[ending.step, torch.from_numpy(ending.rows)] = cost.of(ending.events)
    return result


def risk_returns(
    cost: Tensor,
    next_risk: Tensor,
    taken_risk: Tensor,
    ratio: Tensor,
    *,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    gamma: float,
    trace: float,
) -> Tensor:
    """Return what the risk of each action taken should have been, 0..1, shape [T, N].

    Args:
        cost: Of each step, shape [T, N].
        next_risk: Expected risk of what the judged policy does next, of the final observation where an episode was
            truncated, shape [T, N].
        taken_risk: Present risk of the action taken, shape [T, N].
        ratio: Its probability under the judged policy by that under who acted, shape [T, N].
        terminated: Nothing follows, shape [T, N], bool.
        truncated: Cut off, shape [T, N], bool.
        valid: The row was a transition, shape [T, N], bool.
        gamma: Discount per step.
        trace: Decay of the trace.
    """
    goes_on = ~(terminated | truncated)
    alive = (~terminated).to(cost)
    result = torch.zeros_like(cost)
    correction = torch.zeros_like(cost[0])
    for t in range(len(cost) - 1, -1, -1):
        ahead = next_risk[t] + torch.where(goes_on[t], correction, 0.0)
        result[t] = (cost[t] + gamma * alive[t] * ahead).clamp(0.0, 1.0)
        weight = trace * ratio[t].clamp(max=1.0)
        correction = torch.where(valid[t], weight * (result[t] - taken_risk[t]), 0.0)
    return torch.where(valid, result, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskRows:
    """Rows to learn from."""

    observation: Tensor
    """As the environment stores it, shape [B, D]."""
    action: Tensor
    """int64, shape [B]."""
    target: Tensor
    """Risk that the action should have, shape [B]."""
    weight: Tensor
    """How much each row counts, shape [B]."""


class ViolationMemory:
    """The latest violations: their risk is their cost, whatever the policy becomes, so they never age."""

    def __init__(self, capacity: int, observation: Tensor) -> None:
        """Reserve room for rows like ``observation`` [., D]."""
        self.observation = torch.zeros(capacity, observation.shape[-1], dtype=observation.dtype)
        self.action = torch.zeros(capacity, dtype=torch.int64)
        self.cost = torch.zeros(capacity)
        self.seen = 0
        """Violations remembered or forgotten."""

    def __len__(self) -> int:
        return min(self.seen, len(self.cost))

    def add(self, observation: Tensor, action: Tensor, cost: Tensor) -> None:
        """Remember some, in place of the oldest."""
        capacity = len(self.cost)
        observation, action, cost = observation[-capacity:], action[-capacity:], cost[-capacity:]
        at = (self.seen + torch.arange(len(cost))) % capacity
        self.observation[at] = observation.cpu()
        self.action[at], self.cost[at] = action.cpu(), cost.cpu()
        self.seen += len(cost)

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered."""
        used = len(self)
        arrays = {"observation": self.observation, "action": self.action, "cost": self.cost}
        return {**{name: array[:used].clone() for name, array in arrays.items()}, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        used = len(state["cost"])
        self.observation[:used], self.action[:used] = state["observation"].cpu(), state["action"].cpu()
        self.cost[:used], self.seen = state["cost"].cpu(), state["seen"]


def calibration(risk: Tensor, outcome: Tensor) -> dict[str, Tensor]:
    """Return Brier score and expected calibration error of predicted risks [B] against outcomes [B] in 0..1."""
    if len(risk) == 0:
        return {}
    index = (risk * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    gap = torch.zeros(CALIBRATION_BINS, device=risk.device).index_add_(0, index, risk - outcome)
    return {"risk/brier": (risk - outcome).square().mean(), "risk/ece": gap.abs().sum() / len(risk)}


class RiskLearner:
    """Fits the critics to targets, with the violations among them balanced."""

    def __init__(
        self,
        critic: TwinQ,
        config: RiskConfig,
        *,
        observation: Tensor,
        seed: int = 0,
        group: Group = ALONE,
    ) -> None:
        """Begin with nothing remembered.

        Args:
            critic: What learns, on its device; the same weights in every process.
            config: Hyper-parameters.
            observation: Rows [., D] like those to come.
            seed: Of the choice of rows.
            group: The processes that learn together.
        """
        self.critic, self.config, self.group = critic, config, group
        self.memory = ViolationMemory(config.memory, observation)
        self._flat = critic.flat_parameters()
        self.optimizer = torch.optim.Adam([self._flat.theta], lr=config.learning_rate, fused=True)
        self.learning_rate_scale = 1.0
        self._generator = torch.Generator().manual_seed((seed + 2 + group.rank * _SEED_STRIDE) % 2**63)
        self._rows = self._violations = 0.0

    def learn(
        self, observation: Tensor, action: Tensor, target: Tensor, cost: Tensor, *, updates: int
    ) -> dict[str, Tensor]:
        """Take gradient steps on the rows of a rollout and return metrics.

        Args:
            observation: Shape [B, D].
            action: Shape [B].
            target: See :func:`risk_returns`, shape [B].
            cost: Shape [B]; the rows where it is not 0 are remembered.
            updates: Gradient steps.
        """
        violating = cost > 0
        self.memory.add(observation[violating], action[violating], cost[violating])
        self._count(int(violating.sum()), len(cost))
        pool = (~violating).nonzero().squeeze(1) if self.config.violating_share > 0 else torch.arange(len(cost))
        losses = [self.step(self._draw(observation, action, target, pool)) for _ in range(updates)]
        loss = torch.stack(losses).mean()
        if not all_finite(self.group, loss):
            raise DivergenceError(
                "the risk critics' loss became NaN or infinite "
                f"(algorithm.risk.learning_rate {self.config.learning_rate:g})"
            )
        return {"risk/loss": loss, "risk/violating": torch.tensor(self._violating)}

    def _count(self, violating: int, rows: int) -> None:
        """Keep in mind how often violations occurred lately."""
        self._rows = _FORGET * self._rows + rows
        self._violations = _FORGET * self._violations + violating

    @property
    def _violating(self) -> float:
        return self._violations / max(self._rows, 1.0)

    def _draw(self, observation: Tensor, action: Tensor, target: Tensor, pool: Tensor) -> RiskRows:
        """Return this process's share of a minibatch: of ``pool``, and of what is remembered."""
        config, device = self.config, observation.device
        count = max(config.minibatch_size // self.group.size, 1)
        remembered = round(config.violating_share * count) if len(self.memory) else 0
        ordinary = count - remembered if len(pool) else 0
        new = pool[torch.randint(max(len(pool), 1), (ordinary,), generator=self._generator).to(device)]
        old = torch.randint(max(len(self.memory), 1), (remembered,), generator=self._generator)
        often = rare = 1.0
        if config.balance == "weighted" and remembered and ordinary:
            often = (1.0 - self._violating) * count / ordinary
            rare = self._violating * count / remembered
        return RiskRows(
            observation=torch.cat([observation[new], self.memory.observation[old].to(device)]),
            action=torch.cat([action[new], self.memory.action[old].to(device)]),
            target=torch.cat([target[new], self.memory.cost[old].to(device)]),
            weight=torch.cat([torch.full((ordinary,), often), torch.full((remembered,), rare)]).to(device),
        )

    def step(self, rows: RiskRows) -> Tensor:
        """Take one optimiser step with the mean gradient of all processes; return the loss."""
        gradient, loss = torch.zeros_like(self._flat.theta), torch.zeros(())
        if len(rows.action):
            total = self.loss(rows)
            gradient, loss = self._flat.gradient(total), total.detach()
        self.group.mean_(gradient)
        self._flat.theta.grad = gradient
        self.optimizer.param_groups[0]["lr"] = self.config.learning_rate * self.learning_rate_scale
        self.optimizer.step()
        return loss

    def loss(self, rows: RiskRows) -> Tensor:
        """Return the weighted mean loss of both critics, a scalar."""
        taken = self.critic.logits(rows.observation, rows.action)
        target = rows.target.expand(2, -1)
        if self.config.loss == "squared":
            each = (taken.sigmoid() - target).square()
        else:
            each = binary_cross_entropy_with_logits(taken, target, reduction="none")
        return (each * rows.weight).mean()

    def state_dict(self) -> dict[str, Any]:
        """Return what is needed to continue, besides the critics; readable by ``torch.load(weights_only=True)``."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "memory": self.memory.state_dict(),
            "rows": self._rows,
            "violations": self._violations,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"].cpu())
        self.memory.load_state_dict(state["memory"])
        self._rows, self._violations = state["rows"], state["violations"]
