"""Tiny ready-made scenarios for tests of everything that drives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from tests.sim.scenario_builder import (
    CAR,
    GREEN,
    RED,
    YELLOW,
    Lane,
    Light,
    Mover,
    arc,
    braking,
    build_scenario,
    constant,
    line,
)

from drivetrain.sim.scenario import AgentType, Ragged, Scenario

WALKER = (0.6, 0.6)


def straight_road(
    *, ego_speed: float = 10.0, agents: Sequence[Mover] = (), lead: bool = True, frames: int = 91
) -> Scenario:
    """Two lanes towards +x (y = 0 and 3.5) between edges at y = -2 and 5.5; a lead car 25 m ahead of the ego."""
    lanes = [Lane(points=line((-60, y), (320, y))) for y in (0.0, 3.5)]
    ahead = [Mover(path=line((0, 0), (300, 0)), arc_length=constant(25, ego_speed))] if lead else []
    return build_scenario(
        name=f"straight{len(agents)}",
        lanes=lanes,
        edges=[line((-60, -2), (320, -2)), line((320, 5.5), (-60, 5.5))],
        ego=Mover(path=line((0, 0), (300, 0)), arc_length=constant(0, ego_speed)),
        agents=[*ahead, *agents],
        route=[0],
        frames=frames,
    )


def empty_world(*, frames: int = 41) -> Scenario:
    """An ego alone on a plane: no lanes, no edges, no agents, no lights."""
    return build_scenario(
        name="empty",
        lanes=[],
        edges=[],
        ego=Mover(path=line((0, 0), (200, 0)), arc_length=constant(0, 8.0)),
        frames=frames,
    )


def parked_car_road() -> Scenario:
    """A straight road with a parked car half in the ego's lane; the logged ego stops behind it."""
    parked = Mover(path=line((45, -1), (46, -1)), arc_length=constant(0, 0))
    return build_scenario(
        name="parked",
        lanes=[Lane(points=line((-60, 0), (200, 0)), speed_limit=None)],
        edges=[line((-60, -2.6), (200, -2.6)), line((200, 2.4), (-60, 2.4))],
        ego=Mover(path=line((0, 0), (300, 0)), arc_length=braking(0, 9.0, 1.2)),
        agents=[parked],
        route=[0],
    )


def pedestrian_road() -> Scenario:
    """A pedestrian and a cyclist cross an ego that brakes for them; the walker is seen from frame 10 to 60 only."""
    walker = Mover(
        path=line((38, -6), (38, 12)),
        arc_length=constant(0, 1.4),
        type=AgentType.PEDESTRIAN,
        size=WALKER,
        frames=(10, 61),
    )
    cyclist = Mover(path=line((60, 9), (60, -30)), arc_length=constant(0, 4.0), type=AgentType.BICYCLE, size=(1.8, 0.6))
    cone = Mover(
        path=line((20, -1.8), (21, -1.8)),
        arc_length=constant(0, 0),
        type=AgentType.TRAFFIC_CONE,
        size=(0.4, 0.4),
    )
    return build_scenario(
        name="pedestrian",
        lanes=[Lane(points=line((-60, 0), (200, 0)), speed_limit=8.0)],
        edges=[line((-60, -2.2), (200, -2.2)), line((200, 2.2), (-60, 2.2))],
        ego=Mover(path=line((0, 0), (300, 0)), arc_length=braking(0, 9.0, 1.5)),
        agents=[walker, cyclist, cone],
        route=[0],
    )


def signalled_crossing(*, ego_state: int | Sequence[int] | np.ndarray | None = None, frames: int = 121) -> Scenario:
    """A crossing of two one-lane roads; the ego goes from west to east and its light turns green, yellow, red.

    The stop line of the ego's connector (lane row 1) is at x = -8. A car turns left into the ego's road, one
    follows the ego, one waits at the red light of the southern arm and one crosses late.
    """
    if ego_state is None:
        ego_state = [GREEN] * 40 + [YELLOW] * 30 + [RED] * (frames - 70)
    south_state = [RED if state in (GREEN, YELLOW) else GREEN for state in np.broadcast_to(ego_state, frames)]
    left_turn = arc(centre=(-8, -8), radius=8, start=0.0, stop=np.pi / 2)
    lanes = [
        Lane(points=line((-120, 0), (-8, 0)), successors=(1,)),
        Lane(points=line((-8, 0), (8, 0)), successors=(2,), connector=True),
        Lane(points=line((8, 0), (140, 0))),
        Lane(points=line((0, -120), (0, -8)), successors=(4, 6)),
        Lane(points=line((0, -8), (0, 8)), successors=(5,), connector=True),
        Lane(points=line((0, 8), (0, 120))),
        Lane(points=left_turn, successors=(7,), connector=True, speed_limit=6.0),
        Lane(points=line((-8, 0), (-120, 0))),
    ]
    edges = [
        line((-120, -2.2), (-2.2, -2.2), (-2.2, -120)),
        line((2.2, -120), (2.2, -2.2), (140, -2.2)),
        line((140, 2.2), (2.2, 2.2), (2.2, 120)),
        line((-2.2, 120), (-2.2, 2.2), (-120, 2.2)),
    ]
    north = line((0, -120), (0, 120))
    agents = [
        Mover(path=line((-120, 0), (140, 0)), arc_length=constant(40, 6.0)),
        Mover(path=north, arc_length=constant(105.3, 0.0)),
        Mover(path=north, arc_length=lambda t: 40 + 7.0 * np.maximum(t - 1.0, 0)),
        Mover(path=np.concatenate([line((0, -120)), left_turn]), arc_length=constant(60, 3.0), frames=(5, 100)),
    ]
    return build_scenario(
        name="crossing",
        lanes=lanes,
        edges=edges,
        ego=Mover(path=line((-120, 0), (140, 0)), arc_length=constant(62, 8.9)),
        agents=agents,
        lights=[
            Light(lane=1, stop_point=(-8, 0), state=ego_state),
            Light(lane=4, stop_point=(0, -8), state=south_state),
            Light(lane=6, stop_point=(0, -8), state=south_state),
        ],
        route=[0, 1, 2],
        frames=frames,
    )


