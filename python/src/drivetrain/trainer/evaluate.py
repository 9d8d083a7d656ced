"""``evaluate``: the one entry for people, the command line and scripts, whatever is to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drivetrain.algorithms.gymnasium_environment import GymnasiumConfig
from drivetrain.config import from_plain
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import DataError, DrivetrainError, UsageError, nearest
from drivetrain.planners.trajectory import Planner
from drivetrain.run_record import project_root
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scenario import Scenario
from drivetrain.trainer import closed_loop_evaluation
from drivetrain.trainer.checkpoint import LoadedPolicy, check_fits, load_policy
from drivetrain.trainer.closed_loop_evaluation import (
    NamedPlanner,
    OwnPlanner,
    evaluate_in_closed_loop,
    processes_worth,
)
from drivetrain.trainer.closed_loop_policy import CheckpointPlanner
from drivetrain.trainer.data_choice import choose_data
from drivetrain.trainer.evaluation import (
    REFERENCE_PLANNERS,
    EvaluationScenes,
    Progress,
    choose_rows,
    evaluate_gymnasium,
    evaluate_planner,
    evaluate_policy,
    fingerprint_of,
    load_scenes,
    with_every_route,
)
from drivetrain.trainer.evaluation_result import EvaluationResult
from drivetrain.trainer.reference_rows import closed_loop_reference_rows, reference_rows
from drivetrain.trainer.traffic_choice import TrafficChoice, choose_traffic
from drivetrain.trainer.trajectory_recorder import TrajectoryRecorder

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
    planner: Planner | str | Path,
    data: Data = "auto",
    *,
    split: str = "val",
    episodes: int | None = None,
    traffic: str | TrafficChoice = "replay",
    seed: int = 0,
    reference: bool = False,
    deterministic: bool = True,
    temperature: float = 1.0,
    device: str = "cpu",
    dynamics: str = "auto",
    processes: int | None = None,
    save_trajectories: str | Path | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Drive every scenario once in closed loop and return the metrics.

    Args:
        planner: A callable from a :class:`~drivetrain.planners.view.ScenarioView` to a trajectory, the name of a
            reference planner (``log_replay``, ``constant_velocity``, ``idm``, ``nuplan_idm``, ...; ``expert`` in the
            training simulator only), or a checkpoint.
        data: A scenario store, its folder, scenarios, or ``auto``: the nuPlan store, else the sample.
        split: Which part of a store: ``train``, ``val`` or ``test``.
        episodes: How many scenarios, drawn by ``seed``; None: all (Gymnasium: 100 episodes).
        traffic: ``replay``, ``idm`` for traffic that reacts, ``idm_aggressive``, ``idm_timid``, or
            ``self_play:CHECKPOINT`` for vehicles that a policy drives.
        seed: Draws the scenarios, and the actions of a policy that samples.
        reference: Also score the reference planners on the same scenarios.
        deterministic: A policy does not draw its actions (see ``ActorCritic.act``).
        temperature: Of a policy that samples.
        device: Where a policy runs.
        dynamics: ``tracker``: nuPlan's closed loop and its ``score``; ``direct``: the training simulator and its
            ``score_basic``; ``auto``: the first where lane graph, speed limits and drivable area are known, but the
            second for policies on generated scenes, as in training.
        processes: How many share the work in nuPlan's closed loop; None: as many as help. A callable is not shared.
        save_trajectories: A ``.npz`` file for what was driven, to be scored by nuPlan's metrics
            (:mod:`drivetrain.trainer.trajectory_file`). Where it cannot be written, the result says why (``unsaved``).
        progress: Called with (finished, all) scenarios.

    Raises:
        DrivetrainError: Planner, checkpoint or data cannot be used; the message says what to do.
    """
    if dynamics not in DYNAMICS:
        raise UsageError(f"dynamics: '{dynamics}' is not one of {', '.join(DYNAMICS)}{nearest(dynamics, DYNAMICS)}")
    if isinstance(planner, str) and planner not in KNOWN_PLANNERS:
        planner = Path(planner)
    loaded = _load(planner) if isinstance(planner, Path) else None
    if loaded is not None and loaded.checkpoint.config["environment"]["name"] == "gymnasium":
        return _evaluate_gymnasium(
            loaded, str(planner), episodes=episodes, deterministic=deterministic, temperature=temperature,
            seed=seed, device=device, save_trajectories=save_trajectories,
        )  # fmt: skip
    traffic = choose_traffic(traffic)
    recorder = _recorder(save_trajectories)
    opened = open_store(data)
    rows = choose_rows(opened, split=split, episodes=episodes, seed=seed)
    if not len(rows):
        raise DataError("data: no scenario to be simulated was given; give at least one")
    if _in_closed_loop(dynamics, planner, opened, rows):
        start: CheckpointPlanner | NamedPlanner | OwnPlanner
        if isinstance(planner, Path):
            assert loaded is not None
            start = CheckpointPlanner(
                loaded=loaded, path=planner, deterministic=deterministic, temperature=temperature, seed=seed,
                device=device,
            )  # fmt: skip
        elif isinstance(planner, str):
            start = NamedPlanner(name=planner)
        else:
            start = OwnPlanner(planner=planner, name=getattr(planner, "__name__", type(planner).__name__))
        result = _evaluate_in_closed_loop(
            start, opened, rows, split=split, traffic=traffic, reference=reference,
            processes=processes, recorder=recorder, progress=progress,
        )  # fmt: skip
        return _saved(result, recorder, save_trajectories)
    scenes = load_scenes(opened, split=split, episodes=episodes, seed=seed)
    if traffic.policy is not None:
        scenes = with_every_route(scenes)
    if isinstance(planner, Path):
        assert loaded is not None
        result = _evaluate_policy(
            loaded, str(planner), scenes, traffic=traffic, seed=seed, reference=reference, recorder=recorder,
            deterministic=deterministic, temperature=temperature, device=device, progress=progress,
        )  # fmt: skip
        return _saved(result, recorder, save_trajectories)
    if isinstance(planner, str) and not reference and recorder is None:
        return reference_rows(scenes, traffic=traffic, names=[planner], progress=progress)[0]
    result = evaluate_planner(planner, scenes, traffic=traffic, seed=seed, recorder=recorder, progress=progress)
    result = _saved(result, recorder, save_trajectories)
    return result.with_reference(reference_rows(scenes, traffic=traffic, progress=progress)) if reference else result


