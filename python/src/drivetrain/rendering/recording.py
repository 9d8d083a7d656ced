"""One drive through one scenario as plain arrays: what a picture or an animation is made of.

T frames, A agents, K lights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import DataError
from drivetrain.sim.env import DrivingConfig, DrivingEnv
from drivetrain.sim.environment import StepResult
from drivetrain.sim.scenario import AgentType, Scenario
from drivetrain.sim.scene_arrays import HEADING, PRESENT, SPEED, X, Y
from drivetrain.sim.scene_bank import DT, build_bank
from drivetrain.sim.world import AT_FAULT, COLLISION, GOAL, LAST_COMPLETION, OFFROAD, RED_LIGHT

PARKED_TRAVEL = 1.0
"""A vehicle whose logged positions all lie within this distance is drawn as parked [m]."""

Step = Callable[[DrivingEnv, NDArray[np.float32]], StepResult]
"""Advances the environment by one step, given what its rows observe: a policy, a planner, the log."""

OUTCOMES = ((AT_FAULT, "collision_at_fault"), (COLLISION, "collision"), (OFFROAD, "offroad"), (RED_LIGHT, "red_light"),
            (GOAL, "goal"))  # fmt: skip
"""How an episode ended by its event bits, the gravest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DriveRecording:
    """A drive of the ego through a scenario, by a policy, a planner or the log."""

    label: str
    """Who drove, e.g. ``log`` or ``start of training``: the panel's heading."""
    scenario: Scenario
    """Gives the map, the logged drive and the lights; frame 0 of the recording is its frame ``first_frame``."""
    first_frame: int
    dt: float
    """Time between frames [s]."""
    ego_pose: NDArray[np.float64]
    """Box centre x, y [m] (map frame), heading [rad], shape [T, 3]; T may be shorter than the scenario."""
    ego_speed: NDArray[np.float64]
    """[m/s], shape [T]."""
    ego_size: tuple[float, float]
    """Length, width [m]."""
    agent_pose: NDArray[np.float64]
    """Box centre x, y [m], heading [rad], shape [T, A, 3]; meaningless where not present."""
    agent_present: NDArray[np.bool_]
    """shape [T, A]."""
    agent_size: NDArray[np.float64]
    """Length, width [m], shape [A, 2]."""
    agent_type: NDArray[np.uint8]
    """AgentType, shape [A]."""
    progress: NDArray[np.float64]
    """Share of the way to the goal, 0..1, shape [T]."""
    outcome: str
    """How the drive ended: a key of ``style.EVENT_NAMES``."""

    def __post_init__(self) -> None:
        """Check that all arrays tell of the same frames and agents."""
        frames, agents = self.agent_present.shape
        expected = {
            "ego_pose": (frames, 3),
            "ego_speed": (frames,),
            "agent_pose": (frames, agents, 3),
            "agent_size": (agents, 2),
            "agent_type": (agents,),
            "progress": (frames,),
        }
        for name, shape in expected.items():
            actual = getattr(self, name).shape
            if actual != shape:
                raise DataError(f"recording '{self.label}': {name} has shape {actual}, expected {shape}")
        if frames == 0:
            raise DataError(f"recording '{self.label}' has no frames; record at least the state after a reset")

    @property
    def num_frames(self) -> int:
        """Number of recorded frames (T)."""
        return len(self.ego_speed)

    @property
    def parked(self) -> NDArray[np.bool_]:
        """True for vehicles that never move, shape [A]."""
        shown = np.where(self.agent_present[..., None], self.agent_pose[..., :2], np.nan)
        spread = np.zeros(len(self.agent_type))
        seen = self.agent_present.any(axis=0)
        travel = np.nanmax(shown[:, seen], axis=0) - np.nanmin(shown[:, seen], axis=0)
        spread[seen] = np.hypot(travel[:, 0], travel[:, 1])
        return (self.agent_type == AgentType.VEHICLE) & (spread < PARKED_TRAVEL)


