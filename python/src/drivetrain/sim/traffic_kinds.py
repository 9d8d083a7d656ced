"""What everybody else may do: the names of traffic, and the drivers of traffic that reacts.

G slots of all scenes together, V vehicles of one scenario.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import UsageError, nearest
from drivetrain.sim.scene_arrays import SceneArrays

Range = tuple[float, float]


class DriverRanges(NamedTuple):
    """Between which bounds the parameters of the Intelligent Driver Model are drawn for each vehicle, evenly."""

    headway: Range
    """[s]."""
    min_gap: Range
    """[m]."""
    max_acceleration: Range
    """[m/s^2]."""
    max_deceleration: Range
    """Comfortable braking [m/s^2]."""
    speed_factor: Range
    """Times the speed that the vehicle would like to drive otherwise."""


REPLAY, SELF_PLAY = "replay", "self_play"
# The ranges are a choice on both sides of nuPlan's constants, not a fit to data. On what calibrations of the model to
# single drives find: Kesting and Treiber, arXiv 0803.4063; Treiber and Kesting, arXiv 1403.4990.
REACTING: dict[str, DriverRanges] = {
    "idm": DriverRanges(
        headway=(1.5, 1.5),
        min_gap=(1.0, 1.0),
        max_acceleration=(1.0, 1.0),
        max_deceleration=(2.0, 2.0),
        speed_factor=(1.0, 1.0),
    ),
    "idm_aggressive": DriverRanges(
        headway=(0.6, 1.1),
        min_gap=(0.5, 1.0),
        max_acceleration=(1.5, 2.5),
        max_deceleration=(2.5, 4.0),
        speed_factor=(1.05, 1.3),
    ),
    "idm_timid": DriverRanges(
        headway=(1.9, 2.7),
        min_gap=(2.0, 4.0),
        max_acceleration=(0.5, 0.9),
        max_deceleration=(1.0, 1.6),
        speed_factor=(0.7, 0.95),
    ),
}
"""Traffic that reacts; ``idm`` has nuPlan's constants and is drawn from ranges of no width."""
KINDS = (REPLAY, *REACTING)
"""All kinds of traffic that need nothing but their name; ``self_play:CHECKPOINT`` also needs a policy."""
CHOICES = (*KINDS, f"{SELF_PLAY}:CHECKPOINT")
"""As people may name them."""
GROUPS = {"both": ("replay", "idm"), "panel": KINDS}
"""Names for several at once."""


def kind_of(name: str) -> tuple[str, str]:
    """Return the kind of a traffic and the checkpoint that drives it (empty: none does).

    Raises:
        UsageError: There is no such traffic, or self-play lacks its checkpoint.
    """
    kind, colon, checkpoint = name.partition(":")
    if kind == SELF_PLAY:
        if not checkpoint:
            raise UsageError(f"traffic: '{name}' lacks the checkpoint that drives; write {SELF_PLAY}:CHECKPOINT")
        return kind, checkpoint
    if colon or name not in KINDS:
        raise UsageError(f"traffic: '{name}' is not one of {', '.join(CHOICES)}{nearest(name, CHOICES)}")
    return kind, ""


def listed(text: str) -> tuple[str, ...]:
    """Return the traffic that ``NAME[,NAME...]`` stands for, groups spelled out, each once.

    Raises:
        UsageError: One of the names is unknown; the valid ones are listed.
    """
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        known = GROUPS.get(part)
        if known is None and ":" not in part and part not in (*KINDS, SELF_PLAY):
            valid = (*CHOICES, *GROUPS)
            raise UsageError(f"traffic: '{part}' is not one of {', '.join(valid)}{nearest(part, valid)}")
        names += [part] if known is None else known
    for name in names:
        kind_of(name)
    return tuple(dict.fromkeys(names))


def labels(names: Sequence[str]) -> tuple[str, ...]:
    """Return short names of several kinds of traffic, for metrics: without the paths of checkpoints, all different."""
    seen: Counter[str] = Counter()
    short: list[str] = []
    for name in names:
        kind = name.partition(":")[0]
        seen[kind] += 1
        short.append(kind if seen[kind] == 1 else f"{kind}_{seen[kind]}")
    return tuple(short)


def draw_drivers(kind: str, scenario_id: str, tokens: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the drivers of vehicles, columns as in :class:`DriverRanges`, shape [V, 5].

    A vehicle's driver depends on the scenario, its track and the kind only: neither on who else is there nor on
    the engine, the number of processes or how often it is drawn.

    Args:
        kind: One of :data:`REACTING`.
        scenario_id: The scenario's.
        tokens: The source's track ids, shape [V].
    """
    key = int.from_bytes(hashlib.sha256(scenario_id.encode()).digest()[:8], "little")
    columns = []
    for number, (low, high) in enumerate(REACTING[kind]):
        bits = _mixed(_mixed(tokens.astype(np.uint64) ^ np.uint64(key)) + np.uint64(number))
        share = (bits >> np.uint64(11)).astype(np.float64) / 2.0**53
        columns.append(low + (high - low) * share)
    return np.stack(columns, axis=1)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits. Source: splitmix64, Steele, Lea and Flood 2014."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def with_drivers(
    arrays: SceneArrays, scenario_ids: Sequence[str], tokens: NDArray[np.uint64], kind: str
) -> SceneArrays:
    """Return scenes whose reactive vehicles are driven by drivers of a kind.

    Args:
        arrays: The scenes, with plain drivers.
        scenario_ids: Of the scenes.
        tokens: The source's track id of every slot, shape [G].
        kind: One of :data:`REACTING`.
    """
    ends = arrays.slot_start + arrays.num_slots
    drivers = np.concatenate(
        [
            draw_drivers(kind, scenario_id, tokens[first:end])
            for scenario_id, first, end in zip(scenario_ids, arrays.slot_start, ends, strict=True)
        ]
    )
    return arrays._replace(
        driver=np.ascontiguousarray(drivers[:, :4]),
        desired_speed=(arrays.desired_speed * drivers[:, 4]).astype(np.float32),
    )
