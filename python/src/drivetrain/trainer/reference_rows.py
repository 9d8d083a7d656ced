"""The reference rows of an evaluation, computed once per set of scenarios and kept on disk.

A row depends on nothing but the scenarios, the traffic and the code, so an evaluation during training reads it from the
cache. The key holds a hash of the code's sources: a change in simulator, planners or metrics leads to new rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import RunError
from drivetrain.run_record import write_json_atomic
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.kernel_cache import cache_root, source_hash
from drivetrain.sim.scenario import Scenario
from drivetrain.trainer import closed_loop_evaluation, evaluation
from drivetrain.trainer.closed_loop_evaluation import NamedPlanner, evaluate_in_closed_loop
from drivetrain.trainer.evaluation import (
    REFERENCE_PLANNERS,
    EvaluationScenes,
    Progress,
    evaluate_planner,
)
from drivetrain.trainer.evaluation_result import EvaluationResult
from drivetrain.trainer.traffic_choice import TrafficChoice, choose_traffic

PlannerProgress = Callable[[int, int, str], None]
"""Called with (finished, all) scenarios and the name of the planner that drives."""


def progress_of(progress: PlannerProgress | None, planner: str) -> Progress | None:
    """Return the progress of one planner."""
    return None if progress is None else lambda finished, count: progress(finished, count, planner)


def reference_rows(
    scenes: EvaluationScenes,
    *,
    traffic: str | TrafficChoice = "replay",
    names: Sequence[str] = REFERENCE_PLANNERS,
    driving: DrivingConfig | None = None,
    progress: PlannerProgress | None = None,
) -> tuple[EvaluationResult, ...]:
    """Return the results of the reference planners, from the cache where it has them."""
    return tuple(_row(name, scenes, choose_traffic(traffic), driving or DrivingConfig(), progress) for name in names)


def closed_loop_reference_rows(
    data: ScenarioStore | Sequence[Scenario],
    *,
    rows: Sequence[int],
    inputs: Mapping[str, Any],
    traffic: str | TrafficChoice,
    names: Sequence[str] = closed_loop_evaluation.REFERENCE_PLANNERS,
    processes: int = 1,
    progress: PlannerProgress | None = None,
) -> tuple[EvaluationResult, ...]:
    """Return the results of the reference planners in nuPlan's closed loop, from the cache where it has them."""
    code = source_hash(closed_loop_evaluation.__file__)
    around = choose_traffic(traffic)

    def compute(name: str) -> EvaluationResult:
        return evaluate_in_closed_loop(
            NamedPlanner(name=name), data, rows=rows, name=name, traffic=around, inputs={}, processes=processes,
            progress=progress_of(progress, name),
        )  # fmt: skip

    if isinstance(data, ScenarioStore):
        key = ["nuplan", str(inputs["data_fingerprint"]), str(inputs["split"]), around.content, code]
        found = [_kept(_place(name, [name, *key]), partial(compute, name)) for name in names]
    else:
        found = [compute(name) for name in names]  # their ids do not tell what is in them
    # What a row is kept with is its own: the store, or a checkpoint, may lie elsewhere now, beside other planners.
    return tuple(replace(row, traffic=around.name, inputs={**row.inputs, **inputs}) for row in found)


def _row(
    name: str,
    scenes: EvaluationScenes,
    traffic: TrafficChoice,
    driving: DrivingConfig,
    progress: PlannerProgress | None,
) -> EvaluationResult:
    def compute() -> EvaluationResult:
        report = progress_of(progress, name)
        return evaluate_planner(name, scenes, traffic=traffic, driving=driving, progress=report)

    if not scenes.content_known:
        return compute()  # their ids do not tell what is in them
    row = _kept(_file(name, scenes, traffic, driving), compute)
    return replace(row, traffic=traffic.name, inputs={**row.inputs, "data": scenes.data})


def _kept(file: Path, compute: Callable[[], EvaluationResult]) -> EvaluationResult:
    """Return the result that a file holds, else compute it and keep it there.

    A result with failures is not kept: what made scenarios fail may not be there the next time.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):  # not there yet, or not readable: compute it
        row = EvaluationResult.of_json(json.loads(file.read_text(encoding="utf-8")))
        if not row.failures:
            return row
    row = compute()
    if row.failures:
        return row
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(file, row.to_json(per_scenario=True))
    except (OSError, RunError):
        pass  # a cache that cannot be written costs time, not results
    return row


def _file(name: str, scenes: EvaluationScenes, traffic: TrafficChoice, driving: DrivingConfig) -> Path:
    key = [
        name,
        scenes.fingerprint,
        scenes.split,
        traffic.content,
        repr((driving.horizon_s, driving.acceleration_lag_s, driving.steering_lag_s, driving.reward, driving.backend)),
        source_hash(evaluation.__file__),
    ]
    return _place(name, key)


def _place(name: str, key: Sequence[str]) -> Path:
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:20]
    return cache_root().parent / "reference_rows" / f"{name}-{digest}.json"