def logged_ego_pose(scenario: Scenario) -> NDArray[np.float64]:
    """Return the logged ego's box centre and heading (map frame), shape [T, 3]."""
    pose = scenario.ego.pose.copy()
    heading = pose[:, 2]
    pose[:, :2] += scenario.ego.vehicle.rear_axle_to_center * np.stack([np.cos(heading), np.sin(heading)], axis=1)
    return pose


def record_log(scenario: Scenario, *, label: str = "log") -> DriveRecording:
    """Return the logged drive itself."""
    agents = scenario.agents
    frames = len(scenario.timestamps_us)
    pose = logged_ego_pose(scenario)
    step = np.hypot(*np.diff(pose[:, :2], axis=0).T)
    travelled = np.concatenate([[0.0], np.cumsum(step)])
    return DriveRecording(
        label=label,
        scenario=scenario,
        first_frame=0,
        dt=float(np.diff(scenario.timestamps_us).mean()) / 1e6 if frames > 1 else 0.1,
        ego_pose=pose,
        ego_speed=np.hypot(*scenario.ego.velocity.T),
        ego_size=(scenario.ego.vehicle.length, scenario.ego.vehicle.width),
        agent_pose=np.concatenate([agents.position, agents.heading[..., None].astype(np.float64)], axis=2),
        agent_present=agents.valid.astype(np.bool_),
        agent_size=agents.size.astype(np.float64),
        agent_type=agents.type,
        progress=travelled / max(float(travelled[-1]), 1e-6),
        outcome="end",
    )


def record_drive(
    scenario: Scenario, step: Step, *, label: str, config: DrivingConfig | None = None, seed: int = 0
) -> DriveRecording:
    """Drive the ego through a scenario from its first frame until the episode ends, and record every frame.

    Args:
        scenario: Where to drive.
        step: Who drives.
        label: The panel's heading.
        config: The environment; traffic, actuator lags and actions are taken from it.
        seed: Seed of the environment.

    Raises:
        DataError: The scenario cannot be simulated.
    """
    bank = build_bank([scenario])
    chosen = replace(config or DrivingConfig(), num_worlds=1, control="ego", threads=1)
    env = DrivingEnv(bank, chosen, sequential=True, automatic_reset=False, perturb=False, compute_ttc=False)
    slots = int(bank.arrays.num_slots[0])
    frames: list[NDArray[np.float32]] = []
    progress: list[float] = []
    outcome = "time"
    try:
        observation = env.reset(seed=seed)
        frames.append(env.state.agents[0, :, :slots].copy())
        progress.append(0.0)
        ended = False
        while not ended:
            result = step(env, observation)
            observation = result.observation
            frames.append(env.state.agents[0, :, :slots].copy())
            progress.append(float(env.state.sums[0, LAST_COMPLETION]))
            ended = bool(result.terminated[0] or result.truncated[0])
        bits = int(env.state.events[0])
        outcome = next((name for bit, name in OUTCOMES if bits & bit), "time")
    finally:
        env.close()
    states = np.array(frames, dtype=np.float64)
    vehicle = scenario.ego.vehicle
    arrays = bank.arrays
    return DriveRecording(
        label=label,
        scenario=scenario,
        first_frame=0,
        dt=DT,
        ego_pose=states[:, [X, Y, HEADING], 0],
        ego_speed=states[:, SPEED, 0],
        ego_size=(vehicle.length, vehicle.width),
        agent_pose=np.moveaxis(states[:, [X, Y, HEADING], 1:], 1, 2),
        agent_present=states[:, PRESENT, 1:] > 0,
        agent_size=2.0 * np.stack([arrays.half_length[1:slots], arrays.half_width[1:slots]], axis=1).astype(np.float64),
        agent_type=arrays.slot_type[1:slots],
        progress=np.array(progress),
        outcome=outcome,
    )
