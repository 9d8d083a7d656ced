"""Bird's-eye pictures of drives: one panel per recording, side by side, same scene, same moment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from drivetrain.errors import DataError
from drivetrain.rendering import style
from drivetrain.rendering.brush import Brush
from drivetrain.rendering.drive_events import DriveEvent
from drivetrain.rendering.lettering import Lettering
from drivetrain.rendering.recording import DriveRecording, logged_ego_pose
from drivetrain.rendering.scene_layers import draw_road, draw_route, draw_scale_bar
from drivetrain.rendering.view import View, fit_view

PANEL_HEIGHT = 3.9
"""Height of the map part of a panel [inch]."""
HEADER = 0.62
"""Room for the heading above a panel [inch]."""
LEGEND_ROW = 0.22
"""Height of a line of the legend below the panels [inch]."""
LEGEND_ENTRY = 1.05
"""Width of a legend entry, on average [inch]."""
GAP = 0.12
"""Space around panels [inch]."""
LEAST_DRAWN_SIZE = 1.4
"""Smaller road users are drawn this large, or nobody would see a pedestrian [m]."""
LIGHT_BAR = 3.2
"""Length of a stop bar [m]."""


class ScenePanel:
    """One recording in one axes: a static background and what moves on it, drawn anew for every frame."""

    def __init__(self, ax: Axes, recording: DriveRecording, view: View, *, points_per_meter: float) -> None:
        self.recording = recording
        self._view = view
        ax.set_xlim(view.low[0], view.high[0])
        ax.set_ylim(view.low[1], view.high[1])
        ax.set_aspect("equal")
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_color(style.ROAD_EDGE)
        draw_road(ax, recording.scenario.map, view)
        draw_route(ax, way_to_goal(recording), view, points_per_meter=points_per_meter)
        draw_scale_bar(ax, view)
        ax.text(0.0, 1.085, recording.label, transform=ax.transAxes, fontsize=11, weight="bold", color=style.INK)
        self._colors = np.array(
            [
                style.agent_color(int(kind), parked=bool(parked))
                for kind, parked in zip(recording.agent_type, recording.parked, strict=True)
            ]
        )
        self._bars, self._bar_lights = _stop_bars(recording, view)
        self._ax = ax
        self._status, self._badge, self._failed = "", "", False
        self._brush: Brush | None = None

    def begin(self, canvas: FigureCanvasAgg) -> None:
        """Take note that all that stands still has been drawn."""
        self._brush = Brush(canvas, self._ax)

    def pixel(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return where points [..., 2] of the map lie, in pixels from the lower left corner of the picture."""
        assert self._brush is not None
        return self._brush.pixel(self._view.place(points))

    def show(self, frame: int) -> None:
        """Draw what moves as it is at a frame; beyond the recording's end the last frame stays."""
        drive, brush = self.recording, self._brush
        assert brush is not None
        last = drive.num_frames - 1
        now = min(frame, last)
        trail = self._view.place(drive.ego_pose[: now + 1, :2])
        brush.line(trail, color=style.TRAIL, width=1.3, alpha=0.8)
        brush.discs(trail[:: max(round(1.0 / drive.dt), 1)], diameter=3.4, color=style.TRAIL)
        self._show_lights(brush, drive.first_frame + now)
        self._show_agents(brush, now)
        ego, size = drive.ego_pose[now][None], np.array([drive.ego_size])
        brush.polygons(_boxes(self._view, ego, size), face=style.EGO, edge=style.INK, width=0.8)
        brush.polygons(_noses(self._view, ego, size), face="white")
        speed, progress = drive.ego_speed[now], drive.progress[now]
        self._status = f"{now * drive.dt:4.1f} s   {speed:4.1f} m/s   progress {progress:4.0%}"
        self._show_failure(brush, now, ended=frame >= last)

    def _show_agents(self, brush: Brush, now: int) -> None:
        """Draw everybody else, those of one colour at once."""
        drive = self.recording
        present = np.flatnonzero(drive.agent_present[now])
        size = np.maximum(drive.agent_size[present], LEAST_DRAWN_SIZE)
        boxes, colors = _boxes(self._view, drive.agent_pose[now, present], size), self._colors[present]
        for color in np.unique(colors).tolist():
            brush.polygons(boxes[colors == color], face=color, edge=style.INK, width=0.4)

    def letter(self, lettering: Lettering) -> None:
        """Write the status above the panel, and what happened into it."""
        lettering.status(self._status)
        if self._badge:
            lettering.badge(self._badge, failed=self._failed)

    def _show_lights(self, brush: Brush, scenario_frame: int) -> None:
        states = self.recording.scenario.lights.state
        state = states[min(scenario_frame, len(states) - 1)]
        for bar, light in zip(self._bars, self._bar_lights, strict=True):
            shown = style.LightState(int(state[light]))
            brush.line(bar, color=style.LIGHT_COLORS[shown], width=style.LIGHT_WIDTHS[shown])

    def _show_failure(self, brush: Brush, now: int, *, ended: bool) -> None:
        """Show the first failure from when it happens, and at the end how the drive ended."""
        drive = self.recording
        failures = [event for event in drive.events if event.kind in style.FAILURES and event.frame <= now]
        if not failures and ended and drive.outcome in style.FAILURES:
            failures = [DriveEvent(frame=now, kind=drive.outcome)]
        shown = failures[0].kind if failures else drive.outcome if ended else ""
        self._badge, self._failed = style.EVENT_NAMES[shown] if shown else "", bool(failures)
        if failures:
            place = self._view.place(drive.ego_pose[failures[0].frame, :2])
            brush.ring(place, diameter=28.0, color=style.EVENT, width=2.6)


