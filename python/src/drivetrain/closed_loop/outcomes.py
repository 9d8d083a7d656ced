"""What nuPlan's metrics do not say of a drive: whether it ran a red light, whether it got as far as the log.

T states, K lights.
"""

from __future__ import annotations

import numpy as np

from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.score import NuplanScore
from drivetrain.sim.scenario import LightState, Scenario
from drivetrain.sim.scene_bank import GOAL_SLACK

_HALF_LANE_M = 2.0
"""How far beside the middle of its lane a stop line is crossed."""
_TOGETHER = 10
"""Lines crossed within so many frames belong to one approach."""
_MIN_GOAL_M = 5.0
"""Where the log goes less far there is no goal."""


def runs_red_light(scenario: Scenario, ego: EgoStates) -> bool | None:
    """Return whether the front bumper crosses a stop line while its light is red; None where no lights are known."""
    return bool(red_light_frames(scenario, ego)) if scenario.knowledge.traffic_lights else None


def red_light_frames(scenario: Scenario, ego: EgoStates) -> list[int]:
    """Return the frames in which the front bumper has just crossed a stop line while its light is red.

    Several connectors may begin behind one line. It counts as run only if all lights there were red: which of the
    connectors is taken may not be decided yet.
    """
    lights, lanes, count = scenario.lights, scenario.map.lanes, len(ego)
    starts = [lanes.baseline[row][:2] for row in lights.lane.tolist()]
    if not starts:
        return []
    along = np.array([end - start for start, end in starts])
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    ahead = np.column_stack([np.cos(ego.heading), np.sin(ego.heading)])
    front = ego.centre + 0.5 * ego.vehicle.length * ahead
    offset = front[:, None] - lights.stop_point
    past = (offset * along).sum(axis=2)
    beside = np.abs(offset[..., 0] * along[:, 1] - offset[..., 1] * along[:, 0])
    crossed = (past[:-1] < 0.0) & (past[1:] >= 0.0) & (beside[1:] < _HALF_LANE_M) & (ahead[1:] @ along.T > 0.0)
    frames, columns = np.nonzero(crossed)
    red = lights.state[1:count][frames, columns] == LightState.RED
    return [int(frame) + 1 for frame in np.unique(frames) if red[np.abs(frames - frame) <= _TOGETHER].all()]


def reaches_goal(verdict: NuplanScore) -> bool | None:
    """Return whether a drive got as far along the log's route as the log in the same frames; None where unknown."""
    ratio = verdict.physical.get("ego_progress_along_expert_route")
    expert, ego = (verdict.statistics.get(f"{who}_progress_m") for who in ("expert", "ego"))
    if ratio is None or expert is None or ego is None:
        return None
    if expert < _MIN_GOAL_M:
        return False
    return ratio >= 1.0 or (ratio > 0.0 and max(ego, 2.0) / ratio - ego <= GOAL_SLACK)
