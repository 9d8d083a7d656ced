"""Draws one attempt at a world: layout, route of the ego, who meets it and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.synthetic import layouts, traffic
from drivetrain.data.synthetic.kernels import columns as kernel
from drivetrain.data.synthetic.layouts import Layout
from drivetrain.data.synthetic.routes import Conflicts, Route, all_routes, arrival_times, conflicts_of
from drivetrain.sim.scenario import AgentType

KINDS = (
    "straight",
    "curve",
    "ending_lane",
    "on_ramp",
    "signalled_crossing",
    "priority_crossing",
    "open_crossing",
    "t_junction",
    "roundabout",
)
"""What ``generate_world`` can draw; crossings also name the ego's turn in ``World.kind``."""
SHARES = (0.11, 0.07, 0.11, 0.09, 0.13, 0.13, 0.16, 0.12, 0.08)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Everything that is fixed before the traffic is driven."""

    layout: Layout
    routes: list[Route]
    cast: traffic.Cast
    conflicts: Conflicts
    kind: str
    """Kind with the ego's turn, e.g. ``signalled_crossing_left``."""


def draw_layout(rng: np.random.Generator, kind: str) -> Layout:
    """Return a road layout of one of ``KINDS``."""
    if kind in ("straight", "curve"):
        return layouts.corridor(rng, curved=kind == "curve", merge=False)
    if kind in ("ending_lane", "on_ramp"):
        return layouts.corridor(rng, curved=False, merge=True, ramp=kind == "on_ramp")
    if kind == "roundabout":
        return layouts.roundabout(rng)
    if kind == "t_junction":
        return layouts.crossing(rng, arms=3, signals=bool(rng.random() < 0.3), major=True)
    return layouts.crossing(rng, arms=4, signals=kind == "signalled_crossing", major=kind == "priority_crossing")


def draw_attempt(rng: np.random.Generator, kind: str) -> Attempt:
    """Return a layout with the ego and its company placed on it."""
    layout = draw_layout(rng, kind)
    routes = all_routes(layout)
    number, turn = _ego_route(rng, layout, routes, kind)
    cast = traffic.Cast()
    start = _place_ego(rng, cast, layout, routes, number, kind)
    _place_obstacles(rng, cast, layout, routes, number, start, kind)
    conflicts = conflicts_of(layout)
    _place_opponents(rng, cast, layout, routes, number, start, conflicts)
    _place_traffic(rng, cast, layout, routes, number, start, kind)
    traffic.add_pedestrians(rng, cast, layout, routes[number])
    named = kind if layout.name != "crossing" else f"{kind}_{turn}"
    return Attempt(layout=layout, routes=routes, cast=cast, conflicts=conflicts, kind=named)


def _turn(layout: Layout, route: Route) -> str:
    turns = [layout.network.lanes[row].turn for row, _, _ in route.connectors(layout)]
    return next((t for t in turns if t in ("left", "right", "merge", "entry")), "straight")


def _ego_route(rng: np.random.Generator, layout: Layout, routes: list[Route], kind: str) -> tuple[int, str]:
    """Return the number of the ego's route and its turn; turns are drawn before routes, so that none is rare."""
    by_turn: dict[str, list[int]] = {}
    for number, route in enumerate(routes):
        if layout.name == "corridor" and layout.network.lanes[route.lanes[0]].block != 0 and kind != "on_ramp":
            continue
        by_turn.setdefault(_turn(layout, route), []).append(number)
    weight = {"left": 0.45, "straight": 0.3, "right": 0.25, "merge": 0.5, "entry": 1.0}
    turns = sorted(by_turn)
    share = np.array([weight[t] for t in turns])
    turn = turns[int(rng.choice(len(turns), p=share / share.sum()))]
    # Who must yield has more to do than who has the right of way.
    yields = np.array([max(layout.rank.get(row, 0) for row in routes[n].lanes) >= 2 for n in by_turn[turn]])
    chance = np.where(yields, 2.5, 1.0)
    return int(rng.choice(by_turn[turn], p=chance / chance.sum())), turn


def _lane_index(route: Route, s: float) -> int:
    return int(np.searchsorted(route.starts, s, side="right")) - 1


