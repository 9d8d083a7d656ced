"""The flat arrays a simulator runs on: all scenes of a bank, one after another.

S scenes, G slots of all scenes together, A slots of one scene, T frames of one scene, K lights of one scene,
M maps, B road blocks. Everything is float32 in the map frame unless said otherwise. Named tuples of arrays are what
compiled kernels take; the readable simulator reads the same ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELL_SIZE = 10.0
"""Side of a grid cell [m]."""
GRID_MARGIN = 30.0
"""The grid begins at least this far outside the outermost segment midpoints [m], at whole cells."""
BLOCK_REACH = 20.0
"""A cell whose centre is farther than this from every segment midpoint has no road block [m]."""
SEGMENT_REACH = 90.0
"""Segments farther than this from a cell's centre are not in its block [m]."""
MAX_SEGMENT = 5.0
"""Lane centres and road edges are cut into segments no longer than this [m]."""
LOG_PADDING = 16
"""Zeros at the end of the log, so that whole vectors may be read."""

# Rows of an agent's state, in the log and in a running world alike.
X, Y, COS, SIN, SPEED, HEADING, ACCELERATION, STEERING, VELOCITY_X, VELOCITY_Y, PRESENT = range(11)
STATE_ROWS = 11
"""Box centre x, y [m]; cos and sin of the heading; longitudinal speed [m/s]; heading [rad]; longitudinal acceleration
[m/s^2]; steering angle [rad]; velocity in the map frame x, y [m/s]; 1 where present, else 0."""


class SceneArrays(NamedTuple):
    """Scenes ready for simulation."""

    num_frames: NDArray[np.int32]
    """T of each scene, shape [S]."""
    num_slots: NDArray[np.int32]
    """A of each scene, shape [S]."""
    slot_start: NDArray[np.int64]
    """First slot of each scene in the [G] arrays, shape [S]; slot 0 of a scene is the ego."""
    log_start: NDArray[np.int64]
    """First value of each scene in ``log``, shape [S]."""
    log: NDArray[np.float32]
    """Logged states: scene s is ``log[log_start[s]:][: T * STATE_ROWS * A].reshape(T, STATE_ROWS, A)``.
    Ends with ``LOG_PADDING`` zeros."""
    map_row: NDArray[np.int32]
    """Part of a map (a row of what follows per map) that each scene lies in, shape [S]."""
    num_lights: NDArray[np.int32]
    """K of each scene, shape [S]."""
    light_start: NDArray[np.int64]
    """First value of each scene in the light arrays ([T, K] row-major), shape [S]."""
    light_state: NDArray[np.uint8]
    """LightState per frame and light."""
    light_age: NDArray[np.int16]
    """Frames since the state began (0 in its first frame); equal to the frame index if it holds since frame 0."""

    slot_type: NDArray[np.uint8]
    """AgentType, shape [G]."""
    half_length: NDArray[np.float32]
    half_width: NDArray[np.float32]
    wheelbase: NDArray[np.float32]
    rear_axle_to_center: NDArray[np.float32]
    controllable: NDArray[np.uint8]
    """1 where a policy may drive this slot, shape [G]."""
    reactive: NDArray[np.uint8]
    """1 where reactive traffic may drive this slot along its path, shape [G]."""
    first_frame: NDArray[np.int32]
    """First frame in which the slot is present, shape [G]."""
    last_frame: NDArray[np.int32]
    """Last frame in which the slot is present, shape [G]."""

    route_start: NDArray[np.int64]
    """First route point of slot g (1 m apart, up to ``route_start[g + 1]``; none if not controllable), [G + 1]."""
    route_x: NDArray[np.float32]
    route_y: NDArray[np.float32]
    route_cos: NDArray[np.float32]
    route_sin: NDArray[np.float32]
    route_limit: NDArray[np.float32]
    """Speed limit [m/s], 0 where unknown."""
    goal_s: NDArray[np.float32]
    """Arc length of the goal on the route [m], where the drive is complete, shape [G]."""
    told_goal_s: NDArray[np.float32]
    """Arc length of the goal that the driver is told of [m], shape [G]."""
    stop_start: NDArray[np.int64]
    """Stop lines on the route of slot g, ascending, shape [G + 1]."""
    stop_s: NDArray[np.float32]
    """Arc length of the stop line on the route [m]."""
    stop_light: NDArray[np.int32]
    """Light (column of the scene's light arrays) that governs it."""

    path_start: NDArray[np.int64]
    """Logged path of slot g, 1 m apart; empty if not reactive, shape [G + 1]."""
    path_x: NDArray[np.float32]
    path_y: NDArray[np.float32]
    path_cos: NDArray[np.float32]
    path_sin: NDArray[np.float32]
    desired_speed: NDArray[np.float32]
    """IDM desired speed [m/s], shape [G]."""
    driver: NDArray[np.float64]
    """IDM headway [s], least gap [m], acceleration, comfortable braking [m/s^2], float64, shape [G, 4]."""
    path_stop_start: NDArray[np.int64]
    path_stop_s: NDArray[np.float32]
    path_stop_light: NDArray[np.int32]

    segment_start: NDArray[np.int64]
    """Road segments of each map, shape [M + 1]."""
    segment_x: NDArray[np.float32]
    """Midpoint."""
    segment_y: NDArray[np.float32]
    segment_cos: NDArray[np.float32]
    """Direction."""
    segment_sin: NDArray[np.float32]
    segment_half: NDArray[np.float32]
    """Half length."""
    segment_edge: NDArray[np.uint8]
    """1 for road edges, 0 for lane centres."""

    grid_x: NDArray[np.float32]
    """Lower corner of the grid of each map, shape [M]."""
    grid_y: NDArray[np.float32]
    grid_columns: NDArray[np.int32]
    grid_rows: NDArray[np.int32]
    cell_start: NDArray[np.int64]
    """First cell of each map, shape [M + 1]; cell (column i, row j) is ``cell_start[m] + j * columns + i``."""
    cell_block: NDArray[np.int32]
    """1 + block row of each cell; 0 where it has none."""
    block: NDArray[np.int16]
    """Nearest segments: x, y [cm] from the cell centre; cos, sin [1/32767]; half length [cm]; is edge, [B, 6, 64]."""
    block_count: NDArray[np.int32]
    """Segments in each block, shape [B]."""
    cell_edge_start: NDArray[np.int64]
    """Road edges that a vehicle in the cell might touch, shape [cells + 1]."""
    cell_edge: NDArray[np.int32]
    """Row in the segment arrays."""
