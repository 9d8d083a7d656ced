"""Numbers as people read them in tables: steps, durations, bytes, metrics."""

from __future__ import annotations

import math

_STEP_UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "K"))
_BYTE_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def step_text(step: float) -> str:
    """Return 950, 1.5K, 350K or 1.2M."""
    # The limit lies half a last digit below the unit, so that 999,950 reads 1M and not 1000K.
    for scale, unit in _STEP_UNITS:
        if step >= scale * 0.9995:
            value = step / scale
            digits = 0 if unit == "K" and value >= 9.95 else 1
            return f"{value:.{digits}f}".removesuffix(".0") + unit
    return f"{step:.0f}"


def bytes_text(count: float) -> str:
    """Return 512 B, 18 GB or 1.5 TB; decimal units, as disks and the report use them."""
    for scale, unit in _BYTE_UNITS:
        if count >= scale * 0.9995:
            value = count / scale
            return f"{value:.{0 if value >= 9.95 else 1}f}".removesuffix(".0") + f" {unit}"
    return f"{count:.0f} B"


def metric_text(value: float | None, *, digits: int = 2) -> str:
    """Return a metric with fixed digits, or a dash where there is none; small ones keep two leading digits."""
    if value is None or not math.isfinite(value):
        return "-"
    if value != 0.0 and abs(value) < 0.5 * 10**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def percent_text(value: float | None) -> str:
    """Return a fraction as a percentage, or a dash."""
    return "-" if value is None else f"{100.0 * value:.0f}%"


def clock_text(seconds: float | None) -> str:
    """Return a duration as m:ss or h:mm:ss for tables, or a dash."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
