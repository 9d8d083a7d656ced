"""Write a finished observation row in the data type of its buffer (``sim/observation.py``, 'OBSERVATION_DTYPES')."""

from __future__ import annotations

from drivetrain.sim.kernel_cache import kernel
from drivetrain.sim.kernels.lanes import LANES, floats, is_zero, load, store_as
from drivetrain.sim.kernels.observe import SIZE


@kernel(inline=True)
def write_row(row, out, n):
    """Write a float32 row into row ``n`` of ``out`` [N, SIZE]; the last vector overlaps the one before."""
    first = n * SIZE
    for k in range(0, SIZE - LANES, LANES):
        store_as(out, first + k, load(row, k))
    store_as(out, first + SIZE - LANES, load(row, SIZE - LANES))


@kernel(inline=True)
def write_zeros(out, n):
    """Clear row ``n`` of ``out`` [N, SIZE]. Mostly it is clear already, and reading is cheaper than writing."""
    first = n * SIZE
    if is_zero(out, first, SIZE):
        return
    for k in range(0, SIZE - LANES, LANES):
        store_as(out, first + k, floats(0.0))
    store_as(out, first + SIZE - LANES, floats(0.0))
