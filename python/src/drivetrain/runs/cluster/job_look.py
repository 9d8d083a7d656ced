"""What a cluster says of a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

JobState = Literal["pending", "running", "ended", "gone", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class JobLook:
    """A job as its cluster sees it now."""

    state: JobState
    """`gone`: the cluster knows no such job; `unknown`: the cluster does not answer."""
    message: str
    """What the cluster says of it, in a few words."""
