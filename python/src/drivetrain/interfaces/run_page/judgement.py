"""How a run's best policy drives now: its scores beside the reference rows, and its worst scenes as pictures."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain.errors import DrivetrainError, one_line
from drivetrain.run_record import RunPaths
from drivetrain.runs.run_store import Run

PICTURE_DPI = 75


@dataclass(frozen=True, kw_only=True, slots=True)
class WorstScene:
    """A scene in which the policy scores low."""

    scenario_id: str
    scenario_type: str
    score: float | None
    """0..1."""
    outcome: str
    """What happened, in words."""
    picture: str
    """A PNG as a data address."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """The best policy, judged."""

    result: Any = None
    """The ``EvaluationResult`` with its reference rows; None where it cannot be evaluated."""
    problem: str = ""
    """Why it cannot."""
    notes: tuple[str, ...] = ()
    """What a reader has to know."""
    worst: tuple[WorstScene, ...] = ()
    """The lowest-scored scenes, the lowest first."""


def judge(
    run: Run, config: Mapping[str, Any], root: Path, *, scenes: int, progress: Callable[[int, int, str], None] | None
) -> Judgement:
    """Evaluate a run's best policy on its own data and draw its worst scenes; what cannot be done says why."""
    checkpoint = _checkpoint(run.paths)
    if checkpoint is None:
        return Judgement(problem="the run has no checkpoint yet, so nothing can be evaluated")
    if run.info is None:
        return Judgement(problem="run.json is missing or damaged, so nobody knows on what data to evaluate")
    try:
        return _judge(run, checkpoint, config, root, scenes=scenes, progress=progress)
    except DrivetrainError as error:
        return Judgement(problem=one_line(error))


def _checkpoint(paths: RunPaths) -> Path | None:
    return next((path for path in (paths.best, paths.last) if path.is_file()), None)


def _judge(
    run: Run,
    checkpoint: Path,
    config: Mapping[str, Any],
    root: Path,
    *,
    scenes: int,
    progress: Callable[[int, int, str], None] | None,
) -> Judgement:
    from drivetrain.trainer.evaluate import evaluate

    assert run.info is not None
    episodes = config.get("evaluation", {}).get("episodes")
    if config.get("environment", {}).get("name") != "driving":
        return Judgement(result=evaluate(checkpoint, episodes=episodes, progress=progress))
    from drivetrain.data.scenario_store import ScenarioStore

    store = ScenarioStore(root / run.info.data.path)
    notes = []
    if store.fingerprint != run.info.data.fingerprint:
        notes.append(
            f"{run.info.data.path} has changed since the training: its fingerprint is {store.fingerprint}, "
            f"the run was trained on {run.info.data.fingerprint}"
        )
    if not store.splits.get("val"):
        return Judgement(problem=f"{run.info.data.path} has no validation scenes", notes=tuple(notes))
    result = evaluate(checkpoint, store, episodes=episodes, reference=True, progress=progress)
    return Judgement(
        result=result, notes=tuple(notes), worst=_worst(checkpoint, store, result, scenes=scenes) if scenes else ()
    )


def _worst(checkpoint: Path, store: Any, result: Any, *, scenes: int) -> tuple[WorstScene, ...]:
    import numpy as np

    from drivetrain.rendering import style
    from drivetrain.rendering.drivers import drive_all, named_driver, planner_drive
    from drivetrain.rendering.scene_picture import save_picture

    values = result.values[result.score_name]
    known = np.flatnonzero(~np.isnan(values))
    chosen = known[np.argsort(values[known], kind="stable")][:scenes]
    scenarios = [store.load(result.scenario_ids[at]) for at in chosen.tolist()]
    if not scenarios:
        return ()
    driver = named_driver(checkpoint, label="policy")
    drives = drive_all(driver, scenarios, tracker=result.dynamics == "tracker", store=store)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.png"
        for scenario in scenarios:
            drive = drives.of(scenario)
            save_picture([planner_drive("log", scenario), drive], path, dpi=PICTURE_DPI)
            picture = base64.b64encode(path.read_bytes()).decode()
            found.append(
                WorstScene(
                    scenario_id=scenario.scenario_id,
                    scenario_type=scenario.scenario_type,
                    score=drive.score,
                    outcome=style.EVENT_NAMES[drive.outcome].lower(),
                    picture=f"data:image/png;base64,{picture}",
                )
            )
    return tuple(found)
