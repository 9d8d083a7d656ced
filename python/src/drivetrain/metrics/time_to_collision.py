"""Time to collision as nuPlan judges it, and with true velocities.

T frames.

From every frame on, the ego and the agents before it move straight on; the first of 0.1, 0.2 .. 2.9 s at which their
boxes meet is the time to collision. nuPlan moves every box along its *heading* with the *magnitude* of its velocity:
whoever reverses or slides is taken to drive forward. Source: nuPlan's ``time_to_collision_within_bound``.
"""

from __future__ import annotations

import numpy as np

from drivetrain.metrics.box_kernels import LOOK_STEP_S, NUM_LOOKS, first_overlaps
from drivetrain.metrics.collisions import Collisions, is_static
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.sim.scenario import AgentTracks, Bool, Float64

LEAST_TTC_S = 0.95
"""A drive passes if the time to collision is always longer [s]."""


def time_to_collision(
    ego: EgoStates, agents: AgentTracks, *, collisions: Collisions, in_lane: Bool, rear_axle_in_intersection: Bool
) -> Float64:
    """Return nuPlan's time to collision of every frame [s], 0 where an at-fault collision begins, inf where none.

    Args:
        ego: The driven states, T of them.
        agents: Objects of at least T frames, [F, A].
        collisions: What :func:`find_collisions` gave for the same ego and agents.
        in_lane: True where all corners of the ego are in the same or connected lanes, shape [T].
        rear_axle_in_intersection: shape [T].
    """
    velocity = np.column_stack([ego.speed, np.zeros(len(ego))])
    return _times(ego, agents, collisions, ~in_lane | rear_axle_in_intersection, velocity, along_heading=True)


def physical_time_to_collision(
    ego: EgoStates, agents: AgentTracks, *, collisions: Collisions, in_lane: Bool, rear_axle_in_intersection: Bool
) -> Float64:
    """Return the time to collision [s] with every box moving by its own velocity; else :func:`time_to_collision`."""
    return _times(ego, agents, collisions, ~in_lane | rear_axle_in_intersection, ego.velocity, along_heading=False)


def is_within_bound(times: Float64) -> bool:
    """Return nuPlan's ``time_to_collision_within_bound`` for the times of all frames."""
    return bool((times > LEAST_TTC_S).all())


def _times(
    ego: EgoStates,
    agents: AgentTracks,
    collisions: Collisions,
    sideways: Bool,
    velocity: Float64,
    *,
    along_heading: bool,
) -> Float64:
    num = len(ego)
    looks = np.empty(num, dtype=np.int64)
    first_overlaps(
        ego.pose, ego.vehicle.rear_axle_to_center, velocity,
        0.5 * np.array([ego.vehicle.length, ego.vehicle.width]), sideways, collisions.first_contact,
        agents.position[:num], agents.heading[:num], agents.velocity[:num], agents.size, agents.valid[:num],
        is_static(agents), along_heading, looks,
    )  # fmt: skip
    times = np.where(looks > NUM_LOOKS, np.inf, looks * LOOK_STEP_S)
    times[collisions.frame[collisions.at_fault]] = 0.0
    return times