def _place_ego(
    rng: np.random.Generator, cast: traffic.Cast, layout: Layout, routes: list[Route], number: int, kind: str
) -> float:
    route = routes[number]
    row = traffic.ego_driver(rng)
    first = route.connectors(layout)[0][1]
    limit = layout.network.lanes[route.lanes[0]].limit
    if layout.name == "corridor":
        s = float(rng.uniform(12.0, 50.0)) if kind in ("straight", "curve") else first - float(rng.uniform(25.0, 80.0))
    else:
        s = first - float(rng.uniform(20.0, 28.0 + 1.2 * limit))
    s = max(s, 8.0)
    d = 0.0
    lane = layout.network.lanes[route.lanes[_lane_index(route, s)]]
    # Sometimes the ego starts in the wrong lane and must change before the crossing.
    if layout.name != "corridor" and first - s > 45.0 and rng.random() < 0.5:
        d = lane.width if lane.left >= 0 else (-lane.width if lane.right >= 0 else 0.0)
    # On roads without crossings it often comes up slowly to a blocked lane: see _place_obstacles.
    slow = kind in ("straight", "curve") and rng.random() < 0.7
    share = rng.uniform(0.25, 0.55) if slow else rng.uniform(0.6, 0.98)
    speed = traffic.safe_speed(layout, route, s, limit * float(share))
    traffic.add(cast, row, traffic.state_on(route, s, d, speed), number)
    return s


def _place_obstacles(
    rng: np.random.Generator,
    cast: traffic.Cast,
    layout: Layout,
    routes: list[Route],
    number: int,
    start: float,
    kind: str,
) -> None:
    """Put a lead, a cyclist and parked cars on the ego's route, parked cars elsewhere."""
    route = routes[number]
    speed = cast.states[0][kernel.V]
    limit = layout.network.lanes[route.lanes[0]].limit
    corridor = layout.name == "corridor"
    if corridor and rng.random() < 0.85:
        room = 14.0 + 0.6 * speed + speed * speed / 6.0
        _block(rng, cast, layout, route, number, start + room + float(rng.uniform(0.0, 6.0)))
    for s in start + 18.0 + speed * rng.uniform(1.5, 9.0, size=5 if corridor else 3):
        if rng.random() < 0.7 and s < route.length - 70:
            traffic.park(rng, cast, layout, number, route, float(s))
    if rng.random() < (0.8 if corridor else 0.35):
        heavy = corridor and rng.random() < 0.25
        lead = traffic.random_driver(rng, heavy=heavy)
        lead[kernel.SPEED] = rng.uniform(0.35, 0.8)
        s = start + 10.0 + float(rng.uniform(8.0, 35.0))
        if corridor and rng.random() < 0.35:
            lead[kernel.STOP_AT] = rng.uniform(0.0, 5.0)
            lead[kernel.GO_AT] = 1e9 if rng.random() < 0.6 else lead[kernel.STOP_AT] + rng.uniform(4.0, 8.0)
            lead[kernel.PASSABLE] = 1.0
        index = _lane_index(route, s)
        if not layout.network.lanes[route.lanes[index]].is_connector:
            v = traffic.safe_speed(layout, route, s, limit * lead[kernel.SPEED])
            traffic.add(cast, lead, traffic.state_on(route, s, 0.0, v), number)
    if rng.random() < 0.35 and kind not in ("roundabout", "on_ramp"):
        s = start + float(rng.uniform(20.0, 60.0))
        lane = layout.network.lanes[route.lanes[_lane_index(route, s)]]
        if not lane.is_connector and lane.right < 0 and _turn(layout, route) in ("straight", "right"):
            row = traffic.cyclist(rng, limit, lane.width)
            traffic.add(
                cast,
                row,
                traffic.state_on(route, s, row[kernel.HOME], row[kernel.SPEED] * limit),
                number,
                AgentType.BICYCLE,
            )
    for _ in range(3):
        other = int(rng.integers(len(routes)))
        length = routes[other].length
        if other != number and rng.random() < 0.5 and length > 130.0:
            traffic.park(rng, cast, layout, other, routes[other], float(rng.uniform(30.0, length - 60.0)))


def _block(rng: np.random.Generator, cast: traffic.Cast, layout: Layout, route: Route, number: int, s: float) -> None:
    """Let a car stand in the ego's lane for good, where there is a lane to pass it."""
    index = _lane_index(route, s)
    lane = layout.network.lanes[route.lanes[index]]
    clear = s - route.starts[index] > 10.0 and route.starts[index + 1] - s > 30.0
    if lane.is_connector or not clear or not (lane.left >= 0 or lane.right >= 0 or lane.room_oncoming > 0.0):
        return
    row = traffic.random_driver(rng, heavy=rng.random() < 0.15)
    row[kernel.PARKED] = row[kernel.PASSABLE] = 1.0
    traffic.add(cast, row, traffic.state_on(route, s, float(rng.uniform(-0.9, 0.3)), 0.0), number)


