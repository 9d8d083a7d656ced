"""Paths along lane centre lines, as nuPlan's IDM follows them.

P vertices.

Two habits of the reference shape what its vehicles do and are kept: a path that is put together loses its last vertex,
and a vertex that its successor repeats is left out. Headings are those of the stretch that begins at a vertex, and are
interpolated between vertices.
Source: nuplan-devkit, ``observation/idm/utils.py``, ``path/utils.py``, ``path/interpolated_path.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivetrain.planners.tracker import wrap
from drivetrain.sim.scenario import Float64

_SAME_POINT_M = 1e-8


@dataclass(frozen=True, kw_only=True, slots=True)
class LanePath:
    """A polyline with headings, measured along its length."""

    progress: Float64
    """Arc length of each vertex, ascending from 0 [m], shape [P]."""
    pose: Float64
    """x, y [m] (map frame), heading [rad, unwrapped along the path], shape [P, 3]."""

    @classmethod
    def through(cls, poses: Float64) -> LanePath | None:
        """Return the path through poses [P, 3]; None where fewer than two vertices are left."""
        if len(poses) < 2:
            return None
        step = np.hypot(*np.diff(poses[:, :2], axis=0).T)
        progress = np.append(0.0, np.cumsum(step))[:-1]
        kept = np.flatnonzero(step > _SAME_POINT_M)
        if len(kept) < 2:
            return None
        pose = poses[kept].copy()
        pose[:, 2] = np.unwrap(pose[:, 2])
        return cls(progress=progress[kept], pose=pose)

    @property
    def start(self) -> float:
        """Arc length of the first vertex [m]."""
        return float(self.progress[0])

    @property
    def end(self) -> float:
        """Arc length of the last vertex [m]."""
        return float(self.progress[-1])

    def clamp(self, progress: float) -> float:
        """Return the nearest arc length that lies on the path [m]."""
        return max(self.start, min(progress, self.end))

    def at(self, progress: float) -> Float64:
        """Return x, y, heading at an arc length on the path, shape [3]."""
        pose = np.array([np.interp(progress, self.progress, self.pose[:, i]) for i in range(3)])
        pose[2:] = wrap(pose[2:])
        return pose

    def ahead_of(self, progress: float) -> Float64:
        """Return the poses from an arc length on, at the end of the path the last two, shape [., 3]."""
        after = int(np.searchsorted(self.progress, progress, side="right"))
        if after == len(self.progress):
            return self.pose[-2:]
        return np.concatenate([self.at(progress)[None], self.pose[after:]])

    def between(self, start: float, end: float) -> Float64:
        """Return the poses from one arc length to another, at least two, shape [., 3]."""
        after = int(np.searchsorted(self.progress, start, side="right"))
        before = int(np.searchsorted(self.progress, end, side="left"))
        if after == len(self.progress):
            return self.pose[-2:]
        if before == 0:
            return self.pose[:2]
        return np.concatenate([self.at(start)[None], self.pose[after:before], self.at(end)[None]])


def centre_line_poses(points: Float64) -> Float64:
    """Return a centre line [P, 2] with the heading of the stretch that begins at each vertex, shape [P, 3]."""
    step = np.diff(points, axis=0)
    heading = np.arctan2(step[:, 1], step[:, 0])
    return np.column_stack([points, np.append(heading, heading[-1])])
