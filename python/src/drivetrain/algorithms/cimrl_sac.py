"""CIMRL whose task policy learns by soft actor-critic, from one memory of what was executed.

N rows, B rows of a minibatch, K categories. See :mod:`drivetrain.algorithms.cimrl` for the idea.

Holds a SAC over the task policy and acts in its place: within the filter. Every transition is remembered with its cost,
with what the task policy would have liked most, and with whether recovery acted instead; then the critics of the task
learn that what was liked led where recovery led (Recovery RL, section IV). The risk critics learn from the same memory.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.algorithms.cimrl import CIMRLConfig
from drivetrain.algorithms.replay import Field, ReplayRing, Transitions
from drivetrain.algorithms.risk import RiskLearner, RiskRows
from drivetrain.algorithms.sac import SAC
from drivetrain.models.action_distribution import ActionDistribution, kl_divergence
from drivetrain.models.observation_rows import TORCH_DTYPES
from drivetrain.models.proposal_policy import ProposalPolicy, TaskPolicy
from drivetrain.models.q_network import polyak, target_of
from drivetrain.sim.environment import StepResult, VectorEnvironment


class CIMRLSAC:
    """A SAC within proposals, and the critics that judge their risk."""

    fields: Mapping[str, Field] = {
        "cost": Field(),
        "proposed": Field(dtype=torch.int64),
        "recovery": Field(dtype=torch.bool),
    }

    def __init__(
        self,
        env: VectorEnvironment,
        policy: ProposalPolicy,
        config: CIMRLConfig,
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        """Begin with new episodes and an empty memory.

        Args:
            env: Where to learn.
            policy: With its prior.
            config: Hyper-parameters.
            device: Where the networks are computed and the memory lies.
            seed: Of every random number.
        """
        self.config, self.policy, self.env = config, policy, env
        sac = config.sac
        if sac.target_entropy is None:
            sac = replace(sac, target_entropy=0.3 * math.log(config.proposals.count))
        self.sac = SAC(env, TaskPolicy(policy), sac, partner=self, device=device, seed=seed)
        like_rows = torch.zeros(0, env.observation_size, dtype=TORCH_DTYPES[env.observation_dtype])
        self.risk = RiskLearner(policy.q_risk, replace(config.risk, memory=1), observation=like_rows, seed=seed)
        self._risk_target = target_of(policy.q_risk)
        self._generator = torch.Generator().manual_seed(seed + 3)
        self.progress = 0.0
        self.learning_rate_scale = 1.0
        self.agent_steps = 0
        self._pretrained = 0
        self._due = 0.0
        self._chosen: dict[str, Tensor] = {}
        self._reports: defaultdict[str, list[Tensor]] = defaultdict(list)

    @property
    def replay(self) -> ReplayRing:
        """What is remembered."""
        return self.sac.replay

    @property
    def heads(self) -> Mapping[str, torch.nn.Module]:
        """What is learnt besides the policy, by name."""
        return self.sac.heads

    def warm_start(self, fresh: Collection[str]) -> list[str]:
        """Hear that weights came from elsewhere: fresh critics have yet to learn what the policy is worth."""
        precautions: list[str] = []
        if "q_risk" not in fresh:
            self._pretrained = self.config.risk.pretrain_steps
        elif self.config.risk.pretrain_steps:
            steps = f"{self.config.risk.pretrain_steps:,}"
            precautions.append(f"only the risk critics learn for {steps} transitions, driven by the prior")
        self._risk_target = target_of(self.policy.q_risk)
        return precautions + self.sac.warm_start([name for name in fresh if name == "q"])

    @property
    def _is_pretraining(self) -> bool:
        return self._pretrained < self.config.risk.pretrain_steps

    def iterate(self) -> IterationResult:
        """Take some vector steps and learn from what is remembered."""
        self._reports.clear()
        self.sac.progress, self.sac.learning_rate_scale = self.progress, self.learning_rate_scale
        self.risk.learning_rate_scale = self.learning_rate_scale
        was_pretraining = self._is_pretraining
        result = self.sac.iterate()
        self.agent_steps = self.sac.agent_steps
        means = {name: torch.stack(values).mean() for name, values in self._reports.items()}
        return replace(result, metrics={**result.metrics, **means, "risk/pretraining": float(was_pretraining)})

    # --- the partner of SAC -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observation: Tensor, generator: torch.Generator) -> Tensor:
        """Return one action per row, within the filter; at first the prior's, and random ones, without it."""
        policy = self.policy
        if self._is_pretraining:
            policy.exploring = self.config.risk.random_actions
        else:
            policy.scouts = round(self.config.scouts * len(observation)) if self.config.proposals.filter else 0
        try:
            composed = policy.evaluate(observation)[0]
        finally:
            policy.exploring, policy.scouts = None, 0
        context = composed.context
        none_safe = ~(context["proposal"] & (context["risk"] <= self.config.proposals.epsilon)).any(-1)
        is_free = (context["allowed"] == context["proposal"]).all(-1)
        self._chosen = {"proposed": composed.task_logits.argmax(-1), "recovery": none_safe & ~is_free}
        self._report("risk/intervention_rate", context["removed"].mean())
        self._report("risk/all_unsafe_rate", none_safe.float().mean())
        return composed.sample(generator)

    def remember(self, step: StepResult) -> Mapping[str, Tensor]:
        """Return what was chosen and what it cost, by name."""
        cost = torch.zeros(len(step.reward))
        if len(step.final_rows):
            cost[torch.from_numpy(step.final_rows).long()] = self.config.risk.cost.of(step.episodes)
        return {"cost": cost, **self._chosen}

    def prepares(self, replay: ReplayRing, transitions: int) -> bool:
        """Learn alone from new transitions of the prior; False: the policy learns as well."""
        if not self._is_pretraining:
            return False
        self._pretrained += transitions
        self._due += transitions * self.config.sac.updates_per_transition
        while self._due >= 1.0:
            self._due -= 1.0
            self.learn(replay)
        return True

    def critic_loss(self, values: Tensor, target: Tensor, batch: Transitions) -> Tensor:
        """Return the loss of what the task policy liked most, where recovery acted in its place."""
        if not self.config.relabel:
            return values.new_zeros(())
        liked = values.gather(2, batch.fields["proposed"].expand(2, -1)[:, :, None]).squeeze(-1)
        return ((liked - target).square() * batch.fields["recovery"]).mean(1).sum()

    def policy_loss(self, batch: Transitions, distribution: ActionDistribution) -> Tensor:
        """Return the weighted KL of the task policy from the prior among the same proposals."""
        kl = kl_divergence(self.policy.truncated_prior(batch.observation), distribution).mean()
        self._report("kl_to_prior", kl.detach())
        return self.config.anchor.weight(self.progress) * kl

    @torch.no_grad()
    def _risk_rows(self, replay: ReplayRing) -> RiskRows:
        """Return a balanced minibatch with its targets."""
        config = self.config.risk
        violating = replay.places("cost")
        rare = round(config.violating_share * config.minibatch_size) if len(violating) else 0
        places = replay.draw(config.minibatch_size - rare, self._generator)
        if rare:
            places = torch.cat([places, replay.draw(rare, self._generator, among=violating)])
        batch = replay.read(places, gamma=config.gamma)
        cost = batch.fields["cost"]
        weight = torch.ones_like(cost)
        if config.balance == "weighted" and rare:
            # What violates counts by how often it does, and only where it was drawn as such.
            common = len(cost) - rare
            weight[:common] = (cost[:common] == 0) * (len(cost) / common)
            weight[common:] = len(violating) / len(replay) * len(cost) / rare
        follows = self.policy.evaluate(batch.next_observation)[0].log_probs.exp()
        ahead = (follows * self._risk_target(batch.next_observation).amax(0)).sum(-1)
        target = (cost + config.gamma * ~batch.terminated * ahead).clamp(0.0, 1.0)
        self._report("risk/violating", torch.tensor(len(violating) / max(len(replay), 1)))
        return RiskRows(observation=batch.observation, action=batch.action, target=target, weight=weight)

    def learn(self, replay: ReplayRing) -> None:
        """Take one gradient step with the risk critics."""
        rows = self._risk_rows(replay)
        self._report("risk/loss", self.risk.step(rows))
        self._report("risk/target_mean", rows.target.mean())
        polyak(self._risk_target, self.policy.q_risk, self.config.risk.target_rate)

    def _report(self, name: str, value: Tensor) -> None:
        self._reports[name].append(value)

    # --- continuing ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue bit-identically, but :attr:`replay`, which has a file of its own."""
        return {
            **self.sac.state_dict(),
            "progress": self.progress,
            "risk": self.risk.state_dict(),
            "risk_target": self._risk_target.state_dict(),
            "risk_generator": self._generator.get_state(),
            "pretrained": self._pretrained,
            "risk_due": self._due,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; :attr:`replay` must be restored before."""
        self.sac.load_state_dict(state)
        self.progress, self.agent_steps = state["progress"], self.sac.agent_steps
        self.risk.load_state_dict(state["risk"])
        self._risk_target.load_state_dict(state["risk_target"])
        self._generator.set_state(state["risk_generator"].cpu())
        self._pretrained, self._due = state["pretrained"], state["risk_due"]