def roundabout(*, frames: int = 121) -> Scenario:
    """The ego enters a ring of 18 m radius in which three cars go round, and leaves after half a turn."""
    ring = arc(centre=(0, 0), radius=18, start=-np.pi / 2, stop=1.5 * np.pi, count=120)
    half = arc(centre=(0, 0), radius=18, start=-np.pi / 2, stop=np.pi / 2, count=60)
    path = np.concatenate([line((-60, -18)), half, line((-60, 18))])
    agents = [Mover(path=np.tile(ring[:-1], (3, 1)), arc_length=constant(k * 30.0 + 20.0, 6.0)) for k in range(3)]
    return build_scenario(
        name="roundabout",
        lanes=[
            Lane(points=line((-60, -18), (0, -18)), successors=(1,), speed_limit=8.0),
            Lane(points=half, successors=(2,), connector=True, speed_limit=7.0),
            Lane(points=line((0, 18), (-60, 18)), speed_limit=None),
        ],
        edges=[
            arc(centre=(0, 0), radius=14, start=0, stop=-2 * np.pi, count=60),
            arc(centre=(0, 0), radius=23, start=-np.pi / 2, stop=np.pi / 2, count=40),
        ],
        ego=Mover(path=path, arc_length=constant(20, 6.5)),
        agents=agents,
        route=[0, 1, 2],
        frames=frames,
    )


def crowd(*, count: int = 90, frames: int = 61, seed: int = 3) -> Scenario:
    """A wide plaza with more road users than fit into an observation or a fixed number of slots."""
    random = np.random.default_rng(seed)
    kinds = [(AgentType.VEHICLE, CAR), (AgentType.PEDESTRIAN, WALKER), (AgentType.BICYCLE, (1.8, 0.6))]
    agents = []
    for k in range(count):
        start, angle = random.uniform(-70, 70, 2), random.uniform(-np.pi, np.pi)
        kind, size = kinds[k % 3]
        speed = float(random.choice([0.0, 1.2, 6.0]))
        end = start + 200.0 * np.array([np.cos(angle), np.sin(angle)])
        first = int(random.integers(0, 20))
        agents.append(
            Mover(
                path=np.array([start, end]),
                arc_length=constant(0, speed),
                type=kind,
                size=size,
                frames=(first, int(random.integers(first + 5, frames + 1))) if k % 4 == 0 else None,
            )
        )
    edges = [line((-90, y), (90, y)) for y in (-90.0, 90.0)] + [line((x, -90), (x, 90)) for x in (-90.0, 90.0)]
    edges += [line((x, -20), (x + 3, -25), (x + 6, -20)) for x in np.arange(-80.0, 80.0, 8.0)]
    return build_scenario(
        name="crowd",
        lanes=[Lane(points=line((-90, 0), (90, 0)))],
        edges=edges,
        ego=Mover(path=line((-60, 0), (90, 0)), arc_length=constant(0, 7.0)),
        agents=agents,
        route=[0],
        frames=frames,
    )


def moved(scenario: Scenario, *, turn: float, shift: tuple[float, float]) -> Scenario:
    """The same scenario rotated about the origin by ``turn`` [rad], then translated by ``shift`` [m]."""
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, s], [-s, c]])

    def place(points: np.ndarray) -> np.ndarray:
        return points @ rotation + np.asarray(shift)

    def place_list(items: Ragged) -> Ragged:
        return replace(items, values=place(items.values))

    def angle(heading: np.ndarray) -> np.ndarray:
        return ((heading + turn + np.pi) % (2 * np.pi) - np.pi).astype(heading.dtype)

    lanes, agents, ego, lights = scenario.map.lanes, scenario.agents, scenario.ego, scenario.lights
    return replace(
        scenario,
        map=replace(
            scenario.map,
            name=scenario.map.name + "-moved",
            lanes=replace(lanes, baseline=place_list(lanes.baseline)),
            road_edges=place_list(scenario.map.road_edges),
        ),
        ego=replace(ego, pose=np.column_stack([place(ego.pose[:, :2]), angle(ego.pose[:, 2])])),
        agents=replace(
            agents,
            position=place(agents.position) * agents.valid[..., None],
            heading=angle(agents.heading) * agents.valid,
            velocity=(agents.velocity @ rotation).astype(np.float32),
        ),
        lights=replace(lights, stop_point=place(lights.stop_point)),
    )


def all_worlds() -> list[Scenario]:
    """One of each."""
    return [
        straight_road(),
        parked_car_road(),
        pedestrian_road(),
        signalled_crossing(),
        roundabout(),
        crowd(),
        empty_world(),
    ]
