"""Generative adversarial imitation (Ho, Ermon 2016, arXiv 1606.03476). ``docs/algorithms/gail.md`` walks through it.

M expert rows, T time steps, N rows, B rows of a minibatch, F input values of the discriminator.

Holds a PPO. One iteration: PPO collects, the discriminator learns to tell those drives from the expert's, its opinion
replaces the environment's reward, PPO updates. The environment's own reward is only reported.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.algorithms.discriminator import (
    Discriminator,
    DiscriminatorConfig,
    InputRows,
    accuracy,
    discriminator_loss,
    gradient_penalty,
)
from drivetrain.algorithms.endings import EndingRecorder
from drivetrain.algorithms.marginals import Marginals, MarginalsConfig
from drivetrain.algorithms.ppo import PPO, PPOConfig
from drivetrain.algorithms.rollout import Rollout
from drivetrain.errors import ConfigError, DivergenceError
from drivetrain.models.actor_critic import ActorCritic
from drivetrain.models.observation_rows import to_torch
from drivetrain.models.running_moments import batch_moments
from drivetrain.parallel import ALONE, Group, all_finite
from drivetrain.sim.environment import VectorEnvironment

RewardForm = Literal["softplus", "logit", "airl"]

_SEED_STRIDE = 0x3C6EF372FE94F82B
"""Between the seeds of two processes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RailConfig:
    """What failures cost besides the expert's disapproval, in units of the discriminator's reward (driving).

    Source: risk-averse augmentation as in Bhattacharyya et al. 2019, arXiv 1903.05766.
    """

    collision: float = 0.0
    """Added at a collision at fault."""
    offroad: float = 0.0
    """Added when leaving the road."""
    red_light: float = 0.0
    """Added when running a red light."""

    def __post_init__(self) -> None:
        for name, value in self.penalties().items():
            if value > 0:
                raise ConfigError(f"algorithm.rail.{name}: {value} would be a prize; use 0 or less, for example -2")

    def penalties(self) -> dict[str, float]:
        """Return the penalties by the name of the episode statistic."""
        return {"collision": self.collision, "offroad": self.offroad, "red_light": self.red_light}


