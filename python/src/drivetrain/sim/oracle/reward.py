"""What a step was worth and whether it was the last: reward and termination of ``docs/simulator.md``, in float64."""

from __future__ import annotations

import numpy as np

from drivetrain.sim.oracle.scene import SceneView
from drivetrain.sim.oracle.vehicle import DT, Command
from drivetrain.sim.reward import PROGRESS_REWARD
from drivetrain.sim.scene_arrays import ACCELERATION, SPEED
from drivetrain.sim.world import (
    ACTION_COMMAND,
    ANY_EVENT,
    AT_FAULT,
    COLLISION,
    LAST_COMPLETION,
    NUM_JERK,
    NUM_STEPS,
    OFFROAD,
    RED_LIGHT,
    SUM_JERK,
    SUM_LATERAL,
    SUM_OVERSPEED,
    SUM_REWARD,
    SUM_SPEED,
    StepParameters,
    WorldState,
)

NO_GOAL_BELOW = 5.0
"""A logged drive shorter than this along the route has no goal [m]."""
OVERSPEED_SLACK = 2.23
"""Over-speed at which the reward's soft factor reaches zero [m/s]."""
PENALISED = COLLISION | OFFROAD | RED_LIGHT


def finish_row(
    scene: SceneView,
    state: WorldState,
    p: StepParameters,
    world: int,
    row: int,
    kind: int,
    command: Command | None,
    s_max_before: float,
) -> None:
    """Paragraphs 'Termination table' and 'Reward': flags, reward and sums of a row after its events are known.

    Args:
        scene: What the world plays.
        state: After the move; changed.
        p: Constants of the batch.
        world: The row's world.
        row: A row that ran.
        kind: What the numbers of the action meant.
        command: What the vehicle was told; None where its pose was given.
        s_max_before: How far along its route it had ever been before this step [m].
    """
    events, slot = int(state.events[row]), int(state.slot[row])
    route, speed = scene.route(slot), float(state.agents[world, SPEED, slot])
    lateral, limit = float(state.route_offset[row]), float(route.limit[state.route_index[row]])
    state.steps[row] += 1
    state.valid[row] = 1
    log_ends = int(state.frame[world]) >= scene.num_frames - 1
    state.terminated[row] = bool(events & p.ending)
    state.truncated[row] = not state.terminated[row] and (log_ends or state.steps[row] >= p.horizon)
    done = completion(float(state.max_s[row]), float(state.start_s[row]), route.goal_s)
    gained = done - completion(s_max_before, float(state.start_s[row]), route.goal_s)
    if events & PENALISED:
        reward = -penalty(events, p)
    else:
        reward = PROGRESS_REWARD * gained * lane_factor(lateral) * overspeed_factor(speed, limit)
    state.reward[row] = reward - shaping(state, p, row, kind, command)
    if command is not None:
        state.last_acceleration[row], state.last_level[row] = command.acceleration, command.level
    state.sums[row, SUM_REWARD] += reward
    state.sums[row, LAST_COMPLETION] = done
    add_sums(state, row, speed=speed, limit=limit, lateral=lateral)
    add_jerk(state, row, float(state.agents[world, ACCELERATION, slot]))


def completion(s_max: float, s_start: float, s_goal: float) -> float:
    """Route completion RC; 1 where there is no goal."""
    if s_goal - s_start < NO_GOAL_BELOW:
        return 1.0
    return float(np.clip((s_max - s_start) / (s_goal - s_start), 0.0, 1.0))


def lane_factor(lateral: float) -> float:
    """Soft factor: 1 in the lane's middle, 0.5 from 3 m off."""
    return 1.0 - 0.5 * float(np.clip((abs(lateral) - 0.5) / 2.5, 0.0, 1.0))


def overspeed_factor(speed: float, limit: float) -> float:
    """Soft factor: 1 up to the limit or where it is unknown, 0 from ``OVERSPEED_SLACK`` above."""
    return float(np.clip(1.0 - (speed - limit) / OVERSPEED_SLACK, 0.0, 1.0)) if limit > 0.0 else 1.0


def penalty(events: int, p: StepParameters) -> float:
    """Return the largest penalty of the events of one step."""
    return max(
        p.penalty_at_fault if events & AT_FAULT else 0.0,
        p.penalty_other if events & COLLISION and not events & AT_FAULT else 0.0,
        p.penalty_offroad if events & OFFROAD else 0.0,
        p.penalty_red_light if events & RED_LIGHT else 0.0,
    )


def shaping(state: WorldState, p: StepParameters, row: int, kind: int, command: Command | None) -> float:
    """Cost of changing one's mind, from the second action of an episode on; policies only."""
    if command is None or kind == ACTION_COMMAND or state.steps[row] <= 1:
        return 0.0
    acceleration = abs(command.acceleration - float(state.last_acceleration[row])) / 4.0
    level = abs(command.level - float(state.last_level[row])) / 6.0
    return p.shaping_acceleration * acceleration + p.shaping_steering * level


def add_sums(state: WorldState, row: int, *, speed: float, limit: float, lateral: float) -> None:
    """Add a step to the episode's sums."""
    sums = state.sums[row]
    sums[SUM_OVERSPEED] += max(speed - limit, 0.0) if limit > 0.0 else 0.0
    sums[ANY_EVENT] = int(sums[ANY_EVENT]) | int(state.events[row])
    sums[SUM_SPEED] += speed
    sums[SUM_LATERAL] += abs(lateral)
    sums[NUM_STEPS] = state.steps[row]


def add_jerk(state: WorldState, row: int, acceleration: float) -> None:
    """Add the central difference of executed acceleration, once two steps lie behind."""
    if state.steps[row] >= 2:
        state.sums[row, SUM_JERK] += abs(acceleration - float(state.executed[row, 1])) / (2.0 * DT)
        state.sums[row, NUM_JERK] += 1
    state.executed[row] = acceleration, state.executed[row, 0]
