"""Dense scenes to score: the golden trajectories among about 80 road users per frame.

The golden logs show about eight agents per frame. Agents of other times of the same logs, on the same map, fill the
frames up: they keep to real lanes and sizes, and each drives as it was recorded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from drivetrain.data.golden import unpack
from drivetrain.data.nuplan import NuplanDrive, read_nuplan
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.sim.scenario import AgentTracks, Int64

AGENTS_PER_FRAME = 80
SHIFT_FRAMES = 131
"""How far apart in time the windows lie that fill a scene up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drive:
    """One thing to score."""

    scene: ScoringScene
    ego: EgoStates


@cache
def dense_drives() -> tuple[Drive, ...]:
    """Return the 341 trajectories of the second golden set in six dense scenes."""
    with tempfile.TemporaryDirectory() as folder:
        root = unpack("set2", Path(folder))
        drives = [drive for drive in read_nuplan(root, root / "maps") if isinstance(drive, NuplanDrive)]
        with np.load(root / "oracle_metrics.npz") as file:
            ego, lateral, origin = file["ego"], file["ego_vy_ay"], file["origin"]
            scene_of, times = file["scenario_index"], file["timestamps_us"]
    scenes = [_dense_scene(drives, row[row >= 0]) for row in times]
    return tuple(
        Drive(scene=scenes[scene], ego=_states(ego[i], lateral[i], origin - scenes[scene].map.origin))
        for i, scene in enumerate(scene_of.tolist())
    )


def mean_agents() -> float:
    """Return how many agents a frame of these scenes holds on average."""
    return float(np.mean([drive.scene.agents.valid.sum(axis=1).mean() for drive in dense_drives()]))


def _dense_scene(drives: Sequence[NuplanDrive], times: Int64) -> ScoringScene:
    drive = next(entry for entry in drives if np.isin(times, entry.log.timestamps_us).all())
    frames = np.searchsorted(drive.log.timestamps_us, times)
    windows = [drive.log.tracks.window(frames)]
    shift = 0
    while sum(window.valid.sum() for window in windows) < AGENTS_PER_FRAME * len(times):
        shift += SHIFT_FRAMES
        windows += [
            entry.log.tracks.window(np.sort((frames + shift) % len(entry.log.timestamps_us))) for entry in drives
        ]
    return ScoringScene(
        map=drive.map,
        timestamps_us=times,
        expert=drive.log.ego.take(frames),
        agents=_joined(windows),
    )


def _joined(windows: Sequence[AgentTracks]) -> AgentTracks:
    joined = {
        name: np.concatenate([getattr(window, name) for window in windows], axis=axis)
        for name, axis in (("type", 0), ("size", 0), ("position", 1), ("heading", 1), ("velocity", 1), ("valid", 1))
    }
    return replace(windows[0], token=np.arange(len(joined["type"]), dtype=np.uint64), **joined)


def _states(ego: np.ndarray, lateral: np.ndarray, shift: np.ndarray) -> EgoStates:
    return EgoStates(
        pose=ego[:, :3] + np.append(shift, 0.0),
        velocity=np.column_stack([ego[:, 3], lateral[:, 0]]),
        acceleration=np.column_stack([ego[:, 4], lateral[:, 1]]),
        yaw_rate=ego[:, 5],
        yaw_acceleration=ego[:, 6],
    )