@dataclass(frozen=True, kw_only=True, slots=True)
class GAILConfig:
    """Hyper-parameters of GAIL. Defaults are for driving with some 500 worlds."""

    name: Literal["gail"] = "gail"
    """Selects the algorithm."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """How the policy learns from the discriminator's reward."""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """Who gives that reward."""
    reward: RewardForm = "softplus"
    """Of the logit f: ``softplus`` = -log(1 - D), ``logit`` = f, ``airl`` = f where f = g(s, a) - log pi(a|s)."""
    reward_limit: float = 5.0
    """Rewards are clipped to +- this before anything is added."""
    horizon: Literal["fixed", "neutral", "environment"] = "fixed"
    """``fixed``: a failure does not end the episode but goes on for ever in an absorbing state that the discriminator
    judges too, and a goal cuts it; ``neutral``: a failure ends it and is worth as much as driving on as on average,
    so that only ``rail`` speaks for or against it, and a goal cuts it; ``environment``: episodes end where they end,
    and the sign of the reward counts."""
    rail: RailConfig = field(default_factory=RailConfig)
    """Penalties on failures."""
    marginals: MarginalsConfig = field(default_factory=MarginalsConfig)
    """A second opinion, exact and on single features: whether they are distributed like the expert's."""
    environment_weight: float = 0.0
    """Weight at which the environment's own reward is added; 0: it is never learnt from."""

    def __post_init__(self) -> None:
        if self.reward_limit <= 0:
            raise ConfigError(f"algorithm.reward_limit: {self.reward_limit} is impossible; use a number above 0")
        if self.environment_weight < 0:
            raise ConfigError(f"algorithm.environment_weight: {self.environment_weight} is negative; use 0 or more")
        if self.reward == "airl" and self.discriminator.inputs == "state":
            raise ConfigError("algorithm.reward: airl compares actions; use it with discriminator.inputs state_action")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpertRows:
    """What the expert did."""

    observation: NDArray
    """As an environment stores it, shape [M, D]; may be memory-mapped."""
    action: NDArray
    """int64 [M] categories, or float32 [M, size] in [-1, 1]."""
    num_terminated: int
    """How many of the expert's episodes terminated: they too went on in the absorbing state."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """Rows of one driver for the discriminator."""

    rows: Tensor
    """As observed, shape [B, F]."""
    log_prob: Tensor
    """Of the actions under the policy, 0 in the absorbing state; shape [B]."""


def imitation_reward(logit: Tensor, form: RewardForm, limit: float) -> Tensor:
    """Return the reward for a logit of "the expert drove", clipped to +- ``limit``."""
    reward = softplus(logit) if form == "softplus" else logit
    return reward.clamp(-limit, limit)


class GAIL:
    """A PPO that is rewarded for driving like the expert."""

    def __init__(
        self,
        env: VectorEnvironment,
        policy: ActorCritic,
        config: GAILConfig,
        *,
        expert: ExpertRows,
        device: torch.device | str = "cpu",
        seed: int = 0,
        group: Group = ALONE,
    ) -> None:
        """Begin with new episodes.

        Args:
            env: Where to learn; with several processes this one's share of the worlds.
            policy: What learns; the same weights in every process.
            config: Hyper-parameters.
            expert: Who is imitated.
            device: Where the policy is computed; the discriminator is small and stays on the CPU.
            seed: Of every random number; each process draws its own.
            group: The processes that learn together.
        """
        self.config, self.group = config, group
        self._expert = expert
        self.progress = 0.0
        self.learning_rate_scale = 1.0
        self.agent_steps = 0
        self._endings = EndingRecorder(env, goal_cuts=config.horizon != "environment")
        self.ppo = PPO(self._endings, policy, config.ppo, device=device, seed=seed, group=group)
        self._inputs = InputRows(env.observation_schema, env.action_space, config.discriminator)
        self.discriminator = Discriminator(self._inputs.size, config.discriminator, seed=seed)
        self._parameters = list(self.discriminator.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, lr=config.discriminator.learning_rate)
        self._generator = torch.Generator().manual_seed((seed + 1 + group.rank * _SEED_STRIDE) % 2**63)
        self._marginals = (
            Marginals(expert.observation, env.observation_schema, config.marginals, group=group)
            if config.marginals.weight > 0
            else None
        )
        self._replay: deque[Drawn] = deque(maxlen=config.discriminator.replay_rollouts)

    @property
    def env(self) -> VectorEnvironment:
        """Where it learns."""
        return self._endings.env

    @property
    def policy(self) -> ActorCritic:
        """What learns."""
        policy = self.ppo.policy
        assert isinstance(policy, ActorCritic)
        return policy

    @property
    def heads(self) -> Mapping[str, torch.nn.Module]:
        """What is learnt besides the policy, by name."""
        return {"disc": self.discriminator}

    def warm_start(self, fresh: Collection[str]) -> list[str]:
        """Hear that weights came from elsewhere."""
        return self.ppo.warm_start(fresh)

    def iterate(self) -> IterationResult:
        """Collect, train the discriminator, replace the reward, update."""
        self._endings.clear()
        self.ppo.progress, self.ppo.learning_rate_scale = self.progress, self.learning_rate_scale
        self._optimizer.param_groups[0]["lr"] = self.config.discriminator.learning_rate * self.learning_rate_scale
        result = self.ppo.iterate(self._judge)
        self.agent_steps = self.ppo.agent_steps
        return result

    def _judge(self, rollout: Rollout) -> dict[str, Tensor | float]:
        """Learn from a rollout who drove it, put that opinion in place of its reward, and return metrics."""
        valid = rollout.valid.flatten()
        observation = rollout.observation[:-1].flatten(0, 1)[valid]
        policy = Drawn(
            rows=self._inputs.rows(observation, rollout.action.flatten(0, 1)[valid]),
            log_prob=rollout.log_prob.flatten()[valid].cpu(),
        )
        self._remember(policy, num_terminated=int((rollout.terminated & rollout.valid).sum()))
        metrics = self._train_discriminator()
        reward = self._reward(policy)
        worth, extra = reward - self._worth_of_failing(reward), {}
        if self._marginals is not None:
            self._marginals.update(observation)
            alike, means = self._marginals.reward(observation)
            worth, extra = worth + alike, {"gail_marginal_divergence": -means.sum()}
        shaped = torch.zeros_like(rollout.reward).flatten()
        shaped[valid] = worth.to(shaped.device)
        own = rollout.reward * self.config.environment_weight if self.config.environment_weight > 0 else 0.0
        rollout.reward.copy_(torch.where(rollout.valid, shaped.view_as(rollout.reward) + own, 0.0))
        self._penalise(rollout)
        spread = reward.std(unbiased=False)
        return {**metrics, **extra, "gail_reward_mean": reward.mean(), "gail_reward_std": spread}

    @torch.no_grad()
    def _reward(self, policy: Drawn) -> Tensor:
        """Return the reward of rows, with a fixed horizon relative to the absorbing state's.

        A row that fails earns r(absorbing) at every step to come, for ever. Subtracting that constant from every
        reward leaves all preferences as they are, and makes 0 what follows a failure: no step need be simulated.
        """
        config = self.config
        self.discriminator.eval()
        reward = imitation_reward(self._logit(policy), config.reward, config.reward_limit)
        if config.horizon == "fixed":
            absorbing = self._logit(self._absorbing(1))
            reward = reward - imitation_reward(absorbing, config.reward, config.reward_limit)
        return reward

    def _worth_of_failing(self, reward: Tensor) -> Tensor:
        """Return what a step after a failure counts for beyond :meth:`_reward`: of a neutral horizon the mean reward.

        Subtracted from every reward it makes 0, the value of having failed, neither better nor worse than driving on.
        """
        if self.config.horizon != "neutral":
            return torch.zeros(())
        sums = torch.stack([reward.sum(), torch.tensor(float(len(reward)))])
        self.group.mean_(sums)
        return sums[0] / sums[1].clamp(min=1.0)

    def _penalise(self, rollout: Rollout) -> None:
        """Add the penalties where episodes ended in failure."""
        for ending in self._endings.endings:
            for name, penalty in self.config.rail.penalties().items():
                if penalty < 0:
                    failed = torch.from_numpy(ending.rows[ending.events[name] > 0])
                    rollout.reward[ending.step, failed.to(rollout.reward.device)] += penalty

    # --- the discriminator --------------------------------------------------------------------------------------------

    def _logit(self, drawn: Drawn) -> Tensor:
        """Return the logit of "the expert drove" [B]; for ``airl`` that of exp g/(exp g + pi)."""
        logit = self.discriminator(self.discriminator.normalized(drawn.rows))
        # Source: Fu, Luo, Levine 2018, arXiv 1710.11248.
        return logit - drawn.log_prob if self.config.reward == "airl" else logit

    def _absorbing(self, count: int) -> Drawn:
        return Drawn(rows=self._inputs.absorbing(count), log_prob=torch.zeros(count))

    def _absorbing_rows(self, num_terminated: int) -> int:
        """Return how many rows in the absorbing state belong to that many terminated episodes."""
        return num_terminated * self.config.discriminator.absorbing_rows if self.config.horizon == "fixed" else 0

    def _remember(self, policy: Drawn, *, num_terminated: int) -> None:
        """Keep some rows of a rollout, in the proportion in which they occurred."""
        count, config = len(policy.rows), self.config.discriminator
        if count == 0:
            return
        everything = count + self._absorbing_rows(num_terminated)
        index = torch.randint(everything, (min(config.replay_rows, everything),), generator=self._generator)
        alive = index[index < count]
        absorbing = self._absorbing(len(index) - len(alive))
        self._replay.append(
            Drawn(
                rows=torch.cat([policy.rows[alive], absorbing.rows]),
                log_prob=torch.cat([policy.log_prob[alive], absorbing.log_prob]),
            )
        )

    def _draw_policy(self, count: int) -> Drawn:
        """Return rows of the remembered rollouts."""
        rows = torch.cat([kept.rows for kept in self._replay])
        index = torch.randint(len(rows), (count,), generator=self._generator)
        return Drawn(rows=rows[index], log_prob=torch.cat([kept.log_prob for kept in self._replay])[index])

    @torch.no_grad()
    def _draw_expert(self, count: int) -> Drawn:
        """Return rows of the expert."""
        expert = self._expert
        everything = len(expert.action) + self._absorbing_rows(expert.num_terminated)
        index = torch.randint(everything, (count,), generator=self._generator)
        index = index[index < len(expert.action)].sort().values.numpy()
        observation, action = to_torch(expert.observation[index]), torch.from_numpy(expert.action[index])
        log_prob = torch.zeros(len(index))
        if self.config.reward == "airl":
            distribution = self.policy.distribution(observation.to(self.ppo.device))
            log_prob = distribution.log_prob(action.to(self.ppo.device)).cpu()
        absorbing = self._absorbing(count - len(index))
        return Drawn(
            rows=torch.cat([self._inputs.rows(observation, action), absorbing.rows]),
            log_prob=torch.cat([log_prob, absorbing.log_prob]),
        )

    def _update_moments(self) -> None:
        """Take in what both drivers showed since the last rollout."""
        moments = self.discriminator.moments
        if moments is None:
            return
        policy = self._replay[-1].rows
        expert = self._draw_expert(len(policy)).rows
        rows = torch.cat([policy, expert])
        seen = batch_moments(rows[rows[:, -1] == 0, :-1])
        moments.update(*self.group.all_gather(seen))

    def _train_discriminator(self) -> dict[str, Tensor | float]:
        """Return the metrics of some gradient steps."""
        if not self._replay:
            return {}
        self.discriminator.train()
        self._update_moments()
        steps = [self._discriminator_step() for _ in range(self.config.discriminator.updates)]
        names = steps[0]
        metrics = {name: torch.stack([step[name] for step in steps]).mean() for name in names}
        if not all_finite(self.group, metrics["d_loss"]):
            raise DivergenceError(
                f"the discriminator's loss became NaN or infinite after {self.agent_steps} steps "
                f"(algorithm.discriminator.learning_rate {self.config.discriminator.learning_rate:g})"
            )
        return dict(metrics)

    def _discriminator_step(self) -> dict[str, Tensor]:
        """Take one gradient step, unless the discriminator is ahead, and return metrics of before it."""
        config, count = self.config.discriminator, self.config.discriminator.batch_size
        expert, policy = self._draw_expert(count), self._draw_policy(count)
        expert_logit, policy_logit = self._logit(expert), self._logit(policy)
        loss = discriminator_loss(expert_logit, policy_logit)
        right = torch.stack([accuracy(expert_logit, is_expert=True), accuracy(policy_logit, is_expert=False)]).detach()
        shared = right.clone()
        self.group.mean_(shared)
        penalty = torch.zeros(())
        if config.regularizer == "gradient_penalty":
            mix = torch.rand(count, generator=self._generator)
            points = (self.discriminator.normalized(expert.rows), self.discriminator.normalized(policy.rows))
            penalty = gradient_penalty(self.discriminator, *points, mix, sides=config.penalty_sides)
        learns = float(shared.mean()) <= config.pause_above
        if learns:
            self._descend(loss + config.gradient_penalty * penalty)
        return {
            "d_loss": loss.detach(),
            "d_acc_expert": right[0],
            "d_acc_gen": right[1],
            "d_logit_expert": expert_logit.detach().mean(),
            "d_logit_gen": policy_logit.detach().mean(),
            "d_gradient_penalty": penalty.detach(),
            "d_learning": torch.tensor(float(learns)),
        }

    def _descend(self, loss: Tensor) -> None:
        """Take one optimiser step with the mean gradient of all processes."""
        gradients = torch.autograd.grad(loss, self._parameters)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        self.group.mean_(flat)
        parts = flat.split([p.numel() for p in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        self._optimizer.step()

    # --- continuing ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return PPO's state and the discriminator's; readable by ``torch.load(weights_only=True)``."""
        marginals = {} if self._marginals is None else {"marginals": self._marginals.policy_counts}
        return {
            **self.ppo.state_dict(),
            **marginals,
            "discriminator": {
                "network": self.discriminator.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "generator": self._generator.get_state(),
                "replay": [{"rows": kept.rows, "log_prob": kept.log_prob} for kept in self._replay],
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.ppo.load_state_dict(state)
        self.progress, self.agent_steps = self.ppo.progress, self.ppo.agent_steps
        own = state["discriminator"]
        self.discriminator.load_state_dict(own["network"])
        self._optimizer.load_state_dict(own["optimizer"])
        self._generator.set_state(own["generator"].cpu())
        if self._marginals is not None and "marginals" in state:
            self._marginals.policy_counts = state["marginals"].cpu()
        self._replay.clear()
        self._replay.extend(Drawn(rows=kept["rows"].cpu(), log_prob=kept["log_prob"].cpu()) for kept in own["replay"])
