"""Follow the route's centre line at the speed of the Intelligent Driver Model.

The leader is whatever stands or drives in the vehicle's corridor along the route, or a stop line that shows red.
The plan starts where the vehicle is and joins the centre line smoothly; it never changes lanes, never nudges around
anything and knows no right of way. Source: Treiber, Hennecke, Helbing 2000; constants of nuPlan's ``IDMPlanner``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivetrain.planners.tracker import STEP_S
from drivetrain.planners.view import (
    AGENT_COS,
    AGENT_HALF_LENGTH,
    AGENT_HALF_WIDTH,
    AGENT_SIN,
    AGENT_VX,
    AGENT_VY,
    AGENT_X,
    AGENT_Y,
    PlanningRows,
    ScenarioView,
)
from drivetrain.sim.kernel_cache import jit
from drivetrain.sim.scenario import Float64

CORRIDOR_MARGIN = 0.2
"""An agent this near to the corridor is in it [m]."""
LOOK_AHEAD = 80
"""Agents farther along the route than this are not seen [m]."""
LOWEST_GAP = 0.1
"""Gaps are at least this large, so that the model stays finite [m]."""
COMFORTABLE_STOP = 2.5
"""A yellow light counts as red if this deceleration suffices to stop [m/s^2]."""
STRONGEST_BRAKING = -4.0
"""The model's acceleration is cut off here [m/s^2]."""
RED, YELLOW = 2, 1
NO_GAP = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class IntelligentDriver:
    """The IDM planner."""

    target_speed: float = 10.0
    """Desired speed where the route knows no limit [m/s]."""
    minimum_gap: float = 1.0
    """Bumper to bumper at rest [m]."""
    headway_s: float = 1.5
    """Desired time gap [s]."""
    acceleration: float = 1.0
    """Largest acceleration [m/s^2]."""
    deceleration: float = 3.0
    """Comfortable deceleration [m/s^2]."""
    horizon_s: float = 8.0
    """Length of the planned trajectory [s]."""

    def __call__(self, view: ScenarioView) -> Float64:
        """Return the trajectory [K, 3] for one vehicle."""
        return self.plan_rows(view.rows())[0]

    def plan_rows(self, rows: PlanningRows) -> Float64:
        """Return trajectories [N, K, 3]."""
        out = np.empty((len(rows.speed), round(self.horizon_s / STEP_S) + 1, 3))
        constants = np.array(
            [self.target_speed, self.minimum_gap, self.headway_s, self.acceleration, self.deceleration]
        )
        _plan_rows(rows, constants, out)
        return out


@jit
def _nearest_point(x, y, xs, ys, low, high):  # noqa: ANN001, ANN202 - numba infers
    """Return the index in [low, high) of the nearest route point, the lowest on ties."""
    best, index = 1e18, low
    for i in range(low, high):
        d2 = (xs[i] - x) ** 2 + (ys[i] - y) ** 2
        if d2 < best:
            best, index = d2, i
    return index


@jit
def _leader(rows, n, own_index, own_s):  # noqa: ANN001, ANN202
    """Return gap [m] and speed [m/s] of the nearest agent in the corridor ahead; a huge gap if there is none."""
    first = rows.route_first[n]
    low = max(own_index - 2, first)
    high = min(own_index + LOOK_AHEAD, rows.route_last[n])
    half_length, half_width = rows.half_size[n, 0], rows.half_size[n, 1]
    least, lead_speed = NO_GAP, 0.0
    for j in range(rows.num_agents[n]):
        a = rows.agents[n, j]
        k = _nearest_point(a[AGENT_X], a[AGENT_Y], rows.route_x, rows.route_y, low, high)
        c, s = rows.route_cos[k], rows.route_sin[k]
        dx, dy = a[AGENT_X] - rows.route_x[k], a[AGENT_Y] - rows.route_y[k]
        along = dx * c + dy * s
        if abs(along) > 2.0:
            continue  # beside no part of the window
        cos, sin = abs(a[AGENT_COS] * c + a[AGENT_SIN] * s), abs(a[AGENT_SIN] * c - a[AGENT_COS] * s)
        reach_across = a[AGENT_HALF_LENGTH] * sin + a[AGENT_HALF_WIDTH] * cos
        if abs(dy * c - dx * s) > reach_across + half_width + CORRIDOR_MARGIN:
            continue
        position = k - first + along
        if position <= own_s:
            continue
        gap = position - a[AGENT_HALF_LENGTH] * cos - a[AGENT_HALF_WIDTH] * sin - own_s - half_length
        if gap < least:
            least, lead_speed = gap, max(a[AGENT_VX] * c + a[AGENT_VY] * s, 0.0)
    return least, lead_speed


