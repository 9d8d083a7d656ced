"""Road layouts of the synthetic worlds: crossings, roundabouts and corridors (straight, curve, merge)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from drivetrain.data.synthetic.curves import Polyline, bent_line, join, parallel, unit, wrap
from drivetrain.data.synthetic.network import LaneDraft, Network, Road
from drivetrain.sim.scenario import DrivableKind, StopKind

LANE_WIDTHS = (3.3, 3.5, 3.7)


@dataclass(kw_only=True, slots=True)
class Layout:
    """A finished road layout with what drivers need to know beside the lane graph."""

    network: Network
    name: str
    rank: dict[int, int] = field(default_factory=dict)
    """Priority of connector rows where they conflict: the lower number goes first, equals go as they come."""
    zipper: set[int] = field(default_factory=set)
    """Connector rows that merge alternately."""
    signal_group: dict[int, int] = field(default_factory=dict)
    """Connector row -> signal group; groups are never green together."""
    crosswalk_group: list[int] = field(default_factory=list)
    """Signal group that must be red for pedestrians on each crosswalk, -1 where there is no light."""
    walkways: list[Polyline] = field(default_factory=list)
    """Lines beside the road where pedestrians stroll."""


@dataclass(kw_only=True, slots=True)
class _Arm:
    heading: float
    lanes: int
    limit: float
    verge: float
    reach: float = 0.0
    road: Road | None = None

    def half(self, width: float) -> float:
        return self.lanes * width + self.verge


def crossing(rng: np.random.Generator, *, arms: int, signals: bool, major: bool) -> Layout:
    """Return a crossing of three or four arms.

    Args:
        rng: Source of all variation.
        arms: 3 (T) or 4.
        signals: With traffic lights.
        major: Without lights: arms 0 and 2 have the right of way; else first come, first served.
    """
    net = Network()
    width = float(rng.choice(LANE_WIDTHS))
    gamma = math.radians(float(rng.uniform(75.0, 105.0)))
    angles = [0.0, gamma, math.pi, gamma + math.pi][:arms]
    main = int(rng.integers(1, 3)) if not signals else int(rng.choice([1, 2, 2, 3]))
    side = 1 if not signals else int(rng.choice([1, 1, 2]))
    limits = (float(rng.uniform(11.0, 16.0)), float(rng.uniform(8.5, 13.0)))
    drawn = [
        _Arm(
            heading=angle + float(rng.uniform(-0.06, 0.06)),
            lanes=(main, side)[k % 2],
            limit=limits[k % 2],
            verge=float(rng.uniform(0.4, 1.0)),
        )
        for k, angle in enumerate(angles)
    ]
    corner = float(rng.uniform(8.0, 11.0))
    for k, arm in enumerate(drawn):
        arm.reach = max(_mouth(arm, drawn[k - 1], width, corner), _mouth(arm, drawn[(k + 1) % arms], width, corner))
        bend = float(rng.choice([-1.0, 1.0]) / rng.uniform(90.0, 260.0))
        axis, tangents = bent_line(
            arm.reach * unit(arm.heading), arm.heading, [(30.0, 0.0), (60.0, bend), (60.0 + 11.0 * arm.limit, 0.0)]
        )
        arm.road = net.add_road(
            axis,
            tangents,
            forward=arm.lanes,
            backward=arm.lanes,
            width=width,
            limit=arm.limit,
            verge=(arm.verge, arm.verge),
        )
    layout = Layout(network=net, name="crossing")
    ring = _crossing_area(drawn)
    net.add_area(DrivableKind.INTERSECTION, [ring])
    net.intersections.append((1 if signals else 0, [net.areas[-1][1][0]]))
    _crossing_connectors(layout, drawn, signals=signals, major=major)
    for k, arm in enumerate(drawn):
        if rng.random() < 0.75:
            _arm_crosswalk(layout, arm, width, group=k % 2 if signals else -1)
        for sign in (1.0, -1.0):
            assert arm.road is not None
            layout.walkways.append(parallel(arm.road.axis, sign * (arm.half(width) + 1.6), arm.road.tangents)[:35])
    return layout


def _mouth(arm: _Arm, other: _Arm, width: float, corner: float) -> float:
    """Return how far from the centre an arm must start to leave room for the kerb arc to its neighbour [m]."""
    gap = abs(wrap(other.heading - arm.heading))
    if gap > math.radians(150.0):
        return 0.0
    meet = (other.half(width) + arm.half(width) * math.cos(gap)) / math.sin(gap)
    return meet + corner * math.tan((math.pi - gap) / 2.0)


def _edge_points(road: Road) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the left and right border points at the start of a road."""
    ends = [parallel(road.axis, side, road.tangents)[0] for side in (road.left_edge, road.right_edge)]
    return ends[0], ends[1]


