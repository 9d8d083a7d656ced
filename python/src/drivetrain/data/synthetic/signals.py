"""Traffic lights of a crossing: two groups that take turns, with yellow and all-red in between."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.scenario import LightState

YELLOW_S = 3.0
ALL_RED_S = 1.5


def light_program(rng: np.random.Generator, frames: int, dt: float) -> NDArray[np.int64]:
    """Return the state of both signal groups at every frame, shape [F, 2]."""
    greens = rng.uniform(9.0, 16.0, size=2)
    half = greens + YELLOW_S + ALL_RED_S
    t = (float(rng.uniform(0.0, half.sum())) + dt * np.arange(frames)) % half.sum()
    out = np.full((frames, 2), int(LightState.RED), dtype=np.int64)
    for group in range(2):
        own = (t - group * half[0]) % half.sum()
        out[own < greens[group] + YELLOW_S, group] = int(LightState.YELLOW)
        out[own < greens[group], group] = int(LightState.GREEN)
    return out
