"""Which stretches of a log become scenarios: nuPlan's windows around tags, or one stretch after the other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from drivetrain.sim.scenario import DrivingLog, Int64

HISTORY_US = 3_000_000
"""A window around a tag starts this long before it (nuPlan's offset of -3.0 s)."""
DURATION_US = 15_000_000
"""Length of a window (nuPlan's 15.0 s)."""
MIN_DURATION_US = 2_000_000
"""A rest of an untagged log shorter than this is not worth a scenario."""
STEP_US = 100_000
"""The step scenarios aim at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A stretch of a log that is one scenario."""

    first_frame: int
    """Frame of the log the scenario starts at."""
    num_frames: int
    """Frames of the scenario (after skipping)."""
    stride: int
    """Frames of the log per frame of the scenario."""
    reference_frame: int
    """Frame whose scene gives route and goal: the tag's, which may lie behind the first frame."""
    scenario_type: str
    token: int
    """Identity of the scenario, 64 bits; shown as 16 hexadecimal characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSelection:
    """The windows of a log and what was left out."""

    windows: list[Window]
    """In order of their first frame."""
    dropped: dict[str, int]
    """Reason -> number of tags or stretches that gave no window."""


def scenario_token(log: DrivingLog, frame: int) -> int:
    """Return a 64-bit identity of a frame of a log, the same in every conversion."""
    text = f"{log.source}/{log.name}/{int(log.timestamps_us[frame])}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def native_stride(timestamps_us: Int64) -> int:
    """Return how many frames of a log make a step of about 0.1 s."""
    if len(timestamps_us) < 2:
        return 1
    return max(1, round(STEP_US / float(np.median(np.diff(timestamps_us)))))


def select_windows(
    log: DrivingLog,
    *,
    frame_token: np.ndarray | None = None,
    border_scenes: int = 0,
    tag_spacing_s: float = 0.0,
) -> WindowSelection:
    """Choose the scenarios of a log.

    With tags: -3 s to +12 s around each tag (of a frame with several tags the alphabetically last, as nuPlan does).
    Without: 15 s after 15 s.

    Args:
        log: The drive.
        frame_token: The source's own 64-bit identity of every frame, shape [T]; None derives one.
        border_scenes: Leave out tags in so many first and last scenes (nuPlan: 2).
        tag_spacing_s: Tags of one type closer than this to the last one kept give no window of their own.
    """
    dropped: dict[str, int] = {}
    pieces = _around_tags(log, border_scenes, tag_spacing_s, dropped) if len(log.tag_frame) else _stretches(log)
    if not pieces:
        dropped.setdefault(f"log shorter than {MIN_DURATION_US / 1e6:g} s or without a complete window", 1)
    stride = native_stride(log.timestamps_us)
    windows = [
        Window(
            first_frame=first,
            num_frames=(last - first) // stride + 1,
            stride=stride,
            reference_frame=reference,
            scenario_type=kind,
            token=int(frame_token[reference]) if frame_token is not None else scenario_token(log, reference),
        )
        for first, last, reference, kind in pieces
    ]
    return WindowSelection(windows=sorted(windows, key=lambda w: (w.first_frame, w.token)), dropped=dropped)


def _around_tags(
    log: DrivingLog, border_scenes: int, spacing_s: float, dropped: dict[str, int]
) -> list[tuple[int, int, int, str]]:
    kinds: dict[int, str] = {}
    for frame, kind in zip(log.tag_frame.tolist(), log.tag_type, strict=True):
        kinds[frame] = max(kinds.get(frame, ""), kind)
    time = log.timestamps_us
    scenes = len(log.scene_first_frame)
    last_kept: dict[str, int] = {}
    pieces: list[tuple[int, int, int, str]] = []
    for frame in sorted(kinds):
        at, kind = int(time[frame]), kinds[frame]
        scene = int(np.searchsorted(log.scene_first_frame, frame, side="right")) - 1
        first = int(np.searchsorted(time, at - HISTORY_US, side="left"))
        last = int(np.searchsorted(time, at - HISTORY_US + DURATION_US, side="right")) - 1
        # A window is complete when a whole step is not missing at either end; intervals jitter.
        missing = DURATION_US - int(time[last] - time[first])
        if not border_scenes <= scene < scenes - border_scenes:
            reason = "tag in the first or last scenes of its log"
        elif missing > STEP_US:
            reason = "tag too close to the start or end of its log"
        elif kind in last_kept and at - last_kept[kind] < spacing_s * 1e6:
            reason = f"tag within {spacing_s:g} s of one of the same type"
        else:
            last_kept[kind] = at
            pieces.append((first, last, frame, kind))
            continue
        dropped[reason] = dropped.get(reason, 0) + 1
    return pieces


def _stretches(log: DrivingLog) -> list[tuple[int, int, int, str]]:
    time = log.timestamps_us
    pieces = []
    first = 0
    while first < len(time) - 1:
        last = int(np.searchsorted(time, time[first] + DURATION_US, side="right")) - 1
        if time[last] - time[first] < MIN_DURATION_US or last == first:
            break
        pieces.append((first, last, first, "unknown"))
        first = last
    return pieces
