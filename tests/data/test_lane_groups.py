"""Roadblocks made of lanes side by side."""

import numpy as np

from drivetrain.data.lane_groups import lane_groups, lane_network


def test_neighbours_and_connectors_of_the_same_way_are_one_roadblock():
    #  0 | 1 | 2  lanes side by side (0 and 1, 1 and 2 are neighbours)
    #  3, 4       connectors from that road to the next, 5 one from it to elsewhere
    #  6 | 7      the next road, 8 elsewhere, 9 a connector that leads nowhere
    ring = np.array([[0, 0], [1, 0], [1, 1], [0, 0.0]])
    after = [[3], [4], [5], [6], [7], [8], [], [], [9], []]
    before = [[source for source, targets in enumerate(after) if row in targets] for row in range(10)]
    groups = lane_groups(
        neighbors=[[1], [0, 2], [1], [], [], [4], [7], [6, 3], [], []],
        successors=after,
        predecessors=before,
        is_connector=[False, False, False, True, True, True, False, False, False, True],
        areas=[ring + row if row % 2 else None for row in range(10)],
    )
    # 5 names 4 as its neighbour, so it belongs to the same roadblock; 7 and 3 are of different kinds.
    assert groups.roadblock.values.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 4]
    assert groups.is_connector.tolist() == [False, True, False, False, True]
    assert groups.polygon.source_id.tolist() == [0, 1, 1, 2, 4]
    assert groups.polygon.rings_of(2)[0].tolist() == (ring + 5).tolist()


def test_connectors_to_different_roads_stay_apart():
    groups = lane_groups(
        neighbors=[[], [], [], [], []],
        successors=[[1, 2], [3], [4], [], []],
        predecessors=[[], [0], [0], [1], [2]],
        is_connector=[False, True, True, False, False],
        areas=[None] * 5,
    )
    assert groups.roadblock.values.tolist() == [0, 1, 2, 3, 4]


def test_a_network_knows_links_from_both_ends_and_shows_lanes_before_connectors():
    ring = np.array([[0, 0], [1, 0], [1, 1], [0, 0.0]])
    network = lane_network(
        links=[(0, 1), (1, 3), (0, 1), (0, 2), (2, 2)],
        neighbors=[[], [], [], []],
        is_connector=[False, True, True, False],
        areas=[ring, ring, None, ring],
    )
    assert (network.after, network.before) == ([[1, 2], [3], [], []], [[], [0], [0], [1]])
    assert (network.shown, network.crossing) == ([0, 3, 1], [1])
    assert network.groups.roadblock.values.tolist() == [0, 1, 2, 3]
