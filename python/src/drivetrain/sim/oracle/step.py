"""The three entry points, and the order of things in one step.

W worlds, A slots, N rows, D features; row ``w * rows_per_world + r`` belongs to world w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.observation import CANONICAL, encode
from drivetrain.sim.oracle.events import Verdict, at_fault, collision, decide, offroad, red_light, time_to_collision
from drivetrain.sim.oracle.observation import flatten, observe
from drivetrain.sim.oracle.reset import reset_world, rows_of
from drivetrain.sim.oracle.reward import NO_GOAL_BELOW, finish_row
from drivetrain.sim.oracle.scene import Agent, SceneView
from drivetrain.sim.oracle.traffic import react, start_of_path
from drivetrain.sim.oracle.vehicle import Command, decode_action, drive, pose_rows
from drivetrain.sim.scene_arrays import (
    PRESENT,
    SceneArrays,
    X,
    Y,
)
from drivetrain.sim.world import (
    ACTION_LOG,
    ACTION_POSE,
    AT_FAULT,
    COLLISION,
    DRIVEN,
    GOAL,
    OFFROAD,
    REACTIVE,
    RED_LIGHT,
    REMOVED,
    REPLAYED,
    TTC,
    StepParameters,
    WorldState,
)

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Margins:
    """How closely decisions were taken; other rounding may turn those below about 1e-4 the other way."""

    events: Float64
    """Closest event verdict of the row's step, shape [N]; infinite where the row did not run."""
    projection: Float64
    """Slack of the projection index [m], shape [N]."""
    traffic: Float64
    """Closest decision of the world's reactive traffic, shape [W]."""
    observation: dict[str, Float64]
    """Closest decision of each feature group of the observation, each of shape [N]."""
    observation_order: dict[str, Float64]
    """Closest call in the order of each group's entities, each of shape [N]."""
    final: dict[str, Float64]
    """As ``observation``, for the last observation of rows whose episode ended."""
    final_order: dict[str, Float64]
    """As ``observation_order``, for the last observation of rows whose episode ended."""


def no_margins(num_worlds: int, num_rows: int) -> Margins:
    """Return margins before anything was decided."""

    def per_group() -> dict[str, Float64]:
        return {group.name: np.full(num_rows, np.inf) for group in CANONICAL.groups}

    return Margins(
        events=np.full(num_rows, np.inf),
        projection=np.full(num_rows, np.inf),
        traffic=np.full(num_worlds, np.inf),
        observation=per_group(),
        observation_order=per_group(),
        final=per_group(),
        final_order=per_group(),
    )


def agent_of(scene: SceneView, state: WorldState, world: int, row: int) -> Agent:
    """Return the agent that a row drives."""
    return scene.agent(int(state.slot[row]), state.agents[world], int(state.route_index[row]))


# --- entry points -----------------------------------------------------------------------------------------------------


def reset_worlds(
    bank: SceneArrays, state: WorldState, p: StepParameters, first: int, end: int, observation: NDArray
) -> Margins:
    """Start worlds ``first`` to ``end`` anew and observe."""
    for world in range(first, end):
        state.episode[world] = -1
        reset_world(bank, state, p, world)
    return observe_worlds(bank, state, p, first, end, observation)


def observe_worlds(
    bank: SceneArrays, state: WorldState, p: StepParameters, first: int, end: int, observation: NDArray
) -> Margins:
    """Observe the present state of worlds ``first`` to ``end``; zeros where a row drives nothing."""
    margins = no_margins(len(state.scene), len(state.slot))
    for world in range(first, end):
        for row in rows_of(p, world):
            observe_row(bank, state, world, row, observation, margins.observation, margins.observation_order)
    return margins


def step_worlds(
    bank: SceneArrays,
    state: WorldState,
    p: StepParameters,
    first: int,
    end: int,
    kind: int,
    action: Float32,
    observation: NDArray,
    final: NDArray,
    final_sums: Float32,
    automatic: int,
) -> Margins:
    """Advance worlds ``first`` to ``end`` by one step.

    Args:
        bank: The scenes.
        state: Of all worlds; changed.
        p: Constants of the batch.
        first: First world.
        end: World after the last.
        kind: What the numbers of an action mean (``ACTION_DISCRETE`` ...).
        action: One row of numbers per row, shape [N, 2] (poses: [N, 5]).
        observation: Receives the next observation, shape [N, D].
        final: Receives the last observation of rows whose episode ended, shape [N, D].
        final_sums: Receives the sums of those episodes, shape [N, NUM_SUMS].
        automatic: 1: worlds that are over reset at once; 0: they stay as they are.
    """
    margins = no_margins(len(state.scene), len(state.slot))
    for world in range(first, end):
        running = [row for row in rows_of(p, world) if state.running[row]]
        for row in rows_of(p, world):
            clear_outcome(state, row)
        if running:
            step_world(bank, state, p, world, running, kind, action, margins)
            ended = [row for row in running if state.terminated[row] or state.truncated[row]]
            for row in ended:
                observe_row(bank, state, world, row, final, margins.final, margins.final_order)
                final_sums[row] = state.sums[row]
            for row in ended:
                remove(state, world, row)
        if automatic and not any(state.running[row] for row in rows_of(p, world)):
            reset_world(bank, state, p, world)
        for row in rows_of(p, world):
            observe_row(bank, state, world, row, observation, margins.observation, margins.observation_order)
    return margins


