"""Agent-steps per second with the peer's observation and work: 7.4 KB of float32 per agent, on Waymo scenes.

python benchmarks/peer_layout.py [FOLDER]

FOLDER holds Waymo scenes as JSON; without it $DRIVETRAIN_WOMD_DIR counts, then ../shared/data/womd. The simulator
itself has one canonical observation; this layout exists here alone, to stand beside published figures. It is always
measured on generated scenes too, which need no download.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

import peer_kernel as k
from bench_scenes import bench_store
from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.sim.kernels.lanes import LANES
from drivetrain.sim.scenario import AgentType, LaneKind, Scenario
from figures import ROOT, Figure, figure, measure_and_store, pinned, print_figures, window_rates

AGENTS = 1024
"""Driven agents, about."""
WINDOWS, STEPS_PER_WINDOW = 21, 200
SAMPLE_SCENES = 4
LANE, LINE, EDGE = range(3)
_TYPES = {"lane": LANE, "road_line": LINE, "road_edge": EDGE}
_MOVES_M = 2.0
_SIGHT_M = 52.5
_LANE_REACH_M = 4.0
_NO_BLOCK = 0
"""Cells from which nothing is seen share an empty block."""


class Worlds(NamedTuple):
    """W running worlds of S scenes."""

    scene: np.ndarray
    """[W]."""
    first_row: np.ndarray
    """First row of the world's driven agents, [W]."""
    driven: np.ndarray
    """[W]."""
    time: np.ndarray
    """Step of the episode, [W]."""
    state: np.ndarray
    """Flat [W, STATE_ROWS, SLOTS], and room for one slot more."""
    start: np.ndarray
    """Flat [S, STATE_ROWS, SLOTS]."""
    log: np.ndarray
    """Flat [S, STEPS, LOG_ROWS, SLOTS]."""
    grid: np.ndarray
    """x, y of the corner [m], columns, rows, first cell, [S, 5] float64."""


class Roads(NamedTuple):
    """What cells know of the roads, C cells of all scenes, groups of 16 pieces."""

    block_of: np.ndarray
    """[C]."""
    block: np.ndarray
    """Flat [blocks, FEATURES, POINTS]: x, y, cos, sin of the direction, half length / 100, width, type."""
    block_count: np.ndarray
    edge: np.ndarray
    """Flat [groups, 4, LANES]: middle x, y, half vector x, y."""
    edge_first: np.ndarray
    """Groups of cell i are ``edge_first[i]:edge_first[i + 1]``, [C + 1]."""
    lane: np.ndarray
    """Flat [groups, 5, LANES]: middle x, y, direction cos, sin, half length."""
    lane_first: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerScene:
    """A scene in the peer's terms."""

    pieces: np.ndarray
    """Road pieces: middle x, y, direction cos, sin, half length [m], type, [M, 6]."""
    start: np.ndarray
    """[STATE_ROWS, SLOTS]."""
    log: np.ndarray
    """[STEPS, LOG_ROWS, SLOTS]."""
    driven: int
    """The first so many slots are driven."""


def waymo_folder(arguments: Sequence[str]) -> Path | None:
    """Return the folder of Waymo scenes, None where there is none."""
    places = [*arguments, os.environ.get("DRIVETRAIN_WOMD_DIR"), str(ROOT.parent / "shared" / "data" / "womd")]
    return next((Path(place) for place in places if place and any(Path(place).glob("*.json"))), None)


def waymo_scenes(folder: Path) -> Iterator[PeerScene]:
    """Read the scenes of 91 steps in a folder."""
    for path in sorted(folder.glob("*.json")):
        scene = json.loads(path.read_text(encoding="utf-8"))
        objects = [thing for thing in scene["objects"] if thing["type"] == "vehicle"]
        if not objects or len(objects[0]["position"]) != k.STEPS:
            continue
        pose = np.array(
            [[(p["x"], p["y"], h) for p, h in zip(o["position"], o["heading"], strict=True)] for o in objects]
        )
        speed = np.array([[math.hypot(v["x"], v["y"]) for v in o["velocity"]] for o in objects])
        lines = [
            (np.array([(p["x"], p["y"]) for p in road["geometry"]]), _TYPES[road["type"]])
            for road in scene["roads"]
            if road["type"] in _TYPES
        ]
        size = np.array([[o["length"], o["width"]] for o in objects])
        yield _scene(lines, pose, speed, np.array([o["valid"] for o in objects]), size)


