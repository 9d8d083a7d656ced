"""Driven trajectories scored by nuPlan's closed-loop metrics against the logs they were driven in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError
from drivetrain.metrics.batch import score_in_order
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.metrics.score import NuplanScore, score_trajectory
from drivetrain.sim.scenario import Float64
from drivetrain.trainer.evaluation_result import NUPLAN_SCORE, estimate
from drivetrain.trainer.statistics import Estimate
from drivetrain.trainer.trajectory_file import TrajectoryFile
from drivetrain.trainer.trajectory_match import CoveringLog, covering_logs, nearest_log

Progress = Callable[[int, int], None]
"""Called with (scored, all) trajectories."""

_JOBS_PER_CHUNK = 16
"""Trajectories handed to a process at a time."""


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
        return {name: _estimate([row[name] for row in rows], kind) for name, kind in NUPLAN_SCORE.items()}

    def physical(self) -> dict[str, Estimate]:
        """Return mean and interval of the physically right figures."""
        rows = [entry.verdict.physical for entry in self.trajectories if entry.verdict is not None]
        names = [name for name in NUPLAN_SCORE if any(name in row for row in rows)]
        return {name: _estimate([row.get(name) for row in rows], NUPLAN_SCORE[name]) for name in names}

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
    file: TrajectoryFile,
    store: ScenarioStore,
    *,
    reference: bool = True,
    processes: int = 1,
    progress: Progress | None = None,
) -> TrajectoryScores:
    """Return the scores of every trajectory of a file in the logs of a store that cover its times.

    Args:
        file: What was driven.
        store: Any converted store; which scenarios it has does not matter.
        reference: Also score the logged drives.
        processes: How many score at a time; results do not depend on it.
        progress: Called as trajectories are done.

    Raises:
        DataError: Not one trajectory could be scored; the message says why the first could not.
    """
    done, jobs = _jobs(file, store)
    replays: list[DriveJob] = []
    if reference:
        longest: dict[tuple[int, int], DriveJob] = {}
        for job in jobs:
            key = (job.log.row, int(file.scenario[job.index]))
            if key not in longest or len(job.ego) > len(longest[key].ego):
                longest[key] = job
        replays = [replace(job, logged=True) for job in longest.values()]
    results = score_in_order(
        DriveScorer(store), [*jobs, *replays], processes=processes, jobs_per_chunk=_JOBS_PER_CHUNK, progress=progress
    )
    logged = []
    for job, result in zip([*jobs, *replays], results, strict=True):
        if job.logged:
            logged.append(result)
        else:
            done[job.index] = result
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
    return replace(scores, reference=replace(scores, planner="log_replay", trajectories=tuple(logged)))


@dataclass(frozen=True, kw_only=True, slots=True)
class DriveJob:
    """One trajectory and the log it was driven in, T states."""

    index: int
    """Its number in the file."""
    log: CoveringLog
    ego: Float64
    """Columns of ``trajectory_file.STATE_COLUMNS``, shape [T, 7]."""
    lateral: Float64
    """shape [T, 2]."""
    origin: Float64
    """Easting, northing [m] that x, y are relative to, shape [2]."""
    logged: bool = False
    """Score the logged drive over these frames instead."""


class DriveScorer:
    """Scores trajectories against the logs of a store; keeps the scene it used last, as neighbours share it."""

    def __init__(self, store: ScenarioStore) -> None:
        """Say where the logs are."""
        self._store: ScenarioStore | None = store
        self._path = store.path
        self._key: tuple[int, bytes] | None = None
        self._scene: ScoringScene | None = None
        self._log_name = ""

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: it opens the store by itself."""
        return self.__dict__ | {"_store": None, "_key": None, "_scene": None}

    def __call__(self, job: DriveJob) -> ScoredTrajectory:
        """Return the verdict on one trajectory; one that cannot be scored is no reason to stop."""
        store = self._store = self._store or ScenarioStore(self._path)
        scene = self._scene_of(store, job.log)
        name, first_us = self._log_name, int(scene.timestamps_us[0])
        try:
            verdict = score_trajectory(scene, _logged(scene, len(job.ego)) if job.logged else _driven(scene, job))
        except DataError as error:
            return ScoredTrajectory(log_name=name, first_us=first_us, verdict=None, problem=str(error))
        return ScoredTrajectory(log_name=name, first_us=first_us, verdict=verdict)

    def _scene_of(self, store: ScenarioStore, log: CoveringLog) -> ScoringScene:
        key = (log.row, log.frames.tobytes())
        if self._scene is None or key != self._key:
            window = store.window(log.row, log.frames)
            self._key, self._log_name = key, window.log_name
            self._scene = ScoringScene(
                map=window.map, timestamps_us=window.timestamps_us, expert=window.ego, agents=window.agents
            )
        return self._scene


def _jobs(file: TrajectoryFile, store: ScenarioStore) -> tuple[dict[int, ScoredTrajectory], list[DriveJob]]:
    """Return what cannot be scored, by number, and jobs for the other trajectories, those of one scene together."""
    failed: dict[int, ScoredTrajectory] = {}
    jobs: list[DriveJob] = []
    names = file.log_name or ("",) * len(file)
    groups: dict[tuple[int, str], list[int]] = {}
    for index, key in enumerate(zip(file.scenario.tolist(), names, strict=True)):
        groups.setdefault(key, []).append(index)
    for (scenario, name), members in sorted(groups.items()):
        times = file.timestamps_us[scenario]
        logs: list[CoveringLog] = []
        reason = ""
        try:
            logs = covering_logs(store, times, log_name=name)
        except DataError as error:
            reason = str(error)
        found = []
        for index in members:
            problem = file.problem(index) or reason
            ego, lateral = file.states(index)
            try:
                if not problem:
                    log = nearest_log(logs, ego[0, :2] + file.origin)
                    found.append(DriveJob(index=index, log=log, ego=ego, lateral=lateral, origin=file.origin))
            except DataError as error:
                problem = str(error)
            if problem:
                failed[index] = ScoredTrajectory(log_name="", first_us=int(times[0]), verdict=None, problem=problem)
        jobs += sorted(found, key=lambda job: job.log.row)
    return failed, jobs


def _driven(scene: ScoringScene, job: DriveJob) -> EgoStates:
    """Return a trajectory in the frame of its map."""
    pose = job.ego[:, :3].copy()
    pose[:, :2] += job.origin - scene.map.origin
    return EgoStates(
        pose=pose,
        velocity=np.column_stack([job.ego[:, 3], job.lateral[:, 0]]),
        acceleration=np.column_stack([job.ego[:, 4], job.lateral[:, 1]]),
        yaw_rate=job.ego[:, 5],
        yaw_acceleration=job.ego[:, 6],
        vehicle=scene.expert.vehicle,
    )


def _logged(scene: ScoringScene, num_states: int) -> EgoStates:
    """Return the logged drive over the frames at which a trajectory has states."""
    whole = EgoStates.of_log(scene.expert)
    names = ("pose", "velocity", "acceleration", "yaw_rate", "yaw_acceleration")
    return replace(whole, **{name: getattr(whole, name)[:num_states] for name in names})


def _estimate(values: Sequence[float | None], kind: str) -> Estimate:
    known = [value for value in values if value is not None]
    return estimate(np.array(known, dtype=np.float64), kind)


def _numbered(indices: Sequence[int]) -> str:
    if len(indices) == 1:
        return f"trajectory {indices[0]}"
    shown = ", ".join(str(index) for index in indices[:5])
    return f"{len(indices)} trajectories ({shown}{', ...' if len(indices) > 5 else ''})"
