"""Behaviour cloning (Pomerleau 1991) of demonstrations. ``docs/algorithms/bc.md`` walks through it.

B rows of a minibatch, K categories, A action dimensions.

One iteration: some gradient steps on minibatches of an epoch's order. The action head learns the expert's action by
maximum likelihood, the trajectory head (optional) its future; both read the same trunk. What keeps a clone from copying
its own last action, and from drifting where no expert ever was: state dropout, displaced demonstrations, and labelled
rollouts (``dagger.py``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.algorithms.dagger import DaggerConfig, RolloutMemory
from drivetrain.algorithms.demonstration_batches import (
    COPYCAT,
    EpochOrder,
    Minibatch,
    RowReader,
    ego_column,
    standing_rows,
)
from drivetrain.algorithms.open_loop import ROWS_AT_ONCE, open_loop_metrics
from drivetrain.algorithms.settings import requirement
from drivetrain.data.demonstrations import Demonstrations
from drivetrain.errors import ConfigError, DivergenceError
from drivetrain.models.action_distribution import ActionDistribution, Categorical
from drivetrain.models.actor_critic import ActorCritic
from drivetrain.models.flat_parameters import FlatParameters, joint_gradient
from drivetrain.models.observation_rows import to_torch, widened
from drivetrain.models.running_moments import batch_moments
from drivetrain.models.trajectory_head import TrajectoryConfig, TrajectoryHead, trajectory_loss
from drivetrain.parallel import ALONE, Group, all_finite
from drivetrain.sim.env import DrivingEnv
from drivetrain.sim.environment import VectorEnvironment
from drivetrain.sim.kernels.vehicle import category_values

_require = requirement("algorithm")

_SEED_STRIDE = 0x9E3779B97F4A7C15 % 2**63
"""Between the seeds of two processes."""
LEAST_LOG_STD = -4.0
"""A Gaussian policy gets no narrower: an expert without noise would drive its likelihood to infinity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BCConfig:
    """Hyper-parameters of behaviour cloning."""

    name: Literal["bc"] = "bc"
    """Selects the algorithm."""
    minibatch_size: int = 512
    """Rows per gradient step, about; of all processes together."""
    iteration_steps: int = 100
    """Gradient steps per iteration; an epoch ends an iteration early."""
    learning_rate: float = 1e-3
    """AdamW step size after the warm-up."""
    learning_rate_final: float = 1e-5
    """AdamW step size at the end of the budget; half a cosine in between."""
    warmup: float = 0.03
    """Fraction of the budget over which the step size grows from 0."""
    weight_decay: float = 1e-4
    """Decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Global gradient clip."""
    label_smoothing: float = 0.0
    """Probability that a label gives to all categories alike."""
    class_weight_power: float = 0.0
    """Categories count by their frequency to minus this: 0 all rows alike, 0.5 inverse square root, 1 all categories
    alike. Above 0 the cloned probabilities are no longer the expert's."""
    state_dropout: float = 0.5
    """Probability of hiding the ego's acceleration, curvature and yaw rate, which tell the last action (driving)."""
    standing_share: float = 0.2
    """Largest share of rows in which the expert waits; each epoch draws other ones (driving)."""
    held_out_share: float = 0.1
    """Share of the episodes that is only looked at (Gymnasium; when driving it is the evaluation's split)."""
    trajectory: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    """The trajectory head."""
    dagger: DaggerConfig = field(default_factory=DaggerConfig)
    """Labelled rollouts (driving)."""

    def __post_init__(self) -> None:
        for name in ("minibatch_size", "iteration_steps"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")
        for name in ("learning_rate", "max_grad_norm"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "use a number above 0")
        for name in ("learning_rate_final", "weight_decay", "class_weight_power"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "use 0 or more")
        for name in ("warmup", "label_smoothing", "state_dropout", "standing_share"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "use a number from 0 to 1")
        _require(0 < self.held_out_share < 1, "held_out_share", self.held_out_share, "use a share between 0 and 1")


def action_loss(
    distribution: ActionDistribution,
    action: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weight: Tensor | None = None,
) -> Tensor:
    """Return the mean negative log-likelihood [nat] of the expert's actions, a scalar.

    Args:
        distribution: Of the policy.
        action: The expert's, int64 [B] or float32 [B, A].
        label_smoothing: Probability that a label gives to all categories alike.
        class_weight: How much a row of each category counts, shape [K]; None: 1.
    """
    loss = -distribution.log_prob(action)
    if not isinstance(distribution, Categorical):
        return loss.mean()
    if label_smoothing > 0:
        loss = (1.0 - label_smoothing) * loss - label_smoothing * distribution.log_probs.mean(-1)
    if class_weight is None:
        return loss.mean()
    weight = class_weight[action]
    return (weight * loss).sum() / weight.sum()


def class_weights(action_index: np.ndarray, num_categories: int, power: float) -> Tensor | None:
    """Return how much each category counts, shape [K]; None for power 0."""
    if power == 0.0:
        return None
    counts = np.bincount(action_index, minlength=num_categories).astype(np.float64)
    weights = np.where(counts > 0, np.maximum(counts, 1.0) ** -power, 0.0)
    return torch.from_numpy(weights * counts.sum() / (weights * counts).sum()).float()


def cosine_rate(progress: float, *, peak: float, final: float, warmup: float) -> float:
    """Return the step size at a fraction of the budget: linear from 0 to ``peak``, then half a cosine to ``final``."""
    if progress < warmup:
        return peak * progress / warmup
    share = min((progress - warmup) / max(1.0 - warmup, 1e-9), 1.0)
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * share))


