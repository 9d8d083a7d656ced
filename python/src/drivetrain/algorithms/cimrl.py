"""CIMRL-style learning: reinforcement within what an imitation proposes and a risk critic lets pass.

T time steps, N rows, K categories. ``docs/algorithms/cimrl.md`` walks through it. After Booher et al. 2024 (arXiv
2406.08878), built on Recovery RL (Thananjeyan et al. 2021, arXiv 2010.15920).

Holds a PPO, whose policy is a :class:`ProposalPolicy`. One iteration: PPO collects under the filter, the risk critics
learn from the costs of that rollout, the task policy and its values learn from the rewards. Before, the critics alone
learn from rollouts of the frozen prior.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.algorithms.anchor import AnchorConfig
from drivetrain.algorithms.endings import EndingRecorder
from drivetrain.algorithms.ppo import PPO, PPOConfig
from drivetrain.algorithms.risk import RiskConfig, RiskLearner, calibration, costs, risk_returns
from drivetrain.algorithms.rollout import Rollout
from drivetrain.algorithms.sac import SACConfig
from drivetrain.errors import ConfigError
from drivetrain.models.action_distribution import ActionDistribution, kl_divergence
from drivetrain.models.observation_rows import TORCH_DTYPES, to_torch
from drivetrain.models.proposal_policy import Composed, ProposalConfig, ProposalPolicy
from drivetrain.models.q_network import CriticConfig
from drivetrain.parallel import ALONE, Group
from drivetrain.sim.environment import VectorEnvironment

_LOOKED_AT = 2048
"""Rows of a rollout on which the task policy is compared with the prior."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CIMRLConfig:
    """Hyper-parameters of CIMRL. Defaults are for driving with some 500 worlds."""

    name: Literal["cimrl"] = "cimrl"
    """Selects the algorithm."""
    rl: Literal["ppo", "sac"] = "ppo"
    """How the task policy learns."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """With ``rl: ppo``, which also says how many steps a rollout has."""
    sac: SACConfig = field(default_factory=SACConfig)
    """With ``rl: sac``."""
    relabel: bool = True
    """With ``rl: sac``: where recovery acted, what the task policy liked most is held to have led to the same."""
    proposals: ProposalConfig = field(default_factory=ProposalConfig)
    """What the prior proposes and the filter lets pass."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """Sizes of the risk critics."""
    risk: RiskConfig = field(default_factory=RiskConfig)
    """How the risk critics learn."""
    scouts: float = 0.1
    """Share of the worlds that drive without the filter, so that the critics go on learning how risky that is which it
    forbids: what is once overestimated would stay forbidden for ever. The task policy learns there, too, what failing
    costs."""
    anchor: AnchorConfig = field(default_factory=lambda: AnchorConfig(coefficient=0.05))
    """How strongly the task policy, before the filter, is held near the prior."""

    def __post_init__(self) -> None:
        if self.rl not in ("ppo", "sac"):
            raise ConfigError(f"algorithm.rl: {self.rl!r} is unknown; use ppo or sac")
        if self.sac.imitates:
            raise ConfigError("algorithm.sac.imitation_coefficient: cimrl has a prior instead of an expert; use 0")
        if not 0 <= self.scouts < 1:
            raise ConfigError(f"algorithm.scouts: {self.scouts} is impossible; use 0 to below 1")
        if self.anchor.path is not None:
            raise ConfigError("algorithm.anchor.path: cimrl is anchored to its own prior; leave the path out")
        if self.ppo.anchor.is_used:
            raise ConfigError("algorithm.ppo.anchor: cimrl has an anchor of its own; use algorithm.anchor")
        if self.sac.anchor.is_used:
            raise ConfigError("algorithm.sac.anchor: cimrl has an anchor of its own; use algorithm.anchor")


class CIMRL:
    """A PPO within proposals, and the critics that judge their risk."""

    def __init__(
        self,
        env: VectorEnvironment,
        policy: ProposalPolicy,
        config: CIMRLConfig,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        group: Group = ALONE,
    ) -> None:
        """Begin with new episodes.

        Args:
            env: Where to learn; with several processes this one's share of the worlds.
            policy: With its prior; the same weights in every process.
            config: Hyper-parameters.
            device: Where the networks are computed.
            seed: Of every random number; each process draws its own.
            group: The processes that learn together.
        """
        self.config, self.group = config, group
        self.progress = 0.0
        self.learning_rate_scale = 1.0
        self.agent_steps = 0
        self._endings = EndingRecorder(env, goal_cuts=False)
        self.ppo = PPO(self._endings, policy, config.ppo, device=device, seed=seed, group=group)
        like_rows = torch.zeros(0, env.observation_size, dtype=TORCH_DTYPES[env.observation_dtype])
        self.risk = RiskLearner(policy.q_risk, config.risk, observation=like_rows, seed=seed, group=group)
        self._pretrained = 0
        """Transitions of the prior that the critics have learnt from, in all processes together."""

    @property
    def env(self) -> VectorEnvironment:
        """Where it learns."""
        return self._endings.env

    @property
    def policy(self) -> ProposalPolicy:
        """What acts."""
        policy = self.ppo.policy
        assert isinstance(policy, ProposalPolicy)
        return policy

    @property
    def heads(self) -> Mapping[str, torch.nn.Module]:
        """What is learnt besides the policy: nothing, the critics are part of it."""
        return {}

    def warm_start(self, fresh: Collection[str]) -> list[str]:
        """Hear that weights came from elsewhere: fresh critics and values have yet to learn what they are worth."""
        precautions: list[str] = []
        if "q_risk" not in fresh:
            self._pretrained = self.config.risk.pretrain_steps
        elif self.config.risk.pretrain_steps:
            steps = f"{self.config.risk.pretrain_steps:,}"
            precautions.append(f"only the risk critics learn for {steps} transitions, driven by the prior")
        return precautions + self.ppo.warm_start(["value"] if "task" in fresh else [])

    def iterate(self) -> IterationResult:
        """Let the critics learn from the prior at first; later collect, and let critics, policy and values learn."""
        self._endings.clear()
        self.ppo.progress, self.ppo.learning_rate_scale = self.progress, self.learning_rate_scale
        self.risk.learning_rate_scale = self.learning_rate_scale
        if self._pretrained < self.config.risk.pretrain_steps:
            result = self._pretrain()
        else:
            anchored = self._anchor_loss if self.config.anchor.weight(self.progress) > 0 else None
            self.policy.scouts = self._num_scouts
            try:
                result = self.ppo.iterate(self._learn_risk, auxiliary_loss=anchored)
            finally:
                self.policy.scouts = 0
        self.agent_steps = self.ppo.agent_steps
        return result

    @property
    def _num_scouts(self) -> int:
        return round(self.config.scouts * self.env.num_rows) if self.config.proposals.filter else 0

    def _pretrain(self) -> IterationResult:
        """Collect with the prior and some random actions; only the critics learn."""
        config = self.config.risk
        self.policy.exploring = config.random_actions
        try:
            rollout = self.ppo.collect()
        finally:
            self.policy.exploring = None
        started = time.perf_counter()
        metrics = self._learn_risk(rollout, exploring=config.random_actions)
        steps = torch.tensor([float(rollout.valid.sum())])
        self.group.mean_(steps)
        self._pretrained += round(float(steps) * self.group.size)
        metrics["gradient_steps"] = float(config.pretrain_updates)
        result = self.ppo.report(rollout, metrics)
        return replace(result, seconds={**result.seconds, "learn": time.perf_counter() - started})

    def _learn_risk(self, rollout: Rollout, *, exploring: float | None = None) -> dict[str, Tensor | float]:
        """Teach the critics what a rollout cost, and return metrics; its rewards stay as they are.

        Args:
            rollout: What was driven.
            exploring: Share of random actions, if the prior drove without the filter.
        """
        self.policy.scouts = 0  # what is looked at from here on are no longer the environment's rows in order
        config, valid = self.config.risk, rollout.valid
        device = rollout.reward.device
        cost = costs(self._endings.endings, config.cost, (rollout.num_steps, self.env.num_rows)).to(device)
        taken = rollout.context["risk"].gather(-1, rollout.action[..., None]).squeeze(-1)
        target = risk_returns(
            cost,
            self._next_risk(rollout),
            taken,
            self._ratio(rollout, exploring or 0.0),
            terminated=rollout.terminated,
            truncated=rollout.truncated,
            valid=valid,
            gamma=config.gamma,
            trace=config.trace,
        )
        first_row = self._num_scouts if exploring is None else 0
        learnt = self.risk.learn(
            rollout.observation[:-1][valid],
            rollout.action[valid],
            target[valid],
            cost[valid],
            updates=config.updates if exploring is None else config.pretrain_updates,
        )
        return {
            **learnt,
            **self._calibration(rollout, cost, taken, first_row=first_row),
            **self._composition(rollout, cost, first_row=first_row),
            "risk/q_mean": taken[valid].mean(),
            "risk/pretraining": float(exploring is not None),
        }

    def _ratio(self, rollout: Rollout, exploring: float) -> Tensor:
        """Return the probability of each action under the filtered policy by that under who acted, shape [T, N].

        Who acted drew from mu = (1 - r) p + r / K; the filtered policy draws from p within the safe set.
        """
        uniform = exploring / self.env.action_space.num_categories
        by_choice = (1.0 - uniform * (-rollout.log_prob).exp()).clamp(min=0.0) / (1.0 - exploring)
        is_safe = rollout.context["safe"].gather(-1, rollout.action[..., None]).squeeze(-1)
        return by_choice * is_safe / rollout.context["inside"].clamp(min=1e-6)

    @torch.no_grad()
    def _next_risk(self, rollout: Rollout) -> Tensor:
        """Return the risk to be expected after each step, of the final observation where truncated, shape [T, N]."""
        policy = self.policy
        last = policy.evaluate(rollout.observation[-1])[0].context["expected_risk"]
        result = torch.cat([rollout.context["expected_risk"][1:], last[None]])
        if self._endings.endings:
            seen = to_torch(np.concatenate([ending.observation for ending in self._endings.endings]))
            risk = policy.evaluate(seen.to(result.device))[0].context["expected_risk"]
            parts = risk.split([len(ending.rows) for ending in self._endings.endings])
            for ending, part in zip(self._endings.endings, parts, strict=True):
                result[ending.step, torch.from_numpy(ending.rows).to(result.device)] = part
        return result

    def _calibration(self, rollout: Rollout, cost: Tensor, taken: Tensor, *, first_row: int) -> dict[str, Tensor]:
        """Compare risks with what came of them, in rows from ``first_row`` on whose episode ended in the rollout."""
        outcome = torch.zeros_like(cost)
        is_known = torch.zeros_like(rollout.valid)
        later, known = torch.zeros_like(cost[0]), torch.zeros_like(rollout.valid[0])
        for t in range(rollout.num_steps - 1, -1, -1):
            ended = rollout.terminated[t] | rollout.truncated[t]
            later = torch.where(ended, cost[t], self.config.risk.gamma * later)
            known = ended | (known & rollout.valid[t])
            outcome[t], is_known[t] = later, known & rollout.valid[t]
        is_known[:, :first_row] = False
        return calibration(taken[is_known], outcome[is_known])

    @torch.no_grad()
    def _composition(self, rollout: Rollout, cost: Tensor, *, first_row: int) -> dict[str, Tensor | float]:
        """Return how prior, task policy and filter worked together in the rows from ``first_row`` on."""
        rows = slice(first_row, None)
        valid = rollout.valid[:, rows]
        context = {name: values[:, rows][valid] for name, values in rollout.context.items()}
        action = rollout.action[:, rows][valid]
        safe = context["proposal"] & (context["risk"] <= self.config.proposals.epsilon)
        none_safe, violates = ~safe.any(-1), cost[:, rows][valid] > 0
        look = slice(0, max(len(action), 1), max(len(action) // _LOOKED_AT, 1))
        seen = {name: values[look] for name, values in context.items()}
        task = self.policy.evaluate(rollout.observation[:-1, rows][valid][look], seen)[0].task
        prior = self.policy.prior_among(seen)
        emergency = self.policy.emergency
        used = {} if emergency is None else {"emergency_use": (action == emergency).float().mean()}
        return {
            "risk/frac_safe": safe.sum() / context["proposal"].sum().clamp(min=1),
            "risk/all_unsafe_rate": none_safe.float().mean(),
            "risk/intervention_rate": context["removed"].mean(),
            "risk/violation_with_recovery": (violates & none_safe).float().mean(),
            "risk/violation_without_recovery": (violates & ~none_safe).float().mean(),
            "kl_to_prior": kl_divergence(prior, task).mean(),
            "prior_agreement": (prior.mode() == task.mode()).float().mean(),
            **used,
        }

    def _anchor_loss(self, batch: Mapping[str, Tensor], distribution: ActionDistribution) -> Tensor:
        """Return the weighted KL of the task policy, unfiltered, from the prior among the same proposals."""
        assert isinstance(distribution, Composed)
        weight = self.config.anchor.weight(self.progress)
        return weight * kl_divergence(self.policy.prior_among(batch), distribution.task).mean()

    def state_dict(self) -> dict[str, Any]:
        """Return PPO's state and the critics'; readable by ``torch.load(weights_only=True)``."""
        return {**self.ppo.state_dict(), "risk": self.risk.state_dict(), "pretrained": self._pretrained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.ppo.load_state_dict(state)
        self.progress, self.agent_steps = self.ppo.progress, self.ppo.agent_steps
        self.risk.load_state_dict(state["risk"])
        self._pretrained = state["pretrained"]
