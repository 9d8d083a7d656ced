"""Unity's demonstration files as demonstrations, and ours as records of such a file.

M transitions, E episodes, D observation values, A continuous actions.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivetrain.algorithms.player_rows import ActionCode
from drivetrain.data.demonstrations import Demonstrations
from drivetrain.errors import DataError, nearest
from drivetrain.mlagents.demo_file import DemoRecords, read_demo
from drivetrain.mlagents.player import Behavior, ObservationSpec
from drivetrain.sim.kernel_cache import source_hash
from drivetrain.sim.observation import ObservationSchema, decode


def demo_files(path: Path) -> list[Path]:
    """Return a file, or those of a folder.

    Raises:
        DataError: There is none.
    """
    files = sorted(path.glob("*.demo")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        others = [file.name for file in path.parent.glob("*.demo")] if path.parent.is_dir() else []
        raise DataError(f"demonstrations.path: there is no .demo file {path}{nearest(path.name, others)}")
    return files


def inputs_of(path: Path) -> dict[str, Any]:
    """Return everything that the demonstrations depend on.

    Raises:
        DataError: There is no such file.
    """
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in demo_files(path)]
    return {"expert": "demo", "files": digests, "sources": [source_hash(__file__)]}


def read_demonstrations(path: Path, *, inputs: dict[str, Any]) -> Demonstrations:
    """Return the transitions of a file or of all files of a folder.

    An episode that the file does not end is cut off before its last record, whose outcome nobody knows.

    Args:
        path: A ``.demo`` file, or a folder of them.
        inputs: From :func:`inputs_of`.

    Raises:
        DataError: A file cannot be used, or they are of different behaviors.
    """
    files = demo_files(path)
    all_records = [read_demo(file) for file in files]
    first = all_records[0].behavior
    for file, records in zip(files, all_records, strict=True):
        same = (records.behavior.observations, records.behavior.num_continuous, records.behavior.branches)
        if same != (first.observations, first.num_continuous, first.branches):
            raise DataError(f"{file}: sees or does something else than {files[0]}; use files of one behavior")
    code = ActionCode.of(first)
    starts, terminated, finals = [0], [], []
    observation, action_index, action = [], [], []
    for records in all_records:
        rows = _columns(records, code)
        begin = 0
        ends = np.flatnonzero(records.done)
        if not records.done[-1]:
            ends = np.append(ends, len(rows) - 1)
        for end in ends.tolist():
            if end > begin:
                observation.append(rows[begin:end])
                action.append(np.clip(records.continuous[begin:end], -1.0, 1.0))
                action_index.append(_categories(records.discrete[begin:end], code))
                starts.append(starts[-1] + end - begin)
                terminated.append(bool(records.done[end] and not records.cut_off[end]))
                finals.append(rows[end])
            begin = end + 1
    if not finals:
        raise DataError(f"{path}: holds no episode of two records; record longer ones")
    episodes = len(finals)
    return Demonstrations(
        observation=np.concatenate(observation),
        action_index=np.concatenate(action_index) if code.branches else np.zeros(0, np.int16),
        action=np.concatenate(action),
        pose=np.zeros((0, 3), np.float32),
        episode_start=np.array(starts, np.int64),
        terminated=np.array(terminated, np.bool_),
        final_observation=np.stack(finals),
        displaced=np.zeros(episodes, np.bool_),
        group=np.arange(episodes, dtype=np.int32),
        inputs=inputs,
    )


def _columns(records: DemoRecords, code: ActionCode) -> NDArray[np.float32]:
    """Return observation rows as the environment gives them: what is forbidden comes last."""
    if not code.branches:
        return records.observation
    return np.concatenate([records.observation, code.forbidden_categories(records.forbidden)], axis=1)


def _categories(discrete: NDArray[np.int64], code: ActionCode) -> NDArray[np.int16]:
    if not code.branches:
        return np.zeros(0, np.int16)
    return np.asarray(np.ravel_multi_index(tuple(discrete.T), code.branches, mode="clip"), np.int16)


def records_of(demonstrations: Demonstrations, schema: ObservationSchema, *, behavior: str) -> DemoRecords:
    """Return demonstrations of continuous actions as the records of a file; rewards are not known and are 0.

    The record that ends an episode repeats its last action, as Unity's recorder does.

    Args:
        demonstrations: With their actions as vectors.
        schema: What their observations are made of: a group becomes a sensor.
        behavior: Name of the behavior that is shown.
    """
    e, starts = demonstrations.num_episodes, demonstrations.episode_start
    ends = starts[1:] + np.arange(1, e + 1) - 1
    count = len(demonstrations) + e
    is_last = np.zeros(count, np.bool_)
    is_last[ends] = True
    observation = np.empty((count, schema.size), np.float32)
    observation[~is_last] = decode(np.asarray(demonstrations.observation))
    observation[is_last] = decode(np.asarray(demonstrations.final_observation))
    continuous = np.empty((count, demonstrations.action.shape[1]), np.float32)
    continuous[~is_last] = demonstrations.action
    continuous[is_last] = demonstrations.action[starts[1:] - 1]
    cut_off = np.zeros(count, np.bool_)
    cut_off[ends] = ~demonstrations.terminated
    sensors = tuple(ObservationSpec(name=g.name, shape=(g.size,), is_picture=False) for g in schema.groups)
    return DemoRecords(
        behavior=Behavior(name=behavior, observations=sensors, num_continuous=continuous.shape[1], branches=()),
        observation=observation,
        continuous=continuous,
        discrete=np.zeros((count, 0), np.int64),
        forbidden=np.zeros((count, 0), np.bool_),
        reward=np.zeros(count, np.float32),
        done=is_last,
        cut_off=cut_off,
    )
