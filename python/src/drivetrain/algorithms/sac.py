"""Soft actor-critic (Haarnoja et al. 2018, arXiv 1812.05905). ``docs/algorithms/sac.md`` walks through it.

N rows, B rows of a minibatch, D observation values, K categories, M action dimensions.

One iteration: some vector steps, each followed by the updates that are due for its transitions. Twin critics learn what
actions are worth, entropy included; the policy learns to prefer what they value; the temperature alpha sets the price
of being predictable, so that the policy keeps its target entropy. Over categories every expectation is exact
(Christodoulou 2019, arXiv 1910.07207).
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drivetrain.algorithms.algorithm import IterationResult
from drivetrain.algorithms.anchor import Anchor, AnchorConfig
from drivetrain.algorithms.gail import ExpertRows
from drivetrain.algorithms.replay import Field, ReplayRing, Transitions
from drivetrain.algorithms.settings import requirement
from drivetrain.errors import ConfigError, DivergenceError, RunError, SimulationError
from drivetrain.models.action_distribution import ActionDistribution, Categorical, SquashedGaussian
from drivetrain.models.actor_critic import ActorCritic
from drivetrain.models.flat_parameters import FlatParameters
from drivetrain.models.observation_rows import to_torch, widened
from drivetrain.models.proposal_policy import TaskPolicy
from drivetrain.models.q_network import CriticConfig, TwinQ, polyak, target_of
from drivetrain.models.running_moments import batch_moments
from drivetrain.sim.environment import StepResult, VectorEnvironment

_require = requirement("algorithm")

VIOLATIONS = ("collision", "offroad", "red_light")
"""Ends of an episode that count as violations, where the environment knows of them."""
_ENTROPY_ROWS = 4096
"""Rows over which the entropy of a policy from elsewhere is measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SACConfig:
    """Hyper-parameters of SAC. Defaults are for driving with some 500 worlds on a CPU."""

    name: Literal["sac"] = "sac"
    """Selects the algorithm."""
    steps: int = 8
    """Vector steps per iteration; updates fall due after each."""
    capacity: int = 262_144
    """Transitions remembered."""
    half_precision: bool = False
    """Remember observations of float32 as float16."""
    learning_starts: int = 16_384
    """Transitions before the first update."""
    minibatch_size: int = 1024
    """Transitions per update."""
    updates_per_transition: float = 0.0078125
    """Updates per new transition (1/128): with 1024 rows each is learnt from eight times on average."""
    num_steps: int = 3
    """Steps of a return before the critics' own estimate takes over (n)."""
    gamma: float = 0.99
    """Discount per step."""
    target_rate: float = 0.005
    """Share of the way that the target critics move to the critics at every update (tau)."""
    policy_learning_rate: float = 3e-4
    """AdamW step size of the policy."""
    critic_learning_rate: float = 3e-4
    """AdamW step size of the critics."""
    final_rate: float = 1.0
    """Share of these step sizes left at the end of the budget; linear in between."""
    weight_decay: float = 0.0
    """Decoupled weight decay of both."""
    max_grad_norm: float = 10.0
    """Gradient clip, of either."""
    policy_delay: int = 1
    """Updates of the critics per update of policy and temperature."""
    alpha: float = 0.1
    """Temperature at the start [reward/nat]."""
    alpha_learning_rate: float = 3e-4
    """Adam step size of the logarithm of the temperature; 0: it stays as it is."""
    target_entropy: float | None = None
    """Entropy that the temperature aims at [nat]; None: 0.4 ln K of categories, -1 per dimension of a vector, and after
    a start from another policy that policy's own."""
    shaping_warmup: float = 0.6
    """Fraction of the budget over which the environment's shaping terms grow from 0 to full; 0: full at once."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """The critics' sizes."""
    actor_freeze: int = 5000
    """Updates, after a start from another policy, in which only the critics learn: by critics that know nothing the
    policy would unlearn what it can."""
    warm_alpha: float = 0.01
    """Temperature after such a start [reward/nat]."""
    imitation_coefficient: float = 0.0
    """Weight, in the policy's loss, of the negative log-likelihood of an expert's actions at the start (BC-SAC, Lu et
    al. 2022, arXiv 2212.11419); 0 here and at the end: no expert."""
    imitation_coefficient_final: float = 0.0
    """The same at the end of the budget; linear in between."""
    anchor: AnchorConfig = field(default_factory=AnchorConfig)
    """A cloned policy that this one is held near, in units of the reward per nat."""

    def __post_init__(self) -> None:
        for name in ("steps", "minibatch_size", "num_steps", "policy_delay", "learning_starts"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "use 1 or more")
        for name in ("policy_learning_rate", "critic_learning_rate", "max_grad_norm", "alpha", "warm_alpha"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "use a number above 0")
        for name in ("gamma", "final_rate", "shaping_warmup"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "use a number from 0 to 1")
        not_negative = ("alpha_learning_rate", "weight_decay", "actor_freeze")
        for name in (*not_negative, "imitation_coefficient", "imitation_coefficient_final"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "use 0 or more")
        _require(0 < self.target_rate <= 1, "target_rate", self.target_rate, "use a number above 0, at most 1")
        due, most = self.updates_per_transition, "use a number above 0, at most 16 (for example 1, or 1/128 = 0.0078)"
        _require(0 < due <= 16, "updates_per_transition", due, most)
        few = f"use learning_starts ({self.learning_starts}) or more"
        _require(self.capacity >= self.learning_starts, "capacity", self.capacity, few)

    @property
    def imitates(self) -> bool:
        """True where an expert has a say."""
        return max(self.imitation_coefficient, self.imitation_coefficient_final) > 0


