"""nuPlan's closed-loop score of one driven trajectory, and physically right figures beside it.

score = no at-fault collision * drivable area * making progress * direction
        * (5 progress + 5 time to collision + 4 speed limit + 2 comfort) / 16

A metric that a source does not know enough for is None, with the reason beside it, and then so is the score. What
happens with other road users can hang on the lanes under the ego; without known lanes it is judged for either case,
and counts where both agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from drivetrain.errors import DataError
from drivetrain.metrics.collisions import Collisions, find_collisions
from drivetrain.metrics.comfort import FEWEST_STATES, comfort, physical_comfort
from drivetrain.metrics.drivable_area import leaves_drivable_area
from drivetrain.metrics.driving_direction import (
    direction_score,
    lane_places,
    least_progress,
    least_progress_in_one_second,
)
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.map_index import MapIndex, index_of
from drivetrain.metrics.names import METRICS, MULTIPLIERS, WEIGHTS
from drivetrain.metrics.progress import MAKING_PROGRESS_RATIO, progress_along, progress_ratio, route_legs
from drivetrain.metrics.route import DrivenRoute, centre_objects, driven_route
from drivetrain.metrics.scene import ScoringScene
from drivetrain.metrics.speed_limit import over_speed, speed_limit_score
from drivetrain.metrics.time_to_collision import is_within_bound, physical_time_to_collision, time_to_collision
from drivetrain.sim.scenario import Bool, Float64, Int64, LaneKind, RoadMap

_WITHOUT_AREA = {int(LaneKind.BIKE_LANE)}
"""Kinds of lanes whose areas are not needed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NuplanScore:
    """The verdict on one trajectory."""

    score: float | None
    """0 to 1; None where a metric is unknown."""
    metrics: dict[str, float | None]
    """nuPlan's eight metrics by name, 0 to 1; None where unknown."""
    statistics: dict[str, float]
    """What the metrics rest on: counts, progress [m], times [s], extrema of the comfort signals."""
    physical: dict[str, float | None]
    """Physically right figures where nuPlan's are not, by the same names, and the score with them in place."""
    unknown: dict[str, str]
    """Metric -> why it is None."""