class SceneFigure:
    """Panels side by side with one legend, rendered frame by frame without redrawing what stands still."""

    def __init__(self, recordings: Sequence[DriveRecording], *, dpi: int = 100) -> None:
        if not recordings:
            raise DataError("nothing to draw: give at least one recording")
        view = common_view(recordings)
        width = PANEL_HEIGHT * view.aspect
        total_width = len(recordings) * width + (len(recordings) + 1) * GAP
        legend = _legend_entries()
        columns = max(int(total_width / LEGEND_ENTRY), 2)
        below = LEGEND_ROW * -(-len(legend) // columns) + GAP
        total = (total_width, PANEL_HEIGHT + HEADER + below)
        self._figure = Figure(figsize=total, dpi=dpi, facecolor="white")
        self._canvas = FigureCanvasAgg(self._figure)
        points_per_meter = 72.0 * width / (view.high[0] - view.low[0])
        self._panels = []
        self._places: list[tuple[float, float]] = []
        for i, recording in enumerate(recordings):
            left = GAP + i * (width + GAP)
            box = (left / total[0], below / total[1], width / total[0], PANEL_HEIGHT / total[1])
            ax = self._figure.add_axes(box)
            self._panels.append(ScenePanel(ax, recording, view, points_per_meter=points_per_meter))
            self._places.append((left * dpi, (total[1] - below - PANEL_HEIGHT) * dpi))
        self._panel_width, self._dpi = width * dpi, dpi
        self._figure.legend(
            handles=legend,
            loc="lower center",
            ncols=min(columns, len(legend)),
            frameon=False,
            fontsize=8,
            borderaxespad=0.2,
            handlelength=1.4,
            columnspacing=1.3,
            handletextpad=0.5,
        )
        self._canvas.draw()
        for panel in self._panels:
            panel.begin(self._canvas)
        self._background = self._canvas.copy_from_bbox(self._figure.bbox)

    @property
    def num_frames(self) -> int:
        """Frames until the longest recording has ended."""
        return max(panel.recording.num_frames for panel in self._panels)

    def image(self, frame: int) -> Image.Image:
        """Return the picture of one frame, RGB."""
        self._canvas.restore_region(self._background)
        for panel in self._panels:
            panel.show(frame)
        width, height = self._canvas.get_width_height()
        image = Image.frombytes("RGBA", (width, height), bytes(self._canvas.buffer_rgba()))
        image = image.convert("RGB")
        for panel, corner in zip(self._panels, self._places, strict=True):
            panel.letter(Lettering(image=image, corner=corner, width=self._panel_width, dpi=self._dpi))
        return image

    def render(self, frame: int) -> NDArray[np.uint8]:
        """Return the picture of one frame as RGB, shape [height, width, 3]."""
        return np.asarray(self.image(frame))


def common_view(recordings: Sequence[DriveRecording]) -> View:
    """Return a view that shows the way to the goal and the whole drive of every recording."""
    first = recordings[0]
    # A drive that leaves the scene must not shrink everybody else's picture: the way to the goal sets the scale.
    return fit_view([way_to_goal(first)], up=float(first.ego_pose[0, 2]))


def way_to_goal(recording: DriveRecording) -> NDArray[np.float64]:
    """Return the logged drive from the recording's first frame on (map frame), shape [n, 2], n >= 1."""
    return logged_ego_pose(recording.scenario)[recording.first_frame :, :2]


def save_picture(recordings: Sequence[DriveRecording], path: Path, *, frame: int | None = None, dpi: int = 150) -> None:
    """Write a PNG of all recordings at one frame (by default each at its end)."""
    figure = SceneFigure(recordings, dpi=dpi)
    image = figure.image(figure.num_frames - 1 if frame is None else frame)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(partial, format="PNG", optimize=True)
    os.replace(partial, path)


def _boxes(view: View, pose: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners of oriented boxes in the view, shape [n, 4, 2]; pose [n, 3], size [n, 2]."""
    signs = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)])
    return _outlines(view, pose, signs[None] * size[:, None] / 2)


def _noses(view: View, pose: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a triangle at the front of each box that shows which way it faces, shape [n, 3, 2]."""
    shape = np.array([(0.9, 0.0), (0.3, 0.75), (0.3, -0.75)])
    return _outlines(view, pose, shape[None] * size[:, None] / 2)


def _outlines(view: View, pose: NDArray[np.float64], local: NDArray[np.float64]) -> NDArray[np.float64]:
    heading = view.turned(pose[:, 2])[:, None]
    c, s = np.cos(heading), np.sin(heading)
    x, y = local[..., 0], local[..., 1]
    return view.place(pose[:, None, :2]) + np.stack([c * x - s * y, s * x + c * y], axis=-1)


def _stop_bars(recording: DriveRecording, view: View) -> tuple[NDArray[np.float64], list[int]]:
    """Return bars across the lanes at stop points that are shown [n, 2, 2], and the light each belongs to."""
    lights, lanes = recording.scenario.lights, recording.scenario.map.lanes
    bars, owners = [], []
    for k in range(len(lights.lane)):
        baseline = lanes.baseline[int(lights.lane[k])]
        along = baseline[min(1, len(baseline) - 1)] - baseline[0]
        length = float(np.hypot(*along))
        if length < 1e-6:
            continue
        across = np.array([-along[1], along[0]]) / length * LIGHT_BAR / 2
        bar = view.place(lights.stop_point[k] + np.array([-across, across]))
        if view.sees(bar):
            bars.append(bar)
            owners.append(k)
    return np.array(bars).reshape(-1, 2, 2), owners


def _legend_entries() -> list[Artist]:
    lights = style.LIGHT_COLORS
    return [
        Patch(facecolor=style.EGO, edgecolor=style.INK, label="ego"),
        Patch(facecolor=style.VEHICLE, edgecolor=style.INK, label="vehicle"),
        Patch(facecolor=style.PARKED, edgecolor=style.INK, label="parked"),
        Patch(facecolor=style.PEDESTRIAN, edgecolor=style.INK, label="pedestrian"),
        Patch(facecolor=style.CYCLIST, edgecolor=style.INK, label="cyclist"),
        Patch(facecolor=style.ROUTE, edgecolor="none", label="way to the goal"),
        Line2D([], [], color=style.TRAIL, marker="o", ms=2.6, lw=1.3, label="driven, 1 s a dot"),
        Line2D([], [], color=lights[style.LightState.RED], lw=4, label="red light"),
        Line2D([], [], color=lights[style.LightState.GREEN], lw=2, label="green light"),
    ]