# --- one step ---------------------------------------------------------------------------------------------------------


def step_world(
    bank: SceneArrays,
    state: WorldState,
    p: StepParameters,
    world: int,
    running: list[int],
    kind: int,
    action: Float32,
    margins: Margins,
) -> None:
    """Paragraph 'One step': everybody moves at once, then every running row is judged on the new state."""
    scene, frame = SceneView(bank, int(state.scene[world])), int(state.frame[world])
    driven = {int(state.slot[row]): row for row in running}
    before = {row: agent_of(scene, state, world, row) for row in running}
    commands: dict[int, Command] = {}
    after = np.zeros_like(state.agents[world])
    logged, everybody = scene.log(frame + 1), scene.slots(state.agents[world])
    for slot in range(scene.num_slots):
        mode = state.mode[world, slot]
        if slot in driven:
            row = driven[slot]
            if kind == ACTION_LOG:
                after[:, slot] = logged[:, slot]
            elif kind == ACTION_POSE:
                after[:, slot] = pose_rows(action[row], before[row])
            else:
                commands[row] = decode_action(kind, action[row], before[row])
                after[:, slot] = drive(before[row], commands[row], p)
        elif mode == REPLAYED:
            after[:, slot] = logged[:, slot]
        elif mode == DRIVEN:
            after[:, slot] = state.agents[world, :, slot]
        elif mode == REACTIVE and logged[PRESENT, slot] > 0:
            if not everybody.present[slot]:  # it appears where its log begins
                after[:, slot] = logged[:, slot]
                state.path_s[world, slot] = start_of_path(scene.path(slot), *logged[[X, Y], slot])
            else:
                motion = react(scene, frame, everybody, slot, float(state.path_s[world, slot]))
                after[:, slot], state.path_s[world, slot] = motion.rows, motion.path_s
                margins.traffic[world] = min(margins.traffic[world], motion.slack)
    state.agents[world] = after
    state.frame[world] = frame + 1
    for row in running:
        s_max_before = float(state.max_s[row])
        judge_row(scene, state, p, world, row, before[row], margins)
        finish_row(scene, state, p, world, row, kind, commands.get(row), s_max_before)


def judge_row(
    scene: SceneView, state: WorldState, p: StepParameters, world: int, row: int, before: Agent, margins: Margins
) -> None:
    """Paragraphs 'Route and progress' and 'Events': project the agent on its route, see what happened to it."""
    frame, route = int(state.frame[world]), scene.route(before.slot)
    centre = (float(state.agents[world, X, before.slot]), float(state.agents[world, Y, before.slot]))
    index, slack = route.nearest(*centre, before.route_index - 4, before.route_index + 8)
    margins.projection[row] = slack
    s_before, _ = route.place(before.route_index, before.x, before.y)
    s, lateral = route.place(index, *centre)
    state.route_index[row], state.route_s[row], state.route_offset[row] = index, s, lateral
    s_max = max(float(state.max_s[row]), s)
    state.max_s[row] = s_max
    agent, slots = agent_of(scene, state, world, row), scene.slots(state.agents[world])
    has_goal = route.goal_s - float(state.start_s[row]) >= NO_GOAL_BELOW
    verdicts = {
        COLLISION: collision(agent, slots),
        AT_FAULT: at_fault(agent, slots),
        OFFROAD: offroad(agent, scene.road),
        RED_LIGHT: red_light(agent, route, s_before, scene.lights(frame), frame),
        GOAL: decide(s_max - route.goal_s) if has_goal else Verdict(happened=False, margin=np.inf),
    }
    if p.compute_ttc:
        verdicts[TTC] = time_to_collision(agent, slots)
    state.events[row] = sum(bit for bit, verdict in verdicts.items() if verdict.happened)
    margins.events[row] = min(verdict.margin for verdict in verdicts.values())


def clear_outcome(state: WorldState, row: int) -> None:
    """Forget what the previous step said about a row."""
    for array in (state.events, state.reward, state.terminated, state.truncated, state.valid):
        array[row] = 0


def remove(state: WorldState, world: int, row: int) -> None:
    """Take an agent whose episode ended out of its world."""
    state.running[row] = 0
    state.mode[world, state.slot[row]] = REMOVED
    state.agents[world, PRESENT, state.slot[row]] = 0.0


def observe_row(
    bank: SceneArrays,
    state: WorldState,
    world: int,
    row: int,
    out: NDArray,
    margins: dict[str, Float64],
    order_margins: dict[str, Float64],
) -> None:
    """Write what a row sees; zeros where it drives nothing."""
    out[row] = 0
    if not state.running[row]:
        return
    scene, frame = SceneView(bank, int(state.scene[world])), int(state.frame[world])
    groups = observe(scene, frame, scene.slots(state.agents[world]), agent_of(scene, state, world, row))
    out[row] = encode(flatten(groups).astype(np.float32), out.dtype)
    for name, group in groups.items():
        margins[name][row], order_margins[name][row] = group.margin, group.order_margin
