"""Comfort: six smoothed signals within bounds.

T states.

Six signals have to stay strictly inside their bounds. nuPlan's acceleration at the box centre adds the rotation's part
with the wrong sign and forgets that turning itself accelerates sideways; :func:`physical_comfort` judges the same
bounds on what passengers feel. Source: nuPlan's ``ego_is_comfortable`` and its parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.smoothing import smoothed
from drivetrain.sim.scenario import Float64, Int64

BOUNDS = {
    "ego_jerk": (-8.37, 8.37),
    "ego_lat_acceleration": (-4.89, 4.89),
    "ego_lon_acceleration": (-4.05, 2.40),
    "ego_lon_jerk": (-4.13, 4.13),
    "ego_yaw_acceleration": (-1.93, 1.93),
    "ego_yaw_rate": (-0.95, 0.95),
}
"""Signal -> lower and upper bound [m/s^2, m/s^3, rad/s, rad/s^2], both outside the allowed range."""
FEWEST_STATES = 4
"""Yaw acceleration needs a polynomial of degree 3, that is this many states."""
_DECIMALS = 8
"""nuPlan rounds every signal to this many decimals."""
_ACCELERATION_WINDOW = 8
_PHYSICAL_WINDOW = 9
"""An odd window, so that smoothing shifts nothing in time."""
_JERK_WINDOW = 15
_YAW_WINDOW = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Comfort:
    """Six signals and whether they stay inside their bounds."""

    comfortable: bool
    """All six do."""
    signals: dict[str, Float64]
    """Smoothed signals by the names of ``BOUNDS``, each of shape [T]."""

    def statistics(self) -> dict[str, float]:
        """Return ``<signal>_max``, ``<signal>_min`` and ``<signal>_ok`` (1 inside its bounds, else 0)."""
        found = {}
        for name, values in self.signals.items():
            found[f"{name}_max"] = float(values.max())
            found[f"{name}_min"] = float(values.min())
            found[f"{name}_ok"] = float(_inside(name, values))
        return found


def comfort(ego: EgoStates, timestamps_us: Int64) -> Comfort | None:
    """Return nuPlan's comfort, or None (unknown) for fewer than ``FEWEST_STATES`` states.

    Args:
        ego: The driven states.
        timestamps_us: Times of at least the driven frames, ascending, shape [F], F >= T.
    """
    if len(ego) < FEWEST_STATES:
        return None
    lever = ego.vehicle.rear_axle_to_center
    longitudinal = ego.acceleration[:, 0] + lever * (ego.yaw_rate**2 + ego.yaw_acceleration)
    magnitude = np.hypot(ego.acceleration[:, 0], ego.acceleration[:, 1])
    accelerations = np.stack([magnitude, longitudinal, ego.acceleration[:, 1]])
    return _judge(ego, timestamps_us, accelerations, window=_ACCELERATION_WINDOW)


def physical_comfort(ego: EgoStates, timestamps_us: Int64) -> Comfort | None:
    """Return comfort on the acceleration that acts at the box centre, or None (unknown) as :func:`comfort` does.

    The yaw rate is the heading's own derivative, whatever the states claim it to be: longitudinal a - d w^2, lateral
    v w + d dw/dt with d from the rear axle to the centre; the magnitude is that of both.
    """
    if len(ego) < FEWEST_STATES:
        return None
    lever = ego.vehicle.rear_axle_to_center
    yaw_rate, yaw_acceleration = _yaw_signals(ego, _mean_step(ego, timestamps_us))
    longitudinal = ego.acceleration[:, 0] - lever * yaw_rate**2
    lateral = ego.velocity[:, 0] * yaw_rate + lever * yaw_acceleration
    accelerations = np.stack([np.hypot(longitudinal, lateral), longitudinal, lateral])
    return _judge(ego, timestamps_us, accelerations, window=_PHYSICAL_WINDOW)


def _judge(ego: EgoStates, timestamps_us: Int64, accelerations: Float64, *, window: int) -> Comfort:
    """Smooth magnitude, longitudinal and lateral acceleration [3, T], derive the rest, and compare with the bounds."""
    step = _mean_step(ego, timestamps_us)
    smooth = np.round(smoothed(accelerations, window=window, order=2), _DECIMALS)
    jerk = np.round(smoothed(smooth[:2], window=_JERK_WINDOW, order=2, derivative=1, step=step), _DECIMALS)
    yaw_rate, yaw_acceleration = _yaw_signals(ego, step)
    signals = {
        "ego_jerk": jerk[0],
        "ego_lat_acceleration": smooth[2],
        "ego_lon_acceleration": smooth[1],
        "ego_lon_jerk": jerk[1],
        "ego_yaw_acceleration": yaw_acceleration,
        "ego_yaw_rate": yaw_rate,
    }
    return Comfort(comfortable=all(_inside(name, values) for name, values in signals.items()), signals=signals)


def _yaw_signals(ego: EgoStates, step: float) -> tuple[Float64, Float64]:
    """Return yaw rate [rad/s] and yaw acceleration [rad/s^2] from the heading, shape [T] each."""
    jumps = np.round(np.diff(ego.heading) / (2 * np.pi))
    heading = ego.heading - 2 * np.pi * np.concatenate([[0.0], np.cumsum(jumps)])
    rate = smoothed(heading, window=_YAW_WINDOW, order=2, derivative=1, step=step)
    acceleration = smoothed(heading, window=_YAW_WINDOW, order=3, derivative=2, step=step)
    return np.round(rate, _DECIMALS), np.round(acceleration, _DECIMALS)


def _mean_step(ego: EgoStates, timestamps_us: Int64) -> float:
    """Return the mean time between the driven frames [s], from times in float seconds as nuPlan has them."""
    return float(np.diff(timestamps_us[: len(ego)] / 1e6).mean())


def _inside(name: str, values: Float64) -> bool:
    low, high = BOUNDS[name]
    return bool((values > low).all() and (values < high).all())
