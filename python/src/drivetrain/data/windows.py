"""Which stretches of a log become scenarios: nuPlan's windows around tags, or one stretch after the other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np

from drivetrain.data.scenario_types import UNKNOWN, span_us
from drivetrain.data.selection import Selection
from drivetrain.sim.scenario import Bool, DrivingLog, Int64

DURATION_US = 15_000_000
"""Length of a window without a tag."""
MIN_DURATION_US = 2_000_000
"""A rest of an untagged log shorter than this is not worth a scenario."""
MAX_GAP_US = 500_000
"""A window with frames further apart than this is no scenario: five steps in a row are missing."""
GAP = f"scenario with a gap of more than {MAX_GAP_US / 1e6:g} s between frames"
STEP_US = 100_000
"""The step scenarios aim at."""
MAX_STRIDE = 255
"""Frames skipped at most (what an index row holds)."""
_NO_GOAL = "scenario without a goal"
EVERY_TAG = Selection(tag_spacing_s=0.0)


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
    refused: dict[int, str] = field(default_factory=dict)
    """Token asked for that the log has -> why it gave no window."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """A window before frames are skipped."""

    first: int
    last: int
    reference: int
    scenario_type: str


def scenario_token(log: DrivingLog, frame: int) -> int:
    """Return a 64-bit identity of a frame of a log, the same in every conversion."""
    text = f"{log.source}/{log.name}/{int(log.timestamps_us[frame])}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def native_stride(timestamps_us: Int64) -> int:
    """Return how many frames of a log make a step of about 0.1 s."""
    if len(timestamps_us) < 2:
        return 1
    return min(MAX_STRIDE, max(1, round(STEP_US / max(1.0, float(np.median(np.diff(timestamps_us)))))))


def select_windows(
    log: DrivingLog,
    *,
    frame_token: np.ndarray | None = None,
    eligible: Bool | None = None,
    selection: Selection = EVERY_TAG,
) -> WindowSelection:
    """Choose the scenarios of a log.

    Around tags or tokens the scenario type says how far a window reaches (of a frame with several tags the
    alphabetically last one asked for counts, as in nuPlan). With a stride a window of 15 s begins every so many
    seconds. Without tags, types or tokens: 15 s after 15 s.

    Args:
        log: The drive.
        frame_token: The source's own 64-bit identity of every frame, shape [T]; None derives one.
        eligible: Frames whose tags count, shape [T]; None: all. nuPlan's first and last scenes do not.
        selection: What is asked for of one log.
    """
    result = WindowSelection(windows=[], dropped={})
    anchored = selection.tokens is not None or selection.scenario_types is not None or len(log.tag_frame) > 0
    if selection.maps is not None and log.map_name not in selection.maps:
        pieces = []
        _count(result.dropped, "log of another city than those asked for")
    elif selection.stride_s is not None:
        pieces = _strides(log, round(selection.stride_s * 1e6))
    elif anchored:
        pieces = _around_tags(log, frame_token, eligible, selection, result)
    else:
        pieces = _stretches(log)
    if not pieces and not result.dropped:
        short = f"log shorter than {MIN_DURATION_US / 1e6:g} s or without a complete window"
        _count(result.dropped, "log without a scenario asked for" if anchored else short)
    stride = native_stride(log.timestamps_us)
    seen: set[int] = set()
    for piece in sorted(pieces, key=lambda piece: (piece.first, piece.reference)):
        at = piece.reference
        objection = GAP if _has_gap(log.timestamps_us, piece) else None
        if objection is None and selection.remove_invalid_goals and not _has_goal(log, piece):
            objection = _NO_GOAL
        if objection is not None:
            _count(result.dropped, objection)
            continue
        token = int(frame_token[at]) if frame_token is not None else scenario_token(log, at)
        if token in seen:
            _count(result.dropped, "scenario with the token of another one of its log")
            continue
        seen.add(token)
        result.windows.append(
            Window(
                first_frame=piece.first,
                num_frames=(piece.last - piece.first) // stride + 1,
                stride=stride,
                reference_frame=at,
                scenario_type=piece.scenario_type,
                token=token,
            )
        )
    return result


def _around_tags(
    log: DrivingLog,
    frame_token: np.ndarray | None,
    eligible: Bool | None,
    selection: Selection,
    result: WindowSelection,
) -> list[_Piece]:
    wanted = {} if selection.tokens is None or frame_token is None else _frames_of(frame_token, selection.tokens)
    last_kept: dict[str, int] = {}
    pieces: list[_Piece] = []
    for frame, kind in sorted(_types(log, selection, wanted).items()):
        reason = "frame without a tag of a type asked for"
        if kind is not None:
            piece = _piece(log, frame, kind)
            at = int(log.timestamps_us[frame])
            reason = _objection(log, piece, selection)
            if eligible is not None and not eligible[frame]:
                reason = "tag in the first or last scenes of its log"
            if reason is None and kind in last_kept and at - last_kept[kind] < selection.spacing_s * 1e6:
                reason = f"tag within {selection.spacing_s:g} s of one of the same type"
            if reason is None:
                last_kept[kind] = at
                pieces.append(piece)
                continue
        _count(result.dropped, reason)
        if frame in wanted:
            result.refused[wanted[frame]] = reason
    return pieces


def _frames_of(frame_token: np.ndarray, tokens: tuple[int, ...]) -> dict[int, int]:
    """Return the tokens that a log has, by their frames."""
    asked = np.unique(np.array(tokens, dtype=np.uint64))
    frames = np.flatnonzero(np.isin(frame_token, asked))
    return {int(frame): int(frame_token[frame]) for frame in frames}


def _types(log: DrivingLog, selection: Selection, wanted: dict[int, int]) -> dict[int, str | None]:
    """Return frames and their types: those with a tag asked for, or those of the tokens (None: of no allowed type)."""
    allowed = selection.scenario_types
    found: dict[int, str | None] = {}
    if selection.tokens is not None:
        found = dict.fromkeys(wanted, UNKNOWN if allowed is None or UNKNOWN in allowed else None)
    for frame, kind in zip(log.tag_frame.tolist(), log.tag_type, strict=True):
        if (allowed is None or kind in allowed) and (selection.tokens is None or frame in wanted):
            now = found.get(frame)
            found[frame] = kind if now is None or now == UNKNOWN else max(now, kind)
    return found


def _piece(log: DrivingLog, frame: int, kind: str) -> _Piece:
    time = log.timestamps_us
    before, after = span_us(kind)
    first = int(np.searchsorted(time, time[frame] + before, side="left"))
    last = int(np.searchsorted(time, time[frame] + after, side="right")) - 1
    return _Piece(first=first, last=last, reference=frame, scenario_type=kind)


def _objection(log: DrivingLog, piece: _Piece, selection: Selection) -> str | None:
    """Return why a tag gives no scenario; None where it does."""
    time = log.timestamps_us
    before, after = span_us(piece.scenario_type)
    # A window is complete when a whole step is not missing at either end; intervals jitter.
    if after - before - int(time[piece.last] - time[piece.first]) > STEP_US:
        return "tag too close to the start or end of its log"
    if _has_gap(time, piece):
        return GAP
    if selection.remove_invalid_goals and not _has_goal(log, piece):
        return _NO_GOAL
    return None


def _has_gap(time: Int64, piece: _Piece) -> bool:
    """Return whether the log shows nothing for so long that steps of 0.1 s would be invented."""
    return bool((np.diff(time[piece.first : piece.last + 1]) > MAX_GAP_US).any())


def _has_goal(log: DrivingLog, piece: _Piece) -> bool:
    scene = int(np.searchsorted(log.scene_first_frame, piece.reference, side="right")) - 1
    return scene >= 0 and bool(log.scene_goal_known[scene])


def _strides(log: DrivingLog, stride_us: int) -> list[_Piece]:
    time = log.timestamps_us
    pieces = []
    start = int(time[0])
    while start <= int(time[-1]) - DURATION_US + STEP_US:
        first = int(np.searchsorted(time, start, side="left"))
        last = int(np.searchsorted(time, time[first] + DURATION_US, side="right")) - 1
        if DURATION_US - int(time[last] - time[first]) <= STEP_US:
            pieces.append(_Piece(first=first, last=last, reference=first, scenario_type=UNKNOWN))
        # Of all starts within a gap between frames the first counts: they give the same window.
        start += stride_us * ((int(time[first]) - start) // stride_us + 1)
    return pieces


def _stretches(log: DrivingLog) -> list[_Piece]:
    time = log.timestamps_us
    pieces = []
    first = 0
    while first < len(time) - 1:
        last = int(np.searchsorted(time, time[first] + DURATION_US, side="right")) - 1
        if time[last] - time[first] < MIN_DURATION_US or last == first:
            break
        pieces.append(_Piece(first=first, last=last, reference=first, scenario_type=UNKNOWN))
        first = last
    return pieces


def _count(dropped: dict[str, int], reason: str) -> None:
    dropped[reason] = dropped.get(reason, 0) + 1
