"""``evaluate``: the one entry for people, the command line and scripts, whatever is to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.algorithms.gymnasium_config import GymnasiumConfig
from drivetrain.algorithms.unity_config import UnityConfig
from drivetrain.config import from_plain
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError, DrivetrainError, UsageError, nearest
from drivetrain.planners.trajectory import Planner, StatefulPlanner
from drivetrain.run_record import project_root
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scenario import Scenario
from drivetrain.trainer import closed_loop_evaluation
from drivetrain.trainer.checkpoint import LoadedPolicy, check_fits, load_policy, without_filter
from drivetrain.trainer.closed_loop_evaluation import (
    NamedPlanner,
    OwnPlanner,
    evaluate_in_closed_loop,
    processes_worth,
)
from drivetrain.trainer.closed_loop_policy import CheckpointPlanner, one_thread
from drivetrain.trainer.data_choice import choose_data
from drivetrain.trainer.device_choice import check_device
from drivetrain.trainer.evaluation import (
    REFERENCE_PLANNERS,
    EvaluationScenes,
    Progress,
    check_plans,
    evaluate_gymnasium,
    evaluate_planner,
    evaluate_policy,
    load_scenes,
    planner_name,
    with_routes,
)
from drivetrain.trainer.evaluation_result import EvaluationResult
from drivetrain.trainer.reference_rows import (
    PlannerProgress,
    closed_loop_reference_rows,
    progress_of,
    reference_rows,
)
from drivetrain.trainer.scenario_choice import Source, choose_rows, fingerprint_of, ids_of, splits_of, types_of
from drivetrain.trainer.traffic_choice import TrafficChoice, choose_traffic
from drivetrain.trainer.trajectory_recorder import TrajectoryRecorder
from drivetrain.trainer.unity_evaluation import evaluate_unity

Data = str | Path | ScenarioStore | Sequence[Scenario]
DEFAULT_GYMNASIUM_EPISODES = 100
DYNAMICS = ("auto", "tracker", "direct")
"""How an evaluation drives, see :func:`evaluate`."""
NEEDED_KNOWLEDGE = ("lane_graph", "drivable_area", "speed_limits")
"""What nuPlan's score needs to know of a map."""
GENERATED = "sample"
"""Source of generated scenes."""
KNOWN_PLANNERS = tuple(dict.fromkeys((*closed_loop_evaluation.PLANNERS, *REFERENCE_PLANNERS)))
"""All planners that have a name."""


