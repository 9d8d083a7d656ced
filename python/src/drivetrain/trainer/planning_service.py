"""Planning for other simulators: one planner, many drives, questions and answers as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.simulation import StartTeam
from drivetrain.data.nuplan_files import find_map
from drivetrain.data.nuplan_map import read_nuplan_map
from drivetrain.errors import UsageError, nearest
from drivetrain.sim.scenario import Float64, RoadMap, VehicleParameters
from drivetrain.trainer.closed_loop_evaluation import PLANNERS, NamedPlanner
from drivetrain.trainer.outside_drive import Mission, Observation, OutsideDrive

NEED_A_LOG = ("log_replay", "nuplan_log_future")
"""Planners that repeat a log, which nobody has elsewhere."""
OUTSIDE_PLANNERS = tuple(name for name in PLANNERS if name not in NEED_A_LOG)
"""Planners with a name that can plan for other simulators."""


def named_team(name: str) -> StartTeam:
    """Return a planner by its name, for drives that unfold.

    Raises:
        UsageError: There is none, or it needs a log.
    """
    if name not in OUTSIDE_PLANNERS:
        why = "needs a log" if name in NEED_A_LOG else f"is not one of {', '.join(OUTSIDE_PLANNERS)}"
        other = f"; choose one of {', '.join(OUTSIDE_PLANNERS)}" if name in NEED_A_LOG else ""
        raise UsageError(f"planner: '{name}' {why}{other}{nearest(name, OUTSIDE_PLANNERS)}")
    team = NamedPlanner(name=name).team(None)
    assert team is not None
    return team


def policy_team_of(path: Path, *, device: str) -> StartTeam:
    """Return the policy of a checkpoint, for drives that unfold.

    Raises:
        DrivetrainError: It cannot be used, or drives no vehicle.
    """
    # Planners with a name do without torch, which takes seconds to load.
    from drivetrain.trainer.checkpoint import load_policy
    from drivetrain.trainer.closed_loop_policy import CheckpointPlanner

    loaded = load_policy(path)
    if loaded.checkpoint.config["environment"]["name"] == "gymnasium":
        raise UsageError(f"{path}: was trained on a Gymnasium environment and drives no vehicle; give a driving policy")
    start = CheckpointPlanner(loaded=loaded, path=path, deterministic=True, temperature=1.0, seed=0, device=device)
    return start.team(None)


class PlanningService:
    """Drives by their names; maps are read once."""

    def __init__(self, planner: StartTeam) -> None:
        """Serve one planner."""
        self._planner = planner
        self._maps: dict[Path, RoadMap] = {}
        self._drives: dict[str, OutsideDrive] = {}

    def begin(self, words: Mapping[str, Any]) -> None:
        """Take route, goal and map of a new drive.

        Raises:
            DataError: The map is missing or damaged, or has none of the roadblocks.
        """
        path = find_map(Path(words["maps_root"]), words["map"])
        if path not in self._maps:
            self._maps[path] = read_nuplan_map(path, words["map"]).map
        mission = Mission(
            name=words["drive"],
            roadblocks=tuple(words["roadblocks"]),
            goal=None if words["goal"] is None else np.array(words["goal"], dtype=np.float64),
        )
        self._drives[words["drive"]] = OutsideDrive(self._maps[path], mission, self._planner)

    def plan(self, words: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> Float64:
        """Return rear-axle x, y [m] (global), heading [rad] every 0.1 s from now on, shape [K, 3].

        Raises:
            Exception: Whatever the planner raises.
        """
        ego = arrays["ego"]
        seen = Observation(
            time_us=int(words["time_us"]),
            vehicle=VehicleParameters(**words["vehicle"]),
            pose=ego[:3],
            velocity=ego[3:5],
            acceleration=float(ego[5]),
            steering=float(ego[6]),
            tokens=tuple(words["tokens"]),
            type=arrays["type"],
            boxes=arrays["boxes"],
            light_connector=arrays["light_connector"],
            light_state=arrays["light_state"],
        )
        return self._drives[words["drive"]].plan(seen)

    def forget(self, drive: str) -> None:
        """Drop a drive that is over."""
        self._drives.pop(drive, None)
