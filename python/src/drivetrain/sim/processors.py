"""How many processors there are to work with."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return how many processors this process may use; not every system knows which of its own those are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