def evaluate(
    planner: Planner | StatefulPlanner | str | Path,
    data: Data = "auto",
    *,
    split: str = "val",
    types: Sequence[str] = (),
    max_per_type: int | None = None,
    scenarios: str | Path | None = None,
    episodes: int | None = None,
    traffic: str | TrafficChoice = "replay",
    seed: int = 0,
    reference: bool = False,
    deterministic: bool = True,
    temperature: float = 1.0,
    risk_filter: bool = True,
    device: str = "cpu",
    dynamics: str = "auto",
    processes: int | None = None,
    save_trajectories: str | Path | None = None,
    progress: PlannerProgress | None = None,
) -> EvaluationResult:
    """Drive every scenario once in closed loop and return the metrics.

    Args:
        planner: A callable from a :class:`~drivetrain.planners.view.ScenarioView` to a trajectory, an object whose
            ``begin(view)`` returns such a callable for each scenario, the name of a reference planner (``log_replay``,
            ``constant_velocity``, ``idm``, ``nuplan_idm``, ...; ``expert`` in the training simulator only), or a
            checkpoint.
        data: A scenario store, its folder, scenarios, or ``auto``: the nuPlan store, else the sample.
        split: Which part of a store: ``train``, ``val`` or ``test``.
        types: Only scenarios of these types: names, or patterns like ``starting_*``; empty: all.
        max_per_type: At most so many of each type, drawn by ``seed``; None: all.
        scenarios: A text file with one scenario id per line: these, instead of those of ``split``.
        episodes: At most so many scenarios, drawn by ``seed``; None: all (Gymnasium: 100 episodes).
        traffic: ``replay``, ``idm`` for traffic that reacts, ``idm_aggressive``, ``idm_timid``, or
            ``self_play:CHECKPOINT`` for vehicles that a policy drives.
        seed: Draws the scenarios, and the actions of a policy that samples.
        reference: Also score the reference planners on the same scenarios.
        deterministic: A policy does not draw its actions (see ``ActorCritic.act``).
        temperature: Of a policy that samples.
        risk_filter: False: a policy that keeps to safe actions (CIMRL) may take risky ones too.
        device: Where a policy runs.
        dynamics: ``tracker``: nuPlan's closed loop and its ``score``; ``direct``: the training simulator and its
            ``score_basic``; ``auto``: the first where lane graph, speed limits and drivable area are known, but the
            second for policies on generated scenes, as in training.
        processes: How many share the work in nuPlan's closed loop; None: as many as help. A callable is not shared.
        save_trajectories: A ``.npz`` file for what was driven, to be scored by nuPlan's metrics
            (:mod:`drivetrain.trainer.trajectory_file`). Where it cannot be written, the result says why (``unsaved``).
        progress: Called with (finished, all) scenarios and the name of the planner that drives.

    Raises:
        DrivetrainError: Planner, checkpoint or data cannot be used; the message says what to do.
    """
    if dynamics not in DYNAMICS:
        raise UsageError(f"dynamics: '{dynamics}' is not one of {', '.join(DYNAMICS)}{nearest(dynamics, DYNAMICS)}")
    if processes is not None and processes < 1:
        raise UsageError(f"the number of processes must be at least 1, got {processes}")
    if not temperature > 0:
        raise UsageError(f"temperature: {temperature:g} is not above 0; use 1 to draw as in training")
    check_device(device)
    check_plans(planner)
    if isinstance(planner, str) and planner not in KNOWN_PLANNERS:
        planner = Path(planner)
    loaded = _load(planner) if isinstance(planner, Path) else None
    if not isinstance(planner, Path) and not deterministic:
        raise UsageError(f"stochastic: '{planner_name(planner)}' draws no actions, only policies do; leave it out")
    if not risk_filter:
        if loaded is None:
            name = planner_name(planner) if not isinstance(planner, Path) else planner
            raise UsageError(f"risk_filter: '{name}' has no risk filter; leave the option out")
        loaded = without_filter(loaded)
    if loaded is not None and loaded.checkpoint.config["environment"]["name"] in ("gymnasium", "unity"):
        if types or max_per_type is not None:
            raise UsageError(f"type: {planner} drives in no scenarios, so these have no types; leave the option out")
        if scenarios is not None:
            raise UsageError(f"scenarios: {planner} drives in no scenarios; leave the option out")
        return _evaluate_episodes(
            loaded, str(planner), episodes=episodes, deterministic=deterministic, temperature=temperature,
            seed=seed, device=device, save_trajectories=save_trajectories,
        )  # fmt: skip
    traffic = choose_traffic(traffic)
    recorder = _recorder(save_trajectories)
    opened = open_store(data)
    rows = choose_rows(
        opened, split=split, episodes=episodes, seed=seed, types=types, max_per_type=max_per_type, scenarios=scenarios
    )  # fmt: skip
    if not len(rows):
        raise DataError("data: no scenario to be simulated was given; give at least one")
    if scenarios is not None:
        split = splits_of(opened, rows)
    job = _Job(
        data=opened, rows=rows, split=split, traffic=traffic, seed=seed, deterministic=deterministic,
        temperature=temperature, device=device, processes=processes, recorder=recorder, progress=progress,
    )  # fmt: skip
    run = _nuplans_simulation if drives_in_closed_loop(dynamics, planner, opened, rows) else _training_simulator
    result = _saved(run(planner, loaded, job, reference=reference), recorder, save_trajectories)
    asked = {"types": list(types), "max_per_type": max_per_type, "episodes": episodes, "seed": seed}
    asked |= {} if scenarios is None else {"scenarios": str(scenarios)}
    if not risk_filter:
        result = replace(result, inputs={**result.inputs, "risk_filter": False})
    inputs = {**result.inputs, "selection": {name: value for name, value in asked.items() if value not in (None, [])}}
    types_by_id = dict(zip(ids_of(opened, rows), types_of(opened, rows), strict=True))
    return replace(result, inputs=inputs).with_types(types_by_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """What is driven, and how."""

    data: Source
    rows: NDArray[np.int64]
    """The scenarios of ``data``."""
    split: str
    traffic: TrafficChoice
    seed: int
    deterministic: bool
    temperature: float
    device: str
    processes: int | None
    recorder: TrajectoryRecorder | None
    progress: PlannerProgress | None

    def progress_of(self, planner: str) -> Progress | None:
        return progress_of(self.progress, planner)


def drives_in_closed_loop(
    dynamics: str,
    planner: Planner | StatefulPlanner | str | Path,
    data: ScenarioStore | Sequence[Scenario],
    rows: NDArray[np.int64],
) -> bool:
    """Return whether nuPlan's closed loop drives; scenarios of one store know the same."""
    if planner == "expert":
        if dynamics == "tracker":
            raise UsageError("planner: 'expert' drives the vehicle model directly; use --dynamics direct")
        return False
    needs_closed_loop = planner in closed_loop_evaluation.PLANNERS and planner not in REFERENCE_PLANNERS
    if needs_closed_loop and dynamics == "direct":
        raise UsageError(f"planner: '{planner}' drives in nuPlan's closed loop only; use --dynamics tracker")
    if dynamics != "auto":
        return dynamics == "tracker"
    shown = [data.load(int(rows[0]))] if isinstance(data, ScenarioStore) else [data[row] for row in rows]
    if isinstance(planner, Path) and any(scenario.source == GENERATED for scenario in shown):
        return False  # a policy's figures on generated scenes stand beside the curves of its training
    known = [scenario.map.knowledge for scenario in shown]
    missing = [name for name in NEEDED_KNOWLEDGE if not all(getattr(k, name) for k in known)]
    if missing and needs_closed_loop:
        raise UsageError(
            f"planner: '{planner}' drives in nuPlan's closed loop only, and these data do not know "
            f"{', '.join(missing).replace('_', ' ')}, which its score needs; use --dynamics tracker to drive without a "
            "score, or other data"
        )
    return not missing


def _nuplans_simulation(
    planner: Planner | StatefulPlanner | str | Path, loaded: LoadedPolicy | None, job: _Job, *, reference: bool
) -> EvaluationResult:
    data, rows = job.data, job.rows.tolist()
    is_store = isinstance(data, ScenarioStore)
    place, content = (str(data.path), data.fingerprint) if is_store else ("scenarios", "")
    fingerprint = fingerprint_of(content, ids_of(data, job.rows))
    inputs: dict[str, Any] = {"data": place, "data_fingerprint": fingerprint, "split": job.split}
    share = processes_worth(len(rows)) if job.processes is None else job.processes

    def named_rows(names: Sequence[str]) -> tuple[EvaluationResult, ...]:
        return closed_loop_reference_rows(
            data, rows=rows, inputs=inputs, traffic=job.traffic, names=names, processes=share, progress=job.progress
        )

    start = _start(planner, loaded, job)
    references = closed_loop_evaluation.REFERENCE_PLANNERS if reference else ()
    for name in dict.fromkeys((*references, start.name)):
        if name in closed_loop_evaluation.PLANNERS:
            inputs |= NamedPlanner(name=name).inputs()  # every row says how the rows were made
    if isinstance(start, NamedPlanner) and job.recorder is None and is_store:
        result = named_rows([start.name])[0]
    else:
        result = evaluate_in_closed_loop(
            start, data, rows=rows, name=start.name, traffic=job.traffic, inputs=inputs | start.inputs(),
            processes=1 if isinstance(start, OwnPlanner) else share, recorder=job.recorder,
            progress=job.progress_of(start.name),
        )  # fmt: skip
    return result.with_reference(named_rows(references)) if reference else result


def _start(
    planner: Planner | StatefulPlanner | str | Path, loaded: LoadedPolicy | None, job: _Job
) -> CheckpointPlanner | NamedPlanner | OwnPlanner:
    if loaded is not None:
        assert isinstance(planner, Path)
        return CheckpointPlanner(
            loaded=loaded, path=planner, deterministic=job.deterministic, temperature=job.temperature, seed=job.seed,
            device=job.device,
        )  # fmt: skip
    if isinstance(planner, str):
        return NamedPlanner(name=planner)
    assert not isinstance(planner, Path)
    return OwnPlanner(planner=planner, name=planner_name(planner))


def _training_simulator(
    planner: Planner | StatefulPlanner | str | Path, loaded: LoadedPolicy | None, job: _Job, *, reference: bool
) -> EvaluationResult:
    scenes = load_scenes(job.data, split=job.split, rows=job.rows)
    if job.traffic.policy is not None:
        scenes = with_routes(scenes, every=True)
    driving: DrivingConfig | None = None
    if loaded is not None:
        driving = from_plain(DrivingConfig, loaded.checkpoint.config["environment"])
        result = _evaluate_policy(loaded, str(planner), scenes, driving, job)
    elif isinstance(planner, str) and job.recorder is None:
        result = reference_rows(scenes, traffic=job.traffic, names=[planner], progress=job.progress)[0]
    else:
        assert not isinstance(planner, Path)
        result = evaluate_planner(
            planner, scenes, traffic=job.traffic, seed=job.seed, recorder=job.recorder,
            progress=job.progress_of(planner_name(planner)),
        )  # fmt: skip
    if not reference:
        return result
    rows = reference_rows(scenes, traffic=job.traffic, driving=driving, progress=job.progress)
    return result.with_reference(rows)


def open_store(data: Data) -> ScenarioStore | Sequence[Scenario]:
    """Return what ``data`` names; ``auto`` and relative folders are looked up from the project root."""
    if isinstance(data, str | Path):
        return choose_data(str(data), project_root(), say=_silent)[0]
    return data


def _recorder(path: str | Path | None) -> TrajectoryRecorder | None:
    """Return what takes the trajectories; a folder that is missing is noticed before anything is driven."""
    if path is None:
        return None
    if not Path(path).parent.is_dir():
        raise UsageError(f"save_trajectories: {path}: its folder does not exist; make it first")
    return TrajectoryRecorder()


def _saved(result: EvaluationResult, recorder: TrajectoryRecorder | None, path: str | Path | None) -> EvaluationResult:
    """Write what was driven; where that fails, the result has the reason and is not lost."""
    if recorder is None or path is None:
        return result
    try:
        recorder.write(Path(path))
    except DrivetrainError as error:
        return replace(result, unsaved=str(error))
    return result


def _silent(message: str) -> None:
    """Say nothing: long work shows its own progress."""


def _load(path: Path) -> LoadedPolicy:
    if not path.exists() and path.suffix != ".pt":
        if str(path) in KNOWN_PLANNERS:
            raise UsageError(f"planner: there is no checkpoint '{path}'; the planner of that name is --planner {path}")
        raise UsageError(
            f"planner: '{path}' is no checkpoint and not one of {', '.join(KNOWN_PLANNERS)}"
            f"{nearest(str(path), KNOWN_PLANNERS)}"
        )
    return load_policy(path)


def _evaluate_episodes(
    loaded: LoadedPolicy,
    name: str,
    *,
    episodes: int | None,
    deterministic: bool,
    temperature: float,
    seed: int,
    device: str,
    save_trajectories: str | Path | None,
) -> EvaluationResult:
    if save_trajectories is not None:
        raise UsageError(f"save_trajectories: {name} drives no vehicle; leave the option out")
    environment = loaded.checkpoint.config["environment"]
    count = DEFAULT_GYMNASIUM_EPISODES if episodes is None else episodes
    if environment["name"] == "unity":
        return evaluate_unity(
            loaded.module.to(device), from_plain(UnityConfig, environment), name=name, root=project_root(),
            episodes=count, deterministic=deterministic, temperature=temperature, seed=seed, device=device,
        )  # fmt: skip
    config = from_plain(GymnasiumConfig, environment)
    return evaluate_gymnasium(
        loaded.module.to(device), config, name=name, episodes=count, deterministic=deterministic,
        temperature=temperature, seed=seed, device=device,
    )  # fmt: skip


def _evaluate_policy(
    loaded: LoadedPolicy, name: str, scenes: EvaluationScenes, driving: DrivingConfig, job: _Job
) -> EvaluationResult:
    check_fits(loaded.checkpoint, Path(name), CANONICAL, loaded.checkpoint.action_space)
    with one_thread():
        result = evaluate_policy(
            loaded.module.to(job.device), scenes, name=name, traffic=job.traffic, deterministic=job.deterministic,
            temperature=job.temperature, seed=job.seed, driving=driving, device=job.device, recorder=job.recorder,
            progress=job.progress_of(name),
        )  # fmt: skip
    return replace(result, inputs={**result.inputs, "step": loaded.checkpoint.step})
