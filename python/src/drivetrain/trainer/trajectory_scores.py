"""Driven trajectories scored by nuPlan's closed-loop metrics against the logs they were driven in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.metrics.score import METRICS, NuplanScore, score_trajectory
from drivetrain.sim.scenario import Int64
from drivetrain.trainer.evaluation_result import RATE, SHARE, estimate
from drivetrain.trainer.statistics import Estimate
from drivetrain.trainer.trajectory_file import TrajectoryFile
from drivetrain.trainer.trajectory_match import CoveringLog, covering_logs, nearest_log

Progress = Callable[[int, int], None]
"""Called with (scored, all) trajectories."""

METRIC_KINDS: dict[str, str] = {"score": SHARE} | {
    name: RATE
    if name
    in {
        "drivable_area_compliance",
        "ego_is_making_progress",
        "time_to_collision_within_bound",
        "ego_is_comfortable",
    }
    else SHARE
    for name in METRICS
}
"""nuPlan's score and metrics, and whether their values are 0 or 1 (a rate) or in between too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredTrajectory:
    """One trajectory and its verdict."""

    log_name: str
    """The log it was matched with; empty where there is none."""
    first_us: int
    """Time of its first state [us]."""
    verdict: NuplanScore | None
    """None where it could not be scored."""
    problem: str = ""
    """Why it could not be scored."""

    def values(self) -> dict[str, float | None]:
        """Return score and metrics by name; empty where it could not be scored."""
        return {} if self.verdict is None else {"score": self.verdict.score, **self.verdict.metrics}

    def to_json(self) -> dict[str, Any]:
        """Return the record of ``evaluate --trajectories --json``."""
        record: dict[str, Any] = {"log": self.log_name or None, "first_us": self.first_us}
        if self.verdict is None:
            return record | {"problem": self.problem}
        record |= self.values()
        record |= {"statistics": self.verdict.statistics, "physical": self.verdict.physical}
        return record | ({"unknown": self.verdict.unknown} if self.verdict.unknown else {})


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryScores:
    """All trajectories of a file, scored."""

    planner: str
    """The file, or ``log_replay``."""
    data: str
    """Folder of the store."""
    data_fingerprint: str
    trajectories: tuple[ScoredTrajectory, ...]
    """In the order of the file."""
    reference: TrajectoryScores | None = None
    """The logged drive in every scene that a trajectory was scored in, over the same frames."""

    @property
    def scored(self) -> int:
        """Number of trajectories that have a verdict."""
        return sum(entry.verdict is not None for entry in self.trajectories)

    def metrics(self) -> dict[str, Estimate]:
        """Return mean and interval of score and metrics over the scored trajectories where they are known."""
        rows = [entry.values() for entry in self.trajectories if entry.verdict is not None]
        return {name: _estimate([row[name] for row in rows], kind) for name, kind in METRIC_KINDS.items()}

    def physical(self) -> dict[str, Estimate]:
        """Return mean and interval of the physically right figures."""
        rows = [entry.verdict.physical for entry in self.trajectories if entry.verdict is not None]
        names = [name for name in METRIC_KINDS if any(name in row for row in rows)]
        return {name: _estimate([row.get(name) for row in rows], METRIC_KINDS[name]) for name in names}

    def problems(self) -> list[str]:
        """Return one line for each reason why trajectories could not be scored."""
        by_reason: dict[str, list[int]] = {}
        for index, entry in enumerate(self.trajectories):
            if entry.verdict is None:
                by_reason.setdefault(entry.problem, []).append(index)
        return [f"{self.planner}: {_numbered(indices)}: {reason}" for reason, indices in by_reason.items()]

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``evaluate --trajectories --json``."""
        document = self._summary() | {"data": self.data, "data_fingerprint": self.data_fingerprint}
        document["physical"] = {name: value.to_json() for name, value in self.physical().items()}
        if self.reference is not None:
            document["reference"] = [self.reference._summary()]
        document["trajectories"] = [
            {"trajectory": index, **entry.to_json()} for index, entry in enumerate(self.trajectories)
        ]
        return document

    def _summary(self) -> dict[str, Any]:
        asked = len(self.trajectories)
        return {
            "planner": self.planner,
            "traffic": "replay",
            "scenarios": {"asked": asked, "scored": self.scored, "failed": asked - self.scored},
            **{name: value.to_json() for name, value in self.metrics().items()},
        }


def score_trajectories(
    file: TrajectoryFile, store: ScenarioStore, *, reference: bool = True, progress: Progress | None = None
) -> TrajectoryScores:
    """Return the scores of every trajectory of a file in the logs of a store that cover its times.

    Args:
        file: What was driven.
        store: Any converted store; which scenarios it has does not matter.
        reference: Also score the logged drives.
        progress: Called as trajectories are done.

    Raises:
        DataError: Not one trajectory could be scored; the message says why the first could not.
    """
    done: dict[int, ScoredTrajectory] = {}
    replays: list[ScoredTrajectory] = []
    for scenario in np.unique(file.scenario).tolist():
        members = np.flatnonzero(file.scenario == scenario).tolist()
        times = file.timestamps_us[scenario]
        for log, indices in _by_log(file, store, times, members, done):
            scene = _scene(store, log)
            name = store.log_names[log.row]
            for index in indices:
                done[index] = _scored(name, scene, lambda at=index, seen=scene: _states(file, at, seen))
                if progress is not None:
                    progress(len(done), len(file))
            if reference:
                num_states = int(file.num_states[indices].max())
                replays.append(_scored(name, scene, lambda seen=scene, num=num_states: _logged(seen, num)))
    scores = TrajectoryScores(
        planner=str(file.path),
        data=str(store.path),
        data_fingerprint=store.fingerprint,
        trajectories=tuple(done[index] for index in range(len(file))),
    )
    if not scores.scored:
        raise DataError(scores.problems()[0])
    if not reference:
        return scores
    return replace(scores, reference=replace(scores, planner="log_replay", trajectories=tuple(replays)))


def _by_log(
    file: TrajectoryFile, store: ScenarioStore, times: Int64, members: Sequence[int], done: dict[int, ScoredTrajectory]
) -> list[tuple[CoveringLog, list[int]]]:
    """Return the trajectories of one scenario by the log they belong to; those without any go to ``done``."""
    found: dict[int, tuple[CoveringLog, list[int]]] = {}
    failed: dict[int, str] = {index: problem for index in members if (problem := file.problem(index)) is not None}
    try:
        logs = covering_logs(store, times)
    except DataError as error:
        logs, failed = [], failed | {index: str(error) for index in members if index not in failed}
    for index in members:
        if index in failed:
            continue
        try:
            log = nearest_log(logs, file.ego[index, 0, :2] + file.origin)
        except DataError as error:
            failed[index] = str(error)
            continue
        found.setdefault(log.row, (log, []))[1].append(index)
    for index, problem in failed.items():
        done[index] = ScoredTrajectory(log_name="", first_us=int(times[0]), verdict=None, problem=problem)
    return list(found.values())


def _scene(store: ScenarioStore, log: CoveringLog) -> ScoringScene:
    window = store.window(log.row, log.frames)
    return ScoringScene(map=window.map, timestamps_us=window.timestamps_us, expert=window.ego, agents=window.agents)


def _scored(log_name: str, scene: ScoringScene, states: Callable[[], EgoStates]) -> ScoredTrajectory:
    first_us = int(scene.timestamps_us[0])
    try:
        verdict = score_trajectory(scene, states())
    except DataError as error:
        return ScoredTrajectory(log_name=log_name, first_us=first_us, verdict=None, problem=str(error))
    return ScoredTrajectory(log_name=log_name, first_us=first_us, verdict=verdict)


def _states(file: TrajectoryFile, index: int, scene: ScoringScene) -> EgoStates:
    """Return a trajectory in the frame of its map."""
    ego, lateral = file.states(index)
    pose = ego[:, :3].copy()
    pose[:, :2] += file.origin - scene.map.origin
    return EgoStates(
        pose=pose,
        velocity=np.column_stack([ego[:, 3], lateral[:, 0]]),
        acceleration=np.column_stack([ego[:, 4], lateral[:, 1]]),
        yaw_rate=ego[:, 5],
        yaw_acceleration=ego[:, 6],
        vehicle=scene.expert.vehicle,
    )


def _logged(scene: ScoringScene, num_states: int) -> EgoStates:
    """Return the logged drive over the frames at which trajectories have states."""
    whole = EgoStates.of_log(scene.expert)
    return replace(
        whole,
        **{
            name: getattr(whole, name)[:num_states]
            for name in ("pose", "velocity", "acceleration", "yaw_rate", "yaw_acceleration")
        },
    )


def _estimate(values: Sequence[float | None], kind: str) -> Estimate:
    known = [value for value in values if value is not None]
    return estimate(np.array(known, dtype=np.float64), kind)


def _numbered(indices: Sequence[int]) -> str:
    if len(indices) == 1:
        return f"trajectory {indices[0]}"
    shown = ", ".join(str(index) for index in indices[:5])
    return f"{len(indices)} trajectories ({shown}{', ...' if len(indices) > 5 else ''})"
