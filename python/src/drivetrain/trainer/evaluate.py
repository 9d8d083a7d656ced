"""``evaluate``: the one entry for people, the command line and scripts, whatever is to be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from drivetrain.algorithms.gymnasium_environment import GymnasiumConfig
from drivetrain.config import from_plain
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.errors import UsageError, nearest
from drivetrain.planners.trajectory import Planner
from drivetrain.run_record import project_root
from drivetrain.sim.env import DrivingConfig
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scenario import Scenario
from drivetrain.trainer.checkpoint import check_fits, load_policy
from drivetrain.trainer.data_choice import choose_data
from drivetrain.trainer.evaluation import (
    REFERENCE_PLANNERS,
    Progress,
    evaluate_gymnasium,
    evaluate_planner,
    evaluate_policy,
    load_scenes,
)
from drivetrain.trainer.evaluation_result import EvaluationResult
from drivetrain.trainer.reference_rows import reference_rows
from drivetrain.trainer.trajectory_recorder import TrajectoryRecorder

Data = str | Path | ScenarioStore | Sequence[Scenario]
DEFAULT_GYMNASIUM_EPISODES = 100


def evaluate(
    planner: Planner | str | Path,
    data: Data = "auto",
    *,
    split: str = "val",
    episodes: int | None = None,
    traffic: str = "replay",
    seed: int = 0,
    reference: bool = False,
    deterministic: bool = True,
    temperature: float = 1.0,
    device: str = "cpu",
    save_trajectories: str | Path | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Drive every scenario once in closed loop and return the metrics.

    Args:
        planner: A callable from a :class:`~drivetrain.planners.view.ScenarioView` to a trajectory, the name of a
            reference planner (``log_replay``, ``constant_velocity``, ``idm``, ``expert``), or a checkpoint.
        data: A scenario store, its folder, scenarios, or ``auto``: the nuPlan store, else the sample.
        split: Which part of a store: ``train``, ``val`` or ``test``.
        episodes: How many scenarios, drawn by ``seed``; None: all (Gymnasium: 100 episodes).
        traffic: ``replay``, or ``idm`` for traffic that reacts.
        seed: Draws the scenarios, and the actions of a policy that samples.
        reference: Also score the reference planners on the same scenarios.
        deterministic: A policy does not draw its actions (see ``ActorCritic.act``).
        temperature: Of a policy that samples.
        device: Where a policy runs.
        save_trajectories: A ``.npz`` file for what was driven, to be scored by nuPlan's metrics
            (:mod:`drivetrain.trainer.trajectory_file`).
        progress: Called with (finished, all) scenarios.

    Raises:
        DrivetrainError: Planner, checkpoint or data cannot be used; the message says what to do.
    """
    if isinstance(planner, Path) or (isinstance(planner, str) and planner not in REFERENCE_PLANNERS):
        return _evaluate_checkpoint(
            Path(planner), data, split=split, episodes=episodes, traffic=traffic, seed=seed, reference=reference,
            deterministic=deterministic, temperature=temperature, device=device, save_trajectories=save_trajectories,
            progress=progress,
        )  # fmt: skip
    recorder = _recorder(save_trajectories)
    scenes = load_scenes(open_store(data), split=split, episodes=episodes, seed=seed)
    if isinstance(planner, str) and not reference and recorder is None:
        return reference_rows(scenes, traffic=traffic, names=[planner], progress=progress)[0]
    result = evaluate_planner(planner, scenes, traffic=traffic, seed=seed, recorder=recorder, progress=progress)
    _save(recorder, save_trajectories)
    return result.with_reference(reference_rows(scenes, traffic=traffic, progress=progress)) if reference else result


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


def _save(recorder: TrajectoryRecorder | None, path: str | Path | None) -> None:
    if recorder is not None and path is not None:
        recorder.write(Path(path))


def _silent(message: str) -> None:
    """Say nothing: long work shows its own progress."""


def _evaluate_checkpoint(
    path: Path,
    data: Data,
    *,
    split: str,
    episodes: int | None,
    traffic: str,
    seed: int,
    reference: bool,
    deterministic: bool,
    temperature: float,
    device: str,
    save_trajectories: str | Path | None,
    progress: Progress | None,
) -> EvaluationResult:
    if not path.exists() and path.suffix != ".pt":
        raise UsageError(
            f"planner: '{path}' is no checkpoint and not one of {', '.join(REFERENCE_PLANNERS)}"
            f"{nearest(str(path), REFERENCE_PLANNERS)}"
        )
    loaded = load_policy(path)
    environment: dict[str, Any] = loaded.checkpoint.config["environment"]
    policy = loaded.module.to(device)
    if environment["name"] == "gymnasium":
        if save_trajectories is not None:
            raise UsageError(f"save_trajectories: {path} drives no vehicle; leave the option out")
        count = DEFAULT_GYMNASIUM_EPISODES if episodes is None else episodes
        config = from_plain(GymnasiumConfig, environment)
        return evaluate_gymnasium(
            policy, config, name=str(path), episodes=count, deterministic=deterministic, temperature=temperature,
            seed=seed, device=device,
        )  # fmt: skip
    check_fits(loaded.checkpoint, path, CANONICAL, loaded.checkpoint.action_space)
    recorder = _recorder(save_trajectories)
    driving = from_plain(DrivingConfig, environment)
    scenes = load_scenes(open_store(data), split=split, episodes=episodes, seed=seed)
    result = evaluate_policy(
        policy, scenes, name=str(path), traffic=traffic, deterministic=deterministic, temperature=temperature,
        seed=seed, driving=driving, device=device, recorder=recorder, progress=progress,
    )  # fmt: skip
    _save(recorder, save_trajectories)
    result = replace(result, inputs={**result.inputs, "step": loaded.checkpoint.step})
    if not reference:
        return result
    return result.with_reference(reference_rows(scenes, traffic=traffic, driving=driving, progress=progress))
