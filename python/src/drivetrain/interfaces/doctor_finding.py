"""What the doctor says of one suspicion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The outcome of one check."""

    name: str
    """What was looked at."""
    level: Literal["ok", "warn", "fail"]
    """`fail`: something needed does not work; `warn`: it works, but not as it could."""
    message: str
    """What was found."""
    remedy: str = ""
    """What to do about it; empty where all is well."""
