"""Writes a city map as GeoPackage with the layers and columns of nuPlan's maps.

Columns that nobody fills hold what nuPlan's readers take for nothing: an empty text (comma lists are never NULL), 0 in
id columns, NULL elsewhere. No date of writing is stored, so equal maps are equal files.
"""

from __future__ import annotations

import functools
import sqlite3
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyproj
import shapely

from drivetrain.data.synthetic.raw.database_file import new_database

_EDGES = "from_edge_fid INTEGER,to_edge_fid INTEGER"
_SIDES = "left_boundary_fid INTEGER,right_boundary_fid INTEGER"
_REFLECTORS = "left_has_reflectors BOOLEAN,right_has_reflectors BOOLEAN"
LAYERS: dict[str, tuple[str, str]] = {
    "boundaries": (
        "LINESTRING",
        "boundary_segment_fids TEXT,has_reflectors BOOLEAN,boundary_type_fid INTEGER,creator_id TEXT",
    ),
    "baseline_paths": (
        "LINESTRING",
        "path_type_fid INTEGER,creator_id TEXT,lane_fid INTEGER,lane_connector_fid INTEGER,dubins_node_fids TEXT",
    ),
    "lanes_polygons": (
        "POLYGON",
        "lane_group_fid INTEGER,lane_fid INTEGER,lane_index MEDIUMINT,creator_id TEXT,name TEXT,"
        "road_type_fid INTEGER,lane_type_fid INTEGER,width MEDIUMINT,left_offset REAL,right_offset REAL,"
        f"min_speed REAL,max_speed REAL,stops MEDIUMINT,{_SIDES},speed_limit_mps REAL,{_REFLECTORS},{_EDGES}",
    ),
    "lane_connectors": (
        "LINESTRING",
        "exit_lane_group_fid INTEGER,exit_lane_fid INTEGER,entry_lane_group_fid INTEGER,"
        "lane_group_connector_fid INTEGER,entry_lane_fid INTEGER,intersection_fid INTEGER,turn_type_fid INTEGER,"
        "bulb_fids TEXT,traffic_light_stop_line_fids TEXT,overlap MEDIUMINT,creator_id TEXT,"
        f"reflector_side_fid INTEGER,{_REFLECTORS},speed_limit_mps REAL",
    ),
    "road_segments": ("POLYGON", "lane_group_fids TEXT"),
    "lane_groups_polygons": ("POLYGON", f"creator_id TEXT,{_SIDES},{_EDGES}"),
    "lane_group_connectors": (
        "POLYGON",
        "intersection_fid INTEGER,from_lane_group_fid INTEGER,to_lane_group_fid INTEGER,"
        f"creator_id TEXT,{_EDGES},{_SIDES}",
    ),
    "stop_polygons": (
        "POLYGON",
        "stop_polygon_type_fid INTEGER,lane_group_fid INTEGER,lane_fids TEXT,lane_connector_fids TEXT,"
        "traffic_light_fids TEXT,crosswalk_fids TEXT,precedence_area_fids TEXT,creator_id TEXT",
    ),
    "intersections": ("POLYGON", "creator_id TEXT,intersection_type_fid INTEGER,is_mini BOOLEAN"),
    "gen_lane_connectors_scaled_width_polygons": (
        "POLYGON",
        f"baseline_path_fid INTEGER,lane_connector_fid INTEGER,{_EDGES},{_SIDES}",
    ),
    "dubins_nodes": ("POINT", "radius REAL,heading REAL,creator_id TEXT"),
    "crosswalks": ("POLYGON", "intersection_fids TEXT,lane_fids TEXT,creator_id TEXT,is_marked BOOLEAN"),
    "carpark_areas": ("POLYGON", "heading REAL,creator_id TEXT"),
    "generic_drivable_areas": ("POLYGON", "creator_id TEXT"),
    "walkways": ("POLYGON", "creator_id TEXT"),
    "traffic_lights": ("POINT", "ori_mean_yaw REAL,creator_id TEXT"),
}
"""Layer -> geometry type, further columns (after ``fid`` and ``geom``)."""

