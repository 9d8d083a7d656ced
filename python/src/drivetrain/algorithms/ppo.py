"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347). ``docs/algorithms/ppo.md`` walks through it.

T time steps, N rows, B rows of a minibatch, D observation values.

One iteration: collect T steps of N rows, estimate advantages, then a few epochs of clipped updates. Rows that were
no transition (``valid`` False) take no part in any mean. Whoever composes PPO (imitation rewards) gives
:meth:`PPO.iterate` a function that changes ``rollout.reward``, or calls :meth:`PPO.collect` and :meth:`PPO.update`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.algorithms.anchor import Anchor, AnchorConfig
from drivetrain.algorithms.ppo_loss import STATISTICS, LossSettings, ppo_loss
from drivetrain.algorithms.returns import discounted_sums, generalized_advantage, value_statistics
from drivetrain.algorithms.rollout import Rollout, minibatches
from drivetrain.algorithms.settings import requirement
from drivetrain.algorithms.transfers import Transfers
from drivetrain.errors import CheckpointError, DivergenceError, RunError, SimulationError
from drivetrain.models.action_distribution import ActionDistribution
from drivetrain.models.actor_critic import ActorCritic
from drivetrain.models.observation_rows import to_torch, widened
from drivetrain.models.proposal_policy import Composed, ProposalPolicy
from drivetrain.models.running_moments import RunningMoments, batch_moments
from drivetrain.parallel import ALONE, Group, all_finite
from drivetrain.sim.environment import PartwiseEnvironment, StepResult, VectorEnvironment

_require = requirement("algorithm")

AuxiliaryLoss = Callable[[Mapping[str, Tensor], ActionDistribution], Tensor]
"""(minibatch, action distribution) -> scalar added to the loss, already weighted; the minibatch has ``observation``
[B, D] and whatever else the rollout keeps of its rows."""
Judge = Callable[[Rollout], Mapping[str, Tensor | float]]
"""Replaces the reward of a rollout before anything is learnt from it, and returns metrics."""

