"""The shipped golden trajectories with the scenes they are scored in, and the reference implementation's values."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from drivetrain.data.nuplan import NuplanDrive, read_nuplan
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene


@dataclass(frozen=True, kw_only=True)
class GoldenCase:
    """One trajectory: what is scored, in which scene, and the reference's values by name."""

    index: int
    scene: ScoringScene
    ego: EgoStates
    expected: dict[str, float]


@cache
def golden_cases(root: Path) -> list[GoldenCase]:
    """All cases of an unpacked golden set, read once."""
    with np.load(root / "oracle_metrics.npz") as file:
        arrays = {key: file[key] for key in file.files}
    drives = [drive for drive in read_nuplan(root, root / "maps") if isinstance(drive, NuplanDrive)]
    times = np.atleast_2d(arrays["timestamps_us"])
    scenes = [_scene(drives, row[row >= 0]) for row in times]
    return list(_cases(arrays, scenes))


def _scene(drives: list[NuplanDrive], times: np.ndarray) -> ScoringScene:
    drive = next(d for d in drives if np.isin(times, d.log.timestamps_us).all())
    frames = np.searchsorted(drive.log.timestamps_us, times)
    return ScoringScene(
        map=drive.map,
        timestamps_us=times,
        expert=drive.log.ego.take(frames),
        agents=drive.log.tracks.window(frames),
    )


def _cases(arrays: dict[str, np.ndarray], scenes: list[ScoringScene]) -> Iterator[GoldenCase]:
    num = len(arrays["ego"])
    scene_of = arrays.get("scenario_index", np.zeros(num, dtype=np.int64))
    lateral = arrays.get("ego_vy_ay", np.zeros((*arrays["ego"].shape[:2], 2)))
    names = [key for key, values in arrays.items() if values.shape == (num,) and values.dtype == np.float64]
    for i, states in enumerate(arrays["ego"]):
        scene = scenes[scene_of[i]]
        shift = np.append(arrays["origin"] - scene.map.origin, 0.0)
        yield GoldenCase(
            index=i,
            scene=scene,
            ego=EgoStates(
                pose=states[:, :3] + shift,
                velocity=np.column_stack([states[:, 3], lateral[i, :, 0]]),
                acceleration=np.column_stack([states[:, 4], lateral[i, :, 1]]),
                yaw_rate=states[:, 5],
                yaw_acceleration=states[:, 6],
            ),
            expected={key: float(arrays[key][i]) for key in names},
        )
