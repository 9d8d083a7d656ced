"""What the watchdog looks for and what it does about it: the ``watchdog`` block of a config."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from drivetrain.errors import ConfigError

Action = Literal["off", "warn", "stop", "rollback"]
"""``warn``: say so; ``stop``: end the run as failed; ``rollback``: go back to the last good checkpoint and learn more
slowly; ``off``: do not look."""
ACTIONS = ("off", "warn", "stop", "rollback")


class Rule(Protocol):
    """What all rules have."""

    @property
    def threshold(self) -> float:
        """Where trouble begins; the unit is the rule's."""
        ...

    @property
    def patience(self) -> int:
        """Iterations that the trouble must last without a break."""
        ...

    @property
    def patience_s(self) -> float:
        """Time that it must last, too [s]."""
        ...

    @property
    def action(self) -> Action:
        """What to do then."""
        ...


def _check(name: str, rule: Rule) -> None:
    if rule.patience < 1:
        raise ConfigError(f"watchdog.{name}.patience: {rule.patience} is too small; use 1 or more")
    if rule.patience_s < 0:
        raise ConfigError(f"watchdog.{name}.patience_s: {rule.patience_s} is negative; use 0 or more")


@dataclass(frozen=True, kw_only=True, slots=True)
class NonFinite:
    """NaN or infinite: a weight, a loss or a gradient; such a policy is lost."""

    action: Action = "stop"
    """At once."""
    metrics: Literal["off", "warn"] = "warn"
    """What to do where any other metric is not finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KlSpike:
    """``approx_kl``: updates so long that the data behind them say nothing about the new policy."""

    threshold: float = 0.15
    """Above this [nat]; healthy runs stay below 0.03."""
    patience: int = 3
    """See :class:`Rule`."""
    patience_s: float = 0.0
    """See :class:`Rule`."""
    action: Action = "warn"
    """See :class:`Rule`."""

    def __post_init__(self) -> None:
        _check("kl_spike", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class EntropyCollapse:
    """``entropy``: a policy that tries nothing any more learns nothing any more."""

    threshold: float = 0.02
    """Below this share: categories, of ln K; continuous, of the action range (a uniform draw of that width)."""
    patience: int = 20
    """See :class:`Rule`."""
    patience_s: float = 0.0
    """See :class:`Rule`."""
    action: Action = "warn"
    """See :class:`Rule`."""

    def __post_init__(self) -> None:
        _check("entropy_collapse", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainedVariance:
    """``explained_variance``: values worse than a constant; fine where errors are small beside values."""

    threshold: float = 0.0
    """Below this."""
    patience: int = 100
    """See :class:`Rule`."""
    patience_s: float = 0.0
    """See :class:`Rule`."""
    action: Action = "warn"
    """See :class:`Rule`."""

    def __post_init__(self) -> None:
        _check("explained_variance", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class QBlowUp:
    """``q1_mean``, ``q2_mean``, ``target_q``: action values that no return can justify."""

    threshold: float = 10.0
    """Above this many times the largest value that returns seen so far, and the entropy bonus, explain."""
    patience: int = 20
    """See :class:`Rule`."""
    patience_s: float = 0.0
    """See :class:`Rule`."""
    action: Action = "warn"
    """See :class:`Rule`."""

    def __post_init__(self) -> None:
        _check("q_blow_up", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscriminatorSaturation:
    """``d_acc_expert``, ``d_acc_gen``: a discriminator that is always right rewards all driving alike."""

    threshold: float = 0.97
    """Both accuracies above this."""
    patience: int = 50
    """See :class:`Rule`."""
    patience_s: float = 0.0
    """See :class:`Rule`."""
    action: Action = "warn"
    """See :class:`Rule`."""

    def __post_init__(self) -> None:
        _check("discriminator_saturation", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardHacking:
    """Reward rises while failures per progress rise, or progress falls (:mod:`drivetrain.trainer.trends`)."""

    threshold: float = 0.1
    """The harm has grown by more than this share."""
    window: int = 100
    """Rows after which, and twice per which, trends are looked for: in the newest window, two and four."""
    patience: int = 50
    """See :class:`Rule`; half a window: two looks in a row must agree."""
    patience_s: float = 0.0
    """See :class:`Rule`."""
    action: Action = "warn"
    """See :class:`Rule`."""

    def __post_init__(self) -> None:
        _check("reward_hacking", self)
        if self.window < 20:
            raise ConfigError(f"watchdog.reward_hacking.window: {self.window} is too short; use 20 or more")
        if self.threshold <= 0:
            raise ConfigError(f"watchdog.reward_hacking.threshold: {self.threshold} is impossible; use more than 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchdogConfig:
    """Looks at every row of metrics, never at single steps, and draws no random numbers."""

    non_finite: NonFinite = field(default_factory=NonFinite)
    """NaN and infinity."""
    kl_spike: KlSpike = field(default_factory=KlSpike)
    """Updates that are too long."""
    entropy_collapse: EntropyCollapse = field(default_factory=EntropyCollapse)
    """No exploration."""
    explained_variance: ExplainedVariance = field(default_factory=ExplainedVariance)
    """Useless values."""
    q_blow_up: QBlowUp = field(default_factory=QBlowUp)
    """Action values without bounds."""
    discriminator_saturation: DiscriminatorSaturation = field(default_factory=DiscriminatorSaturation)
    """A discriminator that cannot be convinced."""
    reward_hacking: RewardHacking = field(default_factory=RewardHacking)
    """Paid for driving worse."""
    learning_rate_factor: float = 0.5
    """Step sizes are multiplied by this at every roll-back, from then on."""
    max_rollbacks: int = 3
    """After so many roll-backs the next one stops the run."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate_factor <= 1:
            value = self.learning_rate_factor
            raise ConfigError(f"watchdog.learning_rate_factor: {value} is impossible; use more than 0, at most 1")
        if self.max_rollbacks < 0:
            raise ConfigError(f"watchdog.max_rollbacks: {self.max_rollbacks} is negative; use 0 or more")
        for name, rule in self.rules().items():
            if rule.action not in ACTIONS:
                raise ConfigError(
                    f"watchdog.{name}.action: '{rule.action}' is unknown; choose from {', '.join(ACTIONS)}"
                )

    def rules(self) -> dict[str, Rule]:
        """Return the rules with a threshold, by name."""
        return {
            "kl_spike": self.kl_spike,
            "entropy_collapse": self.entropy_collapse,
            "explained_variance": self.explained_variance,
            "q_blow_up": self.q_blow_up,
            "discriminator_saturation": self.discriminator_saturation,
            "reward_hacking": self.reward_hacking,
        }

    @property
    def may_roll_back(self) -> bool:
        """True where a good checkpoint has to be kept."""
        return "rollback" in {self.non_finite.action, *(rule.action for rule in self.rules().values())}
