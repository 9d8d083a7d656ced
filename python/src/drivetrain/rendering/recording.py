"""One drive through one scenario as plain arrays: what a picture or an animation is made of.

T frames, A agents, K lights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import DataError
from drivetrain.rendering.drive_events import DriveEvent
from drivetrain.sim.scenario import AgentType, Scenario

PARKED_TRAVEL = 1.0
"""A vehicle whose logged positions all lie within this distance is drawn as parked [m]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Insight:
    """What a policy saw and considered, S <= T frames, K actions, C categories; what it did at a frame is the next."""

    observation: NDArray[np.float32]
    """Canonical observation rows, shape [S, D]."""
    action: NDArray[np.float32]
    """What it did, numbers in [-1, 1]: acceleration, steering, shape [S, 2]."""
    category: NDArray[np.int16]
    """What it considered, the most likely first, shape [S, K]; K is 0 where a policy has no categories."""
    probability: NDArray[np.float32]
    """shape [S, K]."""
    risk: NDArray[np.float32]
    """Predicted risk, 0..1, shape [S, K]; NaN where the policy knows none."""
    allowed: NDArray[np.bool_]
    """False where the policy's risk filter forbids it, shape [S, K]."""
    category_values: NDArray[np.float64]
    """What each category stands for: acceleration, steering in [-1, 1], shape [C, 2]."""
    epsilon: float | None
    """Largest risk that the filter allows; None where there is no filter."""


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
    """The gravest event, or how the drive ended: a key of ``style.EVENT_NAMES``."""
    dynamics: str = "log"
    """``direct`` (the training simulator), ``tracker`` (nuPlan's closed loop) or ``log``."""
    events: tuple[DriveEvent, ...] = ()
    """What happened, by frame."""
    score_name: str = ""
    """``score`` (nuPlan's) or ``score_basic``; empty where nobody judged the drive."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """The verdict, metric by metric, the score among them; None where unknown."""
    insight: Insight | None = None
    """What the policy saw and considered; None for the log and for planners."""

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
    def score(self) -> float | None:
        """The score, 0..1; None where it is unknown."""
        return self.metrics.get(self.score_name)

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
