"""Logs as dense as real ones, made of random motion: for measuring stores and readers, not for driving."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from drivetrain.data.scenario_store import ScenarioStore
from drivetrain.data.store_files import INDEX, MANIFEST
from drivetrain.data.store_writer import ScenarioStoreWriter
from drivetrain.data.synthetic.world import generate_world
from drivetrain.data.windows import Window
from drivetrain.errors import DataError
from drivetrain.sim.scenario import DrivingLog, EgoTrack, Lights, TrackTable
from figures import ROOT

STORE = ROOT / "datasets" / "processed" / "dense-bench"
SECONDS, AGENTS, LOGS, SCENARIOS = 600, 80, 8, 100_000
RATE_HZ = 20
TRACK_S = 20.0
"""Mean time an agent is seen [s]."""
WINDOW_S = 15.0


def dense_log(name: str, template: DrivingLog, *, seconds: int, agents: int, seed: int) -> DrivingLog:
    """Return a log with so many agents in every frame: a third stands still, the others drive and are noisy."""
    random = np.random.default_rng(seed)
    frames = seconds * RATE_HZ
    time = np.arange(frames) / RATE_HZ
    ego_x = 8.0 * time
    number = max(agents, round(agents * seconds / TRACK_S))
    length = np.full(number, min(frames, round(TRACK_S * RATE_HZ)))
    first = np.sort(random.integers(-length[0] // 2, frames - length[0] // 2, number))
    first, last = np.maximum(first, 0), np.minimum(first + length, frames)
    offsets = np.concatenate([[0], np.cumsum(last - first)])
    track = np.repeat(np.arange(number), last - first)
    frame = np.arange(offsets[-1]) - offsets[track] + first[track]
    still = random.random(number) < 1 / 3
    speed = np.where(still, 0.0, random.uniform(0.0, 18.0, number))[track]
    noise = np.where(still[track, None], 0.0, random.normal(0.0, 0.025, (len(track), 2)))
    start = np.column_stack([ego_x[first] + random.uniform(-60, 60, number), random.uniform(-40, 40, number)])
    moved = (frame - first[track]) / RATE_HZ * speed
    moving = ~still[track]
    heading = random.uniform(-3.1, 3.1, number)[track] + np.where(moving, random.normal(0.0, 0.006, len(track)), 0.0)
    direction = np.column_stack([np.cos(heading), np.sin(heading)])
    states = (np.arange(frames)[:, None] // (30 * RATE_HZ) + np.arange(24)) % 3
    return dataclasses.replace(
        template,
        name=name,
        timestamps_us=1_620_000_000_000_000 + np.cumsum(random.integers(49_900, 50_100, frames)),
        ego=EgoTrack(
            pose=np.column_stack([ego_x, np.sin(time), 0.02 * np.cos(time)]),
            velocity=np.tile([8.0, 0.0], (frames, 1)),
            acceleration=random.normal(0.0, 0.3, (frames, 2)),
            yaw_rate=random.normal(0.0, 0.02, frames),
        ),
        tracks=TrackTable(
            token=random.integers(0, 2**63, number).astype(np.uint64),
            type=random.choice(7, number, p=[0.6, 0.2, 0.04, 0.06, 0.05, 0.02, 0.03]).astype(np.uint8),
            size=random.uniform(0.5, 5.0, (number, 2)).astype(np.float32),
            offsets=offsets.astype(np.int64),
            frame=frame.astype(np.int32),
            position=start[track] + moved[:, None] * direction + noise,
            heading=heading.astype(np.float32),
            velocity=(speed[:, None] * direction + np.where(moving[:, None], noise, 0.0)).astype(np.float32),
        ),
        lights=Lights(lane=np.arange(24, dtype=np.int32), stop_point=np.zeros((24, 2)), state=states.astype(np.uint8)),
    )


def dense_store() -> Path:
    """Return a store of dense logs with many overlapping scenarios, made where it is missing or made by other code."""
    try:
        if len(ScenarioStore(STORE)) == SCENARIOS:
            return STORE
    except DataError:
        pass
    world = generate_world(0)
    random = np.random.default_rng(1)
    frames = round(WINDOW_S * RATE_HZ)
    with ScenarioStoreWriter(STORE, source="sample", overwrite=True) as writer:
        writer.add_map(world.map)
        for number in range(LOGS):
            log = dense_log(f"dense-{number}", world.log, seconds=SECONDS, agents=AGENTS, seed=number)
            first = random.integers(0, SECONDS * RATE_HZ - frames - 1, 50)
            windows = [
                Window(
                    first_frame=int(f),
                    num_frames=frames // 2 + 1,
                    stride=2,
                    reference_frame=int(f),
                    scenario_type="unknown",
                    token=number * 1000 + i,
                )
                for i, f in enumerate(first)
            ]
            writer.add_log(log, windows, "train")
    _multiply_index(STORE, random, frames)
    return STORE


def _multiply_index(store: Path, random: np.random.Generator, frames: int) -> None:
    """Fill the index up to the number of scenarios: the same logs, other first frames."""
    index = np.load(store / INDEX)
    index = np.resize(index, SCENARIOS)
    index["first_frame"] = random.integers(0, SECONDS * RATE_HZ - frames - 1, SCENARIOS)
    index["token"] = np.arange(SCENARIOS)
    np.save(store / INDEX, index)
    manifest = json.loads((store / MANIFEST).read_text(encoding="utf-8"))
    manifest["rows"][INDEX] = SCENARIOS
    manifest["scenarios"]["train"] = SCENARIOS
    (store / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
