"""The reader against the second golden set (oracle values of the reference implementation)."""

import numpy as np
import pytest
import shapely
from tests.data.dense_agents import all_agents
from tests.golden_sets import GOLDEN2

from drivetrain.data.nuplan import read_nuplan
from drivetrain.data.windows import select_windows
from drivetrain.sim.scenario import LaneKind


@pytest.fixture(scope="module")
def golden2():
    return {d.log.name: d for d in read_nuplan(GOLDEN2, GOLDEN2 / "maps")}


def test_second_set_frames_and_ego_match_the_oracle(golden2):
    oracle = np.load(GOLDEN2 / "oracle_metrics.npz")
    windows = {
        f"{w.token:016x}": (drive, w)
        for drive in golden2.values()
        for w in select_windows(drive.log, frame_token=drive.frame_token, eligible=drive.in_valid_scene).windows
    }
    for i, token in enumerate(oracle["scenario_tokens"].tolist()):
        drive, window = windows[token]
        frames = slice(window.first_frame, last := window.first_frame + 2 * window.num_frames - 1, 2)
        assert last <= len(drive.log.timestamps_us) + 1
        expected = oracle["timestamps_us"][i]
        np.testing.assert_array_equal(drive.log.timestamps_us[frames], expected[expected >= 0])
        expert = np.flatnonzero((oracle["scenario_index"] == i) & (oracle["case_kind"] == "expert"))[0]
        ego = oracle["ego"][expert]
        pose = drive.log.ego.pose[frames][:150]
        np.testing.assert_allclose(pose[:, :2] + drive.map.origin - oracle["origin"], ego[:, :2], atol=4e-6)
        np.testing.assert_allclose(np.cos(pose[:, 2] - ego[:, 2]), 1, atol=1e-9)
        np.testing.assert_allclose(drive.log.ego.velocity[frames][:150, 0], ego[:, 3], atol=4e-6)
        scene = np.searchsorted(drive.log.scene_first_frame, window.reference_frame, side="right") - 1
        assert drive.log.scene_goal_known[scene] == oracle["scenario_has_goal"][i]


def test_second_set_traps(golden2):
    city = next(iter(golden2.values())).map
    lanes = city.lanes
    assert all(drive.dropped == {} and drive.map is city for drive in golden2.values())
    assert len(lanes) == 69
    is_connector = lanes.kind == LaneKind.CONNECTOR
    assert ((~lanes.speed_limit_known) & ~is_connector).sum() == 4
    assert ((~lanes.speed_limit_known) & is_connector).sum() == 3
    assert (lanes.kind == LaneKind.BIKE_LANE).sum() == 1
    assert sum(len(lanes.stop_polygons[i]) > 0 for i in range(len(lanes))) == 20
    assert city.drivable.ring_is_hole.sum() == 2, "car park island and roundabout centre"
    assert len(city.drivable) == 23 + 7 + 1 + 3, "one of two generic areas has two parts"
    for ring in np.flatnonzero(city.drivable.ring_is_hole):
        hole = shapely.Polygon(city.drivable.rings[int(ring)])
        inside = any(
            hole.representative_point().within(shapely.Polygon(city.road_edges[e])) and
            shapely.Polygon(city.road_edges[e]).symmetric_difference(hole).area < 0.5
            for e in range(len(city.road_edges))
        )  # fmt: skip
        assert inside, "the border of a hole is a road edge"
    for drive in golden2.values():
        assert np.isfinite(all_agents(drive.log).position).all()
        assert drive.log.timestamps_us.shape[0] in (1320, 1440)
