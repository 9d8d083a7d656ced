"""Failures tried again: from states shortly before one, every action of the grid is held and seen through to the end.

W worlds, S states, C = 91 actions. What a branch does is decided by its state alone: its world goes on exactly as it
would have gone on with this action. Traffic that somebody outside drives (self-play) cannot be branched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import SimulationError
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.kernels.vehicle import NUM_ACTIONS, NUM_STEERINGS
from drivetrain.sim.scene_bank import DT, SceneBank
from drivetrain.sim.world import COLLISION, OFFROAD, RED_LIGHT, TTC, WorldState, copy_state

LOOK_BACK_S = 5.0
"""So long before a failure the states are kept [s]."""
CLEAR_S = 3.0
"""A branch must stay clear of failures until so long after the moment of the failure [s], or until the log ends."""
FAILING = COLLISION | OFFROAD | RED_LIGHT
STATES_AT_ONCE = 16
"""States branched side by side, to bound memory; results do not depend on it."""
MIDDLE_STEERING = NUM_STEERINGS // 2
LONGEST_S = 3600.0
"""Only the log ends a branch, never the horizon of a training's episodes [s]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failed:
    """A world whose episode ended in a failure, and its states before that."""

    frame: int
    """When it failed."""
    states: tuple[WorldState, ...]
    """The states of the frames just before, the oldest first; each of one world."""


class FailureHistory:
    """Watches worlds that are not reset automatically, and keeps the last states of those that fail."""

    def __init__(self, *, seconds: float = LOOK_BACK_S) -> None:
        """Keep the states of so many seconds before a failure.

        Raises:
            SimulationError: That is no time step at all.
        """
        if not seconds >= DT:
            raise SimulationError(f"look back: {seconds:g} s is less than one step; use {DT:g} or more")
        self._recent: deque[WorldState] = deque(maxlen=round(seconds / DT))
        self.bank: SceneBank | None = None
        """What the worlds play; None before they begin."""
        self.config = DrivingConfig()
        """How they are driven."""
        self.failed: dict[str, Failed] = {}
        """By scenario id."""

    def begin(self, env: DrivingEnv) -> None:
        """Start watching worlds that have just been reset.

        Raises:
            SimulationError: A world has several rows, or starts anew by itself.
        """
        if env.config.rows_per_world != 1 or env.automatic_reset:
            raise SimulationError("failures are branched in worlds of one ego that do not start anew by themselves")
        self.bank, self.config = env.bank, env.config
        self._recent.clear()
        self._recent.append(copy_state(env.state))

    def take(self, env: DrivingEnv, ended: NDArray[np.int32]) -> None:
        """Take a step in which some rows ended."""
        for world in ended.tolist():
            if env.state.events[world] & FAILING:
                name = env.bank.scenario_ids[int(env.state.scene[world])]
                states = tuple(_one_world(state, world) for state in self._recent)
                self.failed[name] = Failed(frame=int(env.state.frame[world]), states=states)
        self._recent.append(copy_state(env.state))


def _one_world(state: WorldState, world: int) -> WorldState:
    return WorldState._make(array[world : world + 1].copy() for array in state)


@dataclass(frozen=True, kw_only=True, slots=True)
class Avoidance:
    """Until when a failure could have been avoided, and how."""

    failure: int
    """Frame of the failure."""
    earliest: int
    """The first frame that was tried."""
    frame: int | None
    """The last frame from which some held action avoids it; None: none does since ``earliest``."""
    actions: Sequence[int] = ()
    """The actions that do, by their number in the grid; the gentlest first."""

    @property
    def seconds(self) -> float:
        """How long before the failure that is [s]: of the last chance, or of the first try where there is none."""
        return (self.failure - (self.earliest if self.frame is None else self.frame)) * DT

    @property
    def from_start(self) -> bool:
        """The drive began so shortly before that nothing earlier could be tried."""
        return self.earliest == 0


