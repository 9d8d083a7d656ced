"""What the columns of the kernels' arrays mean.

A agents (0 is the ego), P pedestrians, F frames, C connectors that need a rule, Q paths.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DT = 0.05
# Columns of the agent parameters.
LENGTH, WIDTH, WHEELBASE, REAR, SPEED, HEADWAY, ACCEL, BRAKE, GAP, PARKED, STOP_AT, GO_AT, PASSABLE, HOME = range(14)
NUM_PARAMETERS = 14
# Columns of the agent state.
X, Y, H, V, A, STEER, S, D, D_REF, SLOPE, TARGET, ACTIVE, ACMD, WAITED = range(14)
NUM_STATES = 14
# Columns of the path points, one per metre.
PX, PY, PH, PK, PV, LO, HI, HI_ONCOMING = range(8)
# Rules between two connectors: what the first does about the second.
FREE, YIELDS, LEADS, FIRST_COME, ZIPPER = range(5)


class Traffic(NamedTuple):
    """Everything the loop reads and writes; a tuple, because Numba takes those apart at compile time."""

    par: NDArray[np.float64]
    """Agent parameters, shape [A, NUM_PARAMETERS]."""
    st: NDArray[np.float64]
    """Agent states, shape [A, NUM_STATES]; changed in place."""
    of_path: NDArray[np.int64]
    """Path of each agent, shape [A]."""
    paths: NDArray[np.float64]
    """Points of all paths one after another, one per metre, shape [., 8]."""
    path_first: NDArray[np.int64]
    """Path q is ``paths[path_first[q]:path_first[q + 1]]``, shape [Q + 1]."""
    passes: NDArray[np.float64]
    """Connectors along the paths: number, first and last s, stop distance before it [m], signal group, shape [., 5]."""
    pass_first: NDArray[np.int64]
    """Offsets of each path's passes, shape [Q + 1]."""
    rule: NDArray[np.int64]
    """What connector a does about connector b, shape [C, C]."""
    zone: NDArray[np.float64]
    """Stretch of connector a that is in the way of b [m from its start], shape [C, C, 2]."""
    lights: NDArray[np.int64]
    """State of each signal group, shape [F, groups]."""
    cross: NDArray[np.float64]
    """Crosswalks along the paths: first and last s, number, shape [., 3]."""
    cross_first: NDArray[np.int64]
    """Offsets of each path's crosswalks, shape [Q + 1]."""
    ped: NDArray[np.float64]
    """Pedestrians: x0, y0, x1, y1, speed, earliest start [s], crosswalk, signal group; shape [P, 8]."""
    ped_state: NDArray[np.float64]
    """Distance walked [m], walking; shape [P, 2]; changed in place."""
    granted: NDArray[np.bool_]
    """Whether an agent may enter the n-th connector of its path, shape [A, 16]; changed in place."""
