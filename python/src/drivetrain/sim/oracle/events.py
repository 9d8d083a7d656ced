"""What happened to one controlled agent in one step: the event table of ``docs/simulator.md``, in plain float64.

Every verdict has a *margin*: by how much [m, m/s or m^2] it was decided. Within rounding error of zero another
program may rightly decide the other way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivetrain.sim.geometry import box_box_gap, box_segment_gap, rotate_into_frame
from drivetrain.sim.oracle.scene import Agent, Road, Route, Slots
from drivetrain.sim.scenario import LightState

Float64 = NDArray[np.float64]

AT_FAULT_SPEED = 0.3
"""A vehicle slower than this is never at fault [m/s]."""
BEHIND = -0.866
"""A slot is behind if the cosine of its bearing is below this."""
OFFROAD_SHRINK = 0.3
"""The box is shrunk by this on every side before it is tested against road edges [m]."""
STOP_CORRIDOR = 4.0
"""A stop line is passed only this near to the route [m]."""
RED_GRACE = 10
"""Frames for which a light must have been red before passing it counts."""
TTC_TIMES = tuple(0.1 * k for k in range(1, 10))
"""Moments looked ahead [s]."""
TTC_CONE = float(np.cos(np.deg2rad(30.0)))
"""Slots with a bearing of smaller cosine are not ahead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether an event happened, and by how much."""

    happened: bool
    margin: float


def decide(quantity: float) -> Verdict:
    """An event that happens where a quantity is at least zero."""
    return Verdict(happened=bool(quantity >= 0.0), margin=abs(float(quantity)))


def _offsets(agent: Agent, slots: Slots, others: NDArray[np.int64]) -> tuple[Float64, Float64]:
    """Centres of other slots in the agent's frame [m]."""
    return rotate_into_frame(slots.x[others] - agent.x, slots.y[others] - agent.y, agent.cos, agent.sin)


def _gaps(agent: Agent, slots: Slots, others: NDArray[np.int64], dx: Float64, dy: Float64) -> Float64:
    """Box gaps of other slots whose centres are at (dx, dy) in the agent's frame [m]."""
    turn = slots.heading[others] - agent.heading
    return box_box_gap(
        dx=dx,
        dy=dy,
        cos=np.cos(turn),
        sin=np.sin(turn),
        half_size=(agent.half_length, agent.half_width),
        other_half_size=(slots.half_length[others], slots.half_width[others]),
    )


def collision(agent: Agent, slots: Slots) -> Verdict:
    """The agent's box touches the box of any other present slot."""
    others = slots.others(agent.slot)
    gaps = _gaps(agent, slots, others, *_offsets(agent, slots, others))
    return decide(-float(np.min(gaps, initial=np.inf)))


def at_fault(agent: Agent, slots: Slots) -> Verdict:
    """A collision while moving, with at least one touching slot that is not behind."""
    others = slots.others(agent.slot)
    dx, dy = _offsets(agent, slots, others)
    touch = -_gaps(agent, slots, others, dx, dy)
    not_behind = dx - BEHIND * np.hypot(dx, dy)
    moving = np.full_like(dx, agent.speed - AT_FAULT_SPEED)
    return decide(float(np.max(np.minimum(np.minimum(touch, not_behind), moving), initial=-np.inf)))


def offroad(agent: Agent, road: Road) -> Verdict:
    """The agent's box, shrunk on every side, touches a road edge."""
    x, y = road.x[road.is_edge] - agent.x, road.y[road.is_edge] - agent.y
    cos, sin, half = road.cos[road.is_edge], road.sin[road.is_edge], road.half_length[road.is_edge]
    mx, my = rotate_into_frame(x, y, agent.cos, agent.sin)
    ux, uy = rotate_into_frame(cos * half, sin * half, agent.cos, agent.sin)
    gaps = box_segment_gap(
        mx=mx,
        my=my,
        ux=ux,
        uy=uy,
        half_length=agent.half_length - OFFROAD_SHRINK,
        half_width=agent.half_width - OFFROAD_SHRINK,
    )
    return decide(-float(np.min(gaps, initial=np.inf)))


def red_light(
    agent: Agent, route: Route, s_before: float, lights: tuple[NDArray[np.int64], NDArray[np.int64]], frame: int
) -> Verdict:
    """The agent's front passes a stop line whose light has been red for a while.

    Args:
        agent: After the step.
        route: Its route.
        s_before: Arc length of its centre before the step [m].
        lights: State and age of every light after the step.
        frame: Frame after the step.
    """
    state, age = lights
    s, e = route.place(agent.route_index, agent.x, agent.y)
    quantity = -np.inf
    for s_stop, light in zip(route.stop_s, route.stop_light, strict=True):
        since_long_ago = age[light] >= RED_GRACE or age[light] == frame
        if state[light] == LightState.RED and since_long_ago:
            to_go, passed = s_stop - (s_before + agent.half_length), s + agent.half_length - s_stop
            quantity = max(quantity, min(to_go, passed, STOP_CORRIDOR - abs(e)))
    return decide(quantity)


def time_to_collision(agent: Agent, slots: Slots) -> Verdict:
    """Some slot ahead would be touched soon if everybody went straight on at constant speed."""
    others = slots.others(agent.slot)
    dx, dy = _offsets(agent, slots, others)
    ahead = dx - TTC_CONE * np.hypot(dx, dy)
    vx, vy = rotate_into_frame(slots.velocity_x[others], slots.velocity_y[others], agent.cos, agent.sin)
    touch = np.full_like(dx, -np.inf)
    for time in TTC_TIMES:
        later = dx + (vx - agent.speed) * time, dy + vy * time
        touch = np.maximum(touch, -_gaps(agent, slots, others, *later))
    return decide(float(np.max(np.minimum(touch, ahead), initial=-np.inf)))
