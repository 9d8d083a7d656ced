"""The readable simulator: ``docs/simulator.md`` as plain float64 NumPy, one function per paragraph.

It works on the same bank and state arrays as the compiled kernels, has the same three entry points and is what the
kernels are tested against. Nothing is cached and nothing approximated; it is a few hundred times slower. Beyond what
the kernels do it tells how closely every decision was taken. Read ``step.py`` first.
"""

from drivetrain.sim.oracle.step import Margins, observe_worlds, reset_worlds, step_worlds

__all__ = ["Margins", "observe_worlds", "reset_worlds", "step_worlds"]
