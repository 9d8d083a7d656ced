"""Starting from another run's weights (``--init-from``): what is loaded, what begins anew, what is left out, and why.

Weights go module by module, by name. What decides actions is loaded whole or not at all, so that the new run's first
policy is the old run's last one; what estimates rewards is loaded only where the same rewards are learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from drivetrain.config import plain
from drivetrain.errors import CheckpointError
from drivetrain.models.actor_critic import ActorCritic
from drivetrain.models.proposal_policy import ProposalPolicy
from drivetrain.trainer.checkpoint import Checkpoint, check_fits, checkpoint_file, load_checkpoint

VALUES = ("value_trunk", "value")
"""Modules of a policy that estimate the rewards to come; all its others decide actions."""
CRITICS = ("q", "q_target")
"""Heads that estimate the rewards to come."""
WITHOUT_VALUES = ("bc", "sac")
"""Algorithms that leave a policy's value head as it was made."""
PRIORS = ("bc", "gail", "ppo", "sac")
"""Algorithms whose policies can be a prior, if they choose among categories."""
OTHER_SIZES = "has other sizes in the checkpoint"
"""Why something that is no part of acting may begin anew."""
FORM_ONLY = ("precision", "initial_log_std")
"""Keys of a policy that change neither which modules it has nor their sizes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleOutcome:
    """What became of one module."""

    name: str
    """Of the module or head."""
    state: Literal["loaded", "fresh", "ignored"]
    """``fresh``: begins as in any new run; ``ignored``: the checkpoint has it, this run does not."""
    parameters: int
    """Values in it, running statistics included."""
    reason: str
    """For people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Initialization:
    """What became of every module."""

    path: Path
    """The checkpoint."""
    algorithm: str
    """That made it."""
    step: int
    """At which it was made."""
    learner: str
    """Algorithm that goes on."""
    modules: tuple[ModuleOutcome, ...]
    """In the order of the table."""
    precautions: tuple[str, ...] = field(default=())
    """What the learner does so as not to lose what it was given, for people."""

    def names(self, state: str) -> list[str]:
        """Return the modules in a state."""
        return [module.name for module in self.modules if module.state == state]

    def lines(self) -> list[str]:
        """Return the table, one text per line."""
        head = ("module", "state", "parameters", "why")
        rows = [(m.name, m.state, f"{m.parameters:,}", m.reason) for m in self.modules]
        name, state, count = (max(len(row[column]) for row in [head, *rows]) for column in range(3))
        table = [f"  {a:<{name}}  {b:<{state}}  {c:>{count}}  {d}" for a, b, c, d in [head, *rows]]
        title = f"init-from {self.path}: {self.algorithm}, step {self.step:,} -> {self.learner}, step 0"
        return [title, *table, *(f"  precaution: {text}" for text in self.precautions)]

    def event(self) -> dict[str, Any]:
        """Return the same as plain data."""
        return {
            "checkpoint": str(self.path),
            "algorithm": self.algorithm,
            "checkpoint_step": self.step,
            **{state: self.names(state) for state in ("loaded", "fresh", "ignored")},
            "precautions": list(self.precautions),
        }


