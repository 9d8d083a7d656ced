"""Where everybody else will be: acceleration and rate of turning stay as they are for a while. Compiled.

A objects, K steps of 0.1 s. Numba infers types.
"""

# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import math

import numpy as np

from drivetrain.planners.tracker import STEP_S
from drivetrain.sim.kernel_cache import jit

OBJECT_X, OBJECT_Y, OBJECT_HEADING, OBJECT_SPEED, HALF_LENGTH, HALF_WIDTH, OBJECT_KIND, TURN_RATE, GAIN = range(9)
"""Columns of an object: box centre [m], heading [rad], speed along it (0: stands by its kind) [m/s], sizes [m], kind,
rate of turning [rad/s], acceleration [m/s^2]."""
VULNERABLE, VEHICLE, THING = 0.0, 1.0, 2.0
FORECAST_X, FORECAST_Y, FORECAST_HEADING, FORECAST_COS, FORECAST_SIN, FORECAST_SPEED = range(6)
"""Columns of a forecast."""
TURNING_S = 2.0
"""Whoever turns goes on turning for so long, then straight on."""
GAINING_S = 1.5
"""Whoever accelerates or brakes goes on doing so for so long."""


@jit
def forecast(objects, steps):
    """Return where objects will be, [A, K + 1, 6]."""
    out = np.empty((len(objects), steps + 1, 6))
    for a in range(len(objects)):
        o = objects[a]
        x, y, heading, speed = o[OBJECT_X], o[OBJECT_Y], o[OBJECT_HEADING], o[OBJECT_SPEED]
        for k in range(steps + 1):
            c, s = math.cos(heading), math.sin(heading)
            here = out[a, k]
            here[FORECAST_X], here[FORECAST_Y], here[FORECAST_HEADING] = x, y, heading
            here[FORECAST_COS], here[FORECAST_SIN] = c, s
            here[FORECAST_SPEED] = speed
            if o[OBJECT_SPEED] == 0.0:
                for later in range(k + 1, steps + 1):
                    out[a, later] = here
                break
            x += speed * STEP_S * c
            y += speed * STEP_S * s
            if k * STEP_S < GAINING_S:
                speed = max(speed + o[GAIN] * STEP_S, 0.0)
            if k * STEP_S < TURNING_S:
                heading += o[TURN_RATE] * STEP_S * min(speed / o[OBJECT_SPEED], 1.0)
    return out
