"""Until when a failure could have been avoided, as an event of a drive."""

from __future__ import annotations

from dataclasses import replace

from drivetrain.rendering.drive_events import LAST_CHANCE, NO_CHANCE, DriveEvent, in_time
from drivetrain.rendering.recording import DriveRecording
from drivetrain.sim.branching import Avoidance
from drivetrain.sim.kernels.vehicle import MAX_ACCELERATION, NUM_ACCELERATIONS, NUM_STEERINGS

_MIDDLE_STEERING, _MIDDLE_ACCELERATION = NUM_STEERINGS // 2, NUM_ACCELERATIONS // 2


def action_words(action: int) -> str:
    """Return what a category of the action grid means, e.g. ``brake 4.0 m/s², steer left 2 of 6``."""
    step = action // NUM_STEERINGS - _MIDDLE_ACCELERATION
    level = action % NUM_STEERINGS - _MIDDLE_STEERING
    amount = abs(step) * MAX_ACCELERATION / _MIDDLE_ACCELERATION
    pedal = "keep the speed" if step == 0 else f"{'brake' if step < 0 else 'accelerate'} {amount:.1f} m/s²"
    wheel = "straight on" if level == 0 else f"steer {'left' if level > 0 else 'right'} {abs(level)} of 6"
    return f"{pedal}, {wheel}"


def with_last_chance(drive: DriveRecording, found: Avoidance) -> DriveRecording:
    """Return the same drive with an event where its failure could be avoided for the last time."""
    if found.frame is None:
        event = DriveEvent(frame=found.earliest, kind=NO_CHANCE)
    else:
        others = f" ({len(found.actions)} ways)" if len(found.actions) > 1 else ""
        event = DriveEvent(frame=found.frame, kind=LAST_CHANCE, note=f"{action_words(found.actions[0])}{others}")
    return replace(drive, events=tuple(in_time([*drive.events, event])))
