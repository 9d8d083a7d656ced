"""Drives in the training simulator, of many scenarios side by side.

W worlds (one scenario each), T frames, A agent slots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from drivetrain.errors import DataError
from drivetrain.rendering.drive_events import DriveEvent, events_of_bits, gravest, in_time, touched
from drivetrain.rendering.insight_tape import InsightTape
from drivetrain.rendering.recording import DriveRecording
from drivetrain.sim.branching import FailureHistory
from drivetrain.sim.env import DrivingConfig, DrivingEnv, TrafficDriver
from drivetrain.sim.environment import StepResult
from drivetrain.sim.route_ahead import ROUTES
from drivetrain.sim.scenario import Scenario
from drivetrain.sim.scene_arrays import HEADING, PRESENT, SPEED, X, Y
from drivetrain.sim.scene_bank import DT, NothingToSimulateError, SceneBank, build_bank
from drivetrain.sim.world import LAST_COMPLETION
from drivetrain.trainer.evaluation_result import METRICS

Step = Callable[[DrivingEnv, NDArray[np.float32]], StepResult]
"""Advances the environment by one step, given what its rows observe: a policy, a planner, the log."""
ROWS = [X, Y, HEADING, SPEED, PRESENT]
"""What is kept of every slot's state."""
_RATES = {"collision": "collision_at_fault_rate", "collision_any": "collision_any_rate", "offroad": "offroad_rate",
          "red_light": "red_light_rate", "goal": "goal_rate"}  # fmt: skip
"""What an evaluation calls the statistics of an episode; others have the same name there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drives:
    """What came of some scenarios."""

    recordings: dict[str, DriveRecording] = field(default_factory=dict)
    """By scenario id."""
    failures: dict[str, str] = field(default_factory=dict)
    """Scenario id -> why there is no recording."""

    def of(self, scenario: Scenario) -> DriveRecording:
        """Return the recording of a scenario.

        Raises:
            DataError: It could not be driven.
        """
        name = scenario.scenario_id
        if name in self.failures:
            raise DataError(f"scenario {name} cannot be driven: {self.failures[name]}; choose another with --scenario")
        return self.recordings[name]


@dataclass(kw_only=True)
class _Tape:
    """What every world showed, frame by frame."""

    agents: list[NDArray[np.float32]] = field(default_factory=list)
    bits: list[NDArray[np.uint8]] = field(default_factory=list)
    progress: list[NDArray[np.float32]] = field(default_factory=list)

    def take(self, env: DrivingEnv) -> None:
        state = env.state
        self.agents.append(state.agents[:, ROWS])
        self.bits.append(state.events.copy())
        self.progress.append(state.sums[:, LAST_COMPLETION].copy())


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
    return drive_directly([scenario], step, label=label, config=config, seed=seed).of(scenario)


def drive_directly(
    scenarios: Sequence[Scenario],
    step: Step,
    *,
    label: str,
    config: DrivingConfig | None = None,
    seed: int = 0,
    traffic_driver: TrafficDriver | None = None,
    tape: InsightTape | None = None,
    history: FailureHistory | None = None,
) -> Drives:
    """Drive the egos through scenarios, side by side, until their episodes end.

    Args:
        scenarios: Where to drive.
        step: Who drives.
        label: The panels' heading.
        config: The environment; traffic, actuator lags and actions are taken from it.
        seed: Seed of the environment.
        traffic_driver: Who drives the other vehicles from outside.
        tape: Has watched the policy that ``step`` is.
        history: Keeps the states before failures.
    """
    try:
        route_of = ROUTES["log" if config is None else config.route]
        bank = build_bank(scenarios, all_controllable=traffic_driver is not None, route_of=route_of)
    except NothingToSimulateError as error:
        return Drives(failures=error.dropped)
    chosen = replace(config or DrivingConfig(), num_worlds=len(bank), control="ego", at_goal="end", threads=1)
    env = DrivingEnv(
        bank, chosen, sequential=True, automatic_reset=False, perturb=False, compute_ttc=True,
        traffic_driver=traffic_driver,
    )  # fmt: skip
    shown, last = _Tape(), np.zeros(len(bank), dtype=np.int64)
    verdicts: list[dict[str, float | None]] = [{} for _ in range(len(bank))]
    try:
        observation = env.reset(seed=seed)
        shown.take(env)
        if history is not None:
            history.begin(env)
        while not last.all():
            result = step(env, observation)
            observation = result.observation
            shown.take(env)
            if history is not None:
                history.take(env, result.final_rows)
            for at, row in enumerate(result.final_rows.tolist()):
                if not last[row]:
                    last[row] = len(shown.agents) - 1
                    verdicts[row] = _verdict({name: float(values[at]) for name, values in result.episodes.items()})
        played = env.state.scene.tolist()
    finally:
        env.close()
    by_id = {scenario.scenario_id: scenario for scenario in scenarios}
    recordings = {}
    for world, scene in enumerate(played):
        scenario = by_id[bank.scenario_ids[scene]]
        recording = _recording(scenario, bank, scene, shown, world, int(last[world]), label)
        insight = None if tape is None else tape.insight(world, int(last[world]))
        recordings[scenario.scenario_id] = replace(recording, metrics=verdicts[world], insight=insight)
    return Drives(recordings=recordings, failures=dict(bank.dropped))


def _verdict(statistics: Mapping[str, float]) -> dict[str, float | None]:
    """Return an episode's statistics under the names that an evaluation gives them."""
    named = {_RATES.get(name, name): value for name, value in statistics.items()}
    return {name: named[name] for name in METRICS if name in named}


def _recording(
    scenario: Scenario, bank: SceneBank, scene: int, shown: _Tape, world: int, last: int, label: str
) -> DriveRecording:
    arrays = bank.arrays
    slots, start = int(arrays.num_slots[scene]), int(arrays.slot_start[scene])
    states = np.array([frame[world, :, :slots] for frame in shown.agents[: last + 1]], dtype=np.float64)
    x, y, heading, speed, present = np.moveaxis(states, 1, 0)
    pose = np.stack([x, y, heading], axis=2)
    others = slice(start + 1, start + slots)
    size = 2.0 * np.stack([arrays.half_length[others], arrays.half_width[others]], axis=1).astype(np.float64)
    vehicle = scenario.ego.vehicle
    ego_size = (vehicle.length, vehicle.width)
    bits = np.array([frame[world] for frame in shown.bits[: last + 1]])
    bits[0] = 0
    events = [_with_agent(event, pose, ego_size, size, present[:, 1:] > 0) for event in events_of_bits(bits)]
    found = gravest(events)
    return DriveRecording(
        label=label,
        scenario=scenario,
        first_frame=0,
        dt=DT,
        ego_pose=pose[:, 0],
        ego_speed=speed[:, 0],
        ego_size=ego_size,
        agent_pose=pose[:, 1:],
        agent_present=present[:, 1:] > 0,
        agent_size=size,
        agent_type=arrays.slot_type[others],
        progress=np.array([frame[world] for frame in shown.progress[: last + 1]], dtype=np.float64),
        outcome="time" if found is None else found.kind,
        dynamics="direct",
        events=tuple(in_time(events)),
        score_name="score_basic",
    )


def _with_agent(
    event: DriveEvent,
    pose: NDArray[np.float64],
    ego_size: tuple[float, float],
    size: NDArray[np.float64],
    present: NDArray[np.bool_],
) -> DriveEvent:
    if not event.kind.startswith("collision"):
        return event
    at = event.frame
    return replace(event, agent=touched(pose[at, 0], ego_size, pose[at, 1:], size, present[at]))
