"""The map-based metrics word by word: one point and one polygon at a time, plain shapely, nothing remembered.

Objects are rows of ``RoadMap.lanes``; what is compared are the source's ids, as the reference compares them.
"""

import numpy as np
import shapely
from shapely.geometry import LineString, MultiPolygon, Point, Polygon

from drivetrain.sim.scenario import LaneKind


def polygons_by_id(polygons):
    """Source id -> its area, in order of first appearance."""
    parts = {}
    for i, source in enumerate(polygons.source_id.tolist()):
        rings = polygons.rings_of(i)
        parts.setdefault(source, []).append(Polygon(rings[0], rings[1:]))
    return {source: part[0] if len(part) == 1 else MultiPolygon(part) for source, part in parts.items()}


class LaneOracle:
    def __init__(self, road_map):
        self.map = road_map
        lanes = road_map.lanes
        self.fid = lanes.source_id.tolist()
        self.link = [kind == LaneKind.CONNECTOR for kind in lanes.kind.tolist()]
        self.area = polygons_by_id(lanes.polygon)
        self.line = [LineString(lanes.baseline[i]) for i in range(len(lanes))]
        self.block_area = polygons_by_id(road_map.roadblock_polygon)
        self.drivable = [Polygon(r[0], r[1:]) for r in map(road_map.drivable.rings_of, range(len(road_map.drivable)))]
        rings = map(road_map.intersections.rings_of, range(len(road_map.intersections)))
        self.intersections = [Polygon(r[0], r[1:]) for r in rings]

    def out(self, row):
        return self.map.lanes.successors[row].tolist()

    def into(self, row):
        return self.map.lanes.predecessors[row].tolist()

    def search(self, point):
        """The first lane that holds the point, else all connectors that do."""
        held = [row for row, area in self.area.items() if area.contains(Point(point))]
        lanes = sorted(row for row in held if not self.link[row])
        return lanes[:1] or [row for row in held if self.link[row]]

    def from_candidates(self, point, candidates):
        held = [row for row in candidates if row in self.area and self.area[row].contains(Point(point))]
        if not held and len(candidates) == 1:
            held = [r for r in self.out(candidates[0]) if r in self.area and self.area[r].contains(Point(point))]
        return held

    def route(self, points):
        raw, now = [], []
        for i, point in enumerate(points):
            now = self.from_candidates(point, now) if now else []
            if not now:
                now = self.search(point)
                on_links = i > 1 and raw[-1] and self.link[raw[-1][0]]
                lost = not now and any(area.contains(Point(point)) for area in self.intersections)
                if on_links and ((now and self.link[now[0]]) or lost):
                    close = [row for row in raw[-1] if self.area[row].distance(Point(point)) < 5]
                    now = close or now
            raw.append(now)
        final = list(raw)
        for i in reversed(range(len(raw) - 1)):
            mine, following = raw[i], final[i + 1]
            if len(mine) < 2:
                continue
            if len(following) < len(mine) and {self.fid[r] for r in following} <= {self.fid[r] for r in mine}:
                final[i] = following
            if following and not self.link[following[0]]:
                entries = {self.fid[r] for r in self.into(following[0])}
                if leading := [r for r in mine if self.fid[r] in entries]:
                    final[i] = leading
        return [tuple(objects) for objects in final]

    def corner_route(self, corners):
        found, candidates = [], []
        for i, frame in enumerate(corners):
            upcoming, row = [], []
            for point in frame:
                objects = self.from_candidates(point, candidates) if candidates else []
                if not objects:
                    objects = self.search(point)
                    if i == 1:
                        candidates += [o for o in objects if self.fid[o] not in [self.fid[c] for c in candidates]]
                upcoming += [o for o in objects if self.fid[o] not in [self.fid[c] for c in upcoming]]
                row.append(tuple(objects))
            candidates = upcoming
            found.append(tuple(row))
        return found

    def shared(self, corners):
        """None: corners apart or some off-lane; empty: all off-lane; else ids that hold or connect all corners."""
        if not any(corners):
            return set()
        if not all(corners):
            return None
        ids = [{self.fid[r] for r in objects} for objects in corners]
        if common := ids[0] & ids[1] & ids[2] & ids[3]:
            return common
        _, rear_left, rear_right, _ = ids
        ahead = [ids[k] | {self.fid[o] for r in corners[k] for o in self.out(r)} for k in range(4)]
        back = [ids[k] | {self.fid[o] for r in corners[k] for o in self.into(r)} for k in range(4)]
        if not (rear_left & ahead[2]) and not (rear_right & ahead[1]):
            return None
        return ((back[0] & ahead[2]) & (back[3] & ahead[1])) or None

    def lane_changes(self, shared):
        changes, open_change = 0, False
        for i in range(1, len(shared)):
            if not open_change and shared[i] is None and shared[i - 1]:
                open_change = True
                changes += 1
            elif open_change and shared[i] is not None:
                open_change = False
        return changes

    def off_road(self, corners, corner_route, route):
        for frame, objects, under in zip(corners, corner_route, route, strict=True):
            for point, mine in zip(frame, objects, strict=True):
                p = Point(point)
                if mine or any(area.contains(p) for area in self.drivable):
                    continue
                close = any(self.area[row].distance(p) < 0.3 for row in under)
                if not close and not any(area.distance(p) < 0.3 for area in self.drivable):
                    return True
        return False

    def least_progress(self, points, route, times):
        steps, before_id, before = [], None, None
        if route[0]:
            before_id = self.fid[route[0][0]]
        for point, objects in zip(points, route, strict=True):
            if not objects:
                steps.append(0.0)
                continue
            place = self.line[objects[0]].project(Point(point))
            if self.fid[objects[0]] == before_id:
                steps.append(place - before if before is not None and place else 0.0)
                before = place
            else:
                steps.append(0.0)
                before_id, before = self.fid[objects[0]], None
        n = int(1e6 / np.mean(np.diff(times)))
        return min(sum(steps[max(0, i - n) : i + 1]) for i in range(len(steps)))

    def over_speed(self, speed, route):
        table, over = self.map.lanes, []
        for v, objects in zip(speed, route, strict=True):
            lanes = list(objects[:1])
            if objects and self.link[objects[0]]:
                lanes = [lane for row in objects for lane in self.out(row) + self.into(row)]
            known = lanes and all(table.speed_limit_known[row] for row in lanes)
            over.append(max(0.0, v - max(table.speed_limit[row] for row in lanes)) if known else 0.0)
        return np.array(over)

    def legs(self, route):
        """(area of the roadblock, baseline) pairs."""
        kept, legs, last = [], [], None
        for objects in route:
            ids = {self.fid[r] for r in objects}
            if objects and (not kept or not ids & {self.fid[r] for r in kept[-1]}):
                kept.append(objects)
        for objects in kept:
            block = int(self.map.lanes.roadblock[objects[0]][0])
            if self.map.roadblock_id[block] != last:
                last = self.map.roadblock_id[block]
                legs.append((self.block_area[block], self.line[objects[0]]))
        return legs

    def progress(self, legs, points):
        at, total = 0, 0.0
        start = legs[0][1].project(Point(points[0]))
        for point in map(Point, points[1:]):
            area, line = legs[at]
            if area.contains(point):
                total += line.project(point) - start
                start = line.project(point)
                continue
            later = next((j for j in range(at + 1, len(legs)) if legs[j][0].contains(point)), None)
            if later is None:
                continue
            end, target = shapely.get_point(line, -1), legs[later][1]
            total += (line.length - start) + target.project(point) - target.project(end)
            for j in range(at + 1, later):
                skipped, previous, following = legs[j][1], legs[j - 1][1], legs[j + 1][1]
                total += skipped.project(shapely.get_point(following, 0))
                total -= skipped.project(shapely.get_point(previous, -1))
            at, start = later, target.project(point)
        return total
