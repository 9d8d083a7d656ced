"""GIFs of drives, small enough to look at in a browser or a README."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from drivetrain.rendering import style
from drivetrain.rendering.recording import DriveRecording
from drivetrain.rendering.scene_picture import SceneFigure

NUM_COLORS = 64
"""Colours of the one palette all frames share."""
HOLD_S = 2.0
"""The last frame stays this long before the GIF starts again [s]."""


def save_animation(
    recordings: Sequence[DriveRecording],
    path: Path,
    *,
    stride: int = 2,
    dpi: int = 80,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a GIF in real time.

    Args:
        recordings: One panel each; a drive that ends early keeps its last frame.
        path: Where to write; replaced atomically.
        stride: Show every ``stride``-th frame of the recordings.
        dpi: Pixels per inch of the picture.
        progress: Called with (frames done, frames in all).
    """
    figure = SceneFigure(recordings, dpi=dpi)
    last = figure.num_frames - 1
    frames = [*range(0, last, stride), last]
    images: list[Image.Image] = []
    palette = _palette(figure, frames)
    for done, frame in enumerate(frames, start=1):
        images.append(figure.image(frame).quantize(palette=palette, dither=Image.Dither.NONE))
        if progress is not None:
            progress(done, len(frames))
    step_ms = round(1000 * recordings[0].dt * stride)
    durations = [step_ms] * (len(images) - 1) + [round(1000 * HOLD_S)]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    images[0].save(
        partial, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
    )
    os.replace(partial, path)


def _palette(figure: SceneFigure, frames: Sequence[int]) -> Image.Image:
    """Return a palette image made from a few frames, so that colours do not flicker."""
    sample = [figure.image(frames[i]) for i in (0, len(frames) // 2, -1)]
    # A stripe of each signal colour keeps rare ones (one cyclist, one light) from being merged with their neighbours.
    stripe = 24
    top = len(style.SIGNAL_COLORS) * stripe
    sheet = Image.new("RGB", (sample[0].width, top + sum(image.height for image in sample)))
    for i, color in enumerate(style.SIGNAL_COLORS):
        sheet.paste(color, (0, i * stripe, sheet.width, (i + 1) * stripe))
    for i, image in enumerate(sample):
        sheet.paste(image, (0, top + i * image.height))
    return sheet.quantize(colors=NUM_COLORS, dither=Image.Dither.NONE)
