"""One synthetic world: a road map and a 15 s log at 20 Hz, drawn from a seed and checked before it is returned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.synthetic.casting import KINDS, Attempt, draw_attempt, kind_of
from drivetrain.data.synthetic.checks import is_easy, only_waits, why_rejected
from drivetrain.data.synthetic.kernels import columns as kernel
from drivetrain.data.synthetic.kernels.driving import drive
from drivetrain.data.synthetic.log import build_log
from drivetrain.data.synthetic.routes import crosswalk_spans
from drivetrain.data.synthetic.signals import light_program
from drivetrain.errors import DataError, UsageError, nearest
from drivetrain.sim.scenario import DrivingLog, LightState, RoadMap

FRAMES = 301
MAX_ATTEMPTS = 100
KEPT_EASY = 0.8
"""Share of the easy attempts (a driver that only follows its lane comes through) that is kept."""
KEPT_WAITING = 0.45
"""Share of the attempts in which the ego does not get through its crossing that is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """A road map with one recorded drive on it."""

    map: RoadMap
    log: DrivingLog
    kind: str
    """What it shows, e.g. ``straight`` or ``signalled_crossing_left``; also the log's scenario type."""
    num_rejected: int
    """Attempts drawn before this one that failed a check."""
    num_passed_over: int
    """Attempts drawn before this one that were sound but too easy, or in which the ego only waits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drive:
    """What the traffic kernel returns for one attempt."""

    states: NDArray[np.float64]
    """[F, A, kernels.columns.NUM_STATES]."""
    walked: NDArray[np.float64]
    """Pedestrians: distance walked [m], walking; shape [F, P, 2]."""
    lights: NDArray[np.int64]
    """State of the two signal groups, shape [F, 2]."""


def generate_world(seed: int, kind: str | None = None) -> World:
    """Return the world of a seed; the same seed always gives the same bits.

    Args:
        seed: Any non-negative integer.
        kind: One of ``casting.KINDS`` (None: drawn by its share).

    Raises:
        UsageError: The kind or the seed does not exist.
        DataError: No attempt passed the checks (never seen; a bug to report with its seed).
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"unknown world kind '{kind}'{nearest(kind, KINDS)}; known kinds: {', '.join(KINDS)}")
    if seed < 0:
        raise UsageError(f"the seed of a world must not be negative, got {seed}; use 0 or more")
    chosen = kind or kind_of(np.random.default_rng([seed, 0]))
    reasons: list[str] = []
    passed_over = 0
    for attempt in range(MAX_ATTEMPTS):
        rng = np.random.default_rng([seed, 1 + attempt])
        drawn = draw_attempt(rng, chosen)
        drive = drive_attempt(rng, drawn)
        reason = why_rejected(drawn, drive)
        wants_hard, wants_through = rng.random(2) > (KEPT_EASY, KEPT_WAITING)
        if reason is None and ((wants_through and only_waits(drawn, drive)) or (wants_hard and is_easy(drawn, drive))):
            passed_over += 1
        elif reason is None:
            road_map, log = build_log(rng, drawn, drive, f"sample-{seed:012d}")
            return World(map=road_map, log=log, kind=drawn.kind, num_rejected=len(reasons), num_passed_over=passed_over)
        else:
            reasons.append(reason)
    raise DataError(
        f"world seed {seed} ({chosen}): {MAX_ATTEMPTS} attempts gave no world, "
        f"last check failed: {reasons[-1] if reasons else 'none'}; use another seed"
    )


def drive_attempt(rng: np.random.Generator, attempt: Attempt) -> Drive:
    """Return 15 s of traffic on a drawn layout."""
    layout, cast = attempt.layout, attempt.cast
    lights = np.zeros((FRAMES, 2), dtype=np.int64)
    if layout.signal_group:
        own = layout.signal_group[attempt.routes[cast.routes[0]].connectors(layout)[0][0]]
        for _ in range(3):
            lights = light_program(rng, FRAMES, kernel.DT)
            # Rather a light that lets the ego through at some point than fifteen seconds of red.
            if (lights[60:160, own] == int(LightState.GREEN)).any():
                break
    conflicts = attempt.conflicts
    used = sorted(set(cast.routes))
    passes, pass_first, cross, cross_first = [], [0], [], [0]
    for r in used:
        route = attempt.routes[r]
        for row, first, last in route.connectors(layout):
            group = layout.signal_group.get(row, -1)
            if row in conflicts.number:
                passes.append((conflicts.number[row], first, last, 0.5, group))
        pass_first.append(len(passes))
        cross += crosswalk_spans(layout, route)
        cross_first.append(len(cross))
    points = [attempt.routes[r].points for r in used]
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in points])]).astype(np.int64)
    traffic = kernel.Traffic(
        par=np.array(cast.parameters),
        st=np.array(cast.states),
        of_path=np.array([used.index(r) for r in cast.routes], dtype=np.int64),
        paths=np.vstack(points),
        path_first=offsets,
        passes=np.array(passes, dtype=np.float64).reshape(-1, 5),
        pass_first=np.array(pass_first, dtype=np.int64),
        rule=conflicts.rule,
        zone=conflicts.zone,
        lights=lights,
        cross=np.array(cross, dtype=np.float64).reshape(-1, 3),
        cross_first=np.array(cross_first, dtype=np.int64),
        ped=np.array(cast.pedestrians, dtype=np.float64).reshape(-1, 8),
        ped_state=np.zeros((len(cast.pedestrians), 2)),
        granted=np.zeros((len(cast.states), 16), dtype=np.bool_),
    )
    states, walked = drive(FRAMES, traffic)
    return Drive(states=states, walked=walked, lights=lights)
