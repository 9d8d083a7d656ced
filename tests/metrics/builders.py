"""Egos and agents for the tests of metrics."""

import numpy as np

from drivetrain.metrics.ego_states import EgoStates
from drivetrain.sim.scenario import AgentTracks, AgentType


def straight_ego(num: int = 20, *, speed: float = 5.0, x: float = 0.0, y: float = 0.0, heading: float = 0.0, **states):
    """An ego that drives straight on at constant speed, 10 Hz; ``states`` replace fields."""
    direction = np.array([np.cos(heading), np.sin(heading)])
    pose = np.column_stack(
        [np.array([x, y]) + 0.1 * speed * np.arange(num)[:, None] * direction, np.full(num, heading)]
    )
    fields = {
        "pose": pose,
        "velocity": np.column_stack([np.full(num, speed), np.zeros(num)]),
        "acceleration": np.zeros((num, 2)),
        "yaw_rate": np.zeros(num),
        "yaw_acceleration": np.zeros(num),
    }
    return EgoStates(**(fields | states))


def agents_of(num_frames: int, *boxes: dict) -> AgentTracks:
    """Tracks that move at constant velocity along their heading: dicts of x, y, heading, speed, size, type, first."""
    num = len(boxes)
    time = 0.1 * np.arange(num_frames)
    position, heading = np.zeros((num_frames, num, 2)), np.zeros((num_frames, num), dtype=np.float32)
    velocity, valid = np.zeros((num_frames, num, 2), dtype=np.float32), np.ones((num_frames, num), dtype=np.bool_)
    for a, box in enumerate(boxes):
        angle, speed = box.get("heading", 0.0), box.get("speed", 0.0)
        direction = np.array([np.cos(angle), np.sin(angle)])
        position[:, a] = np.array([box["x"], box["y"]]) + speed * time[:, None] * direction
        heading[:, a], velocity[:, a] = angle, speed * direction
        valid[: box.get("first", 0), a] = False
    return AgentTracks(
        token=np.arange(num, dtype=np.uint64),
        type=np.array([box.get("type", AgentType.VEHICLE) for box in boxes], dtype=np.uint8),
        size=np.array([box.get("size", (4.0, 2.0)) for box in boxes], dtype=np.float32).reshape(num, 2),
        position=position,
        heading=heading,
        velocity=velocity,
        valid=valid,
    )


def times_of(num: int) -> np.ndarray:
    """Frame times 100 ms apart [us]."""
    return 1_600_000_000_000_000 + 100_000 * np.arange(num, dtype=np.int64)


def random_box(random: np.random.Generator) -> dict:
    """A box within 12 m, of any kind, that may come late."""
    return {
        "x": random.uniform(-12, 12), "y": random.uniform(-12, 12), "heading": random.uniform(-4, 4),
        "speed": float(random.choice([0.0, 0.04, 3.0, 10.0])), "size": tuple(random.uniform(0.3, 6.0, 2)),
        "type": int(random.integers(0, 7)), "first": int(random.integers(0, 6)),
    }  # fmt: skip
