"""Sine, cosine and arc tangent of 16 angles at once, in single precision (to about 1e-7).

Polynomials and range reductions after S. L. Moshier's Cephes library (``sinf``, ``cosf``, ``atanf``).
"""

from __future__ import annotations

import math

import numpy as np

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.lanes import floats, magnitude, select, whole

# Angles are reduced by multiples of pi/2, given in two parts so that the difference keeps its digits.
PER_QUARTER = np.float32(2.0 / math.pi)
QUARTER_HIGH = np.float32(1.5703125)
QUARTER_LOW = np.float32(math.pi / 2.0 - 1.5703125)
S1, S2, S3 = np.float32(-1.6666654611e-1), np.float32(8.3321608736e-3), np.float32(-1.9515295891e-4)
C1, C2, C3 = np.float32(4.166664568298827e-2), np.float32(-1.388731625493765e-3), np.float32(2.443315711809948e-5)
TAN_22, TAN_67 = np.float32(math.tan(math.pi / 8.0)), np.float32(math.tan(3.0 * math.pi / 8.0))
A1, A2 = np.float32(-3.33329491539e-1), np.float32(1.99777106478e-1)
A3, A4 = np.float32(-1.38776856032e-1), np.float32(8.05374449538e-2)
EIGHTH, QUARTER = np.float32(math.pi / 4.0), np.float32(math.pi / 2.0)
ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


@kernel(inline=True)
def sine_cosine(angle):
    """Return sine and cosine of angles within a few turns."""
    quarters = whole(angle * PER_QUARTER)
    turned = floats(quarters)
    x = (angle - turned * QUARTER_HIGH) - turned * QUARTER_LOW
    z = x * x
    sine = x + x * z * (S1 + z * (S2 + z * S3))
    cosine = (ONE - HALF * z) + z * z * (C1 + z * (C2 + z * C3))
    is_odd, is_opposite = (quarters & 1) == 1, (quarters & 2) == 2
    s, c = select(is_odd, cosine, sine), select(is_odd, sine, cosine)
    return select(is_opposite, -s, s), select(is_opposite == is_odd, c, -c)


@kernel(inline=True)
def arc_tangent(value):
    """Return arc tangents."""
    x = magnitude(value)
    is_steep, is_middle = x > TAN_67, x > TAN_22
    start = select(is_steep, floats(QUARTER), select(is_middle, floats(EIGHTH), floats(ZERO)))
    x = select(is_steep, floats(-ONE) / x, select(is_middle, (x - ONE) / (x + ONE), x))
    z = x * x
    angle = start + (x + x * z * (A1 + z * (A2 + z * (A3 + z * A4))))
    return select(value < ZERO, -angle, angle)