def sample_scenes() -> Iterator[PeerScene]:
    """Return generated scenes."""
    for scenario in list(ScenarioStore(bench_store()).scenarios("train"))[:SAMPLE_SCENES]:
        yield _sample_scene(scenario)


def _sample_scene(scenario: Scenario) -> PeerScene:
    agents, lanes = scenario.agents, scenario.map.lanes
    vehicles = agents.type == AgentType.VEHICLE
    pose = np.concatenate([agents.position, agents.heading[..., None]], axis=2)[: k.STEPS, vehicles]
    speed = np.linalg.norm(agents.velocity, axis=2)[: k.STEPS, vehicles]
    lines = [(lanes.baseline[row], LANE) for row in range(len(lanes)) if lanes.kind[row] != LaneKind.BIKE_LANE]
    lines += [(side[row], LINE) for side in (lanes.left_boundary, lanes.right_boundary) for row in range(len(lanes))]
    lines += [(scenario.map.road_edges[row], EDGE) for row in range(len(scenario.map.road_edges))]
    valid = agents.valid[: k.STEPS, vehicles]
    return _scene(lines, pose.transpose(1, 0, 2), speed.T, valid.T, agents.size[vehicles])


def _scene(
    lines: list[tuple[np.ndarray, int]], pose: np.ndarray, speed: np.ndarray, valid: np.ndarray, size: np.ndarray
) -> PeerScene:
    """Build a scene: vehicles that move and are there from the start are driven, the others follow their log."""
    last = valid.shape[1] - 1 - np.argmax(valid[:, ::-1], axis=1)
    goal = pose[np.arange(len(pose)), last, :2]
    moves = valid[:, 0] & (np.linalg.norm(goal - pose[:, 0, :2], axis=1) > _MOVES_M)
    order = np.argsort(~moves, kind="stable")[: k.SLOTS]
    origin = pose[order[0], 0, :2].copy()
    log = np.zeros((k.STEPS, k.LOG_ROWS, k.SLOTS), dtype=np.float32)
    log[:, k.X] = log[:, k.Y] = k.FAR
    log[:, k.COS] = 1.0
    start = np.zeros((k.STATE_ROWS, k.SLOTS), dtype=np.float32)
    start[k.HALF_LENGTH], start[k.HALF_WIDTH] = 1.0, 0.5
    for slot, i in enumerate(order):
        there = valid[i]
        log[there, k.X, slot], log[there, k.Y, slot] = (pose[i, there, :2] - origin).T
        log[there, k.COS, slot], log[there, k.SIN, slot] = np.cos(pose[i, there, 2]), np.sin(pose[i, there, 2])
        log[there, k.SPEED, slot], log[there, k.HEADING, slot] = speed[i, there], pose[i, there, 2]
        start[k.HALF_LENGTH, slot], start[k.HALF_WIDTH, slot] = size[i] * 0.5 * 0.7  # the peer shrinks its boxes
        start[k.GOAL_X :, slot] = goal[i] - origin
    start[: k.LOG_ROWS] = log[0]
    pieces = [_pieces(line - origin, kind) for line, kind in lines if len(line) >= 2]
    return PeerScene(pieces=np.concatenate(pieces), start=start, log=log, driven=int(min(moves.sum(), k.SLOTS)))


def _pieces(line: np.ndarray, kind: int) -> np.ndarray:
    """Return the pieces of a polyline, thinned to 10 cm as the peer thins its roads."""
    points = shapely.get_coordinates(shapely.LineString(line).simplify(0.1))
    way = np.diff(points, axis=0)
    length = np.linalg.norm(way, axis=1)
    keep = length > 0
    way, length, middle = way[keep], length[keep, None], ((points[1:] + points[:-1]) / 2)[keep]
    return np.hstack([middle, way / length, length / 2, np.full_like(length, kind)])