def _crossing_area(arms: list[_Arm]) -> Polyline:
    pieces = []
    for k, arm in enumerate(arms):
        after = arms[(k + 1) % len(arms)]
        assert arm.road is not None
        assert after.road is not None
        left, right = _edge_points(arm.road)
        start = _edge_points(after.road)[1]
        pieces += [right[None], join(left, arm.heading + math.pi, start, after.heading)[:-1]]
    return np.vstack(pieces)


def _crossing_connectors(layout: Layout, arms: list[_Arm], *, signals: bool, major: bool) -> None:
    net = layout.network
    for k, arm in enumerate(arms):
        assert arm.road is not None
        inbound = arm.road.backward
        stops = []
        if signals or (major and k % 2 == 1):
            kind = StopKind.TRAFFIC_LIGHT if signals else StopKind.YIELD
            stops = [net.add_stop(row, kind) for row in inbound]
        for m, target in enumerate(arms):
            if m == k:
                continue
            assert target.road is not None
            turn_angle = wrap(target.heading - arm.heading - math.pi)
            outbound = target.road.forward
            block = net.add_block(True)
            if abs(turn_angle) < 0.8:
                turn = "straight"
                pairs = [(i, i) for i in range(min(len(inbound), len(outbound)))]
            elif turn_angle > 0:
                turn, pairs = "left", [(0, 0)]
            else:
                turn, pairs = "right", [(len(inbound) - 1, len(outbound) - 1)]
            rows = [net.connect(inbound[i], outbound[j], turn=turn, block=block) for i, j in pairs]
            for n, (row, (i, _)) in enumerate(zip(rows, pairs, strict=True)):
                lane = net.lanes[row]
                lane.approach = k
                lane.left = rows[n - 1] if n > 0 else -1
                lane.right = rows[n + 1] if n + 1 < len(rows) else -1
                if signals:
                    lane.has_light = True
                    # Only lights are listed: nuPlan's reactive agents wait for green at whatever is listed.
                    lane.stop_rows = [stops[i]]
                    layout.signal_group[row] = k % 2
                    layout.rank[row] = 1 if turn == "left" else 0
                elif major:
                    layout.rank[row] = {"straight": 0, "right": 0, "left": 1}[turn] + (2 if k % 2 else 0)
                else:
                    layout.rank[row] = 0


def _arm_crosswalk(layout: Layout, arm: _Arm, width: float, *, group: int) -> None:
    middle = (arm.reach - 2.0) * unit(arm.heading)
    side = unit(arm.heading + math.pi / 2.0) * (arm.half(width) + 0.4)
    layout.network.add_crosswalk(middle - side, middle + side)
    layout.crosswalk_group.append(group)