@jit
def _stop_gap(rows, n, front, speed):  # noqa: ANN001, ANN202
    """Return the distance [m] from the front to the nearest stop line that asks to stop; huge if none does."""
    for q in range(rows.num_stops[n]):
        gap = rows.stop_s[n, q] - front
        if gap < 0.0:
            continue
        state = rows.stop_state[n, q]
        if state == RED or (state == YELLOW and speed * speed < 2.0 * gap * COMFORTABLE_STOP):
            return gap
    return NO_GAP


@jit
def _model(speed, target, gap, lead_speed, constants):  # noqa: ANN001, ANN202
    """Return the IDM acceleration [m/s^2]."""
    _, minimum_gap, headway, largest, comfortable = constants
    wanted = minimum_gap + speed * headway + speed * (speed - lead_speed) / (2.0 * np.sqrt(largest * comfortable))
    interaction = max(wanted, 0.0) / max(gap, LOWEST_GAP)
    acceleration = largest * (1.0 - (speed / target) ** 4 - interaction * interaction)
    return min(max(acceleration, STRONGEST_BRAKING), largest)


@jit
def _plan_rows(rows, constants, out):  # noqa: ANN001, ANN202
    """Fill ``out`` [N, K, 3]: roll the model along each route while leaders keep their speed."""
    for n in range(len(rows.speed)):
        first, last = rows.route_first[n], rows.route_last[n]
        x, y, heading = rows.pose[n]
        # The rear axle is what moves along the route; leaders and stop lines are seen from the box centre.
        here = first + int(rows.arc_length[n])
        axle = _nearest_point(x, y, rows.route_x, rows.route_y, max(here - 8, first), min(here + 4, last))
        dx, dy = x - rows.route_x[axle], y - rows.route_y[axle]
        c, s = rows.route_cos[axle], rows.route_sin[axle]
        start = axle - first + min(max(dx * c + dy * s, -1.0), 1.0)
        lateral = dy * c - dx * s
        drift = heading - np.arctan2(s, c)
        drift -= 2.0 * np.pi * np.round(drift / (2.0 * np.pi))
        center = rows.arc_length[n]
        speed = max(rows.speed[n], 0.0)
        gap, lead_speed = _leader(rows, n, min(here, last - 1), center)
        stop_gap = _stop_gap(rows, n, center + rows.half_size[n, 0], speed)
        blend = max(15.0, 3.0 * speed)
        travelled = 0.0
        for k in range(out.shape[1]):
            # The offset and heading at the start fade over ``blend`` metres: a cubic from (lateral, slope) to zero.
            u = min(travelled / blend, 1.0)
            slope = np.tan(min(max(drift, -0.7), 0.7))
            offset = lateral * (1 + 2 * u) * (1 - u) ** 2 + slope * blend * u * (1 - u) ** 2
            lean = lateral * -6 * u * (1 - u) / blend + slope * (1 - u) * (1 - 3 * u)
            position = start + travelled
            i = min(max(int(position), 0), last - first - 2)
            f = position - i
            i += first
            # Beyond its last point the route goes straight on.
            c = rows.route_cos[i] + min(f, 1.0) * (rows.route_cos[i + 1] - rows.route_cos[i])
            s = rows.route_sin[i] + min(f, 1.0) * (rows.route_sin[i + 1] - rows.route_sin[i])
            out[n, k, 0] = rows.route_x[i] + f * (rows.route_x[i + 1] - rows.route_x[i]) - s * offset
            out[n, k, 1] = rows.route_y[i] + f * (rows.route_y[i + 1] - rows.route_y[i]) + c * offset
            out[n, k, 2] = np.arctan2(s, c) + np.arctan(lean)
            limit = rows.route_limit[i]
            target = limit if limit > 0.0 else constants[0]
            acceleration = _model(speed, target, gap + lead_speed * STEP_S * k - travelled, lead_speed, constants)
            halt = _model(speed, target, stop_gap - travelled, 0.0, constants)
            travelled += speed * STEP_S
            speed = max(speed + min(acceleration, halt) * STEP_S, 0.0)
