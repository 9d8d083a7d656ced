import subprocess

import pytest
from PIL import Image
from tests.sim.worlds import straight_road

from drivetrain.errors import DataError
from drivetrain.rendering import video
from drivetrain.rendering.recording import record_log
from drivetrain.rendering.scene_picture import SceneFigure


@pytest.mark.needs_video
def test_a_film_shows_every_frame(tmp_path):
    recording = record_log(straight_road(frames=21))
    path = tmp_path / "new" / "drive.mp4"
    video.save_video([recording], path, dpi=60)
    assert [file.name for file in path.parent.iterdir()] == ["drive.mp4"]
    pattern = tmp_path / "%03d.png"
    subprocess.run([video.need_ffmpeg(), "-loglevel", "error", "-i", str(path), str(pattern)], check=True)
    frames = sorted(tmp_path.glob("*.png"))
    assert len(frames) == 21 + 20  # two seconds at the end
    height, width = SceneFigure([recording], dpi=60).render(0).shape[:2]
    with Image.open(frames[0]) as first:
        assert first.size == (width + width % 2, height + height % 2)


def test_without_ffmpeg_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "find_ffmpeg", lambda: None)
    message = (
        r"^render --format mp4: there is no ffmpeg on this machine; install it with pip install 'drivetrain\[video\]' "
        r"or the system's package ffmpeg, or use --format gif$"
    )
    with pytest.raises(DataError, match=message):
        video.save_video([record_log(straight_road(frames=5))], tmp_path / "drive.mp4")


def test_an_ffmpeg_that_fails_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho 'Unknown encoder libx264' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(video, "find_ffmpeg", lambda: str(program))
    out = tmp_path / "films"
    with pytest.raises(DataError, match=r"cannot write it: Unknown encoder libx264; use --format gif$"):
        video.save_video([record_log(straight_road(frames=5))], out / "drive.mp4")
    assert list(out.iterdir()) == []
