"""A run trained once more from its record, and the question whether its result came out again.

The re-run is a run of its own: it is resumed, listed and deleted like every other. Both are judged by their last
policies, which stand at the same step; which evaluation was the best one depends on when there was time for them. The
recorded policy is evaluated again too, on the scenes, traffic and seed of its training's evaluations, so that both
figures come from the same program. Its interval says how far other scenes of the same kind would move the mean.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain.errors import RunError, UsageError
from drivetrain.run_record import RunInfo, RunPaths, check_run_id, read_json, read_run_info, write_json_atomic
from drivetrain.runs.config_difference import OF_NO_EFFECT, flat_file
from drivetrain.runs.evaluations import read_evaluations
from drivetrain.runs.launcher import LaunchRequest, training_command
from drivetrain.runs.run_store import Run, RunStore, read_run

SUFFIX = "-repro"
_ELSEWHERE = OF_NO_EFFECT | {"data", "training.device"}
"""Keys that may differ where a run is trained on another machine."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be trained."""

    run: Run
    """The recorded run."""
    paths: RunPaths
    """Of the re-run."""
    request: LaunchRequest | None
    """How it is started; None: it has been trained already."""


@dataclass(frozen=True, kw_only=True)
class ScoreAgain:
    """The score of both policies on the same scenes."""

    metric: str
    traffic: str
    """Empty for Gymnasium."""
    recorded: float
    low: float | None
    """Lower end of the recorded policy's 95 % interval; None: too few scenes for one."""
    high: float | None
    again: float
    """The re-run's."""
    scenes: int
    differing: int
    """Scenes (episodes) in which any metric differs."""
    difference: tuple[float | None, float | None]
    """95 % interval of the mean difference, scene by scene."""

    @property
    def is_within(self) -> bool:
        """The re-run's mean lies within the recorded interval, or nothing differs."""
        if not self.differing:
            return True
        return self.low is not None and self.high is not None and self.low <= self.again <= self.high


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came of it."""

    run_id: str
    again: str
    """Name of the re-run."""
    step: int
    steps: tuple[int, int]
    """Steps of the recorded policy and of the re-run's."""
    differences: Mapping[str, tuple[str, str]]
    """What differs between the two trainings besides chance: name -> recorded, now."""
    scores: tuple[ScoreAgain, ...]
    """One for each traffic of the run's evaluations."""
    told: float | None
    """The score that the record tells of its last evaluation; None: it tells none."""

    @property
    def is_reproduced(self) -> bool:
        """All scores lie within the recorded intervals."""
        return all(score.is_within for score in self.scores)

    @property
    def is_identical(self) -> bool:
        """Both policies drive alike to the last bit."""
        return not any(score.differing for score in self.scores)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON document."""
        return {
            "run_id": self.run_id,
            "again": self.again,
            "reproduced": self.is_reproduced,
            "identical": self.is_identical,
            "steps": list(self.steps),
            "told": self.told,
            "differences": {name: {"recorded": a, "now": b} for name, (a, b) in self.differences.items()},
            "scores": [
                {
                    "metric": score.metric,
                    "traffic": score.traffic,
                    "recorded": {"mean": score.recorded, "ci95": [score.low, score.high], "n": score.scenes},
                    "again": score.again,
                    "difference_ci95": list(score.difference),
                    "scenes_that_differ": score.differing,
                    "within": score.is_within,
                }
                for score in self.scores
            ],
        }


def plan_reproduction(
    run: Run, *, run_id: str | None = None, data: str | None = None, device: str | None = None, mlflow: bool = True
) -> Plan:
    """Return what is to be trained so that a run comes out again.

    Args:
        run: The recorded run.
        run_id: Name of the re-run; None: the recorded one's and ``-repro``.
        data: Folder of the data on this machine; None: as recorded.
        device: Where to train; None: as recorded.
        mlflow: Mirror the re-run to MLflow.

    Raises:
        DrivetrainError: The record does not suffice, the data are others, or the name is another training's.
    """
    info = _checked_record(run)
    place = _checked_data(run, info, data)
    paths = RunPaths(root=run.paths.root, run_id=check_run_id(run_id or f"{run.run_id}{SUFFIX}"))
    if paths.run_id == run.run_id:
        raise UsageError(f"repro: --run-id: '{run_id}' is the run itself; give another name")
    parent = _parent(run, info)
    request = LaunchRequest(
        config=run.paths.config_yaml, run_id=paths.run_id, data=place, device=device, init_from=parent, mlflow=mlflow
    )
    if not paths.run_json.exists():
        return Plan(run=run, paths=paths, request=request)
    again = read_run(paths, num_rows=0)
    before, after = (flat_file(p.config_yaml) for p in (run.paths, again.paths))
    others = sorted(key for key in {*before, *after} - _ELSEWHERE if before.get(key) != after.get(key))
    if others or again.info is None or again.info.data.fingerprint != info.data.fingerprint:
        what = others[0] if others else "data"
        raise UsageError(f"repro: run '{paths.run_id}' is another training ({what} differs); name one with --run-id")
    if again.health.is_active:
        raise RunError(f"run '{paths.run_id}' is {again.health.status}; wait for it, or stop it first")
    if again.health.status == "completed":
        return Plan(run=run, paths=again.paths, request=None)
    resumed = LaunchRequest(run_id=paths.run_id, resume=True, mlflow=mlflow)
    return Plan(run=run, paths=again.paths, request=resumed)


def _checked_record(run: Run) -> RunInfo:
    if run.info is None:
        raise RunError(f"run '{run.run_id}': its run.json is missing or damaged, so that nobody knows what was trained")
    if run.health.status != "completed":
        raise RunError(
            f"run '{run.run_id}' is {run.health.status} at step {run.step:,} of {run.total_steps:,}; "
            "only a run that was completed has a result to come out again"
        )
    for path in (run.paths.config_yaml, run.paths.last):
        if not path.is_file():
            where = run.paths.relative(path)
            raise RunError(f"run '{run.run_id}' has no {where} any more, without which it cannot be reproduced")
    return run.info


def _checked_data(run: Run, info: RunInfo, data: str | None) -> str | None:
    """Return the folder for ``--data``; None: what the config says, as for Gymnasium."""
    if info.data.choice == "environment":
        if data is not None:
            raise UsageError(f"repro: --data: run '{run.run_id}' has no data set ({info.data.path}); leave it out")
        return None
    place = Path(data).resolve() if data is not None else run.paths.root / info.data.path
    manifest = read_json(place / "manifest.json")
    if manifest is None:
        raise RunError(
            f"repro: {run.paths.relative(place)}: holds no scenario store; run '{run.run_id}' was trained on "
            f"{info.data.path}, fingerprint {info.data.fingerprint}; say where that is with --data DIR"
        )
    if manifest.get("fingerprint") != info.data.fingerprint:
        raise RunError(
            f"repro: {run.paths.relative(place)} has fingerprint {manifest.get('fingerprint')}, run '{run.run_id}' was "
            f"trained on data of fingerprint {info.data.fingerprint}; give those with --data DIR"
        )
    return str(place)


def _parent(run: Run, info: RunInfo) -> Path | None:
    if info.parent is None:
        return None
    parent = run.paths.root / info.parent
    if not parent.exists():
        raise RunError(
            f"run '{run.run_id}' began from the weights of {info.parent}, which is gone; put it there again (a pack "
            "holds it as parent.pt)"
        )
    return parent


def train_again(plan: Plan) -> None:
    """Train in a process of its own, in the foreground; asked to stop, it saves first, and the same call goes on.

    Raises:
        RunError: The training failed, or was stopped.
    """
    if plan.request is None:
        return
    root, run_id = plan.paths.root, plan.paths.run_id
    environment = {**os.environ, "DRIVETRAIN_ROOT": str(root)}
    with subprocess.Popen(training_command(plan.request, root), stdout=2, env=environment) as process:
        # Ctrl-C reaches the trainer by itself, which then saves; who waits for it must not kill it meanwhile.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            code = process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
    status = read_run(plan.paths, num_rows=0).health.status
    if status != "completed":
        raise RunError(
            f"run '{run_id}' {'was stopped' if status == 'stopped' else f'ended with code {code}'} before its end; "
            "the same command goes on where it was"
        )


def judge_again(plan: Plan) -> Reproduction:
    """Evaluate both last policies and say whether the result came out again; also written beside the re-run.

    Raises:
        DrivetrainError: A policy or the data cannot be used.
    """
    run, again = plan.run, RunStore(plan.paths.root).get(plan.paths.run_id, num_rows=0)
    told = read_evaluations(run.paths)
    last = told[-1] if told and told[-1].step == run.step else None
    result = Reproduction(
        run_id=run.run_id,
        again=again.run_id,
        step=run.step,
        steps=(run.step, again.step),
        differences=_differences(run, again),
        scores=tuple(_scores(run, again)),
        told=last.metrics[last.score_name] if last is not None and last.score_name is not None else None,
    )
    write_json_atomic(again.paths.reproduction_json, result.to_json())
    return result


def _differences(run: Run, again: Run) -> dict[str, tuple[str, str]]:
    one, other = run.info, again.info or read_run_info(again.paths)
    assert one is not None
    assert other is not None
    pairs = {
        "code": (_code(one), _code(other)),
        "machine": (one.host, other.host),
        "device": (one.device, other.device),
        "data": (one.data.path, other.data.path),
        "fingerprint": (one.data.fingerprint, other.data.fingerprint),
    }
    names = [name for name in {**one.versions, **other.versions} if name != "git_commit"]
    pairs |= {name: (one.versions.get(name, "-"), other.versions.get(name, "-")) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _code(info: RunInfo) -> str:
    """Return the commit; changes that are in none are never the same again."""
    if info.git_commit is None:
        return "no repository"
    return info.git_commit[:10] + (f" and changes of run '{info.run_id}'" if info.git_dirty else "")


def _scores(run: Run, again: Run) -> list[ScoreAgain]:
    from drivetrain.trainer.evaluate import evaluate
    from drivetrain.trainer.statistics import mean_estimate

    config = flat_file(run.paths.config_yaml)
    traffic = config.get("evaluation.traffic", "replay")
    assert again.info is not None
    is_driving = again.info.data.choice != "environment"
    found = []
    for kind in (traffic if isinstance(traffic, list) else [traffic]) if is_driving else ["replay"]:
        options: dict[str, Any] = {"episodes": config["evaluation.episodes"], "seed": config["evaluation.seed"]}
        if is_driving:
            options |= {"split": config["evaluation.split"], "traffic": kind, "dynamics": "direct"}
        data = again.paths.root / again.info.data.path if is_driving else "auto"
        one, other = (evaluate(each.paths.last, data, **options) for each in (run, again))
        if one.scenario_ids != other.scenario_ids:
            raise RunError(
                f"repro: {run.run_id} and {again.run_id} were scored in different scenes; are the data sound?"
            )
        name = one.score_name
        differs = [bool(any(one.values[m][i] != other.values[m][i] for m in one.values)) for i in range(one.scored)]
        shift = mean_estimate(other.values[name] - one.values[name])
        estimate = one.metrics[name]
        assert estimate.mean is not None
        found.append(
            ScoreAgain(
                metric=name,
                traffic=kind if is_driving else "",
                recorded=estimate.mean,
                low=estimate.low,
                high=estimate.high,
                again=float(other.values[name].mean()),
                scenes=one.scored,
                differing=sum(differs),
                difference=(shift.low, shift.high),
            )
        )
    return found
