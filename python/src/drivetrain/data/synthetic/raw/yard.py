"""The yard: cell 0 of every city, a corner where nobody drives, with what real maps hold and the worlds do not.

A lane without a speed limit, a connector that lists a stop polygon but never has a light status, a car park with an
island, an area of two parts, and one row in each layer that is otherwise empty. So a city without a world is a whole
map too, and every reader meets these cases.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from drivetrain.data.synthetic.network import Network
from drivetrain.data.synthetic.raw.city_features import CREATOR, map_features
from drivetrain.data.synthetic.raw.geopackage_writer import Feature
from drivetrain.data.synthetic.raw.places import City, cell_origin
from drivetrain.sim.scenario import DrivableKind, PolygonSet, RoadMap, StopKind

_LIMIT = 6.0
_PASS_THROUGH = 5
_GENERIC_ID = 7000


def yard_features(city: City) -> list[Feature]:
    """Return the rows of a city's yard."""
    origin = cell_origin(city, 0)
    return [*map_features(_yard_map(city), origin, 0), *_filling(origin)]


def _yard_map(city: City) -> RoadMap:
    net = Network()
    straight = np.column_stack([np.linspace(0.0, 40.0, 21), np.zeros(21)])
    first, second = (
        net.add_road(straight + offset, np.zeros(21), forward=1, backward=0, width=3.5, limit=_LIMIT)
        for offset in ([0.0, 0.0], [50.0, 0.0])
    )
    connector = net.connect(first.forward[0], second.forward[0], turn="straight")
    net.lanes[connector].stop_rows = [net.add_stop(first.forward[0], StopKind.STOP_SIGN)]
    net.add_area(DrivableKind.INTERSECTION, [_box(40.0, -4.0, 50.0, 0.5)])
    net.intersections.append((_PASS_THROUGH, [net.areas[-1][1][0]]))
    net.add_area(DrivableKind.CARPARK, [_box(0.0, -40.0, 60.0, -4.0), _box(20.0, -30.0, 30.0, -15.0)[::-1]])
    net.add_crosswalk(np.array([20.0, -4.0]), np.array([20.0, 0.5]))
    made = net.road_map(f"{city.name}-yard", 0.0, np.zeros(2), np.zeros(2), city.epsg)
    known = made.lanes.speed_limit_known.copy()
    known[second.forward[0]] = False
    return replace(made, lanes=replace(made.lanes, speed_limit_known=known), drivable=_with_lay_bys(made.drivable))


def _with_lay_bys(drivable: PolygonSet) -> PolygonSet:
    """Return the areas and one more that consists of two parts."""
    polygons = [drivable.rings_of(row) for row in range(len(drivable))]
    lay_bys = [[_box(60.0, 0.5, 70.0, 4.0)], [_box(75.0, 0.5, 85.0, 4.0)]]
    return PolygonSet.of(
        [*polygons, *lay_bys],
        kind=[*drivable.kind, DrivableKind.GENERIC, DrivableKind.GENERIC],
        source_id=[*drivable.source_id, _GENERIC_ID, _GENERIC_ID],
    )


def _filling(origin: np.ndarray) -> list[Feature]:
    named: dict[str, object] = {"creator_id": CREATOR}
    corner = shapely.Point(origin)
    return [
        Feature(
            layer="walkways", fid=1, geometry=shapely.Polygon(_box(0.0, 0.5, 60.0, 3.0) + origin), values=dict(named)
        ),
        Feature(layer="dubins_nodes", fid=1, geometry=corner, values={"radius": 0.0, "heading": 0.0, **named}),
        Feature(layer="traffic_lights", fid=1, geometry=corner, values={"ori_mean_yaw": 0.0, **named}),
    ]


def _box(west: float, south: float, east: float, north: float) -> np.ndarray:
    """Return a closed ring, counter-clockwise."""
    return np.array([[west, south], [east, south], [east, north], [west, north], [west, south]])
