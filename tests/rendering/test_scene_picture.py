from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.sim.worlds import empty_world, parked_car_road, pedestrian_road, signalled_crossing, straight_road

from drivetrain.errors import DataError
from drivetrain.rendering import style
from drivetrain.rendering.animation import save_animation
from drivetrain.rendering.recording import logged_ego_pose, record_log
from drivetrain.rendering.scene_picture import SceneFigure, common_view, save_picture
from drivetrain.sim.scenario import PolygonSet


def rgb(color):
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])


def share_of(pixels, color):
    return float((np.abs(pixels.astype(int) - rgb(color)).max(axis=-1) <= 3).mean())


def pixel_of(figure, pixels, point):
    """Row and column of a map point in the only panel of a figure."""
    x, y = figure._panels[0].pixel(np.asarray(point))
    return pixels.shape[0] - round(y), round(x)


def shorter(recording, frames, **changes):
    names = ("ego_pose", "ego_speed", "agent_pose", "agent_present", "progress")
    return replace(recording, **{name: getattr(recording, name)[:frames] for name in names}, **changes)


def test_the_log_is_recorded_at_the_box_centre():
    scenario = straight_road()
    recording = record_log(scenario)
    vehicle = scenario.ego.vehicle
    assert recording.ego_pose[0, :2] == pytest.approx(
        scenario.ego.pose[0, :2] + [vehicle.rear_axle_to_center, 0.0], abs=1e-9
    )
    assert recording.num_frames == 91
    assert recording.progress[[0, -1]] == pytest.approx([0.0, 1.0])
    assert recording.dt == pytest.approx(0.1)


def test_only_vehicles_that_never_move_are_parked():
    assert record_log(parked_car_road()).parked.tolist() == [True]
    assert record_log(straight_road()).parked.tolist() == [False]
    recording = record_log(pedestrian_road())
    assert not recording.parked[recording.agent_type != 0].any()


def test_the_ego_is_drawn_where_it_is_and_moves_on():
    figure = SceneFigure([record_log(straight_road())])
    pose = logged_ego_pose(straight_road())
    first, later = figure.render(0), figure.render(60)
    # The rear half of the box: the front half carries the white arrow.
    behind = pose[:, :2] - [1.5, 0.0]
    for frame, pixels in ((0, first), (60, later)):
        row, column = pixel_of(figure, pixels, behind[frame])
        assert np.abs(pixels[row, column].astype(int) - rgb(style.EGO)).max() <= 3
    row, column = pixel_of(figure, first, behind[60])
    assert np.abs(first[row, column].astype(int) - rgb(style.EGO)).max() > 30


def test_a_frame_does_not_depend_on_the_frames_drawn_before():
    figure = SceneFigure([record_log(signalled_crossing())])
    first = figure.render(0)
    figure.render(90)
    assert np.array_equal(figure.render(0), first)


def test_a_light_changes_colour_with_its_state():
    figure = SceneFigure([record_log(signalled_crossing())])
    green, red = figure.render(0), figure.render(100)
    row, column = pixel_of(figure, green, (-8.0, 1.2))
    around = (slice(row - 4, row + 5), slice(column - 4, column + 5))
    assert share_of(green[around], style.GREEN) > 0
    assert share_of(red[around], style.GREEN) == 0
    assert share_of(red[around], style.VERMILLION) > 0


def test_a_failure_is_marked_at_its_end_only_and_stays():
    drive = shorter(record_log(straight_road()), 40, outcome="collision_at_fault", label="policy")
    figure = SceneFigure([drive, record_log(straight_road())])
    assert figure.num_frames == 91
    before, at_end, later = figure.render(38), figure.render(39), figure.render(80)
    assert share_of(at_end, style.EVENT) > share_of(before, style.EVENT) + 0.002  # the ring and the badge
    width = at_end.shape[1] // 2
    assert np.array_equal(at_end[:, : width - 5], later[:, : width - 5])


def test_a_hole_in_the_drivable_area_is_not_road():
    def ring(x0, y0, x1, y1):
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)], dtype=np.float64)

    scenario = straight_road()
    # Both rings turn the same way, as files in the wild may have them.
    drivable = PolygonSet.of([[ring(-20, -20, 60, 20), ring(20, 8, 30, 14)]], kind=[0], source_id=[1])
    scenario = replace(scenario, map=replace(scenario.map, drivable=drivable))
    figure = SceneFigure([record_log(scenario)])
    pixels = figure.render(0)
    assert (pixels[pixel_of(figure, pixels, (25, 11))] == rgb(style.GROUND)).all()
    assert (pixels[pixel_of(figure, pixels, (25, -11))] == rgb(style.ROAD)).all()


def test_all_panels_share_one_view_that_an_escape_cannot_blow_up():
    log = record_log(straight_road())
    lost = replace(log, ego_pose=log.ego_pose + np.array([0.0, 5000.0, 0.0]), label="lost")
    assert common_view([log, lost]) == common_view([log])


def test_png_and_gif_are_written_whole(tmp_path):
    recordings = [record_log(signalled_crossing()), shorter(record_log(signalled_crossing()), 30, label="policy")]
    save_picture(recordings, tmp_path / "deep" / "scene.png")
    save_animation(recordings, tmp_path / "scene.gif", stride=10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "scene.gif"]
    with Image.open(tmp_path / "deep" / "scene.png") as picture:
        height, width, _ = SceneFigure(recordings, dpi=150).render(0).shape
        assert picture.size == (width, height)
    with Image.open(tmp_path / "scene.gif") as animation:
        assert animation.n_frames == 13  # frames 0, 10, ..., 110 and the last, 120
        assert animation.info["duration"] == 1000
        assert animation.info["loop"] == 0
        animation.seek(12)
        assert animation.info["duration"] == 2000
    assert (tmp_path / "scene.gif").stat().st_size < 300_000


def test_a_scenario_without_lanes_lights_or_agents_is_drawn(tmp_path):
    save_picture([record_log(empty_world())], tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 2000


def test_a_recording_whose_arrays_disagree_is_refused():
    recording = record_log(straight_road())
    with pytest.raises(DataError, match=r"^recording 'log': progress has shape \(90,\), expected \(91,\)$"):
        replace(recording, progress=recording.progress[:-1])
    with pytest.raises(DataError, match=r"^nothing to draw: give at least one recording$"):
        SceneFigure([])
