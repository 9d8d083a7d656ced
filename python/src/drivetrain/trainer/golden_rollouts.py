"""The closed-loop rollouts that nuPlan's reference implementation recorded, simulated again from their logs.

T states of a rollout, M agents in it. Three planners drove the golden scenarios in replayed and in reactive traffic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivetrain.closed_loop.idm_planner import idm_planner
from drivetrain.closed_loop.log_future import LoggedDrive, log_future
from drivetrain.closed_loop.reactive_traffic import ReactiveTraffic
from drivetrain.closed_loop.simple_planner import simple_planner
from drivetrain.closed_loop.simulation import FailedRollout, Rollout, one_by_one, simulate
from drivetrain.closed_loop.traffic import LogReplay
from drivetrain.data.nuplan import NuplanDrive, read_nuplan
from drivetrain.metrics.score import score_trajectory
from drivetrain.planners.tracker import wrap
from drivetrain.sim.scenario import Float64, Lights, Scenario


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenRollout:
    """One rollout: what was simulated and what came of it."""

    name: str
    """Scenario (if there are several), planner, traffic."""
    planner: str
    """``simple``, ``idm`` or ``logfuture``."""
    traffic: str
    """``replay`` or ``idm``."""
    scenario: Scenario
    log: LoggedDrive
    ego: np.ndarray
    """x, y (map frame), heading, speed, acceleration, steering, yaw rate, shape [T, 7]."""
    agents: np.ndarray
    """x, y (map frame), heading, speed, type, NaN where absent, shape [T, M, 5]."""
    tokens: np.ndarray
    """Track of each agent, shape [M]."""
    score: float


TOLERANCES = {"ego position": 0.02, "ego heading": 0.002, "agent position": 0.1, "score": 0.01}
"""How far a simulation may be from the recorded one [m, rad, m, -]; the same agents have to be there in every frame."""


def simulate_again(rollouts: Sequence[GoldenRollout]) -> list[Rollout | FailedRollout]:
    """Return what our simulation makes of scenarios, side by side; all have one planner and one kind of traffic."""
    logs = {golden.scenario.scenario_id: golden.log for golden in rollouts}
    planners = {
        "simple": simple_planner,
        "idm": idm_planner,
        "logfuture": log_future(lambda scenario: logs[scenario.scenario_id]),
    }
    return simulate(
        [golden.scenario for golden in rollouts],
        planner=one_by_one(planners[rollouts[0].planner]),
        traffic={"replay": LogReplay, "idm": ReactiveTraffic}[rollouts[0].traffic],
    )


def rollout_errors(golden: GoldenRollout, rollout: Rollout | FailedRollout) -> dict[str, float]:
    """Return the largest errors of a simulation over its 15 s, by the names of :data:`TOLERANCES`.

    Agents that are there too often or not at all are infinitely far away.
    """
    if isinstance(rollout, FailedRollout):
        return dict.fromkeys(TOLERANCES, np.inf)
    pose, score = rollout.ego.pose, score_trajectory(rollout.scene(golden.scenario), rollout.ego).score
    return {
        "ego position": float(np.hypot(*(pose[:, :2] - golden.ego[:, :2]).T).max()),
        "ego heading": float(np.abs(wrap(pose[:, 2] - golden.ego[:, 2])).max()),
        "agent position": _agent_error(golden, rollout),
        "score": np.inf if score is None else abs(score - golden.score),
    }


def rollouts_again(root: Path) -> dict[str, Float64]:
    """Return the errors of all rollouts of an unpacked golden set, by the names of :data:`TOLERANCES`."""
    alike: dict[tuple[str, str], list[GoldenRollout]] = {}
    for golden in golden_rollouts(root):
        alike.setdefault((golden.planner, golden.traffic), []).append(golden)
    errors = [
        rollout_errors(golden, rollout)
        for group in alike.values()
        for golden, rollout in zip(group, simulate_again(group), strict=True)
    ]
    return {name: np.array([error[name] for error in errors]) for name in TOLERANCES}


def _agent_error(golden: GoldenRollout, rollout: Rollout) -> float:
    agents, count = rollout.agents, len(golden.ego)
    column = {int(token): i for i, token in enumerate(agents.token.tolist())}
    columns = [column[token] for token in golden.tokens.tolist()]
    there = agents.valid[:count, columns]
    expected = ~np.isnan(golden.agents[..., 0])
    if (there != expected).any() or agents.valid[:count].sum() != expected.sum():
        return float("inf")
    away = agents.position[:count, columns][expected] - golden.agents[..., :2][expected]
    return float(np.hypot(*away.T).max(initial=0.0))


def golden_rollouts(root: Path) -> list[GoldenRollout]:
    """Return all rollouts of an unpacked golden set.

    Args:
        root: Where the set lies. Its logs are read as they are, without the rounding of a store.
    """
    drives = [drive for drive in read_nuplan(root, root / "maps") if isinstance(drive, NuplanDrive)]
    with np.load(root / "oracle_rollouts.npz") as file:
        arrays = {key: file[key] for key in file.files}
    with np.load(root / "oracle_metrics.npz") as file:
        origin, tokens = file["origin"], file.get("scenario_tokens")
    times = np.atleast_2d(arrays["timestamps_us"])
    scenarios = [
        _scenario(drives, row[row >= 0], None if tokens is None else str(tokens[i])) for i, row in enumerate(times)
    ]
    return list(_rollouts(arrays, scenarios, origin))


def _scenario(drives: list[NuplanDrive], times: np.ndarray, token: str | None) -> tuple[Scenario, LoggedDrive]:
    drive = next(d for d in drives if np.isin(times, d.log.timestamps_us).all())
    log = drive.log
    frames = np.searchsorted(log.timestamps_us, times)
    tag = frames[0] if token is None else int(np.flatnonzero(drive.frame_token == np.uint64(int(token, 16)))[0])
    scene = int(np.searchsorted(log.scene_first_frame, tag, side="right")) - 1
    scenario = Scenario(
        scenario_id=token or "0" * 16,
        scenario_type="",
        log_name=log.name,
        source="nuplan",
        split="val",
        map=drive.map,
        timestamps_us=times,
        ego=log.ego.take(frames),
        agents=log.tracks.window(frames),
        lights=Lights(lane=log.lights.lane, stop_point=log.lights.stop_point, state=log.lights.state[frames]),
        route=log.scene_route[scene],
        goal=log.scene_goal[scene],
        goal_known=bool(log.scene_goal_known[scene]),
        knowledge=log.knowledge,
    )
    return scenario, LoggedDrive(timestamps_us=log.timestamps_us, pose=log.ego.pose)


def _rollouts(
    arrays: dict[str, np.ndarray], scenarios: list[tuple[Scenario, LoggedDrive]], origin: np.ndarray
) -> Iterator[GoldenRollout]:
    for key in arrays:
        if not key.endswith("_ego"):
            continue
        name = key.removesuffix("_ego")
        *place, planner, traffic = name.split("_")
        scenario, log = scenarios[int(place[0][1:]) if place else 0]
        shift = origin - scenario.map.origin
        ego, agents = arrays[key].copy(), arrays[f"{name}_agents"].astype(np.float64)
        ego[:, :2] += shift
        agents[..., :2] += shift
        tokens = arrays[f"{name}_tokens" if f"{name}_tokens" in arrays else "tokens"].tolist()
        yield GoldenRollout(
            name=name,
            planner=planner,
            traffic={"nr": "replay", "idm": "idm"}[traffic],
            scenario=scenario,
            log=log,
            ego=ego,
            agents=agents,
            tokens=np.array([int(token, 16) for token in tokens], dtype=np.uint64),
            score=float(arrays[f"{name}_score"]),
        )
