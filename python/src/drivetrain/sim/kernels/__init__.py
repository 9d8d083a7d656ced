"""The compiled simulator, a module per paragraph of ``docs/simulator.md``.

``NUMBA_DISABLE_JIT=1`` runs the same source as plain Python.
"""
