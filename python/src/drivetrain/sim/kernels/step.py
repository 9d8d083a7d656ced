"""One step of a range of worlds: move, events, reward, flags, reset, observe; fused per world.

Worlds are independent: any split of them over threads or batches gives the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.compact import write_row, write_zeros
from drivetrain.sim.kernels.drive_rows import drive_group, move_rows
from drivetrain.sim.kernels.judge import score_row
from drivetrain.sim.kernels.lanes import LANES
from drivetrain.sim.kernels.look_ahead import look_ahead
from drivetrain.sim.kernels.move import move_world
from drivetrain.sim.kernels.observe import SIZE, observe
from drivetrain.sim.kernels.observe_agents import work_arrays
from drivetrain.sim.kernels.reset import reset_world
from drivetrain.sim.kernels.tables import KernelTables
from drivetrain.sim.scene_arrays import PRESENT, STATE_ROWS
from drivetrain.sim.world import ACTION_COMMAND, NUM_SUMS, REMOVED, StepParameters, WorldState


class Work(NamedTuple):
    """Scratch space of one thread."""

    row: NDArray[np.float32]
    """One observation before it is written in its data type."""
    before: NDArray[np.float32]
    """A world's agents before they move, [STATE_ROWS, A]."""
    moves: NDArray[np.float32]
    """Moves of driven rows, see ``drive_rows``."""
    agents: tuple[NDArray, ...]
    """See ``write_agents``."""


def new_work(state: WorldState, p: StepParameters) -> Work:
    """Return scratch space for these worlds."""
    slots = state.agents.shape[2]
    row = np.zeros(-(-SIZE // LANES) * LANES, dtype=np.float32)
    before = np.zeros((STATE_ROWS, slots), dtype=np.float32)
    return Work(row=row, before=before, moves=move_rows(p.rows_per_world), agents=work_arrays(slots))


# --- entry points -----------------------------------------------------------------------------------------------------


def reset_worlds(
    t: KernelTables, state: WorldState, p: StepParameters, first: int, end: int, observation: NDArray
) -> None:
    """Start worlds ``first..end`` anew and observe."""
    _reset_range(t, state, p, first, end)
    _observe_range(t, state, p, first, end, observation, new_work(state, p))


def observe_worlds(
    t: KernelTables, state: WorldState, p: StepParameters, first: int, end: int, observation: NDArray
) -> None:
    """Observe the present state of worlds ``first..end``."""
    _observe_range(t, state, p, first, end, observation, new_work(state, p))


def step_worlds(
    t: KernelTables,
    state: WorldState,
    p: StepParameters,
    first: int,
    end: int,
    kind: int,
    action: NDArray[np.float32],
    observation: NDArray,
    final: NDArray,
    final_sums: NDArray[np.float32],
    automatic: int,
) -> None:
    """Advance worlds ``first..end`` by one step.

    ``final`` and ``final_sums`` receive the last observation and the sums of rows whose episode ended.
    ``automatic`` 1: worlds that are over reset at once; 0: they stay as they are.
    """
    _step_range(t, state, p, first, end, kind, action, observation, final, final_sums, automatic, new_work(state, p))


# --- ranges of worlds -------------------------------------------------------------------------------------------------


@kernel(inline=True)
def end_episodes(state, w, low, high):
    """Remove agents whose episode ended; returns whether nobody runs any more."""
    running = 0
    for n in range(low, high):
        if state.terminated[n] == 1 or state.truncated[n] == 1:
            state.running[n] = 0
            state.mode[w, state.slot[n]] = REMOVED
            state.agents[w, PRESENT, state.slot[n]] = 0.0
        running += state.running[n]
    return running == 0


@kernel(inline=True)
def observe_row(t, state, w, n, out, work):
    """Write the observation of row ``n`` into that row of ``out``; zeros where it drives nothing."""
    if state.running[n] == 0:
        write_zeros(out, n)
        return
    observe(
        t,
        state.scene[w],
        state.frame[w],
        state.agents[w],
        state.slot[n],
        state.route_index[n],
        state.route_s[n],
        state.route_offset[n],
        work.row,
        work.agents,
    )
    write_row(work.row, out, n)


@kernel
def _observe_range(t, state, p, first, end, observation, work):
    for w in range(first, end):
        for n in range(w * p.rows_per_world, (w + 1) * p.rows_per_world):
            observe_row(t, state, w, n, observation, work)


@kernel
def _reset_range(t, state, p, first, end):
    for w in range(first, end):
        state.episode[w] = -1
        reset_world(t, state, p, w)


@kernel
def _step_range(t, state, p, first, end, kind, action, observation, final, final_sums, automatic, work):
    first_row, end_row = first * p.rows_per_world, end * p.rows_per_world
    computed = first_row
    for w in range(first, end):
        look_ahead(t, state, p, w, end)
        low, high = w * p.rows_per_world, (w + 1) * p.rows_per_world
        while computed < high and kind <= ACTION_COMMAND:
            group = (computed - first_row) // LANES % len(work.moves)
            drive_group(t, state, p, kind, action, computed, end_row, work.moves, group)
            computed += LANES
        alive = 0
        for n in range(low, high):
            state.reward[n] = 0.0
            state.events[n] = 0
            state.terminated[n] = 0
            state.truncated[n] = 0
            state.valid[n] = 0
            alive += state.running[n]
        if alive > 0:
            move_world(t, state, p, w, kind, action, work.before, work.moves, first_row)
            for n in range(low, high):
                if state.running[n] == 1:
                    score_row(t, state, p, w, n)
        # Two passes over the rows with one place that observes: first the last look of those that ended, then all.
        for last_look in (True, False):
            if not last_look and end_episodes(state, w, low, high) and automatic == 1:
                reset_world(t, state, p, w)
            for n in range(low, high):
                ended = state.terminated[n] == 1 or state.truncated[n] == 1
                if last_look and not ended:
                    continue
                if last_look:
                    for k in range(NUM_SUMS):
                        final_sums[n, k] = state.sums[n, k]
                observe_row(t, state, w, n, final if last_look else observation, work)
