"""Putting vehicles beside where they drive, so that demonstrations show the way back.

N rows, K displaced rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivetrain.data.demonstrations import DemonstrationConfig
from drivetrain.sim.scene_arrays import COS, HEADING, SIN, SPEED, VELOCITY_X, VELOCITY_Y, X, Y
from drivetrain.sim.scene_bank import DT
from drivetrain.sim.world import WorldState

DISPLACED_ABOVE = 2.0
"""Only moving vehicles are displaced [m/s]."""


def displace_some(
    state: WorldState, world: NDArray[np.int64], config: DemonstrationConfig, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Put some running rows beside where they are; return which, shape [N].

    Args:
        state: The worlds; their agents are moved in place.
        world: The world of each row, shape [N].
        config: How often, and how far.
        random: Draws the same numbers whichever rows run.
    """
    draws = random.uniform(-1.0, 1.0, (len(world), 4))
    chance = random.uniform(size=len(world)) < DT / config.displacement_interval_s
    speed = state.agents[world, SPEED, state.slot]
    moved = chance & (state.running > 0) & (speed > DISPLACED_ABOVE)
    rows = np.flatnonzero(moved)
    largest = (config.displacement_m / 2, config.displacement_m, config.displacement_rad, config.displacement_mps)
    along, aside, turn, faster = (draws[rows] * np.array(largest)).T
    agents, w, a = state.agents, world[rows], state.slot[rows]
    c, s = agents[w, COS, a], agents[w, SIN, a]
    heading = agents[w, HEADING, a] + turn
    new_speed = np.maximum(speed[rows] + faster, 0.0)
    values = {
        X: agents[w, X, a] + along * c - aside * s,
        Y: agents[w, Y, a] + along * s + aside * c,
        HEADING: np.arctan2(np.sin(heading), np.cos(heading)),
        COS: np.cos(heading),
        SIN: np.sin(heading),
        SPEED: new_speed,
        VELOCITY_X: new_speed * np.cos(heading),
        VELOCITY_Y: new_speed * np.sin(heading),
    }
    for name, value in values.items():
        agents[w, name, a] = value
    return moved
