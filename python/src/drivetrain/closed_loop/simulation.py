"""nuPlan's closed-loop simulation of scenarios side by side.

N scenarios, F frames of a scenario, T = F - 1 recorded states, A objects.

The ego starts in the logged state with its wheels straight. At each frame the planner answers with a trajectory, state
and objects are recorded, the tracker steers the ego along the trajectory for the real time to the next frame, and the
traffic moves on, having seen the ego where it was. The last frame is never reached.
Source: nuplan-devkit, ``planning/simulation`` (two-stage controller).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from drivetrain.closed_loop.moment import EgoMoment, Moment, ObservedObjects
from drivetrain.closed_loop.traffic import LogReplay, Traffic
from drivetrain.errors import DataError, one_line
from drivetrain.metrics.ego_states import EgoStates
from drivetrain.metrics.scene import ScoringScene
from drivetrain.planners.tracker import BicycleState, propagate, track
from drivetrain.planners.trajectory import fault_of
from drivetrain.sim.scenario import AgentTracks, Float64, Scenario

Drive = Callable[[Moment], Float64]
"""A planner at work in one scenario: rear-axle x, y, heading every 0.1 s from now on, shape [K, 3], K >= 2."""


class Team(Protocol):
    """A planner at work in many scenarios."""

    def plan(self, moments: Mapping[int, Moment]) -> Mapping[int, Float64 | Exception]:
        """Return a trajectory [K, 3] for each moment, or what went wrong; both by the number of the scenario."""
        ...


StartTeam = Callable[[Sequence[Scenario]], Team]
"""Sets a planner to work in scenarios."""


def one_by_one(planner: Callable[[Scenario], Drive]) -> StartTeam:
    """Return a planner of single scenarios as one of many."""
    return lambda scenarios: _Soloists(planner, scenarios)


class _Soloists:
    """One drive per scenario."""

    def __init__(self, planner: Callable[[Scenario], Drive], scenarios: Sequence[Scenario]) -> None:
        self._planner = planner
        self._scenarios = scenarios
        self._drives: dict[int, Drive] = {}

    def plan(self, moments: Mapping[int, Moment]) -> dict[int, Float64 | Exception]:
        """Return a trajectory [K, 3] for each moment, or what went wrong."""
        return {number: self._plan(number, moment) for number, moment in moments.items()}

    def _plan(self, number: int, moment: Moment) -> Float64 | Exception:
        try:
            if number not in self._drives:
                self._drives[number] = self._planner(self._scenarios[number])
            return self._drives[number](moment)
        except Exception as error:  # whatever a planner raises fails its scenario only
            return error


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
    traffic: Traffic
    states: Float64
    """x, y, heading, speed, lateral velocity, acceleration, lateral acceleration, steering, shape [T, 8]."""
    agents: AgentTracks
    failure: FailedRollout | None = None

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

    def runs(self, frame: int) -> bool:
        return self.failure is None and frame < len(self.states)

    def fail(self, frame: int, error: Exception) -> None:
        self.failure = FailedRollout(frame=frame, reason=one_line(error))


def simulate(
    scenarios: Sequence[Scenario],
    *,
    planner: StartTeam,
    traffic: Callable[[Scenario], Traffic] = LogReplay,
    progress: Callable[[int], None] | None = None,
) -> list[Rollout | FailedRollout]:
    """Simulate scenarios; one whose planner or traffic fails ends there, the others go on.

    Args:
        scenarios: What to drive.
        planner: Sets a planner to work.
        traffic: Sets up everybody else.
        progress: Called with the number of frames done, 149 or 150 in all.
    """
    recordings = [_begin(scenario, traffic) for scenario in scenarios]
    team = planner(scenarios)
    for frame in range(max((len(r.states) for r in recordings if isinstance(r, _Recording)), default=0)):
        running = {n: r for n, r in enumerate(recordings) if isinstance(r, _Recording) and r.runs(frame)}
        _step(running, team, frame)
        if progress is not None:
            progress(frame + 1)
    return [_finish(r) if isinstance(r, _Recording) else r for r in recordings]


def replay(scenario: Scenario, *, traffic: Callable[[Scenario], Traffic] = LogReplay) -> Rollout | FailedRollout:
    """Return the logged drive as a rollout: the ego has its logged states, whatever the others do."""
    recording = _begin(scenario, traffic)
    if isinstance(recording, FailedRollout):
        return recording
    ego, frames = scenario.ego, len(recording.states)
    logged = [ego.pose, ego.velocity, ego.acceleration, np.zeros((len(ego.pose), 1))]
    recording.states[:] = np.concatenate(logged, axis=1)[:frames]
    for frame in range(frames):
        moment = recording.moment(frame)
        _note(recording.agents, frame, moment.objects)
        if not _traffic_moves(recording, moment):
            return _finish(recording)
    return Rollout(
        ego=EgoStates.of_log(scenario.ego.take(np.arange(frames))),
        steering=np.zeros(frames),
        agents=recording.agents,
    )


def _begin(scenario: Scenario, traffic: Callable[[Scenario], Traffic]) -> _Recording | FailedRollout:
    frames = len(scenario.timestamps_us)
    try:
        if frames < 2:
            raise DataError(f"the scenario has {frames} frames, at least 2 are needed")
        around = traffic(scenario)
    except DataError as error:
        return FailedRollout(frame=0, reason=one_line(error))
    ego, agents = scenario.ego, scenario.agents
    states = np.zeros((frames - 1, 8))
    states[0] = [*ego.pose[0], *ego.velocity[0], *ego.acceleration[0], 0.0]
    return _Recording(
        scenario=scenario,
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


def _step(running: Mapping[int, _Recording], team: Team, frame: int) -> None:
    """Record a frame and move on to the next, all scenarios together where they plan equally far."""
    moments = {number: recording.moment(frame) for number, recording in running.items()}
    for number, moment in moments.items():
        _note(running[number].agents, frame, moment.objects)
    plans: dict[int, list[tuple[_Recording, Float64]]] = {}
    for number, poses in team.plan(moments).items():
        recording = running[number]
        if isinstance(poses, Exception):
            recording.fail(frame, poses)
        elif (fault := fault_of(poses, recording.states[frame, :2])) is not None:
            recording.fail(frame, fault)
        elif recording.runs(frame + 1) and _traffic_moves(recording, moments[number]):
            plans.setdefault(len(poses), []).append((recording, poses))
    for group in plans.values():
        _move([r for r, _ in group], np.stack([poses for _, poses in group]), frame)


def _traffic_moves(recording: _Recording, moment: Moment) -> bool:
    """Move everybody else on; return whether they could be."""
    try:
        recording.traffic.advance(moment, _seconds(recording.scenario, moment.frame))
    except Exception as error:  # whatever a policy in the traffic raises fails this scenario only
        recording.fail(moment.frame, error)
        return False
    return True


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
