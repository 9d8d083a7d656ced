"""Every scene driven once, its failure named, and until when it could have been avoided."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import UsageError
from drivetrain.rendering.drivers import Driver, drive_all
from drivetrain.rendering.last_chance import action_words
from drivetrain.rendering.recording import DriveRecording
from drivetrain.rendering.retrace import retraced_failures
from drivetrain.sim.branching import LOOK_BACK_S, Avoidance, FailureHistory, last_chances
from drivetrain.sim.traffic_kinds import REPLAY, SELF_PLAY, kind_of
from drivetrain.trainer.statistics import Estimate, mean_estimate, rate_estimate
from drivetrain.trainer.traffic_choice import choose_traffic
from drivetrain.triage.kinds import KINDS, FailureKind, finding_of

SCENES_AT_ONCE = 128
"""Driven side by side, to bound memory; results do not depend on it."""
EXAMPLES = 3
"""Scenes shown of each kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A scene that went wrong."""

    scenario_id: str
    scenario_type: str
    kind: FailureKind
    frame: int | None
    """When; None for what has no moment."""
    time_s: float | None
    """The same since the start of the drive [s]."""
    score: float | None
    """None where nobody knows it."""
    avoidance: Avoidance | None = None
    """Until when it could have been avoided; None where that was not asked, or means nothing."""

    def to_json(self) -> dict[str, Any]:
        """Return the document of a failure."""
        return {
            "scenario": self.scenario_id,
            "type": self.scenario_type,
            "kind": self.kind.name,
            "frame": self.frame,
            "time_s": None if self.time_s is None else round(self.time_s, 3),
            "score": self.score,
            "avoidance": None if self.avoidance is None else avoidance_json(self.avoidance),
        }


def avoidance_json(found: Avoidance) -> dict[str, Any]:
    """Return the document of a last chance."""
    return {
        "avoidable": found.frame is not None,
        "seconds_before": round(found.seconds, 3),
        "frame": found.frame,
        "from_start": found.from_start,
        "actions": list(found.actions),
        "action": action_words(found.actions[0]) if found.actions else None,
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class FailureGroup:
    """All failures of one kind."""

    kind: FailureKind
    failures: tuple[Failure, ...]
    """The lowest scores first."""
    rate: Estimate
    """Share of all driven scenes."""
    lost: Estimate
    """How much of the score (1) is lost in such a scene."""
    share_lost: float | None
    """Of all that the driver lost, in every scene; None: it lost nothing."""

    @property
    def tried(self) -> list[Avoidance]:
        """What is known of last chances."""
        return [failure.avoidance for failure in self.failures if failure.avoidance is not None]

    @property
    def avoidable(self) -> list[Avoidance]:
        """Those that had one."""
        return [found for found in self.tried if found.frame is not None]

    @property
    def median_last_chance_s(self) -> float | None:
        """How long before the failure the last chance was, in the middle of those that had one [s]."""
        return float(np.median([found.seconds for found in self.avoidable])) if self.avoidable else None

    @property
    def examples(self) -> tuple[str, ...]:
        """Ids of the worst scenes."""
        return tuple(failure.scenario_id for failure in self.failures[:EXAMPLES])

    def to_json(self) -> dict[str, Any]:
        """Return the document of a kind."""
        return {
            "kind": self.kind.name,
            "title": self.kind.title,
            "rule": self.kind.rule,
            "count": len(self.failures),
            "rate": self.rate.to_json(),
            "score_lost": self.lost.to_json(),
            "share_of_all_lost": self.share_lost,
            "tried": len(self.tried),
            "avoidable": len(self.avoidable),
            "median_last_chance_s": self.median_last_chance_s,
            "examples": list(self.examples),
            "scenarios": [failure.scenario_id for failure in self.failures],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Triage:
    """What became of a driver's scenes."""

    driver: str
    """A planner's name or a checkpoint's path."""
    data: str
    data_fingerprint: str
    split: str
    traffic: str
    dynamics: str
    """``direct`` or ``tracker``."""
    score_name: str
    driven: int
    """Scenes that were driven."""
    scores: tuple[float | None, ...]
    """Of all driven scenes."""
    failures: tuple[Failure, ...]
    undriven: dict[str, str] = field(default_factory=dict)
    """Scenario id -> why it was not driven."""
    look_back_s: float | None = None
    """How long before a failure other actions were tried [s]; None: they were not."""
    driving_s: float = 0.0
    """Processor time of driving and naming [s]."""
    branching_s: float = 0.0
    """Processor time of trying other actions [s]."""

    @property
    def groups(self) -> tuple[FailureGroup, ...]:
        """The kinds there are, the most frequent first."""
        lost_in_all = sum(1.0 - score for score in self.scores if score is not None)
        found = []
        for kind in KINDS.values():
            some = [failure for failure in self.failures if failure.kind is kind]
            if not some:
                continue
            lost = [1.0 - failure.score for failure in some if failure.score is not None]
            found.append(
                FailureGroup(
                    kind=kind,
                    failures=tuple(sorted(some, key=lambda f: (1.0 if f.score is None else f.score, f.scenario_id))),
                    rate=rate_estimate(len(some), self.driven),
                    lost=mean_estimate(lost, bounds=(0.0, 1.0)),
                    share_lost=sum(lost) / lost_in_all if lost_in_all > 0 else None,
                )
            )
        return tuple(sorted(found, key=lambda group: -len(group.failures)))

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drivetrain triage --json``."""
        known = [score for score in self.scores if score is not None]
        return {
            "driver": self.driver,
            "data": self.data,
            "data_fingerprint": self.data_fingerprint,
            "split": self.split,
            "traffic": self.traffic,
            "dynamics": self.dynamics,
            "driven": self.driven,
            "undriven": self.undriven,
            self.score_name: mean_estimate(known, bounds=(0.0, 1.0)).to_json(),
            "failed": len(self.failures),
            "failure_rate": rate_estimate(len(self.failures), self.driven).to_json(),
            "look_back_s": self.look_back_s,
            "driving_cpu_s": round(self.driving_s, 3),
            "branching_cpu_s": round(self.branching_s, 3),
            "kinds": [group.to_json() for group in self.groups],
            "failures": [failure.to_json() for failure in self.failures],
        }


@dataclass(kw_only=True)
class _Tally:
    """What has been found so far."""

    scores: list[float | None] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    undriven: dict[str, str] = field(default_factory=dict)
    driving_s: float = 0.0
    branching_s: float = 0.0


def can_go_back(traffic: str, *, tracker: bool) -> bool:
    """Return whether the states before failures can be had: not where others drive by more than the simulator knows."""
    return kind_of(traffic)[0] != SELF_PLAY and (not tracker or traffic == REPLAY)


def triage(
    driver: Driver,
    store: ScenarioStore,
    rows: Sequence[int],
    *,
    split: str,
    fingerprint: str,
    tracker: bool = False,
    traffic: str = "replay",
    look_back_s: float | None = LOOK_BACK_S,
    progress: Callable[[int, int], None] | None = None,
) -> Triage:
    """Drive scenes and sort what went wrong.

    Args:
        driver: Who drives.
        store: Where the scenes come from.
        rows: Which.
        split: What they are called.
        fingerprint: Identifies the choice.
        tracker: In nuPlan's closed loop; False: in the training simulator.
        traffic: How everybody else drives.
        look_back_s: How long before a failure other actions are tried [s]; None: not at all.
        progress: Called with (finished, all) scenes.

    Raises:
        UsageError: Last chances are asked for where they cannot be found.
    """
    around = choose_traffic(traffic)
    if look_back_s is not None and not can_go_back(traffic, tracker=tracker):
        remedy = "use --dynamics direct, or --look-back 0" if around.policy is None else "use --look-back 0"
        raise UsageError(f"triage: states among '{traffic}' traffic cannot be gone back to; {remedy}")
    tally = _Tally()
    for first in range(0, len(rows), SCENES_AT_ONCE):
        scenarios = [store.load(int(row)) for row in rows[first : first + SCENES_AT_ONCE]]
        history = None if look_back_s is None or tracker else FailureHistory(seconds=look_back_s)
        begun = time.process_time()
        drives = drive_all(driver, scenarios, tracker=tracker, traffic=around, store=store, history=history)
        found = [_failure(drive) for drive in drives.recordings.values()]
        driven = time.process_time()
        if tracker and look_back_s is not None:
            history = retraced_failures(list(drives.recordings.values()), seconds=look_back_s)
        chances = {} if history is None else last_chances(history)
        tally.driving_s += driven - begun
        tally.branching_s += time.process_time() - driven
        tally.scores += [drive.score for drive in drives.recordings.values()]
        tally.failures += [_with(failure, chances) for failure in found if failure is not None]
        tally.undriven |= drives.failures
        if progress is not None:
            progress(first + len(scenarios), len(rows))
    return Triage(
        driver=str(driver.name), data=str(store.path), data_fingerprint=fingerprint, split=split, traffic=around.name,
        dynamics="tracker" if tracker else "direct", score_name="score" if tracker else "score_basic",
        driven=len(tally.scores), scores=tuple(tally.scores), failures=tuple(tally.failures), undriven=tally.undriven,
        look_back_s=look_back_s, driving_s=tally.driving_s, branching_s=tally.branching_s,
    )  # fmt: skip


def _failure(drive: DriveRecording) -> Failure | None:
    found = finding_of(drive)
    if found is None:
        return None
    frame = None if found.event is None else found.event.frame
    return Failure(
        scenario_id=drive.scenario.scenario_id,
        scenario_type=drive.scenario.scenario_type,
        kind=found.kind,
        frame=frame,
        time_s=None if frame is None else frame * drive.dt,
        score=drive.score,
    )


def _with(failure: Failure, chances: dict[str, Avoidance]) -> Failure:
    known = chances.get(failure.scenario_id) if failure.frame is not None else None
    return failure if known is None else replace(failure, avoidance=known)
