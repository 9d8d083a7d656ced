"""What is worked out once per road map and kept while the map is in use."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from drivetrain.sim.scenario import RoadMap

_KEPT_MAPS = 8
"""The four cities and a few small maps."""
Answer = TypeVar("Answer")


def per_map(work_out: Callable[[RoadMap], Answer]) -> Callable[[RoadMap], Answer]:
    """Make a function of a road map remember its answers for the maps asked about last.

    Maps are told apart as objects: comparing their arrays would cost more than most answers. A map lives as long as
    its answer is kept, so that no other map can take its identity.
    """
    kept: OrderedDict[int, tuple[RoadMap, Answer]] = OrderedDict()

    @functools.wraps(work_out)
    def remembered(road_map: RoadMap) -> Answer:
        key = id(road_map)
        if key not in kept:
            kept[key] = (road_map, work_out(road_map))
        kept.move_to_end(key)
        while len(kept) > _KEPT_MAPS:
            kept.popitem(last=False)
        return kept[key][1]

    return remembered
