"""Unity's demonstration files (``.demo``): what agents saw and did, record by record.

M records, D observation values, A continuous actions, B discrete branches, K choices of all branches together.

A file is a DemonstrationMeta with its length before it, zeros up to byte 33, then, each with its length before it, one
BrainParameters and as many AgentInfoActionPairs as the meta says. A record holds what an agent saw and then did; the
reward is that of the action before. An episode ends with a record whose agent is done.

Source: Unity ML-Agents 1.1.0 (Apache-2.0), ``mlagents.trainers.demo_loader``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from drivetrain.errors import DataError
from drivetrain.mlagents import messages
from drivetrain.mlagents.player import Behavior, ObservationSpec
from drivetrain.mlagents.wire import varint_bytes

START = 33
"""Place of what follows the meta."""
API_VERSION = 1
_SCALE_MARK = "-x3"
"""End of the name of a file whose continuous actions are multiplied by ``POLICY_SCALE``."""
POLICY_SCALE = 3.0
"""ML-Agents clones the raw output of its policy, of which its environment gets a third: a demonstration in [-1, 1]
would teach a third of the action."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoRecords:
    """The records of a file in their order."""

    behavior: Behavior
    """Who acts: name, observations, actions."""
    observation: NDArray[np.float32]
    """All observations, one behind the other, shape [M, D]."""
    continuous: NDArray[np.float32]
    """What was done, in [-1, 1], shape [M, A]."""
    discrete: NDArray[np.int64]
    """The choice in each branch, shape [M, B]."""
    forbidden: NDArray[np.bool_]
    """True where a choice was forbidden, shape [M, K]."""
    reward: NDArray[np.float32]
    """Since the record before, shape [M]."""
    done: NDArray[np.bool_]
    """The last record of an episode: its action is not taken any more, shape [M]."""
    cut_off: NDArray[np.bool_]
    """The episode ended by its time limit, shape [M]."""


def _delimited(message: Any) -> bytes:
    data = message.SerializeToString()
    return varint_bytes(len(data)) + data


def demo_bytes(records: DemoRecords, *, name: str, is_scaled: bool) -> Iterator[bytes]:
    """Yield the pieces of a file.

    Args:
        records: What is written.
        name: Of the demonstration, a short word: the meta has 33 bytes.
        is_scaled: Multiply continuous actions by ``POLICY_SCALE``, for ML-Agents' own cloning; the name says so.
    """
    behavior, count = records.behavior, len(records.done)
    ends = np.flatnonzero(records.done)
    mean = float(records.reward[: ends[-1] + 1].sum() / len(ends)) if len(ends) else 0.0
    label = name + (_SCALE_MARK if is_scaled else "")
    meta = messages.DemonstrationMeta(
        api_version=API_VERSION,
        demonstration_name=label,
        number_steps=count,
        number_episodes=len(ends),
        mean_reward=mean,
    )
    head = _delimited(meta)
    assert len(head) <= START
    yield head.ljust(START, b"\0")
    brain = messages.BrainParameters(brain_name=behavior.short_name, is_training=True)
    brain.action_spec.num_continuous_actions = behavior.num_continuous
    brain.action_spec.num_discrete_actions = len(behavior.branches)
    brain.action_spec.discrete_branch_sizes.extend(behavior.branches)
    yield _delimited(brain)
    factor = POLICY_SCALE if is_scaled else 1.0
    for i in range(count):
        yield _delimited(_pair(records, i, factor))


def _pair(records: DemoRecords, i: int, factor: float) -> Any:
    pair = messages.AgentInfoActionPair()
    info = pair.agent_info
    info.reward, info.done, info.max_step_reached = records.reward[i], records.done[i], records.cut_off[i]
    info.action_mask.extend(records.forbidden[i].tolist())
    at = 0
    for spec in records.behavior.observations:
        size = int(np.prod(spec.shape))
        observation = info.observations.add(name=spec.name, shape=spec.shape, dimension_properties=[1])
        observation.float_data.data.extend(records.observation[i, at : at + size].tolist())
        at += size
    pair.action_info.continuous_actions.extend((records.continuous[i] * factor).tolist())
    pair.action_info.discrete_actions.extend(records.discrete[i].tolist())
    return pair


def read_demo(path: Path) -> DemoRecords:
    """Return the records of a file; continuous actions that were multiplied for ML-Agents are divided again.

    Raises:
        DataError: It cannot be read, is damaged, or holds pictures.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read ({error.strerror}); name a .demo file") from error
    try:
        meta, _ = _message(data, 0, messages.DemonstrationMeta)
        brain, at = _message(data, START, messages.BrainParameters)
        pairs = []
        while at < len(data) and len(pairs) < meta.number_steps:
            pair, at = _message(data, at, messages.AgentInfoActionPair)
            pairs.append(pair)
    except (IndexError, DecodeError) as error:
        raise DataError(f"{path}: is no demonstration of ML-Agents, or damaged") from error
    if meta.api_version not in (0, API_VERSION):
        raise DataError(f"{path}: is of version {meta.api_version}; versions 0 and 1 can be read")
    if not pairs or len(pairs) < meta.number_steps:
        raise DataError(f"{path}: holds {len(pairs)} records of {meta.number_steps}; record it again")
    return _records(path, meta, brain, pairs)


def _message(data: bytes, at: int, kind: Any) -> tuple[Any, int]:
    size = shift = 0
    while True:
        byte = data[at]
        size |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            break
    if at + size > len(data):
        raise IndexError
    return kind.FromString(data[at : at + size]), at + size


def _records(path: Path, meta: Any, brain: Any, pairs: Sequence[Any]) -> DemoRecords:
    first = pairs[0].agent_info.observations
    for observation in first:
        if observation.compression_type or len(observation.shape) != 1:
            shape = " x ".join(map(str, observation.shape))
            raise DataError(
                f"{path}: observation '{observation.name}' ({shape}) is no vector; only vectors can be used"
            )
    specs = tuple(
        ObservationSpec(name=o.name or f"obs_{i}", shape=tuple(o.shape), is_picture=False) for i, o in enumerate(first)
    )
    action = brain.action_spec
    behavior = Behavior(
        name=brain.brain_name,
        observations=specs,
        num_continuous=action.num_continuous_actions,
        branches=tuple(action.discrete_branch_sizes),
    )
    factor = POLICY_SCALE if meta.demonstration_name.endswith(_SCALE_MARK) else 1.0
    num_choices, count = sum(behavior.branches), len(pairs)
    masks = [list(p.agent_info.action_mask) or [False] * num_choices for p in pairs]
    try:
        return DemoRecords(
            behavior=behavior,
            observation=np.array(
                [[x for o in p.agent_info.observations for x in o.float_data.data] for p in pairs], np.float32
            ).reshape(count, sum(spec.shape[0] for spec in specs)),
            continuous=np.array([list(p.action_info.continuous_actions) for p in pairs], np.float32).reshape(
                count, behavior.num_continuous
            )
            / np.float32(factor),
            discrete=np.array([list(p.action_info.discrete_actions) for p in pairs], np.int64).reshape(
                count, len(behavior.branches)
            ),
            forbidden=np.array(masks, np.bool_).reshape(count, num_choices),
            reward=np.array([p.agent_info.reward + p.agent_info.group_reward for p in pairs], np.float32),
            done=np.array([p.agent_info.done for p in pairs], np.bool_),
            cut_off=np.array([p.agent_info.max_step_reached for p in pairs], np.bool_),
        )
    except ValueError as error:
        raise DataError(f"{path}: its records do not all have the shape of the first; record it again") from error
