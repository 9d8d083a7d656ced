"""How an episode begins: paragraph 'Reset' of ``docs/simulator.md``, in plain NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from drivetrain.sim.kernels.draws import draw_index, draw_uniform
from drivetrain.sim.oracle.scene import SceneView
from drivetrain.sim.oracle.traffic import start_of_path
from drivetrain.sim.scene_arrays import (
    ACCELERATION,
    COS,
    PRESENT,
    SIN,
    SPEED,
    VELOCITY_X,
    VELOCITY_Y,
    SceneArrays,
    X,
    Y,
)
from drivetrain.sim.world import (
    CONTROLLED,
    DRAW_FRAME,
    DRAW_SCENE,
    DRAW_SLOT,
    DRAW_SPEED,
    REACTIVE,
    REPLAYED,
    StepParameters,
    WorldState,
)

FRAMES_LEFT = 50
"""A drawn start frame leaves at least this many frames of the log."""


def rows_of(p: StepParameters, world: int) -> range:
    """Return the rows of a world."""
    return range(world * p.rows_per_world, (world + 1) * p.rows_per_world)


def reset_world(bank: SceneArrays, state: WorldState, p: StepParameters, world: int) -> None:
    """Paragraph 'Reset': begin the next episode of a world."""
    state.episode[world] += 1
    key = (p.seed, p.first_world + world, int(state.episode[world]))
    scene_row = choose_scene(bank, p, *key)
    scene = SceneView(bank, scene_row)
    frame = 0
    if p.random_start and state.episode[world] == 0:
        frame = int(draw_index(max(scene.num_frames - FRAMES_LEFT, 1), *key, DRAW_FRAME, 0))
    state.scene[world], state.frame[world] = scene_row, frame
    state.agents[world] = 0.0
    state.agents[world, :, : scene.num_slots] = scene.log(frame)
    state.mode[world] = REPLAYED
    if p.reactive_traffic == 1 or (p.reactive_traffic == 2 and (p.first_world + world) % 2):
        for slot in range(scene.num_slots):
            if bank.reactive[scene.first_slot + slot]:
                state.mode[world, slot] = REACTIVE
                if state.agents[world, PRESENT, slot] > 0:
                    place = state.agents[world, [X, Y], slot].astype(np.float64)
                    state.path_s[world, slot] = start_of_path(scene.path(slot), *place)
    rows = rows_of(p, world)
    state.has_slot[rows.start : rows.stop] = state.running[rows.start : rows.stop] = 0
    for row, slot in zip(rows, choose_slots(bank, state, scene, p, world, key), strict=False):
        factor = float(draw_uniform(p.speed_low, p.speed_high, *key, DRAW_SPEED, slot))
        start_row(state, scene, world, row, slot, factor)


def choose_scene(bank: SceneArrays, p: StepParameters, seed: int, world: int, episode: int) -> int:
    """Return the scene a world plays in an episode: in order, or drawn."""
    if p.sequential:
        return (world + episode * p.num_worlds_global) % len(bank.num_frames)
    return int(draw_index(len(bank.num_frames), seed, world, episode, DRAW_SCENE, 0))


def choose_slots(
    bank: SceneArrays, state: WorldState, scene: SceneView, p: StepParameters, world: int, key: tuple[int, int, int]
) -> Iterator[int]:
    """Yield the slot of each row: the ego, then drawn controllable slots that are present and stay a while."""
    frame = int(state.frame[world])
    at = slice(scene.first_slot, scene.first_slot + scene.num_slots)
    free = np.flatnonzero((bank.controllable[at] > 0) & (bank.first_frame[at] <= frame) & (frame < bank.last_frame[at]))
    free = free[free != 0]
    yield 0
    for rank in range(1, min(p.rows_per_world, len(free) + 1)):
        pick = int(draw_index(len(free), *key, DRAW_SLOT, rank))
        yield int(free[pick])
        free = np.delete(free, pick)


def start_row(state: WorldState, scene: SceneView, world: int, row: int, slot: int, speed_factor: float) -> None:
    """Begin the episode of a row that drives ``slot`` from its logged pose, at a multiple of its logged speed."""
    own = state.agents[world, :, slot]
    speed = max(float(own[SPEED]), 0.0) * speed_factor
    own[[SPEED, VELOCITY_X, VELOCITY_Y]] = speed, speed * own[COS], speed * own[SIN]
    state.mode[world, slot] = CONTROLLED
    route, x, y = scene.route(slot), float(own[X]), float(own[Y])
    index, _ = route.nearest(x, y, 0, len(route.x))
    s, lateral = route.place(index, x, y)
    state.slot[row], state.has_slot[row], state.running[row], state.steps[row] = slot, 1, 1, 0
    state.route_index[row], state.route_offset[row] = index, lateral
    state.route_s[row] = state.start_s[row] = state.max_s[row] = s
    state.last_acceleration[row] = state.last_level[row] = 0.0
    state.executed[row] = own[ACCELERATION], 0.0
    state.sums[row] = 0.0
