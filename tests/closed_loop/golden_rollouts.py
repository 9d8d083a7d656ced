"""The shipped closed-loop rollouts of the reference implementation, with the scenarios they were simulated in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivetrain.closed_loop.log_future import LoggedDrive
from drivetrain.data.nuplan import NuplanDrive, read_nuplan
from drivetrain.sim.scenario import EgoTrack, Lights, Scenario


@dataclass(frozen=True, kw_only=True)
class GoldenRollout:
    """One rollout: what was simulated and what came of it."""

    name: str
    planner: str
    traffic: str
    scenario: Scenario
    log: LoggedDrive
    ego: np.ndarray
    """x, y (map frame), heading, speed, acceleration, steering, yaw rate, shape [T, 7]."""
    agents: np.ndarray
    """x, y (map frame), heading, speed, type, NaN where absent, shape [T, M, 5]."""
    tokens: np.ndarray
    """Track of each agent, shape [M]."""
    score: float


def golden_rollouts(root: Path) -> list[GoldenRollout]:
    """All rollouts of an unpacked golden set."""
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
        ego=EgoTrack(
            pose=log.ego.pose[frames],
            velocity=log.ego.velocity[frames],
            acceleration=log.ego.acceleration[frames],
            yaw_rate=log.ego.yaw_rate[frames],
        ),
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
        yield GoldenRollout(
            name=name,
            planner=planner,
            traffic={"nr": "replay", "idm": "idm"}[traffic],
            scenario=scenario,
            log=log,
            ego=ego,
            agents=agents,
            tokens=np.array([int(t, 16) for t in arrays.get(f"{name}_tokens", arrays.get("tokens"))], dtype=np.uint64),
            score=float(arrays[f"{name}_score"]),
        )
