"""Traffic as an evaluation names it, ready for both engines: with the policy that drives it, where one does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from numpy.typing import NDArray

from drivetrain.config import from_plain
from drivetrain.errors import UsageError
from drivetrain.sim.env import DrivingConfig, TrafficDriver
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.traffic_kinds import REPLAY, kind_of
from drivetrain.trainer.checkpoint import LoadedPolicy, check_fits, checkpoint_file, load_policy

if TYPE_CHECKING:
    from drivetrain.closed_loop.traffic import Traffic


@dataclass(frozen=True, kw_only=True, slots=True)
class TrafficChoice:
    """How everybody else drives."""

    name: str
    """As it was named: a kind, or ``self_play:CHECKPOINT``."""
    kind: str
    """``replay``, ``self_play`` or one of ``traffic_kinds.REACTING``."""
    content: str
    """What results depend on: the name, for a policy the hash of its checkpoint instead of its place."""
    policy: LoadedPolicy | None = None
    """Who drives in self-play; None: nobody needs a policy."""

    @property
    def driving(self) -> DrivingConfig:
        """The environment that the policy was trained in."""
        assert self.policy is not None
        return from_plain(DrivingConfig, self.policy.checkpoint.config["environment"])

    @property
    def environment_kind(self) -> str:
        """What the training simulator's own traffic does: where a policy drives, the rest is replayed."""
        return REPLAY if self.policy is not None else self.kind

    def driver(self) -> TrafficDriver | None:
        """Return who drives the training simulator's traffic from outside; None: nobody."""
        if self.policy is None:
            return None
        from drivetrain.closed_loop.policy_traffic import PolicyDrivers

        return PolicyDrivers(partial(_act, self.policy), self.driving)

    def in_closed_loop(self) -> Callable[[Scenario], Traffic]:
        """Return what sets up this traffic in nuPlan's closed loop."""
        # Loaded here: the geometry of maps comes with it, which the training simulator does not need.
        from drivetrain.closed_loop.policy_traffic import SelfPlayTraffic
        from drivetrain.closed_loop.reactive_traffic import ReactiveTraffic
        from drivetrain.closed_loop.traffic import LogReplay

        if self.policy is not None:
            return partial(SelfPlayTraffic, act=partial(_act, self.policy), driving=self.driving)
        return LogReplay if self.kind == REPLAY else partial(ReactiveTraffic, kind=self.kind)


def choose_traffic(traffic: str | TrafficChoice, *, root: Path | None = None) -> TrafficChoice:
    """Return the traffic of a name, its checkpoint read.

    Args:
        traffic: A kind, or ``self_play:CHECKPOINT``; what was chosen before stays as it is.
        root: Where relative paths of checkpoints begin; None: the working folder.

    Raises:
        DrivetrainError: There is no such traffic, or its checkpoint cannot drive.
    """
    if isinstance(traffic, TrafficChoice):
        return traffic
    kind, path = kind_of(traffic)
    if not path:
        return TrafficChoice(name=traffic, kind=kind, content=traffic)
    place = Path(path) if root is None else root / path
    file = checkpoint_file(place)
    loaded = load_policy(file)
    if loaded.checkpoint.config["environment"]["name"] != "driving":
        raise UsageError(
            f"traffic: {path} is a policy of a Gymnasium environment and drives no vehicle; name one that drives"
        )
    check_fits(loaded.checkpoint, file, CANONICAL, loaded.checkpoint.action_space)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return TrafficChoice(name=traffic, kind=kind, content=f"{kind}:{digest}", policy=loaded)


def _act(policy: LoadedPolicy, observation: NDArray) -> NDArray:
    """Return deterministic actions."""
    from drivetrain.trainer.closed_loop_policy import one_thread

    with one_thread(), torch.no_grad():
        return policy(observation)