def roundabout(rng: np.random.Generator) -> Layout:
    """Return a one-lane roundabout with three or four arms; the ring has the right of way."""
    net = Network()
    layout = Layout(network=net, name="roundabout")
    width = 3.7
    island = float(rng.uniform(9.5, 14.0))
    ring_width = 4.6
    radius = island + 0.6 + ring_width / 2.0
    outer = radius + ring_width / 2.0 + 0.6
    arms = int(rng.choice([3, 4, 4]))
    spread = 2.0 * math.pi / arms
    split = math.asin(min(0.62, 8.6 / radius))
    reach = outer + 9.0
    limit = float(rng.uniform(9.0, 13.0))
    roads, angles = [], []
    for k in range(arms):
        heading = k * spread + float(rng.uniform(-0.08, 0.08))
        axis, tangents = bent_line(
            reach * unit(heading),
            heading,
            [(30.0, 0.0), (60.0, float(rng.choice([-1.0, 1.0]) / rng.uniform(90.0, 260.0))), (170.0, 0.0)],
        )
        roads.append(net.add_road(axis, tangents, forward=1, backward=1, width=width, limit=limit, verge=(0.6, 0.6)))
        angles.append(heading)

    def arc(a: float, b: float) -> Polyline:
        sweep = (b - a) % (2.0 * math.pi)
        line, _ = bent_line(radius * unit(a), a + math.pi / 2.0, [(sweep * radius, 1.0 / radius)], 1.0)
        return line

    entries = [a + split for a in angles]
    exits = [a - split for a in angles]
    ring = [len(net.lanes) + k for k in range(arms)]
    for k in range(arms):
        net.lanes.append(_ring_lane(arc(entries[k], exits[(k + 1) % arms]), ring_width, limit, net.add_block(False)))
    joints = []
    for k in range(arms):
        before = ring[k - 1]
        inbound, outbound = roads[k].backward[0], roads[k].forward[0]
        passing = net.connect(before, ring[k], turn="ring", line=arc(exits[k], entries[k]))
        entry = net.connect(inbound, ring[k], turn="entry")
        leave = net.connect(before, outbound, turn="exit")
        layout.rank.update({passing: 0, entry: 1, leave: 0})
        net.lanes[entry].approach = k
        net.add_stop(inbound, StopKind.YIELD)
        joints += [
            shapely.LineString(net.lanes[row].center).buffer(width / 2.0 + 0.6, cap_style="square")
            for row in (entry, leave)
        ]
        joints.append(_splitter(roads[k], angles[k], radius))
        for sign in (1.0, -1.0):
            layout.walkways.append(parallel(roads[k].axis, sign * (width + 2.2), roads[k].tangents)[4:40])
    disc = shapely.Point(0.0, 0.0).buffer(outer, quad_segs=24)
    hole = shapely.Point(0.0, 0.0).buffer(island, quad_segs=20)
    outline = shapely.get_coordinates(shapely.get_exterior_ring(shapely.union_all([disc, *joints])))
    # Gaps between the joints are painted, not raised: only the island is a hole.
    net.add_area(DrivableKind.INTERSECTION, [outline, shapely.get_coordinates(hole.exterior)])
    net.intersections.append((0, net.areas[-1][1]))
    return layout


def _ring_lane(center: Polyline, width: float, limit: float, block: int) -> LaneDraft:
    return LaneDraft(center=center, width=width, limit=limit, block=block, is_connector=False, turn="ring")


def _splitter(road: Road, angle: float, radius: float) -> shapely.Geometry:
    """Return the (painted, drivable) wedge between the entry and the exit of an arm."""
    left, right = _edge_points(road)
    middle = (left + right) / 2.0
    return shapely.Polygon([0.7 * right + 0.3 * middle, 0.7 * left + 0.3 * middle, radius * unit(angle)])