def combined_score(metrics: Mapping[str, float | None]) -> float | None:
    """Return nuPlan's score of eight metrics, None where one of them is unknown."""
    known = {name: value for name in METRICS if (value := metrics[name]) is not None}
    if len(known) < len(METRICS):
        return None
    mean = sum(weight * known[name] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
    return float(np.prod([known[name] for name in MULTIPLIERS])) * mean


def score_trajectory(scene: ScoringScene, ego: EgoStates) -> NuplanScore:
    """Return all closed-loop metrics of a driven trajectory, nuPlan-exact.

    Args:
        scene: Map, times, logged drive and objects, F frames.
        ego: What was driven, T <= F states; state i is at frame i.

    Raises:
        DataError: Scene and trajectory do not fit, or the scene's times or logged drive cannot be used.
    """
    _check(scene, ego)
    found = _Findings()
    index = index_of(scene.map)
    times = scene.timestamps_us[: len(ego)]
    centre, corners = ego.centre, ego.corners
    knowledge = scene.map.knowledge
    route = driven_route(index, centre, corners)
    if knowledge.drivable_area:
        found.set("drivable_area_compliance", float(not leaves_drivable_area(index, corners, route)))
    else:
        found.leave("drivable_area_compliance", "the map has no drivable area")
    missing = missing_for_lanes(scene.map)
    _judge_traffic(found, scene, ego, index, route, missing)
    if missing is None:
        _judge_route(found, scene, index, centre, route)
    else:
        for name in ("driving_direction_compliance", "ego_is_making_progress", "ego_progress_along_expert_route"):
            found.leave(name, f"the map has no {missing}")
    if missing is None and knowledge.speed_limits:
        found.set("speed_limit_compliance", speed_limit_score(over_speed(index, ego.speed, route.centre), times))
    else:
        found.leave("speed_limit_compliance", f"the map has no {missing or 'speed limits'}")
    _judge_comfort(found, ego, times)
    return found.verdict()


def missing_for_lanes(road_map: RoadMap) -> str | None:
    """Return what a map lacks to say which lanes are under a vehicle and how far along them it came; None: nothing."""
    if not road_map.knowledge.lane_graph:
        return "lane graph"
    lanes = road_map.lanes
    if not set(lanes.kind.tolist()) - _WITHOUT_AREA <= set(lanes.kind[lanes.polygon.source_id].tolist()):
        return "lane areas"
    return None if len(road_map.roadblock_id) else "roadblocks"


class _Findings:
    """Metrics, statistics and physical figures as they come in."""

    def __init__(self) -> None:
        self.metrics: dict[str, float | None] = {}
        self.statistics: dict[str, float] = {}
        self.physical: dict[str, float | None] = {}
        self.unknown: dict[str, str] = {}

    def set(self, name: str, value: float) -> None:
        self.metrics[name] = value

    def leave(self, name: str, reason: str) -> None:
        self.metrics[name] = None
        self.unknown[name] = reason

    def verdict(self) -> NuplanScore:
        metrics = {name: self.metrics[name] for name in METRICS}
        physical = self.physical | {"score": combined_score(metrics | self.physical)}
        return NuplanScore(
            score=combined_score(metrics),
            metrics=metrics,
            statistics=self.statistics,
            physical=physical,
            unknown=self.unknown,
        )


def _check(scene: ScoringScene, ego: EgoStates) -> None:
    frames = len(scene.timestamps_us)
    if len(ego) > frames:
        raise DataError(f"trajectory: has {len(ego)} states for a scene of {frames} frames; cut it to {frames}")
    for name, count in (("logged drive", len(scene.expert.pose)), ("track table", len(scene.agents.valid))):
        if count != frames:
            raise DataError(f"scene: the {name} has {count} frames for {frames} timestamps; give as many")
    if (np.diff(scene.timestamps_us) <= 0).any():
        frame = int(np.flatnonzero(np.diff(scene.timestamps_us) <= 0)[0]) + 1
        raise DataError(f"scene: the timestamp of frame {frame} is not later than the one before; sort the frames")
    if not np.isfinite(scene.expert.pose).all():
        frame = int(np.flatnonzero(~np.isfinite(scene.expert.pose).all(axis=1))[0])
        raise DataError(f"scene: the logged pose of frame {frame} is not finite; leave this scene out")


def _judge_traffic(
    found: _Findings, scene: ScoringScene, ego: EgoStates, index: MapIndex, route: DrivenRoute, missing: str | None
) -> None:
    """Judge collisions and time to collision; where something of the lanes is ``missing``, for either case."""
    if missing is None:
        cases = [_traffic_case(scene, ego, route.in_lane, index.intersections.holds(ego.pose[:, :2]))]
    else:
        no = np.zeros(len(ego), dtype=np.bool_)
        cases = [_traffic_case(scene, ego, ~no, no), _traffic_case(scene, ego, no, ~no)]
    first, last = cases[0], cases[-1]
    names = ("no_ego_at_fault_collisions", "time_to_collision_within_bound")
    for name in names:
        if first[name] == last[name]:
            found.set(name, first[name])
        else:
            found.leave(name, f"it depends on the lanes under the ego, and the map has no {missing}")
    found.physical[names[1]] = first["physical_ttc_ok"] if first["physical_ttc_ok"] == last["physical_ttc_ok"] else None
    found.statistics |= {
        name: value for name, value in first.items() if value == last[name] and name not in {*names, "physical_ttc_ok"}
    }


def _traffic_case(
    scene: ScoringScene, ego: EgoStates, in_lane: Bool, rear_axle_in_intersection: Bool
) -> dict[str, float]:
    collisions: Collisions = find_collisions(ego, scene.agents, in_lane)
    times, physical = (
        measure(
            ego,
            scene.agents,
            collisions=collisions,
            in_lane=in_lane,
            rear_axle_in_intersection=rear_axle_in_intersection,
        )
        for measure in (time_to_collision, physical_time_to_collision)
    )
    return {
        "no_ego_at_fault_collisions": collisions.score,
        "time_to_collision_within_bound": float(is_within_bound(times)),
        "physical_ttc_ok": float(is_within_bound(physical)),
        "min_ttc_s": float(times.min()),
        **collisions.statistics(),
    }


def _judge_route(found: _Findings, scene: ScoringScene, index: MapIndex, centre: Float64, route: DrivenRoute) -> None:
    """Judge what rests on the lane graph: direction and progress."""
    times = scene.timestamps_us[: len(centre)]
    places = lane_places(index, centre, route.centre)
    least = least_progress(index, places, route.centre, times)
    least_physical = least_progress_in_one_second(index, centre, places, route.centre, times)
    found.set("driving_direction_compliance", direction_score(-least))
    found.physical["driving_direction_compliance"] = direction_score(-least_physical)
    expert = EgoStates.of_log(scene.expert).centre
    legs = route_legs(index, centre_objects(index, expert, index.hits(expert)))
    if legs:
        expert_steps = progress_along(index, legs, expert)
        ego_m = float(progress_along(index, legs, centre).sum())
        expert_m, expert_same_frames_m = float(expert_steps.sum()), float(expert_steps[: len(centre)].sum())
        ratio, ratio_same_frames = progress_ratio(ego_m, expert_m), progress_ratio(ego_m, expert_same_frames_m)
        found.statistics |= {"expert_progress_m": expert_m, "ego_progress_m": ego_m}
    else:  # the logged drive is on no lane, for example in a car park
        ratio = ratio_same_frames = 1.0
        found.statistics["expert_progress_m"] = 0.0
    for figures, value in ((found.metrics, ratio), (found.physical, ratio_same_frames)):
        figures["ego_progress_along_expert_route"] = value
        figures["ego_is_making_progress"] = float(value >= MAKING_PROGRESS_RATIO)
    found.statistics |= {
        "min_progress_1s_m": least,
        "frames_single_lane": float(route.in_lane.sum()),
        "n_lane_changes": float(route.num_lane_changes),
        "points_in_several_lanes": float(route.points_in_several_lanes),
    }


def _judge_comfort(found: _Findings, ego: EgoStates, times: Int64) -> None:
    judged, physical = comfort(ego, times), physical_comfort(ego, times)
    if judged is None:
        found.leave("ego_is_comfortable", f"it needs at least {FEWEST_STATES} states, the trajectory has {len(ego)}")
    else:
        found.set("ego_is_comfortable", float(judged.comfortable))
        found.statistics |= judged.statistics()
    found.physical["ego_is_comfortable"] = None if physical is None else float(physical.comfortable)
