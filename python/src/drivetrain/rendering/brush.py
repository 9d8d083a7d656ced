"""Draws shapes that move straight onto a canvas: artists of a figure would cost many times as much per frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.path import Path as Outline
from matplotlib.transforms import Affine2D, IdentityTransform
from numpy.typing import NDArray

_STAY = IdentityTransform()
_DISC = Outline.unit_circle()


class Brush:
    """Draws into one axes of a canvas that has been drawn; nothing leaves the axes.

    Shapes are given in the axes' own units, widths in points.
    """

    def __init__(self, canvas: FigureCanvasAgg, ax: Axes) -> None:
        self._renderer: Any = canvas.get_renderer()
        self._matrix = ax.transData.get_affine().get_matrix()
        self._clip = ax.bbox.frozen()

    def pixel(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return where points [..., 2] lie, in pixels from the lower left corner."""
        return np.asarray(points, dtype=np.float64) @ self._matrix[:2, :2].T + self._matrix[:2, 2]

    def polygons(
        self, corners: NDArray[np.floating], *, face: str, edge: str | None = None, width: float = 0.0
    ) -> None:
        """Fill polygons [n, k, 2] of one colour."""
        count, sides = corners.shape[:2]
        if not count:
            return
        closed = np.concatenate([corners, corners[:, :1]], axis=1)
        codes = np.full((count, sides + 1), Outline.LINETO, dtype=np.uint8)
        codes[:, 0], codes[:, -1] = Outline.MOVETO, Outline.CLOSEPOLY
        path = Outline(self.pixel(closed).reshape(-1, 2), codes.ravel())
        pen = self._pen(edge or face, width if edge else 0.0)
        self._renderer.draw_path(pen, path, _STAY, (*to_rgb(face), 1.0))

    def line(self, points: NDArray[np.floating], *, color: str, width: float, alpha: float = 1.0) -> None:
        """Draw a line [n, 2]."""
        if len(points) > 1:
            pen = self._pen(color, width, alpha=alpha)
            pen.set_joinstyle("round")
            self._renderer.draw_path(pen, Outline(self.pixel(points)), _STAY)

    def discs(self, centers: NDArray[np.floating], *, diameter: float, color: str) -> None:
        """Draw filled discs around points [n, 2]; the diameter in points."""
        self._marks(centers, diameter=diameter, pen=self._pen(color, 0.0), face=(*to_rgb(color), 1.0))

    def ring(self, center: NDArray[np.floating], *, diameter: float, color: str, width: float) -> None:
        """Draw a circle around a point [2]; the diameter in points."""
        self._marks(center[None], diameter=diameter, pen=self._pen(color, width), face=None)

    def _marks(self, centers: NDArray[np.floating], *, diameter: float, pen: Any, face: Sequence[float] | None) -> None:
        size = Affine2D().scale(self._renderer.points_to_pixels(diameter) / 2.0)
        self._renderer.draw_markers(pen, _DISC, size, Outline(self.pixel(centers)), _STAY, face)

    def _pen(self, color: str, width: float, *, alpha: float = 1.0) -> Any:
        pen = self._renderer.new_gc()
        pen.set_clip_rectangle(self._clip)
        pen.set_foreground((*to_rgb(color), alpha), isRGBA=True)
        pen.set_linewidth(width)  # in points: the canvas converts it
        return pen
