"""Counting what of a source is left out, by reason."""

from __future__ import annotations


def count(dropped: dict[str, int], reason: str, number: int = 1) -> None:
    """Add to a reason; nothing happens for a number of zero."""
    if number:
        dropped[reason] = dropped.get(reason, 0) + number
