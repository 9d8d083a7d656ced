"""Scenarios of which only the beginning is known: what is recorded of them, and how the worlds follow them.

A objects, K lights, G slots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drivetrain.closed_loop.moment import Moment, ObservedObjects
from drivetrain.sim.scenario import AgentTracks, LightState, Scenario
from drivetrain.sim.scene_bank import SceneBank

MOST_OBJECTS = 511
"""A world shows no more objects than this, the nearest ones."""
_FRAMES = 2
"""A scene has no fewer."""
_NOT_AHEAD = -1e6
"""Where a stop line lies that is not shown [m]: behind everything."""


def beginning(scenario: Scenario, *, room: int = 0) -> Scenario:
    """Return a scenario without its future: the ego stays where it begins, nobody else is recorded.

    Args:
        scenario: Any scenario.
        room: How many agents the tracks have columns for.
    """
    first = np.zeros(_FRAMES, dtype=np.int64)
    return replace(
        scenario,
        timestamps_us=scenario.timestamps_us[0] + 100_000 * np.arange(_FRAMES),
        ego=scenario.ego.take(first),
        agents=no_agents(room),
        lights=replace(scenario.lights, state=np.full((_FRAMES, len(scenario.lights.lane)), LightState.UNKNOWN)),
    )


def no_agents(room: int = 0) -> AgentTracks:
    """Return tracks in which nobody is seen, with room for that many to come."""
    return AgentTracks(
        token=np.arange(room, dtype=np.uint64),
        type=np.zeros(room, dtype=np.uint8),
        size=np.zeros((room, 2), dtype=np.float32),
        position=np.zeros((_FRAMES, room, 2)),
        heading=np.zeros((_FRAMES, room), dtype=np.float32),
        velocity=np.zeros((_FRAMES, room, 2), dtype=np.float32),
        valid=np.zeros((_FRAMES, room), dtype=np.bool_),
    )


@dataclass(kw_only=True, slots=True)
class _Shown:
    """What a scene's lights have shown so far."""

    state: NDArray[np.uint8]
    """LightState in the last moment, shape [K]."""
    age: NDArray[np.int64]
    """Moments since the state began, shape [K]."""
    seen: NDArray[np.bool_]
    """Lights that have shown anything, shape [K]."""


class Present:
    """The arrays of a bank of beginnings, in which the present is written moment by moment."""

    def __init__(self, bank: SceneBank) -> None:
        """Hide all stop lines."""
        self._bank = bank
        self._stop_s = bank.arrays.stop_s.copy()
        self._shown: dict[int, _Shown] = {}
        bank.arrays.stop_s[:] = _NOT_AHEAD

    def take_over(self, scene: int, moment: Moment) -> ObservedObjects:
        """Write objects and lights of a moment into the arrays; returns the objects, in the order of their slots."""
        self._show_lights(scene, moment.light_state)
        objects = _nearest(moment.objects, moment.ego.centre)
        arrays, count = self._bank.arrays, len(objects.column)
        slots = slice(int(arrays.slot_start[scene]) + 1, int(arrays.slot_start[scene]) + 1 + count)
        arrays.slot_type[slots] = objects.type
        arrays.half_length[slots], arrays.half_width[slots] = 0.5 * objects.size.T
        self._bank.slot_tokens[slots] = objects.column
        return objects

    def _show_lights(self, scene: int, state: NDArray[np.uint8]) -> None:
        if not len(state):
            return
        shown = self._shown.get(scene)
        if shown is None:
            unknown = np.full(len(state), LightState.UNKNOWN, dtype=np.uint8)
            shown = _Shown(state=unknown, age=np.full(len(state), -1), seen=np.zeros(len(state), dtype=np.bool_))
            self._shown[scene] = shown
        shown.age = np.where((state == shown.state) | (shown.age < 0), shown.age + 1, 0)
        shown.state = state.copy()
        shown.seen |= state != LightState.UNKNOWN
        arrays = self._bank.arrays
        lights = slice(int(arrays.light_start[scene]), int(arrays.light_start[scene]) + len(state))
        arrays.light_state[lights], arrays.light_age[lights] = state, shown.age.clip(max=np.iinfo(np.int16).max)
        ego = int(arrays.slot_start[scene])
        stops = slice(int(arrays.stop_start[ego]), int(arrays.stop_start[ego + 1]))
        arrays.stop_s[stops] = np.where(shown.seen[arrays.stop_light[stops]], self._stop_s[stops], _NOT_AHEAD)


def _nearest(objects: ObservedObjects, centre: NDArray[np.float64]) -> ObservedObjects:
    """Return the nearest objects, as many as a world shows, in their order."""
    if len(objects.column) <= MOST_OBJECTS:
        return objects
    kept = np.sort(np.argsort(np.hypot(*(objects.position - centre).T), kind="stable")[:MOST_OBJECTS])
    names = ("column", "type", "size", "position", "heading", "velocity")
    return ObservedObjects(**{name: getattr(objects, name)[kept] for name in names})