_STATISTICS: tuple[str, ...] = (*STATISTICS, "anchor_loss")
"""What comes with a gradient; the last only with an auxiliary loss."""
_SEED_STRIDE = 0x9E3779B97F4A7C15 % 2**63
"""Between the seeds of two processes."""
_REWARD_LIMIT = 10.0
"""Normalised rewards are clipped to this many standard deviations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PPOConfig:
    """Hyper-parameters of PPO. Defaults are for driving with some 500 worlds."""

    name: Literal["ppo"] = "ppo"
    """Selects the algorithm."""
    rollout_steps: int = 32
    """Steps per row and iteration (T)."""
    minibatch_size: int = 2048
    """Rows per gradient step, about; of all processes together."""
    epochs: int = 2
    """Passes over each rollout."""
    minibatch_order: Literal["slices", "rows"] = "slices"
    """``slices``: contiguous pieces in shuffled order, no copying; ``rows``: rows shuffled one by one."""
    learning_rate: float = 1e-3
    """Adam step size at the start."""
    learning_rate_final: float = 5e-5
    """Adam step size at the end of the budget; linear in between."""
    gamma: float = 0.99
    """Discount per step."""
    gae_lambda: float = 0.95
    """Decay of the advantage trace."""
    clip_range: float = 0.2
    """The probability ratio counts within 1 +- this."""
    value_coefficient: float = 0.5
    """Weight of the value loss."""
    value_clip_range: float | None = None
    """Largest counted change of a value [reward]; None: no clipping (right unless returns are about 1)."""
    entropy_coefficient: float = 0.002
    """Weight of the entropy bonus at the start."""
    entropy_coefficient_final: float = 0.0002
    """Weight of the entropy bonus at the end of the budget; linear in between."""
    max_grad_norm: float = 0.5
    """Global gradient clip."""
    target_kl: float | None = None
    """No further epoch once the mean KL estimate of an epoch exceeds this [nat]; None: never stop."""
    normalize_advantage: bool = True
    """Standardise advantages per minibatch."""
    advantage_filter: float = 0.0
    """Train only where abs(advantage) >= this times its running maximum (GIGAFLOW: 0.01); 0: everywhere."""
    normalize_reward: bool = False
    """Divide rewards by the spread of their discounted sum; never affects the reported mean_reward."""
    shaping_warmup: float = 0.6
    """Fraction of the budget over which the environment's shaping terms grow from 0 to full; 0: full at once."""
    value_warmup: int = 8
    """Iterations, after a start from other weights without their values (``--init-from``), in which only the value
    head learns: advantages from values that know nothing would destroy the policy."""
    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    """A cloned policy that this one is held near."""

    def __post_init__(self) -> None:
        for name in ("rollout_steps", "minibatch_size", "epochs"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")
        for name in ("learning_rate", "max_grad_norm", "clip_range"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "use a number above 0")
        for name in ("gamma", "gae_lambda", "shaping_warmup"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "use a number from 0 to 1")
        not_negative = ("learning_rate_final", "value_coefficient", "entropy_coefficient", "entropy_coefficient_final")
        for name in (*not_negative, "value_warmup"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "use 0 or more")
        _require(0 <= self.advantage_filter < 1, "advantage_filter", self.advantage_filter, "use 0 to below 1")
        for name in ("target_kl", "value_clip_range"):
            value = getattr(self, name)
            _require(value is None or value > 0, name, value, "use a number above 0, or null to switch it off")
        known = ("slices", "rows")
        _require(self.minibatch_order in known, "minibatch_order", self.minibatch_order, "use slices or rows")


@dataclass(frozen=True, kw_only=True, slots=True)
class _StepReport:
    """What is known of a gradient step."""

    rows: int
    """Rows of this process's share of the minibatch."""
    statistics: Tensor | None
    """In the order of ``_STATISTICS``; None without rows."""
    grad_norm: Tensor = field(default_factory=lambda: torch.zeros(()))
    """Norm of the mean gradient before clipping."""


class PPO:
    """PPO on any vector environment."""

    def __init__(
        self,
        env: VectorEnvironment,
        policy: ActorCritic | ProposalPolicy,
        config: PPOConfig,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        group: Group = ALONE,
        overlap: bool = False,
    ) -> None:
        """Begin with new episodes.

        Args:
            env: Where to learn; with several processes this one's share of the worlds.
            policy: What learns; the same weights in every process.
            config: Hyper-parameters; rollout, minibatch and budget count the rows of all processes together.
            device: Where the network is computed.
            seed: Of every random number; each process draws its own.
            group: The processes that learn together.
            overlap: Simulate one half of the rows while the network decides for the other, where the environment can.
        """
        self.env, self.config, self.device, self.group = env, config, torch.device(device), group
        self.policy = policy.to(self.device)
        self.progress = 0.0
        self.learning_rate_scale = 1.0
        self.agent_steps = 0
        self._flat = self.policy.flat_parameters()
        self.optimizer = torch.optim.Adam([self._flat.theta], lr=config.learning_rate, eps=1e-5, fused=True)
        own_seed = (seed + group.rank * _SEED_STRIDE) % 2**63
        self._generator = torch.Generator(self.device).manual_seed(own_seed)
        self._order_generator = torch.Generator().manual_seed(own_seed)
        self._rollout = Rollout.allocate(
            config.rollout_steps,
            env.num_rows,
            env.observation_size,
            env.action_space,
            self.device,
            observation_dtype=env.observation_dtype,
        )
        self._parts: tuple[slice, ...] = (slice(0, env.num_rows),)
        if overlap and isinstance(env, PartwiseEnvironment):
            self._parts = env.parts
        self._transfers = Transfers(self.device, len(self._parts))
        self._advantage_scale = torch.zeros((), device=self.device)
        self._reward_moments = RunningMoments(1).to(self.device)
        self._reward_sums = torch.zeros(env.num_rows, device=self.device)
        self._warmup_left: int | None = None
        self._anchor: Anchor | None = None
        self._seconds: dict[str, float] = {}
        self._episodes: dict[str, list[NDArray]] = {}
        self._ended: defaultdict[str, list[NDArray]] = defaultdict(list)
        self._finals: list[tuple[int, NDArray, NDArray]] = []
        env.reset(seed=seed, out=self._rollout.host_rows(-1))

    @property
    def heads(self) -> Mapping[str, torch.nn.Module]:
        """What is learnt besides the policy: nothing."""
        return {}

    def warm_start(self, fresh: Collection[str]) -> list[str]:
        """Hear that weights came from elsewhere: a fresh value head has yet to learn what they are worth."""
        if "value" not in fresh or self.config.value_warmup == 0:
            return []
        self._warmup_left = self.config.value_warmup
        return [f"only the value head learns for {self._warmup_left} iterations; the policy stays as it is"]

    def anchor_to(self, policy: ActorCritic) -> None:
        """Hold the policy near another one from now on, as strongly as ``config.anchor`` says."""
        self._anchor = Anchor(policy.to(self.device))

    def iterate(self, judge: Judge | None = None, *, auxiliary_loss: AuxiliaryLoss | None = None) -> IterationResult:
        """Collect one rollout and learn from it.

        Args:
            judge: Gives the rewards to learn from; None: the environment's.
            auxiliary_loss: See :meth:`update`; None: what ``config.anchor`` asks for.
        """
        warmup = self.config.shaping_warmup
        self.env.shaping_scale = min(1.0, self.progress / warmup) if warmup > 0 else 1.0
        rollout = self.collect()
        started = time.perf_counter()
        judged = judge(rollout) if judge is not None else {}
        metrics = {**judged, **self.update(rollout, auxiliary_loss=auxiliary_loss or self._anchor_loss())}
        self._seconds["learn"] = time.perf_counter() - started
        return self.report(rollout, metrics)

    def _anchor_loss(self) -> AuxiliaryLoss | None:
        """Return what holds the policy near its anchor at this point of the budget; None: nothing does.

        Raises:
            RunError: There should be an anchor and none was given.
        """
        weight, anchor = self.config.anchor.weight(self.progress), self._anchor
        if weight == 0.0:
            return None
        if anchor is None:
            raise RunError("algorithm.anchor: there is no anchor; name one by algorithm.anchor.path or --init-from")
        return lambda batch, distribution: anchor.loss(batch["observation"], distribution, weight=weight)

    def report(self, rollout: Rollout, metrics: Mapping[str, Tensor | float]) -> IterationResult:
        """Return the result of an iteration that ended with these metrics."""
        metrics = {**metrics, "shaping_scale": self.env.shaping_scale}
        episodes = {name: np.concatenate(parts) for name, parts in self._episodes.items()}
        return IterationResult(
            agent_steps=int(rollout.valid.sum()),
            gradient_steps=int(metrics["gradient_steps"]),
            metrics=metrics,
            episodes=episodes,
            seconds=dict(self._seconds),
        )

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Return T steps of every row, driven by the present policy.

        Part by part of the rows: on a GPU the network decides for one part while the other is simulated.
        """
        rollout, clock = self._rollout, time.perf_counter
        self._finals, self._ended = [], defaultdict(list)
        began = clock()
        sim_seconds = 0.0
        rollout.host_observation[0].copy_(rollout.host_observation[-1])
        self._transfers.begin()
        for part, rows in enumerate(self._parts):
            self._decide(0, part, rows)
        for t in range(rollout.num_steps):
            for part, rows in enumerate(self._parts):
                action = self._transfers.action(part)
                started = clock()
                step = self._simulate(t, part, action)
                sim_seconds += clock() - started
                self._take_outcome(t, rows, step)
                self._decide(t + 1, part, rows)
        rollout.send_outcomes(self._transfers)
        self._bootstrap(rollout, self._finals)
        if not all_finite(self.group, rollout.value):
            self._raise_for_value(rollout)
        # Where both go on at once, what of the network's time the simulator did not hide.
        self._seconds = {"sim": sim_seconds, "infer": clock() - began - sim_seconds}
        self._episodes = dict(self._ended)
        self.agent_steps += int(rollout.host_outcomes["valid"].sum())
        return rollout

    def _decide(self, t: int, part: int, rows: slice) -> None:
        """Let the policy look at some rows of step t, and act unless the rollout ends there."""
        rollout = self._rollout
        observation = rollout.observation[t, rows]
        self._transfers.send(rollout.host_observation[t, rows], observation)
        distribution, rollout.value[t, rows] = self.policy.evaluate(observation)
        if t == rollout.num_steps:
            return
        action = distribution.sample(self._generator)
        self._transfers.fetch_action(part, action)
        rollout.action[t, rows] = action
        rollout.log_prob[t, rows] = distribution.log_prob(action)
        if isinstance(distribution, Composed):
            rollout.store_context(t, rows, distribution.context)

    def _simulate(self, t: int, part: int, action: NDArray) -> StepResult:
        """Take step t of a part."""
        out = self._rollout.host_rows(t + 1)
        if len(self._parts) == 1:
            return self.env.step(action, out=out)
        assert isinstance(self.env, PartwiseEnvironment)
        return self.env.step_part(part, action, out=out)

    def _take_outcome(self, t: int, rows: slice, step: StepResult) -> None:
        """Keep what came of step t of some rows, and of the episodes that ended in it."""
        if not np.isfinite(step.reward[step.valid]).all():
            raise SimulationError(_blame("reward", np.where(step.valid, step.reward, 0.0), self.agent_steps))
        self._rollout.store_outcome(t, rows, step)
        if len(step.final_rows) == 0:
            return
        for name, values in step.episodes.items():
            self._ended[name].append(np.array(values))
        cut = (step.truncated & ~step.terminated)[step.final_rows]
        if cut.any():
            self._finals.append((t, step.final_rows[cut] + rows.start, step.final_observation[cut]))

    def _bootstrap(self, rollout: Rollout, finals: list[tuple[int, NDArray, NDArray]]) -> None:
        """Fill ``next_value``: the following step's value, and that of the final observation where truncated."""
        rollout.next_value.copy_(rollout.value[1:])
        if finals:
            observation = to_torch(np.concatenate([final for _, _, final in finals])).to(self.device)
            steps = torch.from_numpy(np.concatenate([np.full(len(rows), t) for t, rows, _ in finals]))
            rows = torch.from_numpy(np.concatenate([rows for _, rows, _ in finals]).astype(np.int64))
            index = (steps.to(self.device), rows.to(self.device))
            rollout.next_value[index] = self.policy.evaluate(observation)[1]

    def _raise_for_value(self, rollout: Rollout) -> None:
        observation = widened(rollout.observation).cpu().numpy()
        if not np.isfinite(observation).all():
            raise SimulationError(_blame("observation", observation, self.agent_steps))
        raise DivergenceError(
            f"the network's output became NaN or infinite after {self.agent_steps} steps although every observation "
            "is finite"
        )

    def update(self, rollout: Rollout, *, auxiliary_loss: AuxiliaryLoss | None = None) -> dict[str, Tensor | float]:
        """Return the metrics of a few epochs of clipped updates on a rollout.

        Args:
            rollout: What :meth:`collect` returned; its reward may have been replaced.
            auxiliary_loss: Added to the loss of every minibatch, for example an anchor to a cloned policy.
        """
        config = self.config
        advantage = self._advantage(rollout)
        target = advantage + rollout.value[:-1]
        keep = rollout.valid & self._worth_training(advantage, rollout.valid)
        flat = {
            "observation": rollout.observation[:-1].flatten(0, 1),
            "action": rollout.action.flatten(0, 1),
            "log_prob": rollout.log_prob.flatten(),
            "value": rollout.value[:-1].flatten(),
            "advantage": advantage.flatten(),
            "target": target.flatten(),
            **{name: values.flatten(0, 1) for name, values in rollout.context.items()},
        }
        learning_rate = self._scheduled(config.learning_rate, config.learning_rate_final) * self.learning_rate_scale
        self.optimizer.param_groups[0]["lr"] = learning_rate
        settings = LossSettings(
            clip_range=config.clip_range,
            value_coefficient=config.value_coefficient,
            value_clip_range=config.value_clip_range,
            entropy_coefficient=self._entropy_coefficient(),
            normalize_advantage=config.normalize_advantage,
        )
        kept = keep.sum().to(torch.float32)[None]
        self.group.mean_(kept)
        # Every process takes as many steps as the others, whatever rows it has.
        num_minibatches = round(max(float(kept) * self.group.size / config.minibatch_size, min(float(kept), 1.0)))
        reports: list[_StepReport] = []
        epochs = 0
        for _ in range(config.epochs):
            epochs += 1
            batches = minibatches(
                flat,
                keep.flatten(),
                count=num_minibatches,
                by_rows=config.minibatch_order == "rows",
                generator=self._order_generator,
            )
            epoch = [self._gradient_step(batch, settings, auxiliary_loss) for batch in batches]
            reports += epoch
            if config.target_kl is not None and epoch and self._mean_kl(epoch) > config.target_kl:
                break
        if self.policy.encoder.moments is not None and not self._warmup_left:
            seen = batch_moments(widened(flat["observation"][rollout.valid.flatten()]))
            self.policy.encoder.moments.update(*self.group.all_gather(seen))
        means = self._means(reports)
        if self._warmup_left is not None:
            means["policy_frozen"] = torch.tensor(float(self._warmup_left > 0))
        if self._warmup_left == 1:
            # Adam's averages of the policy's gradients are zeros by now, and it no longer takes them for young: the
            # first steps would be several times as long as the step size says.
            self.optimizer.state.clear()
        if self._warmup_left:
            self._warmup_left -= 1
        return {
            **means,
            **value_statistics(advantage[rollout.valid], rollout.value[:-1][rollout.valid]),
            "kept_fraction": keep.sum() / rollout.valid.sum().clamp(min=1),
            "lr": learning_rate,
            "entropy_coefficient": self._entropy_coefficient(),
            **({"anchor_coefficient": config.anchor.weight(self.progress)} if config.anchor.is_used else {}),
            "gradient_steps": float(len(reports)),
            "epochs": float(epochs),
        }

    def _advantage(self, rollout: Rollout) -> Tensor:
        """Return advantages [T, N] of the (optionally normalised) rewards."""
        config, reward = self.config, rollout.reward
        ended = rollout.terminated | rollout.truncated
        if config.normalize_reward:
            sums = discounted_sums(reward, self._reward_sums, ended=ended, valid=rollout.valid, gamma=config.gamma)
            self._reward_sums = sums[-1] * (~ended[-1])
            self._reward_moments.update(*self.group.all_gather(batch_moments(sums[rollout.valid][:, None])))
            scale = (self._reward_moments.variance + 1e-8).rsqrt().float()
            reward = (reward * scale).clamp(-_REWARD_LIMIT, _REWARD_LIMIT)
        return generalized_advantage(
            reward,
            rollout.value[:-1],
            rollout.next_value,
            terminated=rollout.terminated,
            truncated=rollout.truncated,
            valid=rollout.valid,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
        )

    def _worth_training(self, advantage: Tensor, valid: Tensor) -> Tensor:
        """Return where the raw advantage is large enough (GIGAFLOW, arXiv 2502.03349), shape [T, N], bool."""
        if self.config.advantage_filter == 0.0:
            return valid
        magnitude = advantage.abs() * valid
        largest = max(float(m) for m in self.group.all_gather(float(magnitude.max())))
        self._advantage_scale = 0.75 * self._advantage_scale + 0.25 * largest
        return magnitude >= self.config.advantage_filter * self._advantage_scale

    def _gradient_step(
        self, batch: dict[str, Tensor], settings: LossSettings, auxiliary_loss: AuxiliaryLoss | None
    ) -> _StepReport:
        """Take one optimiser step with the mean gradient over the rows of all processes."""
        rows = len(batch["action"])
        report = _StepReport(rows=rows, statistics=None)
        gradient = torch.zeros_like(self._flat.theta)
        if rows > 0:
            gradient, statistics = self._gradient(batch, settings, auxiliary_loss)
            report = _StepReport(rows=rows, statistics=statistics)
        if self.group.size > 1:
            # Every row counts the same, however many of them a process has.
            weighted = torch.cat([gradient * rows, gradient.new_tensor([float(rows)])])
            self.group.mean_(weighted)
            gradient = weighted[:-1] / weighted[-1].clamp(min=1e-9)
        if self._warmup_left:
            # Adam leaves alone what never had a gradient: the policy keeps its weights bit by bit.
            gradient = gradient * self._flat.mask(self.policy.value_parameters())
        grad_norm = gradient.norm()
        gradient *= (self.config.max_grad_norm / (grad_norm + 1e-6)).clamp(max=1.0)
        self._flat.theta.grad = gradient
        self.optimizer.step()
        return replace(report, grad_norm=grad_norm)

    def _gradient(
        self, batch: dict[str, Tensor], settings: LossSettings, auxiliary_loss: AuxiliaryLoss | None
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of the loss and the statistics of it, the auxiliary loss last if there is one."""
        if isinstance(self.policy, ProposalPolicy):
            distribution, value = self.policy.evaluate(batch["observation"], batch)
        else:
            distribution, value = self.policy.evaluate(batch["observation"])
        loss, statistics = ppo_loss(distribution, value, batch, settings)
        if auxiliary_loss is not None:
            anchor = auxiliary_loss(batch, distribution)
            loss = loss + anchor
            statistics = torch.cat([statistics, anchor.detach()[None]])
        return self._flat.gradient(loss), statistics

    def _mean_kl(self, reports: list[_StepReport]) -> float:
        """Return the mean KL estimate over the rows of all processes."""
        kl = STATISTICS.index("approx_kl")
        seen = [report for report in reports if report.statistics is not None]
        total = sum((float(r.statistics[kl]) * r.rows for r in seen if r.statistics is not None), 0.0)
        sums = torch.tensor([total, float(sum(r.rows for r in seen))])
        self.group.mean_(sums)
        return float(sums[0] / sums[1].clamp(min=1e-9))

    def _means(self, reports: list[_StepReport]) -> dict[str, Tensor]:
        """Return each statistic's mean over the gradient steps, and the largest ratio of all.

        Raises:
            DivergenceError: The loss or the gradient is not finite.
        """
        table = [report.statistics for report in reports if report.statistics is not None]
        if not table:
            if not all_finite(self.group, torch.zeros(())):
                raise DivergenceError("the loss became NaN or infinite in another learner process")
            return {}
        stacked = torch.stack(table)
        means = dict(zip(_STATISTICS, stacked.mean(0), strict=False))
        means["max_ratio"] = stacked[:, STATISTICS.index("max_ratio")].max()
        means["grad_norm"] = torch.stack([report.grad_norm for report in reports]).mean()
        if not all_finite(self.group, means["loss"] + means["grad_norm"]):
            raise DivergenceError(
                f"the loss became NaN or infinite after {self.agent_steps} steps "
                f"(policy_loss {float(means['policy_loss']):.4g}, value_loss {float(means['value_loss']):.4g})"
            )
        return means

    def _scheduled(self, start: float, end: float) -> float:
        return start + min(max(self.progress, 0.0), 1.0) * (end - start)

    def _entropy_coefficient(self) -> float:
        return self._scheduled(self.config.entropy_coefficient, self.config.entropy_coefficient_final)

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue bit-identically; readable by ``torch.load(weights_only=True)``."""
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "order_generator": self._order_generator.get_state(),
            "agent_steps": self.agent_steps,
            "progress": self.progress,
            "advantage_scale": self._advantage_scale,
            "reward_moments": self._reward_moments.state_dict(),
            "reward_sums": self._reward_sums,
            "warmup_left": self._warmup_left,
            "anchor": None if self._anchor is None else self._anchor.state_dict(),
            "environment": {k: torch.from_numpy(np.array(v)) for k, v in self.env.state_dict().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        if len(state["optimizer"]["param_groups"][0]["params"]) != 1:
            raise CheckpointError(
                "the checkpoint's optimiser is of an earlier version; begin a new run with --init-from instead"
            )
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"].cpu())
        self._order_generator.set_state(state["order_generator"].cpu())
        self.agent_steps, self.progress = state["agent_steps"], state["progress"]
        self._advantage_scale = state["advantage_scale"].to(self.device)
        self._warmup_left = state["warmup_left"]
        if state.get("anchor") is not None:
            schema, space = self.env.observation_schema, self.env.action_space
            self._anchor = Anchor.of_state(state["anchor"], schema=schema, action_space=space, device=self.device)
        self._reward_moments.load_state_dict(state["reward_moments"])
        self._reward_sums = state["reward_sums"].to(self.device)
        self.env.load_state_dict({k: v.cpu().numpy() for k, v in state["environment"].items()})
        self.env.current_observation(out=self._rollout.host_rows(-1))


def _blame(what: str, array: NDArray, agent_steps: int) -> str:
    """Return one line that names the first impossible value."""
    where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return (
        f"the environment produced {what} {array[where]} at index {where} after {agent_steps} steps; "
        "the policy is not to blame: check the scenario data or the environment"
    )