@dataclass(kw_only=True)
class Branches:
    """Worlds for branches of a bank's scenes."""

    bank: SceneBank
    config: DrivingConfig
    size: int
    """Most states at once."""
    _env: DrivingEnv = field(init=False)

    def __post_init__(self) -> None:
        config = replace(
            self.config, num_worlds=self.size * NUM_ACTIONS, control="ego", action="discrete", horizon_s=LONGEST_S
        )
        self._env = DrivingEnv(
            self.bank, config, sequential=True, automatic_reset=False, perturb=False, compute_ttc=True
        )

    def avoiding(self, states: Sequence[WorldState], until: Sequence[int]) -> NDArray[np.bool_]:
        """Return which actions, held from each state on, avoid every failure.

        A branch avoids it if until its last frame there is no contact, it does not leave the road and runs no red
        light, and if in the last frame it would not touch anybody within 0.95 s, all going straight on.

        Args:
            states: One world each.
            until: The last frame of each one's branches; the end of the log or the goal ends them earlier.

        Returns:
            shape [S, C].
        """
        env = self._env
        rows = len(states) * NUM_ACTIONS
        for name, array in env.state._asdict().items():
            array[:rows] = np.concatenate([getattr(state, name) for state in states]).repeat(NUM_ACTIONS, axis=0)
        env.state.running[rows:] = 0
        last = np.zeros(env.num_rows, dtype=np.int64)
        last[:rows] = np.repeat(np.asarray(until), NUM_ACTIONS)
        actions = np.tile(np.arange(NUM_ACTIONS), self.size)
        failed = np.zeros(env.num_rows, dtype=np.bool_)
        while env.state.running[:rows].any():
            env.step(actions)
            stepped = env.state.valid.astype(np.bool_)
            over = stepped & ((env.state.running == 0) | (env.state.frame >= last))
            events = env.state.events
            failed |= stepped & ((events & FAILING) != 0) | over & ((events & TTC) != 0)
            env.state.running[over | failed] = 0
        return ~failed[:rows].reshape(len(states), NUM_ACTIONS)

    def close(self) -> None:
        """Stop the threads."""
        self._env.close()


def last_chances(history: FailureHistory, names: Sequence[str] | None = None) -> dict[str, Avoidance]:
    """Return until when failures could have been avoided, by scenario id.

    The states before each failure are tried from the latest to the earliest, so the first that has a way out is the
    last chance. All failures are tried side by side.

    Args:
        history: Has watched the drives.
        names: Scenario ids of the failures that matter; None: all.
    """
    chosen: Mapping[str, Failed] = {
        name: failed for name, failed in history.failed.items() if names is None or name in names
    }
    if not chosen:
        return {}
    assert history.bank is not None
    found: dict[str, Avoidance] = {}
    branches = Branches(bank=history.bank, config=history.config, size=min(len(chosen), STATES_AT_ONCE))
    try:
        back = 1
        while waiting := [name for name in chosen if name not in found]:
            for first in range(0, len(waiting), STATES_AT_ONCE):
                names_now = waiting[first : first + STATES_AT_ONCE]
                _try(branches, {name: chosen[name] for name in names_now}, back, found)
            back += 1
    finally:
        branches.close()
    return found


def _try(branches: Branches, failures: Mapping[str, Failed], back: int, found: dict[str, Avoidance]) -> None:
    """Try the states so many frames before some failures; note those that are settled by that."""
    states = [failed.states[-back] for failed in failures.values()]
    until = [failed.frame + round(CLEAR_S / DT) for failed in failures.values()]
    avoiding = branches.avoiding(states, until)
    for (name, failed), can in zip(failures.items(), avoiding, strict=True):
        frame = failed.frame - back
        if can.any():
            actions = tuple(sorted(np.flatnonzero(can).tolist(), key=_effort))
            found[name] = Avoidance(failure=failed.frame, earliest=frame, frame=frame, actions=actions)
        elif back == len(failed.states):
            found[name] = Avoidance(failure=failed.frame, earliest=frame, frame=None)


def _effort(action: int) -> tuple[int, int, int]:
    """Return what orders actions by gentleness: little steering, then little acceleration or braking."""
    steering, acceleration = action % NUM_STEERINGS - MIDDLE_STEERING, action // NUM_STEERINGS - 3
    return abs(steering), abs(acceleration), action
