"""What is worked out per map is worked out once while the map is in use, and never given for another map."""

from dataclasses import replace

from tests.metrics.maps import street

from drivetrain.sim.per_map import per_map


def test_answers_are_kept_for_the_maps_asked_about_last():
    asked = []

    @per_map
    def name_of(road_map):
        asked.append(road_map.name)
        return road_map.name

    first = street()
    maps = [replace(first, name=f"map {n}") for n in range(9)]
    for road_map in [*maps[:8], *maps[:8], maps[8], maps[1]]:
        assert name_of(road_map) == road_map.name
    assert asked == [road_map.name for road_map in maps], "each once: eight are kept"
    assert name_of(maps[0]) == "map 0"
    assert asked[9:] == ["map 0"], "the one asked about longest ago was given up for the ninth"


def test_equal_maps_do_not_share_an_answer():
    first = street()
    kept = per_map(lambda road_map: [road_map])
    assert kept(first) is kept(first)
    assert kept(replace(first)) is not kept(first)
