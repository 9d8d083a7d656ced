"""Does this installation compute what nuPlan's reference implementation computed? Checked on the golden sets.

The golden logs are converted into a store, as a user's would be, and the golden trajectories scored against it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain.data.convert import convert
from drivetrain.data.golden import GOLDEN_SETS, unpack
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError
from drivetrain.metrics.names import METRICS
from drivetrain.sim.scenario import Float64
from drivetrain.trainer.golden_drives import drive_errors, recorded_drives
from drivetrain.trainer.golden_rollouts import TOLERANCES, rollouts_again
from drivetrain.trainer.trajectory_file import TrajectoryFile, read_trajectories
from drivetrain.trainer.trajectory_scores import TrajectoryScores, score_trajectories

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps in all, and what is being done."""

TOLERANCE = 1e-3
"""How far continuous values may differ; multipliers and yes-or-no metrics have to be equal."""
CONTINUOUS = ("score", "ego_progress_along_expert_route", "speed_limit_compliance")
REQUIRED_SHARE = {"score": 0.98} | dict.fromkeys(METRICS, 0.99)
"""Share of the cases in which a metric has to agree."""
_ORACLE = "oracle_metrics.npz"
_STATISTIC = "stat_"
_NUM_STEPS = 100
"""Steps of the progress per part of the check."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How well one value agrees over all cases of a part."""

    part: str
    """Golden set, and which of its cases."""
    name: str
    """Metric, statistic, or what of a drive was computed again."""
    kind: str
    """``metric``, ``statistic`` or ``drive``."""
    cases: int
    agree: int
    """Cases that agree."""
    worst: float
    """Largest difference."""
    required: float | None
    """Share of cases that has to agree; None where it is shown only."""

    @property
    def share(self) -> float:
        """Share of cases that agree."""
        return self.agree / self.cases

    @property
    def ok(self) -> bool:
        """Whether enough cases agree."""
        return self.required is None or self.share >= self.required


@dataclass(frozen=True, kw_only=True, slots=True)
class Disagreement:
    """One metric of one case that differs."""

    part: str
    case: int
    """Number of the case in its part."""
    kind: str
    """What the trajectory is, in the words of the golden set; empty where it has none."""
    name: str
    expected: float
    """The reference implementation's value."""
    found: float | None
    """Ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenReport:
    """The outcome of a check."""

    agreements: tuple[Agreement, ...]
    disagreements: tuple[Disagreement, ...]
    """Of metrics and scores, all of them."""

    @property
    def ok(self) -> bool:
        """Whether everything that has to agree does."""
        return all(entry.ok for entry in self.agreements)

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``drivetrain verify --json``."""
        rows = [asdict(entry) | {"share": entry.share, "ok": entry.ok} for entry in self.agreements]
        return {"ok": self.ok, "agreement": rows, "disagreements": [asdict(entry) for entry in self.disagreements]}


