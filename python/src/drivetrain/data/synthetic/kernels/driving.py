"""The 20 Hz loop that drives every vehicle, cyclist and pedestrian of one world."""

from __future__ import annotations

import math

import numpy as np

from drivetrain.data.synthetic.kernels.columns import (
    ACMD,
    ACTIVE,
    D_REF,
    DT,
    NUM_STATES,
    PARKED,
    PH,
    PK,
    SLOPE,
    STEER,
    TARGET,
    WHEELBASE,
    A,
    D,
    H,
    S,
    V,
    X,
    Y,
)
from drivetrain.data.synthetic.kernels.path_frame import project, see, value_at, wrap
from drivetrain.data.synthetic.kernels.planning import SAMPLES, decide, sharpest, shift
from drivetrain.data.synthetic.kernels.right_of_way import crosswalk_gap, line_gap, walk, zipper_lead
from drivetrain.sim.kernel_cache import jit


@jit
def drive(frames, t):
    """Simulate a world; returns agent states [F, A, NUM_STATES] and pedestrian states [F, P, 2]."""
    agents = len(t.st)
    out = np.zeros((frames, agents, NUM_STATES))
    walked = np.zeros((frames, len(t.ped), 2))
    frenet = np.zeros((agents, 6))
    lo, hi = np.zeros(SAMPLES), np.zeros(SAMPLES)
    lead, best_lead = np.zeros(5), np.zeros(5)
    where = np.zeros(agents, dtype=np.int64)
    for i in range(agents):
        where[i] = int(t.st[i, S])
    for frame in range(frames):
        # The ego decides last: of two that arrive together the other goes first.
        for i in range(agents - 1, -1, -1):
            if frame % 2 or t.st[i, ACTIVE] == 0.0 or t.par[i, PARKED] > 0.0:
                continue
            path = t.paths[t.path_first[t.of_path[i]] : t.path_first[t.of_path[i] + 1]]
            see(t, i, path, where[i], frenet)
            stop = min(line_gap(t, frame, i, frenet), crosswalk_gap(t, i, path))
            zip_gap, zip_speed = zipper_lead(t, i)
            decide(t, frame, i, path, frenet, lo, hi, lead, best_lead, stop, zip_gap, zip_speed)
        out[frame] = t.st
        walked[frame] = t.ped_state
        for i in range(agents):
            if t.st[i, ACTIVE] > 0.0 and t.par[i, PARKED] == 0.0:
                where[i] = move(t, i, t.paths[t.path_first[t.of_path[i]] : t.path_first[t.of_path[i] + 1]], where[i])
        walk(t, frame, DT)
    return out, walked


@jit
def move(t, i, path, where):
    """Advance the vehicle model by a frame, steered along its path; return the path vertex it is at."""
    st = t.st
    v, wheelbase = st[i, V], t.par[i, WHEELBASE]
    old = st[i, SLOPE]
    st[i, SLOPE], st[i, D_REF] = shift(old, st[i, D_REF], st[i, TARGET], sharpest(v), v * DT)
    curvature = value_at(path, st[i, S] + 0.15 * v, PK)
    curvature = curvature / (1.0 - st[i, D_REF] * curvature)
    if v > 0.1:
        curvature += (st[i, SLOPE] - old) / (v * DT)
    heading = value_at(path, st[i, S], PH) + math.atan(st[i, SLOPE])
    # Critically damped in the distance driven; weaker at speed, where lags would make it swing.
    gain = min(0.5, 3.0 / (v + 0.1))
    curvature -= gain * wrap(st[i, H] - heading) + 0.25 * gain * gain * (st[i, D] - st[i, D_REF])
    limit = min(0.19, 3.6 / (v * v + 1e-6))
    wanted = math.atan(wheelbase * min(max(curvature, -limit), limit))
    wanted = min(max(wanted, st[i, STEER] - 0.05), st[i, STEER] + 0.05)
    if v < 0.05:
        wanted = st[i, STEER]
    st[i, A] += DT / (DT + 0.2) * (st[i, ACMD] - st[i, A])
    st[i, X] += v * math.cos(st[i, H]) * DT
    st[i, Y] += v * math.sin(st[i, H]) * DT
    st[i, H] += v * math.tan(st[i, STEER]) / wheelbase * DT
    st[i, STEER] += DT / (DT + 0.05) * (wanted - st[i, STEER])
    st[i, V] = max(0.0, v + DT * st[i, A])
    first, last = max(0, where - 3), min(len(path) - 1, where + 4)
    st[i, S], st[i, D], where = project(path, first, last, st[i, X], st[i, Y])
    if st[i, S] > len(path) - 8.0:
        st[i, ACTIVE] = 0.0
    return where