def initialize_from(
    policy: ActorCritic | ProposalPolicy,
    path: Path,
    *,
    learner: str,
    heads: Mapping[str, nn.Module] | None = None,
    dynamics: Mapping[str, Any] | None = None,
) -> Initialization:
    """Load the weights of another run, module by module, and return what was done.

    Args:
        policy: Takes the weights.
        path: Of the checkpoint or its folder.
        learner: Name of the algorithm that will go on.
        heads: What it learns besides the policy, by name; takes weights too.
        dynamics: How actions move the vehicle here; None: not compared.

    Raises:
        CheckpointError: It was made for another observation, action or vehicle, or with a policy of other sizes;
            nothing was loaded.
    """
    file = checkpoint_file(path)
    checkpoint = load_checkpoint(file)
    check_fits(checkpoint, file, policy.schema, policy.action_space)
    if dynamics is not None:
        _check_dynamics(checkpoint, file, dynamics)
    is_composed = "kind" in checkpoint.policy_config
    if isinstance(policy, ProposalPolicy) and not is_composed:
        return _take_prior(policy, checkpoint, file, heads or {})
    left_out: list[ModuleOutcome] = []
    if not isinstance(policy, ProposalPolicy) and is_composed:
        checkpoint, left_out = _prior_of(checkpoint, learner)
    theirs, ours = _modules_of(checkpoint.policy), _modules_of(policy.state_dict())
    _check_policy(checkpoint, file, policy, theirs, ours)
    same_rewards = checkpoint.algorithm == learner
    outcomes = [*_load_heads(checkpoint, heads or {}, learner, same_rewards=same_rewards)]
    if "disc" in (heads or {}):
        same_rewards &= any(head.name == "disc" and head.state == "loaded" for head in outcomes)
    why_fresh = _why_values_are_fresh(checkpoint.algorithm, learner, same_rewards=same_rewards)
    if any(_shapes(theirs.get(name, {})) != _shapes(ours.get(name, {})) for name in VALUES):
        why_fresh = why_fresh or OTHER_SIZES
    own = [_outcome(name, weights, "" if name not in VALUES else why_fresh) for name, weights in ours.items()]
    loaded = {module.name for module in own if module.state == "loaded"}
    taken = {key: value for key, value in checkpoint.policy.items() if key.partition(".")[0] in loaded}
    policy.load_state_dict({**policy.state_dict(), **taken})
    return Initialization(
        path=file,
        algorithm=checkpoint.algorithm,
        step=checkpoint.step,
        learner=learner,
        modules=(*own, *left_out, *outcomes),
    )


def _take_prior(
    policy: ProposalPolicy, checkpoint: Checkpoint, path: Path, heads: Mapping[str, nn.Module]
) -> Initialization:
    """Make a plain policy the frozen prior of a composed one."""
    if not any(key.startswith("pi.") for key in checkpoint.policy):
        raise CheckpointError(
            f"{path}: has no action head 'pi', which a prior needs; give a policy of {', '.join(PRIORS)}"
        )
    _check_policy(
        checkpoint, path, policy.prior, _modules_of(checkpoint.policy), _modules_of(policy.prior.state_dict())
    )
    whole = policy.prior.state_dict()
    policy.prior.load_state_dict(
        {name: checkpoint.policy[name] if _fits(checkpoint.policy, whole, name) else whole[name] for name in whole}
    )
    policy.begin_from_prior()
    reasons = {
        "prior": ("loaded", "proposes; never learns"),
        "task": ("fresh", "adds nothing to the prior yet; has its encoder and trunk"),
        "q_risk": ("fresh", "has the prior's encoder"),
    }
    modules = [
        ModuleOutcome(name=name, state=reasons[name][0], parameters=_size(weights), reason=reasons[name][1])  # type: ignore[arg-type]
        for name, weights in _modules_of(policy.state_dict()).items()
    ]
    modules += [
        ModuleOutcome(
            name=name, state="fresh", parameters=_size(head.state_dict()), reason="the prior's rewards are others"
        )
        for name, head in heads.items()
    ]
    modules += [
        ModuleOutcome(name=name, state="ignored", parameters=_size(head), reason="belongs to the prior's own learning")
        for name, head in checkpoint.heads.items()
    ]
    return Initialization(
        path=path, algorithm=checkpoint.algorithm, step=checkpoint.step, learner="cimrl", modules=tuple(modules)
    )


def _fits(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], name: str) -> bool:
    return name in theirs and theirs[name].shape == ours[name].shape


def _prior_of(checkpoint: Checkpoint, learner: str) -> tuple[Checkpoint, list[ModuleOutcome]]:
    """Return a composed policy's checkpoint as if it held the prior alone, and what is left out."""
    left_out = [
        ModuleOutcome(
            name=name, state="ignored", parameters=_size(weights), reason=f"{learner} takes the prior alone, unfiltered"
        )
        for name, weights in _modules_of(checkpoint.policy).items()
        if name != "prior"
    ]
    inside = "prior."
    weights = {key[len(inside) :]: value for key, value in checkpoint.policy.items() if key.startswith(inside)}
    return replace(checkpoint, policy=weights, policy_config=checkpoint.policy_config["network"]), left_out