def corridor(rng: np.random.Generator, *, curved: bool, merge: bool, ramp: bool = False) -> Layout:
    """Return a road without crossings: straight, curved, with a crosswalk half-way or a lane that ends.

    Args:
        rng: Source of all variation.
        curved: Bends of 60 to 250 m radius.
        merge: A lane ends, or a ramp joins (``ramp``).
        ramp: The ending lane comes from an on-ramp.
    """
    net = Network()
    layout = Layout(network=net, name="corridor")
    width = float(rng.choice(LANE_WIDTHS))
    after = int(rng.choice([1, 2])) if merge else int(rng.choice([1, 2, 2, 3]))
    forward = after + (1 if merge and not ramp else 0)
    backward = 1 if rng.random() < 0.6 else int(rng.choice([1, 2]))
    limit = float(rng.uniform(9.0, 14.0)) if curved else float(rng.uniform(10.0, 18.0))
    verge = (float(rng.uniform(0.4, 1.2)), float(rng.uniform(0.4, 1.2)))
    lengths = (float(rng.uniform(130.0, 170.0)), 55.0 if merge else 9.0, 100.0 + 13.0 * limit)
    roads: list[Road] = []
    start, heading = np.zeros(2), 0.0
    axes = []
    for part, length in enumerate(lengths):
        pieces = [(length, 0.0)]
        if curved and part != 1:
            bends = rng.choice([-1.0, 1.0]) / rng.uniform(40.0, 140.0, size=3)
            bends[1] *= -0.6
            third = length / 4.0
            pieces = [
                (12.0, 0.0),
                (third, bends[0]),
                (third, bends[1]),
                (length - 24.0 - 2.0 * third, bends[2] * 0.5),
                (12.0, 0.0),
            ]
        axis, tangents = bent_line(start, heading, pieces)
        start, heading = axis[-1], float(tangents[-1])
        axes.append((axis, tangents))
    for part, lanes in ((0, forward), (2, after)):
        axis, tangents = axes[part]
        roads.append(
            net.add_road(axis, tangents, forward=lanes, backward=backward, width=width, limit=limit, verge=verge)
        )
    joined = _ramp_road(layout, rng, axes[1], after * width, width, limit) if ramp else []
    _transition(layout, axes[1], roads[0], roads[1], joined, verge, width)
    if not merge and rng.random() < 0.6:
        axis, tangents = axes[1]
        middle, normal = axis[len(axis) // 2], unit(float(tangents[0]) + math.pi / 2.0)
        net.add_crosswalk(middle + (roads[0].right_edge - 0.3) * normal, middle + (roads[0].left_edge + 0.3) * normal)
        layout.crosswalk_group.append(-1)
    for road in roads:
        layout.walkways.append(parallel(road.axis, road.left_edge + 1.6, road.tangents)[2:60])
        if not ramp:
            layout.walkways.append(parallel(road.axis, road.right_edge - 1.6, road.tangents)[2:60])
    return layout


def _ramp_road(
    layout: Layout,
    rng: np.random.Generator,
    zone: tuple[Polyline, NDArray[np.float64]],
    offset: float,
    width: float,
    limit: float,
) -> list[int]:
    """Add an on-ramp that arrives beside the rightmost lane where the transition begins; return its lane rows."""
    axis, tangents = zone
    heading = float(tangents[0])
    end = axis[0] - offset * unit(heading + math.pi / 2.0)
    radius, sweep = float(rng.uniform(50.0, 90.0)), math.radians(float(rng.uniform(14.0, 30.0)))
    line, angle = bent_line(end, heading + math.pi, [(25.0, 0.0), (radius * sweep, 1.0 / radius), (90.0, 0.0)])
    road = layout.network.add_road(
        np.ascontiguousarray(line[::-1]),
        np.ascontiguousarray(angle[::-1]) - math.pi,
        forward=1,
        backward=0,
        width=width,
        limit=limit,
        verge=(0.3, 0.6),
    )
    return road.forward


def _transition(
    layout: Layout,
    zone: tuple[Polyline, NDArray[np.float64]],
    first: Road,
    second: Road,
    joined: list[int],
    verge: tuple[float, float],
    width: float,
) -> None:
    """Connect two stretches; forward lanes that have no counterpart merge into the rightmost that has one."""
    net = layout.network
    axis, tangents = zone
    t = np.linspace(0.0, 1.0, len(axis))
    blend = (t * t * t * (10.0 - 15.0 * t + 6.0 * t * t))[:, None]
    incoming = [*first.forward, *joined]
    count = len(second.forward)
    ends_lane = len(incoming) > count
    block = net.add_block(True)
    rows = []
    for i, row in enumerate(incoming):
        j = min(i, count - 1)
        line = (1.0 - blend) * parallel(axis, -(i + 0.5) * width, tangents) + blend * parallel(
            axis, -(j + 0.5) * width, tangents
        )
        own = block if row not in joined else net.add_block(True)
        made = net.connect(row, second.forward[j], turn="merge" if i >= count else "straight", block=own, line=line)
        rows.append(made)
        layout.rank[made] = 0
        if ends_lane and j == count - 1:
            layout.zipper.add(made)
    back_block = net.add_block(True)
    back = [
        net.connect(a, b, turn="straight", block=back_block, line=parallel(axis, (i + 0.5) * width, tangents)[::-1])
        for i, (a, b) in enumerate(zip(second.backward, first.backward, strict=True))
    ]
    for group in (rows if not joined else rows[:-1], back):
        for n, row in enumerate(group):
            net.lanes[row].left = group[n - 1] if n > 0 else -1
            net.lanes[row].right = group[n + 1] if n + 1 < len(group) else -1
            layout.rank.setdefault(row, 0)
            if not ends_lane:
                net.lanes[row].room_left = n * width
                net.lanes[row].room_right = (len(group) - 1 - n) * width + 0.3
    wide, narrow = len(incoming) * width + verge[1], count * width + verge[1]
    right = (1.0 - blend) * parallel(axis, -wide, tangents) + blend * parallel(axis, -narrow, tangents)
    left = parallel(axis, first.left_edge, tangents)
    ring = np.vstack([left, right[::-1]])
    net.add_area(DrivableKind.INTERSECTION, [ring])
    net.intersections.append((4 if ends_lane else 5, [net.areas[-1][1][0]]))
