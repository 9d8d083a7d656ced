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
    "last_chance": "last chance to avoid it",
    "no_chance": "cannot be avoided from here on",
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


THEMES = {
    "light": {
        "page": "#F6F7F4", "raised": "#FFFFFF", "rim": "#C9CCD1", "veil": "rgba(255, 255, 255, 0.86)",
        "halo": "#FFFFFF", "ink": INK, "faint": "#5A5A5A", "outline": INK, "ground": "#E6E9E2", "road": ROAD,
        "edge": ROAD_EDGE, "lane": LANE_CENTER, "crosswalk": CROSSWALK, "route": ROUTE, "ego": EGO, "onEgo": "#FFFFFF",
        "vehicle": VEHICLE, "parked": PARKED, "pedestrian": PEDESTRIAN, "cyclist": CYCLIST, "object": OBJECT,
        "event": EVENT, "onEvent": "#FFFFFF", "eventInk": "#A84700", "green": GREEN, "yellow": "#E0B400",
        "red": VERMILLION, "unlit": "#9A9A9A", "choice": BLUE, "seen": GREEN, "seenFill": "rgba(0, 158, 115, 0.30)",
        "seenEdge": "#5B3A9B", "risk": ["#0072B2", "#56B4E9", "#E0B400", "#E69F00", "#D55E00"],
    },
    "dark": {
        "page": "#14171A", "raised": "#22272B", "rim": "#444B52", "veil": "rgba(20, 23, 26, 0.82)", "halo": "#14171A",
        "ink": "#F2F2F2", "faint": "#B4BAC0", "outline": "#0C0E10", "ground": "#1B2021", "road": "#33393E",
        "edge": "#8A929A", "lane": "#5C646C", "crosswalk": "#495159", "route": "#1F4E6B", "ego": SKY,
        "onEgo": "#0C0E10", "vehicle": "#B9BEC3", "parked": "#6C747B", "pedestrian": "#E79CC3", "cyclist": CYCLIST,
        "object": "#B9A684", "event": "#FF7A33", "onEvent": "#14171A", "eventInk": "#FF9A66", "green": "#2BD1A0",
        "yellow": YELLOW, "red": "#FF7A33", "unlit": "#8A8A8A", "choice": SKY, "seen": "#2BD1A0",
        "seenFill": "rgba(43, 209, 160, 0.32)", "seenEdge": "#B79CED",
        "risk": ["#56B4E9", "#A6D8F5", "#F0E442", "#E69F00", "#FF7A33"],
    },
}  # fmt: skip
"""Colours of the player by what they mean, on a light and on a dark page; ``risk`` goes from none to too much."""
