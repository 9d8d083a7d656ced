"""Names worlds by nuPlan's scenario types."""

from __future__ import annotations

from drivetrain.data.synthetic.world import World

_BY_KIND = {
    "straight": "following_lane_with_lead",
    "curve": "high_lateral_acceleration",
    "ending_lane": "changing_lane",
    "on_ramp": "near_multiple_vehicles",
    "roundabout": "traversing_intersection",
}
_BY_TURN = {"left": "starting_left_turn", "right": "starting_right_turn", "straight": "traversing_intersection"}
_LIGHT_STRAIGHT = "starting_straight_traffic_light_intersection_traversal"
_NEAR_FRAMES = 20


def scenario_types(world: World, frame: int) -> list[str]:
    """Return the types of a world's tags at a frame, without repetition and in order.

    The first source is what the world was drawn to show, the second whatever its log is tagged with within a second.
    nuPlan's rule for a frame with several tags, the alphabetically last, then gives the scenario its type.
    """
    log = world.log
    near = {
        kind
        for at, kind in zip(log.tag_frame.tolist(), log.tag_type, strict=True)
        if kind != world.kind and abs(at - frame) <= _NEAR_FRAMES
    }
    return sorted({_shown(world), *near})


def _shown(world: World) -> str:
    if world.kind in _BY_KIND:
        return _BY_KIND[world.kind]
    turn = world.kind.rsplit("_", 1)[1]
    if turn == "straight" and len(world.log.lights.lane):
        return _LIGHT_STRAIGHT
    return _BY_TURN[turn]