def soft_value(q: Tensor, log_probs: Tensor, alpha: Tensor | float) -> Tensor:
    """Return the exact value of following a policy over categories, sum_k pi(k) (q(k) - alpha log pi(k)), shape [B].

    Args:
        q: Value of every category, shape [B, K].
        log_probs: Of the policy, shape [B, K].
        alpha: Temperature.
    """
    return (log_probs.exp() * (q - alpha * log_probs)).sum(-1)


def soft_target(reward: Tensor, discount: Tensor, q: Tensor, log_prob: Tensor, alpha: Tensor | float) -> Tensor:
    """Return what the critics shall say of a vector action: r + discount (q' - alpha log pi(a'|s')), shape [B]."""
    return reward + discount * (q - alpha * log_prob)


def temperature_loss(log_alpha: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Return the loss of log alpha, a scalar: falls by raising alpha while the policy has too little entropy."""
    return -log_alpha * (log_prob.detach().mean() + target_entropy)


class Partner(Protocol):
    """Who acts in the policy's place, within what it prefers, and learns from the same memory."""

    fields: Mapping[str, Field]
    """What it remembers of every transition besides, by name."""

    def act(self, observation: Tensor, generator: torch.Generator) -> Tensor:
        """Return one action per row."""
        ...

    def remember(self, step: StepResult) -> Mapping[str, Tensor | NDArray]:
        """Return ``fields`` of the step that came of those actions, each of shape [N, ...]."""
        ...

    def critic_loss(self, values: Tensor, target: Tensor, batch: Transitions) -> Tensor:
        """Return what it adds to the loss of the critics, whose values [2, B, K] should be ``target`` [B]."""
        ...

    def policy_loss(self, batch: Transitions, distribution: ActionDistribution) -> Tensor:
        """Return what it adds to the loss of the policy."""
        ...

    def prepares(self, replay: ReplayRing, transitions: int) -> bool:
        """Learn alone after this many more transitions; False once the policy may learn as well."""
        ...

    def learn(self, replay: ReplayRing) -> None:
        """Learn after an update of the policy's."""
        ...


class SAC:
    """SAC on any vector environment."""

    def __init__(
        self,
        env: VectorEnvironment,
        policy: ActorCritic | TaskPolicy,
        config: SACConfig,
        *,
        expert: ExpertRows | None = None,
        partner: Partner | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        """Begin with new episodes and an empty memory.

        Args:
            env: Where to learn.
            policy: What learns; its value head is not used.
            config: Hyper-parameters.
            expert: Whose actions have a say in the policy's loss; None: nobody's.
            partner: Who acts in the policy's place (CIMRL); None: nobody.
            device: Where the networks are computed and the memory lies.
            seed: Of every random number.
        """
        space = env.action_space
        if not space.is_discrete and policy.config.gaussian != "squashed":
            raise ConfigError("policy.gaussian: sac needs actions within their range; use squashed")
        self.env, self.config, self.device = env, config, torch.device(device)
        self._actor = policy.to(self.device)
        self.critic = TwinQ(env.observation_schema, space, policy.config, config.critic, seed=seed + 1).to(self.device)
        self.target = target_of(self.critic)
        self.progress = 0.0
        self.learning_rate_scale = 1.0
        self.agent_steps = 0
        self._expert, self._partner = expert, partner
        self._anchor: Anchor | None = None
        self._log_alpha = torch.full((1,), math.log(config.alpha), device=self.device, requires_grad=True)
        self._target_entropy = config.target_entropy
        if self._target_entropy is None:
            self._target_entropy = 0.4 * math.log(space.num_categories) if space.is_discrete else -float(space.size)
        decay = config.weight_decay
        self._optimizers = {
            "critic": torch.optim.AdamW([self._q.theta], weight_decay=decay, fused=True),
            "policy": torch.optim.AdamW([self._pi.theta], weight_decay=decay, fused=True),
            "alpha": torch.optim.Adam([self._log_alpha]),
        }
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self._index_generator = torch.Generator().manual_seed(seed)
        self.replay = ReplayRing(
            capacity=config.capacity,
            num_rows=env.num_rows,
            observation_size=env.observation_size,
            observation_dtype=env.observation_dtype,
            action_space=space,
            fields={"violation": Field(), **(partner.fields if partner is not None else {})},
            half=config.half_precision,
            device=self.device,
        )
        self._updates = 0
        self._updates_due = 0.0
        self._freeze_left = 0
        self._is_learning = self._is_warm = self._knows_violations = False
        self._reports: defaultdict[str, list[Tensor]] = defaultdict(list)
        self._episodes: defaultdict[str, list[NDArray]] = defaultdict(list)
        self._seconds: dict[str, float] = {}
        env.reset(seed=seed, out=self.replay.first_rows())
        self.replay.begin()

    @property
    def policy(self) -> ActorCritic:
        """What acts, where that is no part of a larger policy."""
        assert isinstance(self._actor, ActorCritic)
        return self._actor

    @property
    def _pi(self) -> FlatParameters:
        return self._actor.flat_parameters()

    @property
    def _q(self) -> FlatParameters:
        return self.critic.flat_parameters()

    @property
    def heads(self) -> Mapping[str, torch.nn.Module]:
        """What is learnt besides the policy, by name."""
        return {"q": self.critic}

    def warm_start(self, fresh: Collection[str]) -> list[str]:
        """Hear that weights came from elsewhere: fresh critics have yet to learn what the policy is worth."""
        self._is_warm = True
        config = self.config
        with torch.no_grad():
            self._log_alpha.fill_(math.log(config.warm_alpha))
        taken = [f"the temperature starts at {config.warm_alpha:g}"]
        if config.target_entropy is None:
            taken.append("the target entropy is what this policy has")
        if "q" in fresh:
            self.critic.encoder.load_state_dict(self._actor.encoder.state_dict())
            self._freeze_left = config.actor_freeze
            taken.insert(0, f"only the critics learn for {config.actor_freeze} updates; the policy stays as it is")
            taken.append("the critics' encoder begins as a copy of the policy's")
        self.target = target_of(self.critic)
        return taken

    def anchor_to(self, policy: ActorCritic) -> None:
        """Hold the policy near another one from now on, as strongly as ``config.anchor`` says."""
        self._anchor = Anchor(policy.to(self.device))

    def iterate(self) -> IterationResult:
        """Take some vector steps and learn from what is remembered."""
        config, clock = self.config, time.perf_counter
        self.env.shaping_scale = min(1.0, self.progress / config.shaping_warmup) if config.shaping_warmup > 0 else 1.0
        rate = (1.0 - self.progress * (1.0 - config.final_rate)) * self.learning_rate_scale
        sizes = (config.critic_learning_rate, config.policy_learning_rate, config.alpha_learning_rate)
        for optimizer, size in zip(self._optimizers.values(), sizes, strict=True):
            optimizer.param_groups[0]["lr"] = size * rate
        self._reports.clear()
        self._episodes.clear()
        self._seconds = {"sim": 0.0, "infer": 0.0, "learn": 0.0}
        steps_before, updates_before = self.agent_steps, self._updates
        for _ in range(config.steps):
            taken = self._step()
            started = clock()
            self._learn(taken)
            self._seconds["learn"] += clock() - started
        steps, updates = self.agent_steps - steps_before, self._updates - updates_before
        metrics = {
            **self._means(),
            "alpha": self._log_alpha.detach().exp().squeeze(),
            "target_entropy": float(self._target_entropy or 0.0),
            "replay_fill": self.replay.fill,
            "utd": updates / max(steps, 1),
            "lr": config.policy_learning_rate * rate,
            "shaping_scale": self.env.shaping_scale,
        }
        if config.anchor.is_used:
            metrics["anchor_coefficient"] = config.anchor.weight(self.progress)
        if config.actor_freeze > 0 and self._is_warm:
            metrics["policy_frozen"] = float(self._freeze_left > 0)
        return IterationResult(
            agent_steps=steps,
            gradient_steps=updates,
            metrics=metrics,
            episodes={name: np.concatenate(parts) for name, parts in self._episodes.items()},
            seconds=dict(self._seconds),
        )

    @torch.no_grad()
    def _step(self) -> int:
        """Take one vector step into the memory and return its transitions."""
        env, replay, clock = self.env, self.replay, time.perf_counter
        started = clock()
        observation = replay.present()
        if self._partner is None:
            distribution = self._actor.distribution(observation)
            action = distribution.sample(self._generator)
            # A category is drawn from NaN like any other; its probability tells.
            drawn = distribution.log_probs[:, 0] if isinstance(distribution, Categorical) else action
        else:
            drawn = action = self._partner.act(observation, self._generator)
        if not torch.isfinite(drawn).all():
            self._raise_for_action(widened(observation))
        host_action = action.cpu().numpy()
        decided = clock()
        step = env.step(host_action, out=replay.next_rows())
        self._seconds["sim"] += clock() - decided
        self._seconds["infer"] += decided - started
        if not np.isfinite(step.reward[step.valid]).all():
            row = int(np.flatnonzero(step.valid & ~np.isfinite(step.reward))[0])
            raise SimulationError(
                f"the environment produced reward {step.reward[row]} in row {row} after {self.agent_steps} steps; "
                "the policy is not to blame: check the scenario data or the environment"
            )
        more = self._partner.remember(step) if self._partner is not None else {}
        replay.store(action, step, violation=self._violation(step), **more)
        for name, values in step.episodes.items():
            if len(values):
                self._episodes[name].append(np.array(values))
        taken = int(step.valid.sum())
        self.agent_steps += taken
        return taken

    def _raise_for_action(self, observation: Tensor) -> None:
        if not torch.isfinite(observation).all():
            row, column = (int(i) for i in (~torch.isfinite(observation)).nonzero()[0])
            raise SimulationError(
                f"the environment produced observation {float(observation[row, column])} at index {(row, column)} "
                f"after {self.agent_steps} steps; the policy is not to blame: "
                "check the scenario data or the environment"
            )
        raise DivergenceError(
            f"the policy's output became NaN or infinite after {self.agent_steps} steps although every observation is "
            "finite"
        )

    def _violation(self, step: StepResult) -> NDArray[np.float32]:
        """Return 1 where the step ended an episode by a violation, shape [N]."""
        violation = np.zeros(len(step.reward), np.float32)
        for name in VIOLATIONS:
            if name in step.episodes:
                self._knows_violations = True
                violation[step.final_rows[step.episodes[name] > 0]] = 1.0
        return violation

    def _learn(self, transitions: int) -> None:
        """Take the updates that are due after this many more transitions."""
        config = self.config
        if self._partner is not None and self._partner.prepares(self.replay, transitions):
            return
        if not self._is_learning:
            if self.agent_steps < config.learning_starts or len(self.replay) == 0:
                return
            self._begin_learning()
        self._updates_due += transitions * config.updates_per_transition
        while self._updates_due >= 1.0:
            self._updates_due -= 1.0
            places = self.replay.draw(config.minibatch_size, self._index_generator)
            batch = self.replay.read(places, gamma=config.gamma, num_steps=config.num_steps)
            self._update(batch)
            self._updates += 1
            self._freeze_left = max(self._freeze_left - 1, 0)

    @torch.no_grad()
    def _begin_learning(self) -> None:
        """Fix what depends on the first transitions: statistics of observations, the target of a warm start."""
        self._is_learning = True
        if self._is_warm:
            if self.config.target_entropy is None:
                places = self.replay.draw(_ENTROPY_ROWS, self._index_generator)
                seen = self.replay.read(places, gamma=self.config.gamma)
                self._target_entropy = float(self._actor.distribution(seen.observation).entropy().mean())
            return
        encoders = (self._actor.encoder, self.critic.encoder, self.target.encoder)
        if self._actor.encoder.moments is not None:
            # Once and for all: later ones would change what remembered rows mean.
            rows = self.replay.read(self.replay.places("valid"), gamma=self.config.gamma).observation
            for encoder in encoders:
                assert encoder.moments is not None
                encoder.moments.update(batch_moments(widened(rows)))

    def _update(self, batch: Transitions) -> None:
        """Move critics, then policy and temperature, then the target critics."""
        alpha = self._log_alpha.detach().exp()
        y = self._critic_target(batch, alpha)
        # Over categories one pass gives the values of the actions taken, to learn, and of all others, to prefer by.
        is_discrete = self.env.action_space.is_discrete
        values = self.critic(batch.observation, None if is_discrete else batch.action)
        q = values.gather(2, batch.action.expand(2, -1)[:, :, None]).squeeze(-1) if is_discrete else values
        q_loss = (q - y).square().mean(1).sum()
        if self._partner is not None:
            q_loss = q_loss + self._partner.critic_loss(values, y, batch)
        self._report(q_loss=q_loss, q1_mean=q[0].mean(), q2_mean=q[1].mean(), target_q=y.mean())
        if self._knows_violations:
            self._report(violations=batch.fields["violation"].mean())
        self._descend("critic", self._q, q_loss)
        if self._freeze_left == 0 and self._updates % self.config.policy_delay == 0:
            self._improve_policy(batch, values.detach() if is_discrete else None, alpha)
        polyak(self.target, self.critic, self.config.target_rate)
        if self._partner is not None:
            self._partner.learn(self.replay)

    @torch.no_grad()
    def _critic_target(self, batch: Transitions, alpha: Tensor) -> Tensor:
        """Return what the critics shall say of each transition's action, shape [B]."""
        distribution = self._actor.distribution(batch.next_observation)
        if isinstance(distribution, Categorical):
            q = self.target(batch.next_observation).amin(0)
            return batch.reward + batch.discount * soft_value(q, distribution.log_probs, alpha)
        assert isinstance(distribution, SquashedGaussian)
        action, log_prob = distribution.draw(self._generator)
        q = self.target(batch.next_observation, action).amin(0)
        return soft_target(batch.reward, batch.discount, q, log_prob, alpha)

    def _improve_policy(self, batch: Transitions, values: Tensor | None, alpha: Tensor) -> None:
        """Take one step with the policy, and one with the temperature."""
        distribution = self._actor.distribution(batch.observation)
        if isinstance(distribution, Categorical):
            assert values is not None
            loss = -soft_value(values.amin(0), distribution.log_probs, alpha).mean()
            log_prob = -distribution.entropy()
        else:
            assert isinstance(distribution, SquashedGaussian)
            action, log_prob = distribution.draw(self._generator)
            loss = (alpha * log_prob - self.critic(batch.observation, action).amin(0)).mean()
        self._report(actor_loss=loss, log_pi=log_prob.mean(), entropy=-log_prob.mean())
        if self._partner is not None:
            loss = loss + self._partner.policy_loss(batch, distribution)
        if self._expert is not None:
            loss = loss + self._imitation_loss(self._expert, len(batch.reward))
        if self.config.anchor.is_used:
            loss = loss + self._anchor_loss(batch, distribution)
        self._descend("policy", self._pi, loss)
        if self.config.alpha_learning_rate > 0:
            alpha_loss = temperature_loss(self._log_alpha, log_prob, float(self._target_entropy or 0.0)).squeeze()
            self._report(alpha_loss=alpha_loss)
            self._log_alpha.grad = torch.autograd.grad(alpha_loss, self._log_alpha)[0]
            self._optimizers["alpha"].step()

    def _imitation_loss(self, expert: ExpertRows, rows: int) -> Tensor:
        """Return the weighted negative log-likelihood of actions that the expert took, a scalar."""
        config = self.config
        weight = config.imitation_coefficient
        weight += min(self.progress, 1.0) * (config.imitation_coefficient_final - weight)
        chosen = torch.randint(len(expert.observation), (rows,), generator=self._index_generator).numpy()
        observation = to_torch(expert.observation[chosen]).to(self.device)
        action = torch.from_numpy(expert.action[chosen]).to(self.device)
        loss = -weight * self._actor.distribution(observation).log_prob(action).mean()
        self._report(imitation_loss=loss)
        return loss

    def _anchor_loss(self, batch: Transitions, distribution: ActionDistribution) -> Tensor:
        """Return what holds the policy near its anchor at this point of the budget, a scalar.

        Raises:
            RunError: There should be an anchor and none was given.
        """
        if self._anchor is None:
            raise RunError("algorithm.anchor: there is no anchor; name one by algorithm.anchor.path or --init-from")
        loss = self._anchor.loss(batch.observation, distribution, weight=self.config.anchor.weight(self.progress))
        self._report(anchor_loss=loss)
        return loss

    def _descend(self, name: str, flat: FlatParameters, loss: Tensor) -> None:
        """Take one optimiser step with the clipped gradient of a loss."""
        gradient = flat.gradient(loss)
        norm = gradient.norm()
        gradient *= (self.config.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        flat.theta.grad = gradient
        self._optimizers[name].step()
        self._report(**{"grad_norm" if name == "critic" else "policy_grad_norm": norm})

    def _report(self, **values: Tensor) -> None:
        for name, value in values.items():
            self._reports[name].append(value.detach())

    def _means(self) -> dict[str, Tensor | float]:
        """Return each reported value's mean over the updates.

        Raises:
            DivergenceError: A loss or a gradient is not finite.
        """
        means: dict[str, Tensor | float] = {name: torch.stack(x).mean() for name, x in self._reports.items()}
        if "q_loss" not in means:
            return means
        means["loss"] = means["q_loss"]
        watched = [means[name] for name in ("q_loss", "grad_norm", "actor_loss", "policy_grad_norm") if name in means]
        if not math.isfinite(sum(float(x) for x in watched)):
            raise DivergenceError(
                f"the loss became NaN or infinite after {self.agent_steps} steps (q_loss {float(means['q_loss']):.4g}, "
                f"target_q {float(means['target_q']):.4g})"
            )
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue bit-identically, but :attr:`replay`, which has a file of its own."""
        return {
            "policy": self._actor.state_dict(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "log_alpha": self._log_alpha.detach(),
            "target_entropy": float(self._target_entropy or 0.0),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "generator": self._generator.get_state(),
            "index_generator": self._index_generator.get_state(),
            "agent_steps": self.agent_steps,
            "progress": self.progress,
            "updates": self._updates,
            "updates_due": self._updates_due,
            "freeze_left": self._freeze_left,
            "is_learning": self._is_learning,
            "is_warm": self._is_warm,
            "knows_violations": self._knows_violations,
            "anchor": None if self._anchor is None else self._anchor.state_dict(),
            "environment": {k: torch.from_numpy(np.array(v)) for k, v in self.env.state_dict().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; :attr:`replay` must be restored before."""
        self._actor.load_state_dict(state["policy"])
        self.critic.load_state_dict(state["critic"])
        self.target.load_state_dict(state["target"])
        with torch.no_grad():
            self._log_alpha.copy_(state["log_alpha"])
        self._target_entropy = state["target_entropy"]
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._generator.set_state(state["generator"].cpu())
        self._index_generator.set_state(state["index_generator"].cpu())
        self.agent_steps, self.progress = state["agent_steps"], state["progress"]
        self._updates, self._updates_due = state["updates"], state["updates_due"]
        self._freeze_left, self._is_warm = state["freeze_left"], state["is_warm"]
        self._is_learning, self._knows_violations = state["is_learning"], state["knows_violations"]
        if state.get("anchor") is not None:
            schema, space = self.env.observation_schema, self.env.action_space
            self._anchor = Anchor.of_state(state["anchor"], schema=schema, action_space=space, device=self.device)
        self.env.load_state_dict({k: v.cpu().numpy() for k, v in state["environment"].items()})
        self.replay.go_on_from(self.env.current_observation())
