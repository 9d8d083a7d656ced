"""Numbers as small integers: multiples of a step that is a power of two, chosen per group of rows.

Zero stays zero, what is constant stays constant, and a value that is a multiple of the step comes back exactly.
"""

from __future__ import annotations

import numpy as np

from drivetrain.sim.scenario import Float64, Int64

LARGEST = 32767
FINEST_EXPONENT = -16
"""No step is finer than 2**-16, whatever the values."""
POSITION_STEP = 2.0**FINEST_EXPONENT
"""Positions are first counted in steps of 2**-16 m (15 micrometres) from a point near the drive [m]."""
REACH = 32_000.0
"""Farthest from that point that 32 bits count to [m]."""
HEADING_STEP = np.pi / 32766
"""Headings of boxes [rad]; multiples of a quarter turn, and both ends of -pi to pi, come back exactly."""


def exponents(largest: np.ndarray) -> np.ndarray:
    """Return the smallest exponents e with ``largest <= 32767 * 2**e`` and e >= -16, int8."""
    mantissa, power = np.frexp(largest / LARGEST)
    power = power - (mantissa == 0.5)  # frexp gives the next one for a power of two
    return np.where(largest > 0, np.maximum(power, FINEST_EXPONENT), FINEST_EXPONENT).astype(np.int8)


def steps(values: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Return values as multiples of ``2**exponent``, int16; at most half a step off."""
    return np.rint(np.ldexp(values.astype(np.float64), -exponent.astype(np.int32))).astype(np.int16)


def position_steps(position: Float64, origin: Float64) -> Int64:
    """Return positions as multiples of ``POSITION_STEP`` from ``origin``, shape [n, 2]."""
    return np.rint((position - origin) / POSITION_STEP).astype(np.int64)


def heading_steps(heading: np.ndarray) -> np.ndarray:
    """Return headings [rad] as multiples of ``HEADING_STEP``, int16; those beyond -pi to pi are wrapped into it."""
    angle = heading.astype(np.float64)
    beyond = np.abs(angle) > np.pi * (1 + 1e-6)
    if beyond.any():
        angle[beyond] = np.arctan2(np.sin(angle[beyond]), np.cos(angle[beyond]))
    return np.rint(angle / HEADING_STEP).astype(np.int16)