_APPLICATION_ID = 0x47504B47  # "GPKG", of the GeoPackage standard
_GEOPACKAGE_VERSION = 10300
_SRID = 4326
_LAST_CHANGE = "2021-01-01T00:00:00.000Z"
_WGS84 = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]]'
)
_SYSTEMS = (
    ("Undefined Cartesian SRS", -1, "NONE", -1, "undefined", ""),
    ("Undefined geographic SRS", 0, "NONE", 0, "undefined", ""),
    ("WGS 84 geodetic", _SRID, "EPSG", _SRID, _WGS84, ""),
)
_SCHEMA = """
CREATE TABLE gpkg_spatial_ref_sys(srs_name TEXT NOT NULL,srs_id INTEGER NOT NULL PRIMARY KEY,
  organization TEXT NOT NULL,organization_coordsys_id INTEGER NOT NULL,definition TEXT NOT NULL,description TEXT);
CREATE TABLE gpkg_contents(table_name TEXT NOT NULL PRIMARY KEY,data_type TEXT NOT NULL,identifier TEXT UNIQUE,
  description TEXT DEFAULT '',last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE,min_y DOUBLE,max_x DOUBLE,max_y DOUBLE,srs_id INTEGER);
CREATE TABLE gpkg_geometry_columns(table_name TEXT NOT NULL,column_name TEXT NOT NULL,
  geometry_type_name TEXT NOT NULL,srs_id INTEGER NOT NULL,z TINYINT NOT NULL,m TINYINT NOT NULL,
  PRIMARY KEY(table_name,column_name));
CREATE TABLE meta(fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,key TEXT,value TEXT);
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """One row of a layer."""

    layer: str
    fid: int
    geometry: shapely.Geometry
    """In the projected grid [m]."""
    values: Mapping[str, object] = field(default_factory=dict)
    """Column -> value; the other columns hold nothing."""


def columns_of(layer: str) -> list[tuple[str, str]]:
    """Return names and types of a layer's columns after ``fid`` and ``geom``."""
    return [(name, kind) for name, kind in (column.split(" ") for column in LAYERS[layer][1].split(","))]


def write_geopackage(path: Path, epsg: int, features: Sequence[Feature]) -> None:
    """Write a map whose features are given in the UTM zone ``epsg``; an existing file is replaced in one step."""
    write_layers(path, epsg, encoded_rows(features, epsg))


def write_layers(path: Path, epsg: int, rows: Iterable[tuple[str, tuple[object, ...]]]) -> None:
    """Write a map of (layer, complete row) pairs; rows of one layer may come in any order of fid."""
    with new_database(path) as database:
        _create(database, epsg)
        insert = {
            layer: f'INSERT INTO "{layer}" VALUES({",".join("?" * (2 + len(columns_of(layer))))})' for layer in LAYERS
        }
        for layer, row in rows:
            database.execute(insert[layer], row)


def read_rows(path: Path) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield (layer, complete row) of a map that :func:`write_geopackage` wrote, layer by layer."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        for layer in LAYERS:
            for row in connection.execute(f'SELECT * FROM "{layer}" ORDER BY fid'):
                yield layer, row
    finally:
        connection.close()


def _create(database: sqlite3.Connection, epsg: int) -> None:
    for statement in _SCHEMA.split(";"):
        database.execute(statement)
    database.execute(f"PRAGMA application_id={_APPLICATION_ID}")
    database.execute(f"PRAGMA user_version={_GEOPACKAGE_VERSION}")
    database.executemany("INSERT INTO gpkg_spatial_ref_sys VALUES(?,?,?,?,?,?)", _SYSTEMS)
    systems = (("geographicCoordSystem", f"epsg:{_SRID}"), ("projectedCoordSystem", f"epsg:{epsg}"))
    database.executemany("INSERT INTO meta(key,value) VALUES(?,?)", systems)
    contents = "INSERT INTO gpkg_contents(table_name,data_type,identifier,last_change,srs_id) VALUES(?,?,?,?,?)"
    database.execute(contents, ("meta", "attributes", "meta", _LAST_CHANGE, 0))
    for layer, (kind, _) in LAYERS.items():
        columns = ",".join(f'"{name}" {text}' for name, text in columns_of(layer))
        database.execute(
            f'CREATE TABLE "{layer}"("fid" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"geom" {kind},{columns})'
        )
        database.execute(contents, (layer, "features", layer, _LAST_CHANGE, _SRID))
        database.execute("INSERT INTO gpkg_geometry_columns VALUES(?,'geom',?,?,0,0)", (layer, kind, _SRID))


def encoded_rows(features: Sequence[Feature], epsg: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield features given in the UTM zone ``epsg`` as (layer, complete row), in longitude and latitude."""
    geometry = np.array([feature.geometry for feature in features], dtype=object)
    points = shapely.get_coordinates(geometry)
    # Point by point: equal points stay equal, so a closed ring is closed to the last bit.
    degrees = np.stack(_to_degrees(epsg).transform(points[:, 0], points[:, 1]), axis=1)
    geometry = shapely.set_coordinates(geometry.copy(), degrees)
    header = struct.pack("<2sBBi", b"GP", 0, 1, _SRID)
    for feature, binary in zip(features, shapely.to_wkb(geometry, byte_order=1), strict=True):
        columns = columns_of(feature.layer)
        unknown = feature.values.keys() - {name for name, _ in columns}
        assert not unknown, f"layer {feature.layer} has no column {unknown}"
        values = [feature.values.get(name, _NOTHING.get(kind)) for name, kind in columns]
        yield feature.layer, (feature.fid, header + binary, *values)


@functools.cache
def _to_degrees(epsg: int) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(f"epsg:{epsg}", f"epsg:{_SRID}", always_xy=True)


_NOTHING = {"TEXT": "", "INTEGER": 0}
