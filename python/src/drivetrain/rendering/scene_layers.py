"""What never moves in a picture: ground, road, lanes, route, goal, scale bar. Drawn once per panel."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from drivetrain.rendering import style
from drivetrain.rendering.view import View
from drivetrain.sim.scenario import PolygonSet, Ragged, RoadMap

ROUTE_WIDTH = 2.6
"""Width of the drawn route [m]."""
SCALE_BAR = 20.0
"""[m]"""


def draw_road(ax: Axes, road: RoadMap, view: View) -> None:
    """Draw the drivable surface (or all ground as road where it is unknown), edges, crosswalks, lane centres."""
    ax.set_facecolor(style.GROUND if len(road.drivable) else style.ROAD)
    _fill(ax, road.drivable, view, color=style.ROAD, zorder=1)
    _fill(ax, road.crosswalks, view, color=style.CROSSWALK, zorder=2)
    _lines(ax, road.lanes.baseline, view, color=style.LANE_CENTER, width=0.7, dashes=(0, (5, 4)), zorder=3)
    _lines(ax, road.road_edges, view, color=style.ROAD_EDGE, width=0.9, dashes=None, zorder=4)


def draw_route(ax: Axes, route: NDArray[np.float64], view: View, *, points_per_meter: float) -> None:
    """Draw the way to drive as a broad pale band and its end as a ring; ``route`` [P, 2] in the map frame."""
    placed = view.place(route)
    band = LineCollection(
        [placed], colors=style.ROUTE, linewidths=ROUTE_WIDTH * points_per_meter, capstyle="round", zorder=2.5
    )
    band.set_joinstyle("round")
    ax.add_collection(band, autolim=False)
    ax.plot(*placed[-1], marker="o", ms=9, mfc="none", mec=style.EGO, mew=1.6, zorder=5)
    ax.plot(*placed[-1], marker="o", ms=3, mfc=style.EGO, mec="none", zorder=5)


def draw_scale_bar(ax: Axes, view: View) -> None:
    """Draw a bar of known length in the lower left corner."""
    height = view.high[1] - view.low[1]
    x, y = view.low[0] + 0.03 * height, view.low[1] + 0.03 * height
    halo = [withStroke(linewidth=4.0, foreground="white", alpha=0.8)]
    ax.plot([x, x + SCALE_BAR], [y, y], color=style.INK, lw=2.0, solid_capstyle="butt", path_effects=halo, zorder=20)
    label = f"{SCALE_BAR:.0f} m"
    ax.text(x + SCALE_BAR / 2, y + 0.012 * height, label, ha="center", fontsize=7, path_effects=halo, zorder=20)


def _lines(
    ax: Axes, lines: Ragged, view: View, *, color: str, width: float, dashes: tuple | None, zorder: float
) -> None:
    placed = [view.place(lines[i]) for i in range(len(lines))]
    seen = [line for line in placed if view.sees(line)]
    style_of_line = "solid" if dashes is None else dashes
    ax.add_collection(
        LineCollection(seen, colors=color, linewidths=width, linestyles=[style_of_line], zorder=zorder), autolim=False
    )


def _fill(ax: Axes, polygons: PolygonSet, view: View, *, color: str, zorder: float) -> None:
    """Fill polygons, holes left open; a hairline of the same colour hides the seams between neighbours."""
    for polygon in range(len(polygons)):
        rings = [view.place(ring) for ring in polygons.rings_of(polygon)]
        if not view.sees(rings[0]):
            continue
        # Opposite turning directions of outer ring and holes keep the holes open under the non-zero rule.
        turned = [_counter_clockwise(rings[0]), *(_counter_clockwise(hole)[::-1] for hole in rings[1:])]
        outline = Outline.make_compound_path(*(Outline(ring, closed=True) for ring in turned))
        ax.add_patch(PathPatch(outline, facecolor=color, edgecolor=color, lw=0.6, zorder=zorder))


def _counter_clockwise(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = ring[:, 0], ring[:, 1]
    area = float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))
    return ring if area >= 0 else ring[::-1]
