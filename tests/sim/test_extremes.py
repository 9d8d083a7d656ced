"""Unusual sizes: one of everything, nothing of some, far too much of others."""

from dataclasses import replace

import numpy as np
from tests.sim.scenario_builder import Lane, Mover, build_scenario, constant, line
from tests.sim.worlds import empty_world, moved, roundabout, signalled_crossing, straight_road

from drivetrain.sim import env as env_module
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.observation import CANONICAL
from drivetrain.sim.scene_arrays import SceneArrays
from drivetrain.sim.scene_bank import build_bank

STRAIGHT_ON = 45
BYTES_PER_MAP = 1_500_000
MAP_ARRAYS = ("segment_", "grid_", "cell_", "block")


def driven(scenes, *, steps=60, **config) -> DrivingEnv:
    env = DrivingEnv(build_bank(scenes), DrivingConfig(**config), sequential=True, perturb=False)
    env.reset(seed=0)
    for _ in range(steps):
        env.step(np.full(env.num_rows, STRAIGHT_ON))
    return env


def group_of(env: DrivingEnv, name: str) -> np.ndarray:
    start = CANONICAL.start(name)
    return env.current_observation()[:, start : start + CANONICAL.group(name).size]


def test_one_world_with_one_agent():
    env = driven([straight_road(lead=False)], num_worlds=1, steps=30)
    assert env.state.agents[0, 10].sum() == 1.0
    assert not group_of(env, "agents").any()
    assert group_of(env, "road").any()


def test_more_controlled_agents_than_there_are_vehicles():
    env = driven([straight_road()], num_worlds=2, control="all", agents_per_world=32, steps=3)
    assert env.state.has_slot.reshape(2, 32).sum(axis=1).tolist() == [1, 1]  # traffic was not compiled to be driven
    assert not env.current_observation().reshape(2, 32, -1)[:, 1:].any()


def test_no_road_at_all():
    env = driven([empty_world()], num_worlds=3, steps=20)
    assert not group_of(env, "road").any()
    assert env.state.running.all()
    assert not env.state.events.any()


def long_road(length: float):
    return build_scenario(
        name=f"road{length:.0f}",
        lanes=[Lane(points=line((-60, y), (length, y))) for y in (0.0, 3.5)],
        edges=[line((-60, -2), (length, -2)), line((length, 5.5), (-60, 5.5))],
        ego=Mover(path=line((0, 0), (300, 0)), arc_length=constant(0, 10.0)),
        agents=[],
        route=[0],
        frames=91,
    )


def test_a_map_a_hundred_times_larger_costs_what_is_driven_on():
    short, long = (driven([long_road(length)], num_worlds=2) for length in (400.0, 40_000.0))
    assert np.array_equal(
        short.current_observation()[:, : CANONICAL.start("road")],
        long.current_observation()[:, : CANONICAL.start("road")],
    )
    assert map_bytes(long.bank.arrays) <= 1.5 * map_bytes(short.bank.arrays)


def test_more_threads_than_cores_change_no_bit(monkeypatch):
    monkeypatch.setattr(env_module, "WORLDS_PER_THREAD", 1)
    scenes = [signalled_crossing(), roundabout()]
    one, many = (driven(scenes, num_worlds=16, threads=threads) for threads in (1, 16))
    assert len(many._ranges) == 16
    assert np.array_equal(one.current_observation(), many.current_observation())


def map_bytes(arrays: SceneArrays) -> int:
    return sum(array.nbytes for name, array in arrays._asdict().items() if name.startswith(MAP_ARRAYS))


def test_a_thousand_maps_fit():
    """Rotated, so that no two have the same grid; each a map object of its own."""
    bases = [roundabout(), signalled_crossing()]
    scenes = [
        replace(moved(bases[i % 2], turn=0.006 * i, shift=(3.0 * i, -2.0 * i)), scenario_id=f"map{i}")
        for i in range(1000)
    ]
    bank = build_bank(scenes)
    assert len(bank) == 1000
    assert len(bank.arrays.grid_x) == 1000
    assert map_bytes(bank.arrays) / 1000 <= BYTES_PER_MAP
