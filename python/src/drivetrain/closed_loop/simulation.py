"""nuPlan's closed-loop simulation of scenarios side by side.

N scenarios, F frames of a scenario, T = F - 1 recorded states, A objects.

The ego starts in the logged state with its wheels straight. At each frame the planner answers with a trajectory, state
and objects are recorded, the tracker steers the ego along the trajectory for the real time to the next frame, and the
traffic moves on, having seen the ego where it was. The last frame is never reached.
Source: nuplan-devkit, ``planning/simulation`` (two-stage controller).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from drivetrain.closed_loop.moment import EgoMoment, Moment, ObservedObjects
from drivetrain.closed_loop.traffic import Traffic
from drivetrain.errors import DataError
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.planners.tracker import BicycleState, propagate, track
from drivetrain.sim.scenario import AgentTracks, Float64, Scenario

Drive = Callable[[Moment], Float64]
"""A planner at work in one scenario: rear-axle x, y, heading every 0.1 s from now on, shape [K, 3], K >= 2."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One simulated scenario."""

    ego: EgoStates
    """T states."""
    steering: Float64
    """Front-wheel angle [rad], shape [T]."""
    agents: AgentTracks
    """All objects over F frames as the simulation had them, not valid in the last, [F, A]."""

    def scene(self, scenario: Scenario) -> ScoringScene:
        """Return what the rollout is scored in."""
        return ScoringScene(
            map=scenario.map, timestamps_us=scenario.timestamps_us, expert=scenario.ego, agents=self.agents
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedRollout:
    """A scenario that could not be driven to its end."""

    frame: int
    """Where it ended."""
    reason: str


@dataclass(kw_only=True, slots=True)
class _Recording:
    """What happens in one scenario, frame by frame."""

    scenario: Scenario
    drive: Drive
    traffic: Traffic
    states: Float64
    """x, y, heading, speed, lateral velocity, acceleration, lateral acceleration, steering, shape [T, 8]."""
    agents: AgentTracks
    failure: FailedRollout | None = None

    @property
    def frames(self) -> int:
        return len(self.states)

    def moment(self, frame: int) -> Moment:
        x, y, heading, speed, lateral, acceleration, _, steering = self.states[frame]
        return Moment(
            frame=frame,
            time_us=int(self.scenario.timestamps_us[frame]),
            ego=EgoMoment(
                pose=np.array([x, y, heading]),
                velocity=np.array([speed, lateral]),
                acceleration=acceleration,
                steering=steering,
                vehicle=self.scenario.ego.vehicle,
            ),
            objects=self.traffic.objects(),
            light_state=self.scenario.lights.state[frame],
        )


def simulate(
    scenarios: Sequence[Scenario],
    *,
    planner: Callable[[Scenario], Drive],
    traffic: Callable[[Scenario], Traffic],
) -> list[Rollout | FailedRollout]:
    """Simulate scenarios; one whose planner or traffic fails ends there, the others go on.

    Args:
        scenarios: What to drive.
        planner: Sets a planner to work in a scenario.
        traffic: Sets up everybody else.
    """
    recordings = [_begin(scenario, planner, traffic) for scenario in scenarios]
    frames = max((r.frames for r in recordings if isinstance(r, _Recording)), default=0)
    for frame in range(frames):
        running = [r for r in recordings if isinstance(r, _Recording) and r.failure is None and frame < r.frames]
        _step(running, frame)
    return [_finish(r) if isinstance(r, _Recording) else r for r in recordings]


def _begin(
    scenario: Scenario, planner: Callable[[Scenario], Drive], traffic: Callable[[Scenario], Traffic]
) -> _Recording | FailedRollout:
    frames = len(scenario.timestamps_us)
    try:
        if frames < 2:
            raise DataError(f"scenario {scenario.scenario_id}: has {frames} frames, at least 2 are needed")
        drive, around = planner(scenario), traffic(scenario)
    except Exception as error:  # whatever a planner raises fails its scenario only
        return FailedRollout(frame=0, reason=_reason(error))
    ego, agents = scenario.ego, scenario.agents
    states = np.zeros((frames - 1, 8))
    states[0] = [*ego.pose[0], *ego.velocity[0], *ego.acceleration[0], 0.0]
    return _Recording(
        scenario=scenario,
        drive=drive,
        traffic=around,
        states=states,
        agents=replace(
            agents,
            position=np.zeros_like(agents.position),
            heading=np.zeros_like(agents.heading),
            velocity=np.zeros_like(agents.velocity),
            valid=np.zeros_like(agents.valid),
        ),
    )


def _step(running: list[_Recording], frame: int) -> None:
    """Record a frame and move on to the next, all scenarios together where they plan equally far."""
    plans: dict[int, list[tuple[_Recording, Float64]]] = {}
    for recording in running:
        try:
            moment = recording.moment(frame)
            _note(recording.agents, frame, moment.objects)
            poses = recording.drive(moment)
            if frame + 1 < recording.frames:
                plans.setdefault(len(poses), []).append((recording, poses))
                recording.traffic.advance(moment, _seconds(recording.scenario, frame))
        except Exception as error:  # as above
            recording.failure = FailedRollout(frame=frame, reason=_reason(error))
    for group in plans.values():
        _move([r for r, _ in group], np.stack([poses for _, poses in group]), frame)


def _move(recordings: list[_Recording], poses: Float64, frame: int) -> None:
    now = np.stack([r.states[frame] for r in recordings])
    state = BicycleState(pose=now[:, :3], speed=now[:, 3], acceleration=now[:, 5], steering=now[:, 7])
    wheelbase = np.array([r.scenario.ego.vehicle.wheelbase for r in recordings])
    command = track(poses, state, wheelbase=wheelbase)
    dt = np.array([_seconds(r.scenario, frame) for r in recordings])
    moved = propagate(state, *command, dt=dt, wheelbase=wheelbase)
    for i, recording in enumerate(recordings):
        recording.states[frame + 1] = [
            *moved.pose[i], moved.speed[i], 0.0, moved.acceleration[i], 0.0, moved.steering[i]
        ]  # fmt: skip


def _seconds(scenario: Scenario, frame: int) -> float:
    return float(scenario.timestamps_us[frame + 1] - scenario.timestamps_us[frame]) * 1e-6


def _note(agents: AgentTracks, frame: int, objects: ObservedObjects) -> None:
    at = (frame, objects.column)
    agents.position[at] = objects.position
    agents.heading[at] = objects.heading
    agents.velocity[at] = objects.velocity
    agents.valid[at] = True


def _finish(recording: _Recording) -> Rollout | FailedRollout:
    if recording.failure is not None:
        return recording.failure
    states, scenario = recording.states, recording.scenario
    speed, steering = states[:, 3], states[:, 7]
    yaw_rate = speed * np.tan(steering) / scenario.ego.vehicle.wheelbase
    yaw_rate[0] = 0.0
    dt = np.diff(scenario.timestamps_us[: len(states)]) * 1e-6
    return Rollout(
        ego=EgoStates(
            pose=states[:, :3],
            velocity=states[:, 3:5],
            acceleration=states[:, 5:7],
            yaw_rate=yaw_rate,
            yaw_acceleration=np.append(0.0, np.diff(yaw_rate) / dt),
            vehicle=scenario.ego.vehicle,
        ),
        steering=steering,
        agents=recording.agents,
    )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
