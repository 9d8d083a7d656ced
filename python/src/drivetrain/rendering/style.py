"""Colours and sizes of all pictures: Okabe and Ito's palette, which colour-blind readers can tell apart.

Source: Okabe, Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/.
"""

from __future__ import annotations

from drivetrain.sim.scenario import AgentType, LightState

BLUE = "#0072B2"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
ORANGE = "#E69F00"
VERMILLION = "#D55E00"
PURPLE = "#CC79A7"

INK = "#222222"
FAINT_INK = "#666666"
GROUND = "#EEF0EA"
"""What is not road."""
ROAD = "#FFFFFF"
ROAD_EDGE = "#8C8C8C"
LANE_CENTER = "#C9CCD1"
CROSSWALK = "#DDE1E6"
ROUTE = "#BFDDF0"

EGO = BLUE
VEHICLE = "#6E6E6E"
PARKED = "#C4C4C4"
PEDESTRIAN = PURPLE
CYCLIST = ORANGE
OBJECT = "#A08C6A"

TRAIL = BLUE
EVENT = VERMILLION

LIGHT_COLORS = {
    LightState.GREEN: GREEN,
    LightState.YELLOW: "#E0B400",
    LightState.RED: VERMILLION,
    LightState.UNKNOWN: "#9A9A9A",
}
LIGHT_WIDTHS = {LightState.GREEN: 2.0, LightState.YELLOW: 3.0, LightState.RED: 4.0, LightState.UNKNOWN: 1.5}
"""Line widths [pt]: the more a light forbids, the thicker its bar, so that colour is not the only sign."""

SIGNAL_COLORS = (EGO, VEHICLE, PARKED, PEDESTRIAN, CYCLIST, EVENT, *LIGHT_COLORS.values())
"""Colours that mean something and must survive a small palette."""

EVENT_NAMES = {
    "collision_at_fault": "COLLISION, AT FAULT",
    "collision": "COLLISION",
    "offroad": "OFF ROAD",
    "red_light": "RAN A RED LIGHT",
    "goal": "goal reached",
    "ttc": "less than 1 s to a collision",
    "time": "time is up",
    "end": "end of the log",
}
FAILURES = ("collision_at_fault", "collision", "offroad", "red_light")
"""Events drawn as a failure; the others end a drive well."""


def agent_color(kind: int, *, parked: bool) -> str:
    """Return the fill colour of an agent by its AgentType."""
    if kind == AgentType.PEDESTRIAN:
        return PEDESTRIAN
    if kind == AgentType.BICYCLE:
        return CYCLIST
    if kind in (AgentType.VEHICLE, AgentType.EGO):
        return PARKED if parked else VEHICLE
    return OBJECT