def build(scenes: Sequence[PeerScene], agents: int) -> tuple[Worlds, Roads]:
    """Return about as many worlds as give ``agents`` driven agents, and the cells of all scenes."""
    numbers, driven = [], []
    while sum(driven) < agents:
        numbers.append(len(numbers) % len(scenes))
        driven.append(scenes[numbers[-1]].driven)
    grid, blocks, counts, block_of = np.zeros((len(scenes), 5)), [np.zeros((k.FEATURES, k.POINTS))], [0], []
    edges, lanes, edge_first, lane_first = [], [], [0], [0]
    for number, scene in enumerate(scenes):
        low, high = scene.pieces[:, :2].min(axis=0), scene.pieces[:, :2].max(axis=0)
        columns, rows = (np.floor((high - low) / k.CELL) + 1).astype(int)
        grid[number] = *low, columns, rows, len(block_of)
        points = shapely.STRtree(list(map(shapely.Point, scene.pieces[:, :2])))
        lines = _tree(scene.pieces)
        reach = float(np.hypot(*scene.start[[k.HALF_LENGTH, k.HALF_WIDTH]]).max()) + k.CELL * math.sqrt(0.5)
        lane_reach = _LANE_REACH_M + k.CELL * math.sqrt(0.5)
        for cell in range(columns * rows):
            middle = low + k.CELL * (np.array([cell % columns, cell // columns]) + 0.5)
            seen = points.query(shapely.box(*(middle - _SIGHT_M), *(middle + _SIGHT_M)))
            nearest = seen[np.argsort(np.linalg.norm(scene.pieces[seen, :2] - middle, axis=1))][: k.POINTS]
            block_of.append(len(blocks) if len(nearest) else _NO_BLOCK)
            if len(nearest):
                blocks.append(_block(scene.pieces[nearest]))
                counts.append(len(nearest))
            near = lines.query(shapely.points(middle), predicate="dwithin", distance=max(reach, lane_reach))
            piece = scene.pieces[near]
            edges += _groups(piece[piece[:, 5] == EDGE][:, :5], halves=True)
            lanes += _groups(piece[piece[:, 5] == LANE][:, :5], halves=False)
            edge_first.append(len(edges))
            lane_first.append(len(lanes))
    count = len(numbers)
    start = np.stack([scene.start for scene in scenes])
    worlds = Worlds(
        scene=np.array(numbers),
        first_row=np.cumsum([0, *driven[:-1]]),
        driven=np.array(driven),
        time=np.arange(count) * 7 % (k.STEPS - 1),
        state=np.append(start[numbers].reshape(-1), np.zeros(LANES, dtype=np.float32)),
        start=start.reshape(-1),
        log=np.stack([scene.log for scene in scenes]).reshape(-1),
        grid=grid,
    )
    roads = Roads(
        block_of=np.array(block_of),
        block=np.stack(blocks).astype(np.float32).reshape(-1),
        block_count=np.array(counts),
        edge=np.array(edges, dtype=np.float32).reshape(-1),
        edge_first=np.array(edge_first),
        lane=np.array(lanes, dtype=np.float32).reshape(-1),
        lane_first=np.array(lane_first),
    )
    return worlds, roads


def _tree(pieces: np.ndarray) -> shapely.STRtree:
    half = pieces[:, 2:4] * pieces[:, 4:5]
    ends = np.stack([pieces[:, :2] - half, pieces[:, :2] + half], axis=1)
    return shapely.STRtree(list(map(shapely.LineString, ends)))


def _block(pieces: np.ndarray) -> np.ndarray:
    block = np.zeros((k.FEATURES, k.POINTS))
    block[:4, : len(pieces)] = pieces[:, :4].T
    block[4, : len(pieces)] = pieces[:, 4] / 100.0
    block[5, : len(pieces)] = 0.1
    block[6, : len(pieces)] = pieces[:, 5]
    return block


def _groups(pieces: np.ndarray, *, halves: bool) -> list[np.ndarray]:
    """Return pieces in groups of 16, the last filled up with pieces far away."""
    groups = []
    for first in range(0, len(pieces), LANES):
        part = pieces[first : first + LANES]
        group = np.zeros((4 if halves else 5, LANES), dtype=np.float32)
        group[:2] = k.FAR
        group[:2, : len(part)] = part[:, :2].T
        group[2:4, : len(part)] = (part[:, 2:4] * part[:, 4:5] if halves else part[:, 2:4]).T
        if not halves:
            group[4, : len(part)] = part[:, 4]
        groups.append(group)
    return groups


class Batch:
    """Running worlds and the actions they get."""

    def __init__(self, scenes: Sequence[PeerScene], agents: int) -> None:
        self.worlds, self.roads = build(scenes, agents)
        self.rows = int(self.worlds.driven.sum())
        self.scenes = len(scenes)
        random = np.random.default_rng(0)
        self.actions = random.integers(0, k.ACCELERATIONS * k.STEERINGS, size=(64, self.rows))
        # Accelerations of +-4 m/s^2, steering of +-1 rad; slip angle of the bicycle whose middle is halfway.
        slip = np.arctan(0.5 * np.tan(np.linspace(-1.0, 1.0, k.STEERINGS)))
        table = [np.linspace(-4.0, 4.0, k.ACCELERATIONS), np.cos(slip), np.sin(slip)]
        self.tables = np.concatenate(table).astype(np.float32)
        self.slots = np.zeros(3 * k.SLOTS, dtype=np.float32)
        self.observation = np.zeros(self.rows * k.ROW, dtype=np.float32)
        self.reward = np.zeros(self.rows, dtype=np.float32)
        self.outcome = np.zeros(self.rows, dtype=np.int64)
        self.at = 0

    def step(self) -> None:
        """Step all worlds once."""
        action = self.actions[self.at % len(self.actions)]
        self.at += 1
        k.step_worlds(
            self.worlds, self.roads, action, self.tables, self.slots, self.observation, self.reward, self.outcome
        )

    def window(self) -> float:
        """Step for one window; return how many agent-steps there were."""
        for _ in range(STEPS_PER_WINDOW):
            self.step()
        return STEPS_PER_WINDOW * self.rows

    def conditions(self) -> dict[str, object]:
        """Return what was measured: how full observations are, and how often what happens."""
        filled, outcomes = [], np.zeros(4)
        for _ in range(k.STEPS):
            self.step()
            rows = self.observation.reshape(self.rows, k.ROW)
            slots = rows[:, k.EGO_SIZE + 2 * k.SLOTS : k.EGO_SIZE + 3 * k.SLOTS]
            points = rows[:, -2 * k.POINTS : -k.POINTS]
            filled.append([(slots != 0).sum(axis=1).mean(), (points != 0).sum(axis=1).mean()])
            outcomes += [((self.outcome & bit) != 0).mean() for bit in (k.COLLIDED, k.OFFROAD, k.ALIGNED, k.REACHED)]
        agents, points = np.mean(filled, axis=0)
        rates = dict(
            zip(("collision", "offroad", "aligned", "goal"), (outcomes / k.STEPS).round(3).tolist(), strict=True)
        )
        return {
            "observation": "peer-equal, float32",
            "observation_bytes": 4 * k.ROW,
            "N": self.rows,
            "W": len(self.worlds.scene),
            "scenes": self.scenes,
            "agents_filled": round(float(agents), 1),
            "road_points_filled": round(float(points), 1),
            "outcomes_per_step": rates,
        }


def measure() -> list[Figure]:
    """Return the figures on Waymo scenes where there are any, and on generated ones."""
    folder = waymo_folder(sys.argv[1:2] if Path(sys.argv[0]).stem == "peer_layout" else ())
    kinds = {"generated scenes": list(sample_scenes())}
    if folder is not None and (scenes := list(waymo_scenes(folder))):
        kinds = {"Waymo scenes": scenes, **kinds}
    figures = []
    with pinned(1):
        for name, scenes in kinds.items():
            batch = Batch(scenes, AGENTS)
            rates = window_rates(batch.window, clock=time.process_time, windows=WINDOWS)
            figures.append(
                figure(
                    f"simulator, peer-equal 7.4 KB layout, {name}, 1 core",
                    rates,
                    unit="agent-steps/s",
                    policy="uniform random over 91 actions",
                    clock="CPU time, pinned",
                    cores=1,
                    **batch.conditions(),
                )
            )
    return figures


if __name__ == "__main__":
    print_figures(measure_and_store("peer_layout", measure))