def _in_closed_loop(
    dynamics: str, planner: Planner | str | Path, data: ScenarioStore | Sequence[Scenario], rows: NDArray[np.int64]
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


def _evaluate_in_closed_loop(
    start: NamedPlanner | OwnPlanner | CheckpointPlanner,
    data: ScenarioStore | Sequence[Scenario],
    rows: NDArray[np.int64],
    *,
    split: str,
    traffic: TrafficChoice,
    reference: bool,
    processes: int | None,
    recorder: TrajectoryRecorder | None,
    progress: Progress | None,
) -> EvaluationResult:
    chosen = rows.tolist()
    if isinstance(data, ScenarioStore):
        ids = [f"{token:016x}" for token in data.index["token"][rows].tolist()]
        inputs = {"data": str(data.path), "data_fingerprint": fingerprint_of(data.fingerprint, ids), "split": split}
    else:
        ids = [data[row].scenario_id for row in chosen]
        inputs = {"data": "scenarios", "data_fingerprint": fingerprint_of("", ids), "split": split}
    share = processes_worth(len(chosen)) if processes is None else processes
    if isinstance(start, NamedPlanner) and not reference and recorder is None and isinstance(data, ScenarioStore):
        return closed_loop_reference_rows(
            data, rows=chosen, inputs=inputs, traffic=traffic, names=[start.name], processes=share, progress=progress
        )[0]
    result = evaluate_in_closed_loop(
        start, data, rows=chosen, name=start.name, traffic=traffic, inputs=inputs | start.inputs(),
        processes=1 if isinstance(start, OwnPlanner) else share, recorder=recorder, progress=progress,
    )  # fmt: skip
    if not reference:
        return result
    return result.with_reference(
        closed_loop_reference_rows(
            data, rows=chosen, inputs=inputs, traffic=traffic, processes=share, progress=progress
        )
    )


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
        raise UsageError(
            f"planner: '{path}' is no checkpoint and not one of {', '.join(KNOWN_PLANNERS)}"
            f"{nearest(str(path), KNOWN_PLANNERS)}"
        )
    return load_policy(path)


def _evaluate_gymnasium(
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
    config = from_plain(GymnasiumConfig, loaded.checkpoint.config["environment"])
    count = DEFAULT_GYMNASIUM_EPISODES if episodes is None else episodes
    return evaluate_gymnasium(
        loaded.module.to(device), config, name=name, episodes=count, deterministic=deterministic,
        temperature=temperature, seed=seed, device=device,
    )  # fmt: skip


def _evaluate_policy(
    loaded: LoadedPolicy,
    name: str,
    scenes: EvaluationScenes,
    *,
    traffic: TrafficChoice,
    seed: int,
    reference: bool,
    deterministic: bool,
    temperature: float,
    device: str,
    recorder: TrajectoryRecorder | None,
    progress: Progress | None,
) -> EvaluationResult:
    check_fits(loaded.checkpoint, Path(name), CANONICAL, loaded.checkpoint.action_space)
    driving = from_plain(DrivingConfig, loaded.checkpoint.config["environment"])
    result = evaluate_policy(
        loaded.module.to(device), scenes, name=name, traffic=traffic, deterministic=deterministic,
        temperature=temperature, seed=seed, driving=driving, device=device, recorder=recorder, progress=progress,
    )  # fmt: skip
    result = replace(result, inputs={**result.inputs, "step": loaded.checkpoint.step})
    if not reference:
        return result
    return result.with_reference(reference_rows(scenes, traffic=traffic, driving=driving, progress=progress))
