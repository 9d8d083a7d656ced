"""Re-drive the log through the vehicle model: at every step the action whose consequences fit the log best.

This shows what the 91 actions can do at their best, and it turns logged drives into action labels.

Pose at t + 1 follows from speed and steering at t alone (explicit Euler), and the actuators lag: an acceleration moves
the position only from t + 2 on, a steering command from t + 3. So an action is judged by what happens if it is *held*
for ``horizon`` steps. Rolling on from the re-driven state (not the logged one) keeps quantisation from adding up. Lag
and holding already keep the match from dithering; a cost for changing the command makes it smoother still and less
close, and is an option.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.kernels.vehicle import MAX_ACCELERATION, NUM_ACTIONS, decode_action, drive, wrap_angle
from drivetrain.sim.scene_arrays import HEADING, PRESENT, SPEED, STATE_ROWS, SceneArrays, X, Y
from drivetrain.sim.world import ACTION_DISCRETE, WorldState

HORIZON = 4
"""Steps for which a candidate action is held; docs/evaluation.md shows what other values do."""
HEADING_WEIGHT = 4.0
"""Cost of a squared heading error [1/rad^2], where a squared metre costs 1."""
SPEED_WEIGHT = 0.3
"""Cost of a squared speed error [s^2/m^2]."""
HIGHEST_LEVEL = 6.0
"""Steering levels run from minus this to this."""


def match_actions(
    arrays: SceneArrays,
    state: WorldState,
    *,
    acceleration_lag: float = 0.2,
    steering_lag: float = 0.05,
    horizon: int = HORIZON,
    change_weight: float = 0.0,
    rows: tuple[int, int] | None = None,
    out: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Return the category [N] that keeps every running row nearest to its slot's log.

    Args:
        arrays: The scenes.
        state: The worlds as they are now.
        acceleration_lag: Time constant of the acceleration actuator [s].
        steering_lag: Time constant of the steering actuator [s].
        horizon: Steps for which a candidate action is held.
        change_weight: Cost of a squared change of the commanded acceleration, in units of (4 m/s^2)^2, and of the
            steering level, in units of 6^2, where a squared metre costs 1.
        rows: First row, and the one after the last, to match; None: all. Rows are independent: threads may share them.
        out: Where to write; None: a new array.
    """
    if out is None:
        out = np.zeros(len(state.slot), dtype=np.int64)
    first, end = (0, len(state.slot)) if rows is None else rows
    candidates = np.arange(NUM_ACTIONS, dtype=np.float32)[:, None]
    lags = (acceleration_lag, steering_lag)
    _match_rows(arrays, state, candidates, horizon, lags, float(change_weight), first, end, out)
    return out


@jit
def _error(arrays, scene, frame, slot, driven):  # noqa: ANN001, ANN202 - numba infers
    """Return the cost of being at ``driven`` instead of at the logged state of a frame; 0 where the log has none."""
    slots = arrays.num_slots[scene]
    at = arrays.log_start[scene] + frame * STATE_ROWS * slots + slot
    if frame >= arrays.num_frames[scene] or arrays.log[at + PRESENT * slots] == 0.0:
        return 0.0
    dx = driven[X, 0] - arrays.log[at + X * slots]
    dy = driven[Y, 0] - arrays.log[at + Y * slots]
    turn = wrap_angle(driven[HEADING, 0] - arrays.log[at + HEADING * slots])
    faster = driven[SPEED, 0] - arrays.log[at + SPEED * slots]
    return dx * dx + dy * dy + HEADING_WEIGHT * turn * turn + SPEED_WEIGHT * faster * faster


@jit
def _match_rows(arrays, state, candidates, horizon, lags, change_weight, first, end, out):  # noqa: ANN001, ANN202
    rows_per_world = len(state.slot) // len(state.scene)
    driven = np.zeros((STATE_ROWS, 1), dtype=np.float32)
    for n in range(first, end):
        if state.running[n] == 0:
            continue
        world = n // rows_per_world
        scene, frame, slot = state.scene[world], state.frame[world], state.slot[n]
        g = arrays.slot_start[scene] + slot
        wheelbase, rear = float(arrays.wheelbase[g]), float(arrays.rear_axle_to_center[g])
        least = 1e18
        for k in range(len(candidates)):
            for r in range(STATE_ROWS):
                driven[r, 0] = state.agents[world, r, slot]
            cost = 0.0
            if state.steps[n] > 0:  # before the first action there is nothing to change
                command, _, level = decode_action(ACTION_DISCRETE, candidates, k, driven[SPEED, 0], wheelbase)
                change = (command - state.last_acceleration[n]) / MAX_ACCELERATION
                turn = (level - state.last_level[n]) / HIGHEST_LEVEL
                cost = change_weight * (change * change + turn * turn)
            for step in range(1, horizon + 1):
                command, target, _ = decode_action(ACTION_DISCRETE, candidates, k, driven[SPEED, 0], wheelbase)
                drive(driven, 0, command, target, wheelbase, rear, lags[0], lags[1])
                cost += _error(arrays, scene, frame + step, slot, driven)
                if cost >= least:  # errors only add up: it cannot win any more
                    break
            if cost < least:
                least = cost
                out[n] = k
