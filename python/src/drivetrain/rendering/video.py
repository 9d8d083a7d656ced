"""MP4 films of drives, made by ffmpeg: that of the package imageio-ffmpeg, or the system's."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from drivetrain.errors import DataError
from drivetrain.rendering.recording import DriveRecording
from drivetrain.rendering.scene_picture import SceneFigure

HOLD_S = 2.0
"""The last frame stays this long [s]."""
QUALITY = 22
"""Constant rate factor of x264: 18 looks like the original, 28 is small."""


def find_ffmpeg() -> str | None:
    """Return the path of an ffmpeg; None where there is none."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # not installed; or without a program for this machine
        return shutil.which("ffmpeg")


def need_ffmpeg() -> str:
    """Return the path of an ffmpeg.

    Raises:
        DataError: There is none.
    """
    found = find_ffmpeg()
    if found is None:
        raise DataError(
            "render --format mp4: there is no ffmpeg on this machine; install it with pip install 'drivetrain[video]' "
            "or the system's package ffmpeg, or use --format gif"
        )
    return found


def save_video(
    recordings: Sequence[DriveRecording],
    path: Path,
    *,
    dpi: int = 120,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write an MP4 in real time, every frame of the recordings.

    Args:
        recordings: One panel each; a drive that ends early keeps its last frame.
        path: Where to write; replaced atomically.
        dpi: Pixels per inch of the picture.
        progress: Called with (frames done, frames in all).

    Raises:
        DataError: There is no ffmpeg, or it fails.
    """
    program = need_ffmpeg()
    figure = SceneFigure(recordings, dpi=dpi)
    width, height = figure.image(0).size
    rate = 1.0 / recordings[0].dt
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    command = [
        program, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
        "-r", f"{rate:.6f}", "-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white", "-c:v", "libx264",
        "-crf", str(QUALITY), "-preset", "veryfast", "-pix_fmt", "yuv420p", "-movflags", "+faststart",
        "-f", "mp4", str(partial),
    ]  # fmt: skip
    frames = [*range(figure.num_frames), *[figure.num_frames - 1] * round(HOLD_S * rate)]
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stderr is not None
            with contextlib.suppress(BrokenPipeError):  # it ended early, and says why
                for done, frame in enumerate(frames, start=1):
                    process.stdin.write(figure.image(frame).tobytes())
                    if progress is not None:
                        progress(done, len(frames))
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            said = process.stderr.read().decode(errors="replace").strip().splitlines()
            code = process.wait()
        if code != 0:
            reason = said[-1] if said else f"exit code {code}"
            raise DataError(f"{path}: ffmpeg ({program}) cannot write it: {reason}; use --format gif")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