def _outcome(name: str, weights: Mapping[str, Tensor], why_fresh: str) -> ModuleOutcome:
    if why_fresh:
        return ModuleOutcome(name=name, state="fresh", parameters=_size(weights), reason=why_fresh)
    reason = "the same rewards" if name in VALUES else "decides actions"
    return ModuleOutcome(name=name, state="loaded", parameters=_size(weights), reason=reason)


def with_precautions(done: Initialization, precautions: list[str]) -> Initialization:
    """Return what was done with what the learner does about it."""
    return replace(done, precautions=tuple(precautions))


def _why_values_are_fresh(source: str, learner: str, *, same_rewards: bool) -> str:
    """Return why values begin anew, or an empty string if they need not."""
    if learner in WITHOUT_VALUES:
        return f"{learner} learns no state values"
    if same_rewards:
        return ""
    if source in WITHOUT_VALUES:
        return f"{source} never learnt state values"
    return "the discriminator begins anew" if source == learner else f"{source} learnt from other rewards"


def _load_heads(
    checkpoint: Checkpoint, heads: Mapping[str, nn.Module], learner: str, *, same_rewards: bool
) -> Iterator[ModuleOutcome]:
    """Load what can be loaded besides the policy."""
    for name, head in heads.items():
        weights = checkpoint.heads.get(name)
        size = _size(head.state_dict())
        if weights is None:
            yield ModuleOutcome(name=name, state="fresh", parameters=size, reason=f"{checkpoint.algorithm} has none")
        elif name in CRITICS and not same_rewards:
            reason = f"{checkpoint.algorithm} learnt from other rewards"
            yield ModuleOutcome(name=name, state="fresh", parameters=size, reason=reason)
        elif _shapes(weights) != _shapes(head.state_dict()):
            yield ModuleOutcome(name=name, state="fresh", parameters=size, reason=OTHER_SIZES)
        else:
            head.load_state_dict(weights)
            yield ModuleOutcome(name=name, state="loaded", parameters=size, reason="the same name and sizes")
    for name, weights in checkpoint.heads.items():
        if name not in heads:
            size = _size(weights)
            yield ModuleOutcome(name=name, state="ignored", parameters=size, reason=f"this {learner} has no such head")


def _check_dynamics(checkpoint: Checkpoint, path: Path, here: Mapping[str, Any]) -> None:
    there = checkpoint.dynamics
    for name in {**there, **here}:
        if there.get(name) != here.get(name):
            raise CheckpointError(
                f"{path}: made for vehicle dynamics with {name} {there.get(name)}, here it is {here.get(name)}; "
                "use the same environment settings, or train anew"
            )


def _check_policy(
    checkpoint: Checkpoint,
    path: Path,
    policy: ActorCritic | ProposalPolicy,
    theirs: Mapping[str, Mapping[str, Tensor]],
    ours: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Make sure that all that decides actions is there, nothing more, with the same sizes.

    Raises:
        CheckpointError: It is not; says which setting differs.
    """
    for name in [n for n in {**ours, **theirs} if n not in VALUES]:
        if _shapes(theirs.get(name, {})) != _shapes(ours.get(name, {})):
            raise CheckpointError(
                f"{path}: module '{name}' does not fit ({_difference(checkpoint.policy_config, plain(policy.config))})"
                "; use the same policy settings, or train anew"
            )


def _difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    for name in {**there, **here}:
        if name not in FORM_ONLY and there.get(name) != here.get(name):
            return f"policy.{name} is {there.get(name)} there and {here.get(name)} here"
    return "another kind of network"


def _modules_of(weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the weights of each module, or of a parameter that stands alone, by its name."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in weights.items():
        name, _, rest = key.partition(".")
        groups.setdefault(name, {})[rest] = value
    return groups


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}


def _size(weights: Mapping[str, Tensor]) -> int:
    return sum(value.numel() for value in weights.values())
