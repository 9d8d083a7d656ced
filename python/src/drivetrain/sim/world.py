"""What changes while worlds run: one named tuple of arrays that the compiled and the readable simulator share.

W worlds, A agent slots (the largest scene's, rounded up), N rows (controlled agents), R rows per world. Row
``w * R + r`` belongs to world w.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.scene_arrays import STATE_ROWS

SLOT_GROUP = 16
"""Slots per world are rounded up to a multiple of this: whole vectors."""

# How a slot moves.
REPLAYED, CONTROLLED, REACTIVE, REMOVED, DRIVEN = range(5)

# Where traffic reacts.
NONE_REACTS, ALL_REACT, EVERY_OTHER_REACTS = range(3)

# Events, as bits.
COLLISION, AT_FAULT, OFFROAD, RED_LIGHT, GOAL, TTC = 1, 2, 4, 8, 16, 32
FAILURES = COLLISION | OFFROAD | RED_LIGHT
"""Events that always end an episode."""

# What is summed over a row's episode.
(SUM_REWARD, SUM_JERK, NUM_JERK, SUM_OVERSPEED, ANY_EVENT, LAST_COMPLETION, SUM_SPEED, SUM_LATERAL, NUM_STEPS) = range(
    9
)
NUM_SUMS = 9

# What the numbers of an action mean.
ACTION_DISCRETE, ACTION_CONTINUOUS, ACTION_COMMAND, ACTION_LOG, ACTION_POSE = range(5)

# Purposes of random numbers.
DRAW_SCENE, DRAW_FRAME, DRAW_SPEED, DRAW_SLOT = range(4)


class WorldState(NamedTuple):
    """All worlds of a batch."""

    scene: NDArray[np.int32]
    """Scene being played, shape [W]."""
    frame: NDArray[np.int32]
    """Frame t of its log, shape [W]."""
    episode: NDArray[np.int64]
    """How often the world has been reset, shape [W]."""
    agents: NDArray[np.float32]
    """State of every slot, rows as in ``scene_arrays``, shape [W, STATE_ROWS, A]; slots beyond the scene's are zero."""
    mode: NDArray[np.uint8]
    """REPLAYED, CONTROLLED, REACTIVE, REMOVED, or DRIVEN by somebody outside before the step, shape [W, A]."""
    path_s: NDArray[np.float32]
    """Arc length of reactive slots on their logged path [m], shape [W, A]."""
    slot: NDArray[np.int32]
    """Slot that each row drives, shape [N]; meaningless where ``has_slot`` is 0."""
    has_slot: NDArray[np.uint8]
    """1 where the row drives a slot in this world episode, shape [N]."""
    running: NDArray[np.uint8]
    """1 while the row's episode runs, shape [N]."""
    steps: NDArray[np.int32]
    """Steps of the row's episode, shape [N]."""
    route_index: NDArray[np.int32]
    """Index of the projection on the route, shape [N]."""
    route_s: NDArray[np.float32]
    """Arc length of the projection [m], shape [N]."""
    route_offset: NDArray[np.float32]
    """Lateral offset e from the route, left positive [m], shape [N]."""
    start_s: NDArray[np.float32]
    """Arc length at the start of the episode [m], shape [N]."""
    max_s: NDArray[np.float32]
    """Running maximum of ``route_s`` [m], shape [N]."""
    last_acceleration: NDArray[np.float32]
    """Commanded acceleration of the previous action [m/s^2], shape [N]."""
    last_level: NDArray[np.float32]
    """Steering level of the previous action, -6..6, shape [N]."""
    executed: NDArray[np.float32]
    """Executed acceleration one and two steps ago [m/s^2], shape [N, 2]."""
    sums: NDArray[np.float32]
    """Sums over the row's episode, shape [N, NUM_SUMS]."""
    events: NDArray[np.uint8]
    """Event bits of the last step, shape [N]."""
    reward: NDArray[np.float32]
    """Reward of the last step with shaping, shape [N]."""
    terminated: NDArray[np.uint8]
    """shape [N]."""
    truncated: NDArray[np.uint8]
    """shape [N]."""
    valid: NDArray[np.uint8]
    """1 where the last step was a transition of this row, shape [N]."""


class StepParameters(NamedTuple):
    """Constants of a batch: plain numbers, so that a kernel takes them as they are."""

    seed: int
    rows_per_world: int
    first_world: int
    """Global index of world 0 of this batch; random draws use the global index."""
    num_worlds_global: int
    """Worlds over all batches; the stride of sequential order."""
    sequential: int
    """1: world w plays scenes w, w + W, ...; 0: scenes are drawn."""
    random_start: int
    """1: the first episode of every world starts at a drawn frame, so that resets spread."""
    reactive_traffic: int
    """NONE_REACTS, ALL_REACT (traffic that can, drives by IDM) or EVERY_OTHER_REACTS (that of odd global worlds)."""
    speed_low: float
    """The controlled agents' start speed is multiplied by a draw between this and ``speed_high``."""
    speed_high: float
    horizon: int
    """Longest episode [frames]."""
    penalty_at_fault: float
    penalty_other: float
    penalty_offroad: float
    penalty_red_light: float
    shaping_acceleration: float
    """Already multiplied by the schedule's scale."""
    shaping_steering: float
    compute_ttc: int
    acceleration_lag: float
    """Time constant of the acceleration actuator [s]."""
    steering_lag: float
    """Time constant of the steering actuator [s]."""
    ending: int
    """Event bits that terminate an episode."""


def new_state(num_worlds: int, rows_per_world: int, most_slots: int) -> WorldState:
    """Return the zero state of a batch (reset it before use) whose scenes have at most ``most_slots`` slots."""
    w, n = num_worlds, num_worlds * rows_per_world
    a = -(-most_slots // SLOT_GROUP) * SLOT_GROUP

    def row(dtype: type) -> NDArray:
        return np.zeros(n, dtype=dtype)

    return WorldState(
        scene=np.zeros(w, dtype=np.int32),
        frame=np.zeros(w, dtype=np.int32),
        episode=np.full(w, -1, dtype=np.int64),
        agents=np.zeros((w, STATE_ROWS, a), dtype=np.float32),
        mode=np.zeros((w, a), dtype=np.uint8),
        path_s=np.zeros((w, a), dtype=np.float32),
        slot=row(np.int32),
        has_slot=row(np.uint8),
        running=row(np.uint8),
        steps=row(np.int32),
        route_index=row(np.int32),
        route_s=row(np.float32),
        route_offset=row(np.float32),
        start_s=row(np.float32),
        max_s=row(np.float32),
        last_acceleration=row(np.float32),
        last_level=row(np.float32),
        executed=np.zeros((n, 2), dtype=np.float32),
        sums=np.zeros((n, NUM_SUMS), dtype=np.float32),
        events=row(np.uint8),
        reward=row(np.float32),
        terminated=row(np.uint8),
        truncated=row(np.uint8),
        valid=row(np.uint8),
    )


def copy_state(state: WorldState) -> WorldState:
    """Return an independent copy."""
    return WorldState._make(array.copy() for array in state)
