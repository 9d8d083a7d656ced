"""Where a picture looks: the scene turned so that the ego starts driving upwards, and the part of it that is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MARGIN = 18.0
"""Space around everything that must be seen [m]."""
LEAST_EXTENT = 60.0
"""Smallest width and height shown [m]."""
ASPECT_RANGE = (0.62, 1.25)
"""Width over height of a panel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A turned and cut plane; its coordinates are metres to the right of and ahead of the origin."""

    origin: tuple[float, float]
    """Map point that becomes (0, 0) [m]."""
    up: float
    """Map heading that points up in the picture [rad]."""
    low: tuple[float, float]
    """Lower left corner shown [m]."""
    high: tuple[float, float]
    """Upper right corner shown [m]."""

    @property
    def aspect(self) -> float:
        """Width over height."""
        return (self.high[0] - self.low[0]) / (self.high[1] - self.low[1])

    def place(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return map points [..., 2] in the view's coordinates."""
        return turn(np.asarray(points, dtype=np.float64) - self.origin, up=self.up)

    def turned(self, heading: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return map headings [rad] in the view's coordinates."""
        return np.asarray(heading, dtype=np.float64) - self.up + np.pi / 2

    def sees(self, points: NDArray[np.floating]) -> bool:
        """Tell whether the bounding box of placed points [n, 2] meets what is shown."""
        if len(points) == 0:
            return False
        low, high = points.min(axis=0), points.max(axis=0)
        return bool((low <= self.high).all() and (high >= self.low).all())


def turn(points: NDArray[np.float64], *, up: float) -> NDArray[np.float64]:
    """Return points [..., 2] turned so that the heading ``up`` becomes the second axis."""
    c, s = np.cos(np.pi / 2 - up), np.sin(np.pi / 2 - up)
    x, y = points[..., 0], points[..., 1]
    return np.stack([c * x - s * y, s * x + c * y], axis=-1)


def fit_view(paths: Iterable[NDArray[np.float64]], *, up: float) -> View:
    """Return the view that shows all paths [n, 2] (map frame) with a margin, in a panel of agreeable shape."""
    points = np.concatenate([np.asarray(path, dtype=np.float64).reshape(-1, 2) for path in paths])
    origin = points[0]
    placed = turn(points - origin, up=up)
    low, high = placed.min(axis=0) - MARGIN, placed.max(axis=0) + MARGIN
    size = np.maximum(high - low, LEAST_EXTENT)
    narrow, wide = ASPECT_RANGE
    size[0] = max(size[0], narrow * size[1])
    size[1] = max(size[1], size[0] / wide)
    center = (low + high) / 2
    low, high = center - size / 2, center + size / 2
    return View(
        origin=(float(origin[0]), float(origin[1])),
        up=up,
        low=(float(low[0]), float(low[1])),
        high=(float(high[0]), float(high[1])),
    )
