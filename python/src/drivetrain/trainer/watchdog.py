"""Watches the metrics of any training for signs that it goes wrong, and says what to do.

Sees rows of metrics only: no step costs anything, no random number is drawn, and while it is silent a run learns the
same bits with and without it. Its state travels in the checkpoint. :mod:`drivetrain.trainer.rescue` acts on findings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from drivetrain.errors import DivergenceError
from drivetrain.sim.environment import ActionSpace
from drivetrain.trainer.trends import block_means, growth, rises
from drivetrain.trainer.watchdog_config import Action, Rule, WatchdogConfig

LEARNT_FROM = ("loss", "grad_norm")
"""Ends of the names of metrics without which nothing can be learnt."""
Q_VALUES = ("q1_mean", "q2_mean", "target_q")
FAILURES = ("collision", "offroad", "red_light")
LEAST_PROGRESS = 0.05
"""Failures are counted per progress, but not per less than this."""
RELEVANT_ERROR = 0.05
"""Values whose errors spread by less than this share of their mean are good enough, whatever they explain."""
WINDOWS = (1, 2, 4)
"""Trends are looked for over so many times the window."""
QUIET_PATIENCES = 10
"""A finding is told again after so many times its patience."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that goes wrong."""

    rule: str
    """Name of the rule."""
    action: Action
    """What to do about it."""
    metric: str
    """What was looked at."""
    value: float
    """What it was."""
    limit: float
    """What it should not pass."""
    iterations: int
    """How long it has lasted."""
    note: str = ""
    """What there is to say instead of value and limit."""

    @property
    def text(self) -> str:
        """One line for people."""
        if self.note:
            return f"watchdog ({self.rule}): {self.note}"
        how = "above" if self.value > self.limit else "below"
        lasted = f", for {self.iterations:,} iterations" if self.iterations > 1 else ""
        return f"watchdog ({self.rule}): {self.metric} is {self.value:.4g}, {how} {self.limit:.4g}{lasted}"

    def event(self) -> dict[str, Any]:
        """Return it as plain data that strict JSON holds."""
        numbers = {name: v for name, v in asdict(self).items() if not isinstance(v, float) or math.isfinite(v)}
        return {**numbers, "message": self.text}


class AlarmError(DivergenceError):
    """A finding that ends the iteration: the run is to stop or to roll back."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


@dataclass(kw_only=True, slots=True)
class _Trouble:
    """What one rule has seen."""

    since_iteration: int | None = None
    """First iteration of the present trouble; None while all is well."""
    since_s: float = 0.0
    """Wall time of the run at that iteration [s]."""
    told_iteration: int | None = None
    """When it was told last."""


@dataclass(kw_only=True, slots=True)
class _Memory:
    """All that is remembered from row to row."""

    troubles: dict[str, _Trouble] = field(default_factory=dict)
    """By rule."""
    largest_return: float = 0.0
    """Largest absolute episode return of a row."""
    largest_bonus: float = 0.0
    """Largest entropy bonus per step."""
    history: list[list[float]] = field(default_factory=list)
    """Of the newest rows: reward, failures per progress, progress."""
    unseen: int = 0
    """Rows since the last look at the history."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scales:
    """What a run's metrics have to be compared with."""

    action_space: ActionSpace
    """Says how much entropy there can be."""
    gamma: float
    """Discount per step."""

    def entropy_share(self, entropy: float) -> float:
        """Return how much of its freedom a policy uses, 0..1."""
        if self.action_space.is_discrete:
            return entropy / math.log(max(self.action_space.num_categories, 2))
        # A uniform draw of width w in each dimension has entropy ln w; the range is 2 wide.
        return math.exp(entropy / self.action_space.size) / 2.0