def epoch_order(demonstrations: Demonstrations, config: BCConfig, *, seed: int) -> EpochOrder:
    """Return which rows are learnt from in which gradient step."""
    return EpochOrder(
        standing_rows(demonstrations),
        minibatch_size=config.minibatch_size,
        standing_share=config.standing_share,
        seed=seed,
    )


class BC:
    """Behaviour cloning on the demonstrations of any environment."""

    def __init__(
        self,
        env: VectorEnvironment,
        policy: ActorCritic,
        config: BCConfig,
        *,
        demonstrations: Demonstrations,
        held_out: Demonstrations | None,
        budget: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        group: Group = ALONE,
    ) -> None:
        """Begin with the first epoch.

        Args:
            env: Where the policy is rolled out; with several processes this one's share of the worlds.
            policy: What learns; the same weights in every process.
            config: Hyper-parameters; minibatch and memory count the rows of all processes together.
            demonstrations: What to learn from; the same in every process.
            held_out: What open-loop metrics are computed on; None: nothing.
            budget: Gradient steps of the whole run, for the schedule.
            device: Where the network is computed.
            seed: Of every random number; each process draws its own.
            group: The processes that learn together.
        """
        self.env, self.config, self.device, self.group = env, config, torch.device(device), group
        self.policy = policy.to(self.device)
        self.budget = budget
        self.progress = 0.0
        self.learning_rate_scale = 1.0
        self.agent_steps = 0
        self.head: TrajectoryHead | None = None
        if config.trajectory.modes and len(demonstrations.pose):
            self.head = TrajectoryHead(policy.num_features, config.trajectory, seed=seed).to(self.device)
        self._flats = [FlatParameters(self.head)] if self.head is not None else []
        self._flats.insert(0, self.policy.flat_parameters())
        self.optimizer = torch.optim.AdamW(
            [flat.theta for flat in self._flats],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )
        own_seed = (seed + group.rank * _SEED_STRIDE) % 2**63
        self._generator = torch.Generator().manual_seed(own_seed)
        space = env.action_space
        trajectory = config.trajectory if self.head is not None else replace(config.trajectory, modes=0)
        self._reader = RowReader(
            demonstrations, is_discrete=space.is_discrete, trajectory=trajectory, device=self.device
        )
        self._take_moments(demonstrations)
        self.order = epoch_order(demonstrations, config, seed=seed)
        weights = class_weights(demonstrations.action_index, space.num_categories, config.class_weight_power)
        self._class_weight = None if weights is None or not space.is_discrete else weights.to(self.device)
        columns = [ego_column(env.observation_schema, feature) for feature in COPYCAT]
        self._hidden_columns = torch.tensor([c for c in columns if c is not None], dtype=torch.int64)
        self._held_out = held_out
        self._memory = self._new_memory(seed)
        self._gradient_steps = 0
        self._dagger_metrics: dict[str, float] = {}

    def _take_moments(self, demonstrations: Demonstrations) -> None:
        """Standardise observations by what the expert saw, if the policy standardises them at all."""
        moments = self.policy.encoder.moments
        if moments is None:
            return
        for first in range(0, len(demonstrations), ROWS_AT_ONCE):
            rows = to_torch(np.array(demonstrations.observation[first : first + ROWS_AT_ONCE]))
            moments.update(batch_moments(widened(rows).to(self.device)))

    def _new_memory(self, seed: int) -> RolloutMemory | None:
        dagger = self.config.dagger
        if not dagger.rounds:
            return None
        if not isinstance(self.env, DrivingEnv):
            raise ConfigError("algorithm.dagger.rounds: only states of driving worlds can be labelled; use 0")
        return RolloutMemory(self.env, dagger, capacity=max(dagger.capacity // self.group.size, 1), seed=seed)

    @property
    def heads(self) -> Mapping[str, torch.nn.Module]:
        """What is learnt besides the policy, by name."""
        return {} if self.head is None else {"traj": self.head}

    def warm_start(self, fresh: Collection[str]) -> list[str]:
        """Do nothing: no values have to be learnt before the policy may."""
        return []

    def iterate(self) -> IterationResult:
        """Learn from the next minibatches, at most to the end of the epoch."""
        started = time.perf_counter()
        memory, seconds = self._memory, {}
        if memory is not None and memory.rounds < self.config.dagger.rounds_due(self._used(self._gradient_steps)):
            self._dagger_metrics = memory.collect(self.policy, self.device)
            seconds["sim"] = time.perf_counter() - started
        begun = time.perf_counter()
        epoch, first = divmod(self._gradient_steps, self.order.steps)
        count = max(min(self.config.iteration_steps, self.order.steps - first, self.budget - self._gradient_steps), 1)
        loading, rows = 0.0, 0
        reports: list[dict[str, Tensor]] = []
        for step in range(first, first + count):
            at = time.perf_counter()
            batch = self._minibatch(self.order.rows(epoch, step))
            loading += time.perf_counter() - at
            rows += len(batch.action)
            reports.append(self._gradient_step(batch))
            self._gradient_steps += 1
        metrics: dict[str, Tensor | float] = {
            name: torch.stack([report[name] for report in reports]).mean() for name in reports[0]
        }
        self._refuse_nan(metrics)
        wall = time.perf_counter() - begun
        metrics |= {
            "epoch": self._gradient_steps / self.order.steps,
            "lr": self._learning_rate(),
            "sps_samples": rows * self.group.size / wall,
            "standing_share": self.order.standing_share,
            **self._dagger_metrics,
        }
        if memory is not None:
            metrics["dagger_rows"] = float(len(memory) * self.group.size)
        done = count if self.group.rank == 0 else 0  # the leader counts for all: they take the same steps
        self.agent_steps += done
        return IterationResult(
            agent_steps=done,
            gradient_steps=count,
            metrics=metrics,
            episodes={},
            seconds={**seconds, "load": loading, "learn": wall - loading},
        )

    def _used(self, gradient_steps: float) -> float:
        """Return how much of the budget is used after so many steps, or of the time if that is more."""
        return max(gradient_steps / self.budget, self.progress)

    def _learning_rate(self) -> float:
        config = self.config
        progress = self._used(self._gradient_steps + 0.5)
        rate = cosine_rate(progress, peak=config.learning_rate, final=config.learning_rate_final, warmup=config.warmup)
        return rate * self.learning_rate_scale

    def _minibatch(self, rows: np.ndarray) -> Minibatch:
        """Return this process's share of a minibatch, some rows replaced by rollouts, some states hidden."""
        size, rank = self.group.size, self.group.rank
        own = rows[len(rows) * rank // size : len(rows) * (rank + 1) // size]
        batch = self._reader.read(own)
        if self._memory is not None and len(self._memory):
            self._mix_in(batch, self._memory)
        if self.config.state_dropout > 0 and len(self._hidden_columns):
            hidden = torch.rand(len(own), generator=self._generator) < self.config.state_dropout
            where = hidden.nonzero().to(self.device)
            batch.observation[where, self._hidden_columns.to(self.device)[None]] = 0
        return batch

    def _mix_in(self, batch: Minibatch, memory: RolloutMemory) -> None:
        count = round(self.config.dagger.share * len(batch.action))
        chosen = torch.randint(len(memory), (count,), generator=self._generator).numpy()
        observation, label = memory.take(chosen)
        index = torch.from_numpy(label.astype(np.int64))
        if not self.env.action_space.is_discrete:
            index = torch.tensor(category_values())[index]
        batch.action[:count] = index.to(self.device)
        batch.observation[:count] = to_torch(observation).to(self.device)
        if batch.known is not None:
            # Nobody knows where the expert would have gone from there.
            batch.known[: max(count - (len(batch.action) - len(batch.known)), 0)] = False

    def _gradient_step(self, batch: Minibatch) -> dict[str, Tensor]:
        """Take one optimiser step with the mean gradient over the rows of all processes; return the statistics."""
        gradient, statistics = self._gradient(batch)
        if self.group.size > 1:
            rows = float(len(batch.action))
            weighted = torch.cat([gradient * rows, gradient.new_tensor([rows])])
            self.group.mean_(weighted)
            gradient = weighted[:-1] / weighted[-1].clamp(min=1e-9)
        norm = gradient.norm()
        gradient *= (self.config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        for flat, part in zip(self._flats, gradient.split([len(f.theta) for f in self._flats]), strict=True):
            flat.theta.grad = part
        self.optimizer.param_groups[0]["lr"] = self._learning_rate()
        self.optimizer.step()
        if self.policy.log_std is not None:
            self.policy.log_std.data.clamp_(min=LEAST_LOG_STD)
        return {**statistics, "grad_norm": norm}

    def _gradient(self, batch: Minibatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the gradient by all parameters and what is known of the minibatch."""
        config = self.config
        distribution, features = self.policy.evaluate_features(batch.observation)
        loss = action_loss(
            distribution,
            batch.action,
            label_smoothing=config.label_smoothing,
            class_weight=self._class_weight,
        )
        statistics = {"policy_loss": loss.detach()}
        if self.head is not None:
            assert batch.future is not None
            assert batch.known is not None
            futures, logits = self.head(features[len(features) - len(batch.known) :])
            regression, classification = trajectory_loss(futures, logits, batch.future, batch.known)
            loss = loss + config.trajectory.weight * (regression + classification)
            statistics |= {"trajectory_loss": regression.detach(), "mode_loss": classification.detach()}
        if isinstance(distribution, Categorical):
            hit = distribution.log_probs.detach().argmax(-1) == batch.action
            statistics["top1"] = hit.float().mean()
        statistics["loss"] = loss.detach()
        return joint_gradient(loss, self._flats), statistics

    def _refuse_nan(self, metrics: Mapping[str, Tensor | float]) -> None:
        if not all_finite(self.group, torch.tensor(float(metrics["loss"]) + float(metrics["grad_norm"]))):
            raise DivergenceError(
                f"the loss became NaN or infinite after {self._gradient_steps} gradient steps "
                f"(policy_loss {float(metrics['policy_loss']):.4g})"
            )

    def open_loop(self) -> dict[str, float]:
        """Return how well held-out actions and futures are predicted; empty if nothing is held out."""
        if self._held_out is None:
            return {}
        return open_loop_metrics(self.policy, self.head, self._held_out, device=self.device)

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue bit-identically; readable by ``torch.load(weights_only=True)``."""
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "heads": {name: head.state_dict() for name, head in self.heads.items()},
            "generator": self._generator.get_state(),
            "gradient_steps": self._gradient_steps,
            "agent_steps": self.agent_steps,
            "progress": self.progress,
            "dagger_metrics": dict(self._dagger_metrics),
            "memory": None if self._memory is None else self._memory.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, head in self.heads.items():
            head.load_state_dict(state["heads"][name])
        self._generator.set_state(state["generator"].cpu())
        self._gradient_steps, self.agent_steps = state["gradient_steps"], state["agent_steps"]
        self.progress, self._dagger_metrics = state["progress"], dict(state["dagger_metrics"])
        if self._memory is not None:
            self._memory.load_state_dict(state["memory"])