def _place_opponents(
    rng: np.random.Generator,
    cast: traffic.Cast,
    layout: Layout,
    routes: list[Route],
    number: int,
    start: float,
    conflicts: Conflicts,
) -> None:
    """Place drivers that, unhindered, would meet the ego where their connectors cross and who may go first."""
    own, met = routes[number], []
    for row, first, _ in own.connectors(layout):
        a = conflicts.number[row]
        for k, route in enumerate(routes):
            for other, begin, _ in route.connectors(layout):
                b = conflicts.number[other]
                if conflicts.rule[a, b] in (kernel.YIELDS, kernel.FIRST_COME):
                    met.append((k, first + conflicts.zone[a, b].mean(), begin, begin + conflicts.zone[b, a].mean()))
    for n in rng.permutation(len(met))[: int(rng.integers(1, 4))]:
        k, mine, begin, theirs = met[n]
        row = traffic.random_driver(rng, heavy=False)
        needed = arrival_times(own, cast.parameters[0][kernel.SPEED], mine)
        wish = needed[min(int(start), len(needed) - 1)] + float(rng.normal(-0.4, 1.0))
        times = arrival_times(routes[k], row[kernel.SPEED], theirs)
        s = float(np.count_nonzero(times > wish))
        if 6.0 < s < begin - 9.0 and not layout.network.lanes[routes[k].lanes[_lane_index(routes[k], s)]].is_connector:
            limit = layout.network.lanes[routes[k].lanes[0]].limit
            v = traffic.safe_speed(layout, routes[k], s, limit * row[kernel.SPEED])
            traffic.add(cast, row, traffic.state_on(routes[k], s, 0.0, v), k)


def _place_traffic(
    rng: np.random.Generator,
    cast: traffic.Cast,
    layout: Layout,
    routes: list[Route],
    number: int,
    start: float,
    kind: str,
) -> None:
    """Spread drivers over all routes, most of them where they will be near the ego."""
    wanted = int(rng.integers(4, 10)) if layout.name == "corridor" else int(rng.integers(1, 5))
    first = routes[number].connectors(layout)[0][1]
    speed = max(float(cast.states[0][kernel.V]), 4.0)
    arrival = (first - start) / speed
    # Round a roundabout it takes a while from one's entry to the next.
    early = 3.5 if kind == "roundabout" else 1.0
    for _ in range(3 * wanted):
        if len(cast.states) >= 24 or wanted == 0:
            break
        other = int(rng.integers(len(routes)))
        route = routes[other]
        limit = layout.network.lanes[route.lanes[0]].limit
        row = traffic.random_driver(rng, heavy=layout.name == "corridor" and rng.random() < 0.12)
        connectors = route.connectors(layout)
        wish = limit * row[kernel.SPEED]
        if layout.name == "corridor":
            s = _corridor_start(rng, layout, routes[number], route, start)
        elif rng.random() < 0.75:
            s = connectors[0][1] - wish * (arrival + float(rng.normal(-early, 2.5))) - 4.0
        else:
            s = connectors[-1][2] + float(rng.uniform(6.0, 60.0))
        lane = layout.network.lanes[route.lanes[_lane_index(route, max(s, 0.0))]]
        if s < 6.0 or s > route.length - 40.0 or lane.is_connector or connectors[0][1] - 9.0 < s < connectors[0][2]:
            continue
        v = traffic.safe_speed(layout, route, s, wish * float(rng.uniform(0.7, 1.0)))
        wanted -= int(traffic.add(cast, row, traffic.state_on(route, s, 0.0, v), other))


def _corridor_start(rng: np.random.Generator, layout: Layout, own: Route, route: Route, start: float) -> float:
    """Return where a driver on another lane of a corridor starts: beside the ego where the lanes merge."""
    merges = [c for c in route.connectors(layout) if c[0] in layout.zipper]
    mine = [c for c in own.connectors(layout) if c[0] in layout.zipper]
    if merges and mine and merges[0][0] != mine[0][0] and rng.random() < 0.8:
        return merges[0][2] - (mine[0][2] - start) + float(rng.normal(0.0, 7.0))
    same_way = layout.network.lanes[route.lanes[0]].block == layout.network.lanes[own.lanes[0]].block
    middle = start + 40.0 if same_way else route.length - start - 140.0
    return float(np.clip(rng.normal(middle, 60.0), 7.0, route.length - 61.0))


def kind_of(rng: np.random.Generator) -> str:
    """Return a kind drawn by ``SHARES``."""
    shares: NDArray[np.float64] = np.array(SHARES) / sum(SHARES)
    return KINDS[int(rng.choice(len(KINDS), p=shares))]