class Watchdog:
    """Holds every row against the rules."""

    def __init__(self, config: WatchdogConfig, scales: Scales) -> None:
        self.config, self._scales = config, scales
        self.learning_rate_scale = 1.0
        """By what all step sizes are to be multiplied."""
        self.rollbacks = 0
        """How often the run went back."""
        self._memory = _Memory()

    @property
    def is_calm(self) -> bool:
        """True while no rule that would end this sees any trouble, however young: then a checkpoint is a good one."""
        serious = {name for name, rule in self.config.rules().items() if rule.action in ("stop", "rollback")}
        troubles = self._memory.troubles.items()
        return all(trouble.since_iteration is None for name, trouble in troubles if name in serious)

    def observe(self, row: Mapping[str, Any], *, seconds: float, weights_are_finite: bool) -> list[Finding]:
        """Return what a row newly says, the most serious first.

        Args:
            row: Metrics by name with ``iteration``; may hold NaN.
            seconds: Wall time of the run [s].
            weights_are_finite: Whether everything that is learnt is.
        """
        found = [*self._non_finite(row, weights_are_finite)]
        seen = self._violations(row)
        for name, rule in self.config.rules().items():
            if rule.action == "off" or name not in seen:
                continue
            finding = self._lasting(name, rule, seen[name], iteration=row["iteration"], seconds=seconds)
            if finding is not None:
                found.append(finding)
        return sorted(found, key=lambda finding: ("stop", "rollback", "warn").index(finding.action))

    def failed(self, message: str) -> Finding:
        """Return the finding that stands for a learner's own complaint about NaN."""
        action = self.config.non_finite.action
        return Finding(
            rule="non_finite",
            action="stop" if action in ("off", "warn") else action,
            metric="loss",
            value=math.nan,
            limit=math.nan,
            iterations=1,
            note=message,
        )

    def roll_back(self) -> None:
        """Begin again from a good checkpoint, more slowly."""
        self.rollbacks += 1
        self.learning_rate_scale *= self.config.learning_rate_factor

    def _non_finite(self, row: Mapping[str, Any], weights_are_finite: bool) -> Iterable[Finding]:
        rule = self.config.non_finite
        bad = sorted(k for k, v in row.items() if isinstance(v, float) and not math.isfinite(v))
        vital = [name for name in bad if name.endswith(LEARNT_FROM)]
        if not weights_are_finite:
            vital.append("a weight")
        kinds: tuple[tuple[list[str], Action], ...] = (
            (vital, rule.action),
            ([name for name in bad if name not in vital], rule.metrics),
        )
        for names, action in kinds:
            name = f"non_finite{'' if names is vital else '_metric'}"
            # A metric that is not finite in every row is told once in a while; a lost policy at once.
            again = names is vital or self._may_tell(name, row["iteration"], patience=100)
            if names and action != "off" and again:
                yield Finding(
                    rule="non_finite",
                    action=action,
                    metric=names[0],
                    value=float(row.get(names[0], math.nan)),
                    limit=math.nan,
                    iterations=1,
                    note=f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} not finite",
                )

    def _lasting(
        self, name: str, rule: Rule, seen: tuple[str, float, float] | None, *, iteration: int, seconds: float
    ) -> Finding | None:
        """Take note of trouble or its end; return it once it has lasted too long."""
        trouble = self._memory.troubles.setdefault(name, _Trouble())
        if seen is None:
            trouble.since_iteration = None
            return None
        if trouble.since_iteration is None:
            trouble.since_iteration, trouble.since_s = iteration, seconds
        lasted = iteration - trouble.since_iteration + 1
        if lasted < rule.patience or seconds - trouble.since_s < rule.patience_s:
            return None
        if not self._may_tell(name, iteration, patience=rule.patience):
            return None
        metric, value, limit = seen
        return Finding(rule=name, action=rule.action, metric=metric, value=value, limit=limit, iterations=lasted)

    def _may_tell(self, name: str, iteration: int, *, patience: int) -> bool:
        """Return whether something was not told lately, and remember that it is told now."""
        trouble = self._memory.troubles.setdefault(name, _Trouble())
        told = trouble.told_iteration
        if told is not None and iteration - told < QUIET_PATIENCES * patience:
            return False
        trouble.told_iteration = iteration
        return True

    # --- the rules ----------------------------------------------------------------------------------------------------

    def _violations(self, row: Mapping[str, Any]) -> dict[str, tuple[str, float, float] | None]:
        """Return (metric, value, limit) of every rule that the row speaks of, None where all is well."""
        config = self.config
        seen: dict[str, tuple[str, float, float] | None] = {}

        def judge(rule: str, metric: str, value: float, limit: float, *, bad: bool) -> None:
            seen[rule] = (metric, value, limit) if bad else None

        kl = _number(row, "approx_kl")
        if kl is not None:
            limit = config.kl_spike.threshold
            judge("kl_spike", "approx_kl", kl, limit, bad=kl > limit)
        entropy = _number(row, "entropy")
        if entropy is not None:
            share, limit = self._scales.entropy_share(entropy), config.entropy_collapse.threshold
            judge("entropy_collapse", "entropy_share", share, limit, bad=share < limit)
        explained = _number(row, "explained_variance")
        if explained is not None and row.get("policy_frozen") != 1.0:
            # Returns that hardly vary cannot be explained, and need not be.
            error, level = _number(row, "advantage_std"), _number(row, "value_mean")
            matters = error is None or level is None or error > RELEVANT_ERROR * abs(level)
            limit = config.explained_variance.threshold
            bad = explained < limit and matters
            judge("explained_variance", "explained_variance", explained, limit, bad=bad)
        accuracies = [_number(row, name) for name in ("d_acc_expert", "d_acc_gen")]
        if all(value is not None for value in accuracies):
            worse = min(value for value in accuracies if value is not None)
            limit = config.discriminator_saturation.threshold
            judge("discriminator_saturation", "d_acc_min", worse, limit, bad=worse > limit)
        self._judge_q(row, seen)
        self._judge_reward(row, seen)
        return seen

    def _judge_q(self, row: Mapping[str, Any], seen: dict[str, tuple[str, float, float] | None]) -> None:
        """Compare action values with what episodes returned and what entropy may add over the horizon."""
        memory = self._memory
        returned, entropy, alpha = (_number(row, name) for name in ("mean_reward", "entropy", "alpha"))
        memory.largest_return = max(memory.largest_return, abs(returned or 0.0))
        memory.largest_bonus = max(memory.largest_bonus, abs((entropy or 0.0) * (alpha or 0.0)))
        values = {name: abs(value) for name in Q_VALUES if (value := _number(row, name)) is not None}
        if not values or (returned is None and memory.largest_return == 0.0):
            return
        justified = max(memory.largest_return, 1.0) + memory.largest_bonus / max(1.0 - self._scales.gamma, 1e-3)
        limit = self.config.q_blow_up.threshold * justified
        metric = max(values, key=lambda name: values[name])
        seen["q_blow_up"] = (metric, values[metric], limit) if values[metric] > limit else None

    def _judge_reward(self, row: Mapping[str, Any], seen: dict[str, tuple[str, float, float] | None]) -> None:
        """Twice per window, test whether the reward rose while failures per progress rose, or progress fell.

        Over the newest window and over several: what changes slowly is seen in many rows only.
        """
        rule, memory = self.config.reward_hacking, self._memory
        reward = _number(row, "gail_reward_mean" if "gail_reward_mean" in row else "mean_reward")
        progress, failures = _number(row, "progress"), [_number(row, name) for name in FAILURES]
        if reward is None or progress is None or all(value is None for value in failures):
            return
        harm = sum(value for value in failures if value is not None) / max(progress, LEAST_PROGRESS)
        memory.history = [*memory.history, [reward, harm, progress]][-rule.window * WINDOWS[-1] :]
        memory.unseen += 1
        if len(memory.history) < rule.window or memory.unseen < rule.window // 2:
            return
        memory.unseen = 0
        lengths = [rule.window * factor for factor in WINDOWS if rule.window * factor <= len(memory.history)]
        found = [harm for length in lengths if (harm := _harm(memory.history[-length:])) is not None]
        metric, share = max(found, key=lambda harm: harm[1], default=("", 0.0))
        seen["reward_hacking"] = (metric, share, rule.threshold) if share > rule.threshold else None

    # --- continuing ---------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, as plain data."""
        memory = asdict(self._memory)
        return {"memory": memory, "learning_rate_scale": self.learning_rate_scale, "rollbacks": self.rollbacks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self.learning_rate_scale, self.rollbacks = state["learning_rate_scale"], state["rollbacks"]
        self.recall(state)

    def recall(self, state: Mapping[str, Any]) -> None:
        """Remember what a checkpoint remembers, but keep count of the roll-backs."""
        memory = dict(state["memory"])
        troubles = {name: _Trouble(**trouble) for name, trouble in memory.pop("troubles").items()}
        self._memory = _Memory(**memory, troubles=troubles)


def _harm(rows: Sequence[Sequence[float]]) -> tuple[str, float] | None:
    """Return what got worse while the reward rose, and by which share; None if nothing surely did.

    Args:
        rows: Reward, failures per progress and progress, oldest first.
    """
    rewards, failures, progress = (block_means(column) for column in zip(*rows, strict=True))
    if not rises(rewards):
        return None
    harms = [("failures_per_progress_growth", growth(failures))] if rises(failures) else []
    if rises([-mean for mean in progress]):
        harms.append(("progress_loss", -growth(progress)))
    return max(harms, key=lambda harm: harm[1], default=None)


def are_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether every value is a number; one transfer from the device in all."""
    sums = [tensor.detach().abs().max() for tensor in tensors if tensor.numel() and tensor.is_floating_point()]
    return not sums or bool(torch.isfinite(torch.stack([s.float() for s in sums])).all())


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None