def check_golden_sets(progress: Progress | None = None) -> GoldenReport:
    """Convert the golden logs, score the golden trajectories, drive the golden drives again, and compare.

    Args:
        progress: Called as the work goes on.

    Raises:
        DataError: The folder for temporary files cannot be written.
    """
    agreements: list[Agreement] = []
    disagreements: list[Disagreement] = []
    with _temporary_folder() as folder:
        for number, name in enumerate(GOLDEN_SETS):
            steps = _Steps(progress=progress, first=number * 3 * _NUM_STEPS, total=3 * len(GOLDEN_SETS) * _NUM_STEPS)
            steps.show(0, f"{name}: converting")
            root = unpack(name, Path(folder))
            store_path = Path(folder) / f"{name}_store"
            convert("nuplan", [root], store_path)
            store = ScenarioStore(store_path)
            for order, (part, file, expected, kinds) in enumerate(_parts(name, root, store), start=1):
                scores = score_trajectories(file, store, reference=False, progress=steps.scoring(part, order))
                agreements += _compare(part, scores, expected)
                disagreements += _differences(part, scores, expected, kinds)
            agreements += _drives_again(name, root)
            steps.show(3 * _NUM_STEPS, f"{name}: simulating")
            agreements += _simulated_again(name, root)
            steps.show(3 * _NUM_STEPS, name)
    return GoldenReport(agreements=tuple(agreements), disagreements=tuple(disagreements))


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="drivetrain_verify_", ignore_cleanup_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"no temporary folder can be made ({reason}); let TMPDIR name one that can be written"
        ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Steps:
    """The share of the whole progress that belongs to one golden set."""

    progress: Progress | None
    first: int
    total: int

    def show(self, done: int, what: str) -> None:
        """Show how far the set is."""
        if self.progress is not None:
            self.progress(self.first + done, self.total, what)

    def scoring(self, part: str, order: int) -> Callable[[int, int], None]:
        """Return the progress of scoring one part; ``order`` parts were done before."""
        return lambda done, num: self.show((order * num + done) * _NUM_STEPS // num, f"{part}: scoring")


def _parts(
    name: str, root: Path, store: ScenarioStore
) -> Iterator[tuple[str, TrajectoryFile, dict[str, Float64], list[str]]]:
    """Yield the trajectories of a set with the reference implementation's values and the kinds of its cases."""
    file = read_trajectories(root / _ORACLE)
    with np.load(root / _ORACLE, allow_pickle=False) as oracle:
        names = ("score", *METRICS, *(key for key in oracle.files if key.startswith(_STATISTIC)))
        kinds = oracle["case_kind"].tolist() if "case_kind" in oracle else [""] * len(file)
        yield f"{name} trajectories", file, {key: oracle[key] for key in names}, kinds
    drives = recorded_drives(root, file, store)
    yield f"{name} drives", drives.file, drives.expected, drives.names


def _found(scores: TrajectoryScores, name: str) -> Float64:
    """Return one value of every trajectory; NaN where it is unknown."""
    rows = [
        {} if entry.verdict is None else {_STATISTIC + key: value for key, value in entry.verdict.statistics.items()}
        for entry in scores.trajectories
    ]
    values = [(entry.values() | row).get(name) for entry, row in zip(scores.trajectories, rows, strict=True)]
    return np.array([np.nan if value is None else value for value in values])


def _difference(found: Float64, expected: Float64) -> Float64:
    """Return how far values lie apart: 0 where both are the same infinity, infinity where one is unknown."""
    same = found == expected
    with np.errstate(invalid="ignore"):
        return np.where(same, 0.0, np.nan_to_num(np.abs(found - expected), nan=np.inf, posinf=np.inf))


def _tolerance(name: str) -> float:
    return TOLERANCE if name in CONTINUOUS or name.startswith(_STATISTIC) else 0.0


def _compare(part: str, scores: TrajectoryScores, expected: Mapping[str, Float64]) -> list[Agreement]:
    agreements = []
    for name, values in expected.items():
        difference = _difference(_found(scores, name), values)
        agreements.append(
            Agreement(
                part=part,
                name=name.removeprefix(_STATISTIC),
                kind="statistic" if name.startswith(_STATISTIC) else "metric",
                cases=len(values),
                agree=int((difference <= _tolerance(name)).sum()),
                worst=float(difference.max()),
                required=REQUIRED_SHARE.get(name),
            )
        )
    return agreements


def _differences(
    part: str, scores: TrajectoryScores, expected: Mapping[str, Float64], kinds: list[str]
) -> list[Disagreement]:
    differences = []
    for name, values in expected.items():
        if name.startswith(_STATISTIC):
            continue
        found = _found(scores, name)
        for case in np.flatnonzero(_difference(found, values) > _tolerance(name)).tolist():
            ours = None if np.isnan(found[case]) else float(found[case])
            differences.append(
                Disagreement(
                    part=part, case=case, kind=kinds[case], name=name, expected=float(values[case]), found=ours
                )
            )
    return differences


def _simulated_again(name: str, root: Path) -> list[Agreement]:
    return [
        Agreement(
            part=f"{name} closed loop",
            name=what,
            kind="drive",
            cases=len(errors),
            agree=int((errors <= TOLERANCES[what]).sum()),
            worst=float(errors.max()),
            required=1.0,
        )
        for what, errors in rollouts_again(root).items()
    ]


def _drives_again(name: str, root: Path) -> list[Agreement]:
    return [
        Agreement(
            part=f"{name} drives",
            name=what,
            kind="drive",
            cases=len(errors),
            agree=int((errors <= TOLERANCE).sum()),
            worst=float(errors.max()),
            required=1.0,
        )
        for what, errors in drive_errors(root).items()
    ]
